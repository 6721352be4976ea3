"""How long a user waits for the message of a mistake: a table of the mistakes that tests/check/mistakes.py holds.

    make bench-mistakes

Each mistake is made in a folder of its own, and the command is started as a user starts it, in a process. The table has
the seconds until it ends, the median of several runs, and the first line of its message. The exit status is 1 if one of
them has another message than the tests expect.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from check.mistakes import MISTAKES, Mistake, make
from tiny_model import write_tiny_model

SHOWN = 110
"""Characters of a message."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each mistake, of which the median is taken")
    parser.add_argument("--first", type=int, default=len(MISTAKES), help="number of mistakes")
    asked = parser.parse_args()
    faulty, waits = 0, {}
    with tempfile.TemporaryDirectory() as scratch:
        model = write_tiny_model(Path(scratch) / "model")
        print("| about | mistake | seconds | message |\n|---|---|---:|---|")
        for number, mistake in enumerate(MISTAKES[: asked.first]):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            make(mistake, folder, model)
            taken = [_run(mistake, folder) for _ in range(asked.repeats)]
            seconds, (_, said) = statistics.median(one for one, _ in taken), taken[0]
            waits[mistake.what] = seconds
            faulty += mistake.message not in said
            shown = " ".join(said.removeprefix("error: ").replace(f"{folder}/", "").split())[:SHOWN].replace("|", "\\|")
            print(f"| {mistake.about} | {mistake.what} | {seconds:.1f} | `{shown}…` |", flush=True)
    longest = max(waits, key=lambda what: waits[what])
    median = statistics.median(waits.values())
    print(f"\n{len(waits)} mistakes; median {median:.1f} s; longest: {longest}, {waits[longest]:.1f} s")
    return int(faulty > 0)


def _run(mistake: Mistake, folder: Path) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "selfreward_ray", *mistake.arguments],
        cwd=folder,
        env=os.environ | mistake.environment,
        capture_output=True,
        text=True,
    )
    return time.monotonic() - began, done.stderr


if __name__ == "__main__":
    sys.exit(main())
