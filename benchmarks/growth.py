"""Memory of a training's rank, and of the driver, by the number of rows. Run with `make bench-growth`.

No model and no Ray: the functions that a rank and the driver call run on synthetic tables of short rows, each in a
process of its own, for each of the numbers of rows.

- `rank`: the copy of the token table, the plan of two epochs, 200 steps of it, the reference's log-probs of all rows;
- `encode`: the driver of a DPO step, up to the trainer;
- `propose`: the driver of a propose step, whose proposals differ;
- `report`: the driver of a report, from judged prompts and their pairs.

The last line is JSON: for each part `bytes_a_row`, the growth of peak resident memory between the last two numbers of
rows, and `exponent`, the slope of its logarithm there over that of the rows. The exponent counts what is above the
memory of the process before the work, which is that of the imported packages.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from peak_memory import peak_mb

# Only small imports, as in `pairs.py`: this process must stay smaller than those that it measures.

ROWS = (10_000, 100_000, 1_000_000)
ROWS_PER_FILE = 1024
STEPS = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of rows, in ascending order")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what is measured")
    parser.add_argument("--stage", choices=["make", "drive"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        make, drive = PARTS[arguments.parts[0]]
        (rows,) = arguments.rows
        print(json.dumps(make(arguments.folder, rows) if arguments.stage == "make" else drive(arguments.folder, rows)))
        return 0
    print(json.dumps({part: growth([measure(part, rows) for rows in arguments.rows]) for part in arguments.parts}))
    return 0


def measure(part: str, rows: int) -> dict[str, float]:
    """Make the tables and run the part on them, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        stage("make", part, rows, folder)
        measured: dict[str, float] = json.loads(stage("drive", part, rows, folder).splitlines()[-1])
    shown = f"{measured['peak_mb']:,.0f} MB, {measured['peak_mb'] - measured['before_mb']:,.1f} of them by the rows"
    print(f"{part:8} {rows:9,} rows: {shown}, {measured['seconds']} s", flush=True)
    return {"rows": rows, **measured}


def stage(name: str, part: str, rows: int, folder: str) -> str:
    command = [sys.executable, __file__, "--stage", name, "--parts", part, "--rows", str(rows), "--folder", folder]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - this very file


def growth(measured: list[dict[str, float]]) -> dict[str, Any]:
    """The measured peaks, and how they grow between the last two numbers of rows."""
    before, last = measured[-2:]
    own = [one["peak_mb"] - one["before_mb"] for one in (before, last)]
    times = last["rows"] / before["rows"]
    return {
        "peak_mb": {f"{one['rows']:.0f}": round(one["peak_mb"]) for one in measured},
        "bytes_a_row": round((last["peak_mb"] - before["peak_mb"]) * 1e6 / (last["rows"] - before["rows"])),
        "exponent": round(math.log(max(own[1], 0.1) / max(own[0], 0.1)) / math.log(times), 2),
    }


@contextmanager
def watched(found: dict[str, float]) -> Iterator[None]:
    """Put the seconds of a block, and the process's peak memory before and after it, into `found`."""
    found["before_mb"], start = peak_mb(), time.monotonic()
    yield
    found["seconds"], found["peak_mb"] = round(time.monotonic() - start, 1), peak_mb()


def in_files(folder: Path, table: str, rows: int, record: Any, row: Callable[[int], list[Any]]) -> None:
    """Write a table of what `row` gives for each number below `rows`."""
    from selfreward_ray.store.folder import Folder
    from selfreward_ray.store.tables import write_part

    for first in range(0, rows, ROWS_PER_FILE):
        records = [one for number in range(first, min(first + ROWS_PER_FILE, rows)) for one in row(number)]
        write_part(Folder(str(folder)), table, records, record, f"part-{first:08d}")


def made_step(folder: Path, name: str) -> Any:
    from selfreward_ray.store.step import Step

    step = Step(name, str(folder), {}, {})
    step.is_done()  # creates the folder
    return step


# --- a rank


def make_rank(folder: Path, rows: int) -> None:
    from selfreward_ray.records import PairTokens
    from selfreward_ray.training.reference import ReferenceLogProb

    def pair(n: int) -> list[PairTokens]:
        return [PairTokens(f"M2/q{n:06d}/pair", (7, n % 1000, 3, 4), (*range(n % 9), 5), (*range(n % 7), 6))]

    def logprobs(n: int) -> list[ReferenceLogProb]:
        return [ReferenceLogProb(f"M2/q{n:06d}/pair/{side}", -n / 7) for side in ("chosen", "rejected")]

    in_files(folder, "rows", rows, PairTokens, pair)
    in_files(folder, "reference", rows, ReferenceLogProb, logprobs)


def rank(folder: Path, rows: int) -> dict[str, float]:
    from selfreward_ray.recipe.training import Dpo
    from selfreward_ray.records import PairTokens
    from selfreward_ray.store.folder import Folder
    from selfreward_ray.training.batches import plan_batches, read_ahead
    from selfreward_ray.training.reference import _read
    from selfreward_ray.training.token_table import TokenTable

    found: dict[str, float] = {}
    reading: Any = SimpleNamespace(folders=SimpleNamespace(reference=Folder(str(folder))))
    with watched(found):
        table = TokenTable(Folder(str(folder)) / "rows", PairTokens)
        plan = plan_batches(table, Dpo(batch_size=32, epochs=2), 2, seed=0)
        reference = _read(reading, "reference")
        assert reference is not None
        assert len(table) == rows
        for _, batch in read_ahead(plan, range(0, len(plan), -(-len(plan) // STEPS))):
            sum(reference[s.id] for pair in batch.examples() for s in pair.sequences())
    return found


# --- the driver of a training


def make_encode(folder: Path, rows: int) -> None:
    from selfreward_ray.records import Candidate, Pair

    def pair(n: int) -> list[Pair]:
        name = f"M2/q{n:06d}"
        replies = (Candidate(f"{name}/r{i}", f"Reply {n}", (5, n % 1000, i), True) for i in (0, 1))
        return [Pair(f"{name}/pair", f"Prompt {n}?", (7, n % 1000, 3), *replies)]

    step = made_step(folder / "pairs", "pair")
    in_files(folder / "pairs", "rows", rows, Pair, pair)
    step.finish(offered=rows)


def encode(folder: Path, rows: int) -> dict[str, float]:
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.steps.train import dpo

    def trained(job: Any, _: Any) -> None:
        job.folders.training.write_json("summary.json", {"steps": 1, "tokens": 1, "last": {}, "course": {}})

    found: dict[str, float] = {}
    with watched(found):
        pairs, out = str(folder / "pairs"), str(folder / "M2")
        assert dpo(Recipe(model="m"), model="m", pairs=pairs, out=out, trainer=trained).rows == {"rows": rows}
    return found


# --- the driver of a propose step

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnpr" for b in ("a", "e", "i", "o", "u", "ai") for c in "bdfgklmnprstvz"]


class Rounds:
    """A proposing pool whose proposals are ten words by chance, the same for the same request."""

    @contextmanager
    def opened(self, *_: Any, **__: Any) -> Iterator["Rounds"]:
        yield self

    def summary(self) -> dict[str, float]:
        return {}

    def ask(self, job: Any, requests: list[Any]) -> Iterator[Any]:
        from selfreward_ray.inference.block import BlockCounts
        from selfreward_ray.records import Proposal
        from selfreward_ray.store.folder import Folder
        from selfreward_ray.store.tables import write_block

        for first in range(0, len(requests), ROWS_PER_FILE):
            ids = [request.id for request in requests[first : first + ROWS_PER_FILE]]
            said = [Proposal(name, " ".join(random.Random(name).choices(WORDS, k=10)), "stop") for name in ids]
            write_block(Folder(job.out), ids, said, Proposal, [])
            yield BlockCounts(rows=len(ids))


def make_propose(folder: Path, _: int) -> None:
    from selfreward_ray.records import SftExample

    step = made_step(folder / "seed", "seed")
    step.write(
        [SftExample(f"s{n}/ift", "ift", f"What is the number {n} good for?", "…") for n in range(50)], SftExample
    )
    step.finish(offered=50)


def propose(folder: Path, rows: int) -> dict[str, float]:
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.steps import propose as step
    from selfreward_ray.steps.proposal_rounds import Proposer

    prompts = {"count": rows, "requests_per_round": 4 * ROWS_PER_FILE, "max_requests": 4 * rows + 8 * ROWS_PER_FILE}
    recipe = Recipe.model_validate({"model": "m", "prompts": prompts})
    found: dict[str, float] = {}
    with watched(found), Proposer(recipe, open_rounds=Rounds().opened) as proposer:
        made = step.propose(
            recipe, seed_data=str(folder / "seed"), iteration=1, out=str(folder / "prompts"), proposer=proposer
        )
        assert made.rows["rows"] == rows
    return found


# --- the driver of a report


def make_report(folder: Path, rows: int) -> None:
    from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Pair, Verdict

    def judged(n: int) -> list[JudgedPrompt]:
        return [JudgedPrompt(f"M2/q{n:06d}", f"Prompt {n}?", (7,), candidates(n))]

    def candidates(n: int) -> tuple[Candidate, ...]:
        names = [f"M2/q{n:06d}/r{i}" for i in (0, 1)]
        return tuple(
            Candidate(name, f"Reply {n}", (5,), True, (Verdict(f"{name}/v0", "So.", 1.0 + i, 1),), 1.0 + i, 0.0)
            for i, name in enumerate(names)
        )

    def pair(n: int) -> list[Pair]:
        worst, best = candidates(n)
        return [Pair(f"M2/q{n:06d}/pair", f"Prompt {n}?", (7,), best, worst)] if n % 10 else []

    def dropped(n: int) -> list[Dropped]:
        return [] if n % 10 else [Dropped(f"M2/q{n:06d}", "pair", "tied")]

    step = made_step(folder / "M2" / "judged", "respond")
    in_files(folder / "M2" / "judged", "rows", rows, JudgedPrompt, judged)
    step.finish(offered=rows)
    step = made_step(folder / "M2" / "pairs", "pair")
    in_files(folder / "M2" / "pairs", "rows", rows, Pair, pair)
    in_files(folder / "M2" / "pairs", "dropped", rows, Dropped, dropped)
    step.finish(offered=rows)


def report(folder: Path, rows: int) -> dict[str, float]:
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.steps.report import _read_judged
    from selfreward_ray.store.run import RunLayout

    found: dict[str, float] = {}
    with watched(found):
        read = _read_judged(RunLayout(str(folder)), Recipe(model="m", iterations=1))
        assert read.iterations[0].prompts == rows
    return found


PARTS: dict[str, tuple[Callable[[Path, int], None], Callable[[Path, int], dict[str, float]]]] = {
    "rank": (make_rank, rank),
    "encode": (make_encode, encode),
    "propose": (make_propose, propose),
    "report": (make_report, report),
}
"""Each part by its name: what makes its tables, and what is measured."""


if __name__ == "__main__":
    sys.exit(main())
