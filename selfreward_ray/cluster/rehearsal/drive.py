"""The driver process of a rehearsal, which runs its loop: ``drive RECIPE RUN_DIR SEEN SECONDS KEPT STEP``.

Before it ends, it writes its observations of the cluster to the JSON file SEEN. SECONDS is the idle timeout of nodes:
the process waits until the last ones are released, except those that the cluster keeps, by type in the JSON object
KEPT. If STEP is not empty, the process kills itself when the step of that name begins.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from selfreward_ray import loop
from selfreward_ray.cluster.rehearsal.watch import Watch, surplus
from selfreward_ray.cluster.session import joined
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.reporting import progress

_LET_GO_WITHIN = 30.0
"""Maximum number of seconds after the idle timeout until a node must be released."""


def main(recipe: str, run_dir: str, seen: str, idle_seconds: str, kept: str, kill_in: str) -> int:
    watch = Watch()

    def write() -> None:
        found = {"steps": watch.rows(), "left": watch.nodes(), "unseen": watch.unseen()}
        Path(seen).write_text(json.dumps(found), encoding="utf-8")

    def kill(label: str, note: str | None) -> None:
        if label == kill_in and note == "":
            write()
            os.kill(os.getpid(), signal.SIGKILL)

    with joined():
        try:
            with watch.watching():
                if kill_in:
                    progress.listeners.append(kill)
                loop.run(load_recipe(recipe), run_dir)
                end = time.monotonic() + float(idle_seconds) + _LET_GO_WITHIN
                while surplus(watch.nodes(), json.loads(kept)) and time.monotonic() < end:
                    time.sleep(1)
        except UserError as error:
            print(f"error: {getattr(error, 'cause', error)}", file=sys.stderr)
            return 2
        finally:
            write()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
