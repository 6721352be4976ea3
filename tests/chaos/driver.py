"""The command that is killed and given again: ``driver.py RECIPE RUN_DIR EVENTS REQUESTS``.

As `selfreward run`, with scripted engines, and with a lease that expires after seconds. EVENTS gets a line for each
step that begins and ends, and for its progress; REQUESTS one for each request to an engine.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import scripted_engine
from ray import cloudpickle

from selfreward_ray import loop
from selfreward_ray.cli.running import explained
from selfreward_ray.cluster.session import joined
from selfreward_ray.inference import pool, rounds
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.reporting import progress
from selfreward_ray.steps.proposal_rounds import Proposer
from selfreward_ray.store import lease

REQUEST_S = 0.15
REPORT = "report"

cloudpickle.register_pickle_by_value(scripted_engine)  # workers do not have this folder on their path


def main(recipe: str, run_dir: str, events: str, requests: str) -> None:
    def tell(label: str, what: str, done: int = 0) -> None:
        with Path(events).open("a") as log:
            log.write(json.dumps({"time": time.time(), "label": label, "what": what, "done": done}) + "\n")

    def listen(label: str, note: str | None) -> None:
        if note is None or note == "":
            tell(label, "end" if note is None else "begin")

    update = progress.Progress.update

    def updated(shown: Any, done: int, tokens: int = 0) -> None:
        update(shown, done, tokens)
        tell(shown._label, "done", done)

    def reported(report: Callable[..., Any], *given: Any) -> None:
        tell(REPORT, "begin")
        report(*given)
        tell(REPORT, "end")

    progress.listeners.append(listen)
    progress.recorders.append(lambda label, values, at: tell(label, "trained", at))
    progress.Progress.update = updated
    loop.report = partial(reported, loop.report)
    engine = partial(scripted_engine.ScriptedEngine, requests, REQUEST_S)
    pool.open_pool = partial(pool.open_pool, open_engine=engine)
    opened = partial(rounds.open_rounds, open_engine=engine)
    loop.Proposer = partial(Proposer, open_rounds=opened)
    lease.BEAT_S, lease.DEAD_S, lease._LOOK_S = 1.0, 6.0, 0.2
    with explained(), joined():
        loop.run(load_recipe(recipe), run_dir)


if __name__ == "__main__":
    main(*sys.argv[1:])
