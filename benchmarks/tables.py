"""Requests, bytes and memory of a step's tables, by this tree and by another checkout. Run with `make bench-tables`.

A step of judged prompts (4 candidates, 3 verdicts each) is written in blocks of eight rows, without engines. Measured
is what its driver does with them, each in a process of its own: `resume` the step whose rows are all finished, up to
the blocks that are left for the pool, `finish` it, and `read` its rows once. They are in a bucket on moto's S3 server,
behind the proxy of the tests, which counts requests and bytes; for `resume` also on the disk, as rows without
candidates. With `BEFORE=FOLDER`, another checkout, its code does the same first.

The last line is one JSON object, by checkout. `peak_mb` is the growth of the process's resident memory at its most,
after its imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from peak_memory import peak_mb

HERE = Path(__file__).resolve().parents[1]
ROWS, ROWS_ON_DISK, ROWS_PER_BLOCK = 10_000, 100_000, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path, nargs="?", help="another checkout, for example of `git worktree add`")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the step in the bucket")
    parser.add_argument("--rows-on-disk", type=int, default=ROWS_ON_DISK, help="rows of the step on the disk")
    parser.add_argument("--stage", choices=["write", *STAGES], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--light", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage == "write":
        write(asked.folder, asked.rows, asked.light)
    elif asked.stage:
        print(json.dumps(measured(STAGES[asked.stage], asked.folder, asked.rows)))
    else:
        trees = {"before": asked.before.resolve()} if asked.before else {}
        print(json.dumps({side: measure(tree, asked) for side, tree in (trees | {"now": HERE}).items()}))


def measure(tree: Path, asked: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(HERE / "tests"))
    from s3_server import BUCKET, door, server

    found: dict[str, Any] = {}
    with ExitStack() as ends:
        here = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="bench-tables-")))
        way = ends.enter_context(door(ends.enter_context(server(here / "server")), here / "requests"))
        bucket = f"s3://{BUCKET}/run"
        for place, rows, stages in (
            (bucket, asked.rows, ("resume", "finish", "read")),
            (str(here / "run"), asked.rows_on_disk, ("resume",)),
        ):
            more = ("--rows", str(rows), "--folder", place, *(["--light"] if place != bucket else []))
            run(tree, way.environment(), "write", *more)
            for stage in stages:
                before = len(way.requests())
                figures = run(tree, way.environment(), stage, *more)
                if place == bucket:
                    requests = way.requests()[before:]
                    figures["requests"] = len(requests)
                    figures["mb"] = round(sum(one["sent"] + one["got"] for one in requests) / 1e6, 2)
                name = f"{stage}_{'bucket' if place == bucket else 'disk'}"
                found[name] = {"rows": rows, **figures}
                print(f"{tree}: {name}: {json.dumps(found[name])}", flush=True)
    return found


def run(tree: Path, environment: dict[str, str], stage: str, *arguments: str) -> Any:
    """What a stage prints, run by the code of the checkout `tree`."""
    done = subprocess.run(  # noqa: S603 - this very file
        [sys.executable, __file__, "--stage", stage, *arguments],
        env=os.environ | environment | {"PYTHONPATH": str(tree)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout or "null")


def measured(stage: Callable[[str, int], None], folder: str, rows: int) -> dict[str, float]:
    import selfreward_ray.inference.partition  # imports are not measured
    import selfreward_ray.store.step  # noqa: F401

    before, began = peak_mb(), time.monotonic()
    stage(folder, rows)
    return {"seconds": round(time.monotonic() - began, 1), "peak_mb": round(peak_mb() - before)}


def step_in(folder: str) -> Any:
    from selfreward_ray.store.step import Step

    step = Step("respond", f"{folder}/judged", {}, {})
    step.is_done()
    return step


def write(folder: str, rows: int, light: bool) -> None:
    """A finished propose step, and an unfinished respond step with all of its blocks."""
    from dataclasses import replace

    from selfreward_ray.records import Candidate, JudgedPrompt, Prompt, Verdict
    from selfreward_ray.store.step import Step
    from selfreward_ray.store.tables import write_block

    ids = [f"M2/q{number:06d}" for number in range(rows)]
    prompts = Step("propose", f"{folder}/prompts", {}, {})
    prompts.is_done()
    prompts.write([Prompt(name, f"What is {name}?") for name in ids], Prompt)
    prompts.finish(offered=rows)
    text = " ".join(f"word{number}" for number in range(60))
    verdicts = tuple(Verdict(f"v{k}", text[:200], 3.0, 1) for k in range(3))
    candidates = tuple(Candidate(f"r{k}", text, tuple(range(80)), True, verdicts, 3.0, 0.0) for k in range(4))
    row = JudgedPrompt("", "What?", tuple(range(30)), () if light else candidates)
    step = step_in(folder)
    for start in range(0, rows, ROWS_PER_BLOCK):
        block = [replace(row, id=name, text=f"What is {name}?") for name in ids[start : start + ROWS_PER_BLOCK]]
        write_block(step.folder, [each.id for each in block], block, JudgedPrompt, [])


def resume(folder: str, rows: int) -> None:
    from selfreward_ray.inference.partition import partition_table
    from selfreward_ray.store.folder import Folder
    from selfreward_ray.store.tables import finished_ids

    finished = finished_ids(step_in(folder).folder)
    left = partition_table(Folder(f"{folder}/prompts") / "rows", finished, ROWS_PER_BLOCK)
    if left or len(finished) != rows:
        raise SystemExit(f"{len(finished)} of {rows} rows were found to be finished")


def finish(folder: str, rows: int) -> None:
    step_in(folder).finish(offered=rows)


def read(folder: str, rows: int) -> None:
    from selfreward_ray.records import JudgedPrompt
    from selfreward_ray.store.tables import read_files

    found = sum(len(some) for _, some in read_files(step_in(folder).folder / "rows", JudgedPrompt))
    if found != rows:
        raise SystemExit(f"{found} of {rows} rows were read")


STAGES = {"resume": resume, "finish": finish, "read": read}

if __name__ == "__main__":
    main()
