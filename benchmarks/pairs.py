"""Memory of the pair step's driver by the number of rows. Run with `make bench-pairs`.

The pair step runs on a table of synthetic judged prompts (4 candidates, 3 verdicts each; in files of eight rows, as a
respond step of earlier versions left them) on a local Ray, in a driver process of its own: once with a tenth of the
rows, once with all of them. The last line is one JSON object for the larger table; `driver_growth` is the ratio of its
driver's peak resident memory to that of the smaller table. The exit status is 1 if it exceeds 1.25: only the file names
should grow.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from peak_memory import peak_mb

# Only small imports: Linux counts a parent's memory at the fork as its child's, so this process must stay smaller than
# the drivers that it measures. Functions that run in processes of their own import the large packages.

ROWS = 200_000
ROWS_PER_FILE = 8
TEMPLATES = 3_000
CANDIDATES, VERDICTS = 4, 3
MOST_GROWTH = 1.25


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="number of judged prompts in the larger table")
    parser.add_argument("--stage", choices=["make", "drive"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage == "make":
        make_table(arguments.folder / "judged", arguments.rows)
        return 0
    if arguments.stage == "drive":
        print(json.dumps(drive(arguments.folder)))
        return 0
    small, large = (measure(rows) for rows in (arguments.rows // 10, arguments.rows))
    growth = large["driver_peak_mb"] / small["driver_peak_mb"]
    print(f"driver peak: {small['driver_peak_mb']} MB → {large['driver_peak_mb']} MB, {growth:.2f} times", flush=True)
    print(json.dumps({**large, "driver_growth": round(growth, 3)}))
    return int(growth > MOST_GROWTH)


def measure(rows: int) -> dict[str, float]:
    """Write a table of `rows` judged prompts and pair it, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-pairs-") as folder:
        print(f"{rows:,} rows: writing the judged prompts", flush=True)
        stage("make", rows, folder)
        print(f"{rows:,} rows: pairing", flush=True)
        measured: dict[str, float] = json.loads(stage("drive", rows, folder).splitlines()[-1])
    kept, dropped, flagged = (measured[name] for name in ("kept", "dropped", "flagged"))
    if kept + dropped != rows:
        raise SystemExit(f"{rows} rows were offered, but {kept} kept and {dropped} dropped")
    print(f"{rows:,} rows: {kept:,} kept, {dropped:,} dropped, {flagged:,} replies flagged", end=", ")
    print(f"{measured['seconds']} s, driver peak {measured['driver_peak_mb']} MB", flush=True)
    return {"rows": rows, **measured}


def stage(name: str, rows: int, folder: str) -> str:
    command = [sys.executable, __file__, "--stage", name, "--rows", str(rows), "--folder", folder]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - this very file


def drive(folder: Path) -> dict[str, float]:
    """Pair the table in `folder`. Returns the manifest's counts, the step's seconds and this process's peak MB."""
    from selfreward_ray.cluster.session import joined
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.steps.pair import pair

    os.environ["RAY_ADDRESS"] = "local"  # never a cluster that already runs on this machine
    with joined():
        manifest = pair(Recipe(model="none"), judged=str(folder / "judged"), out=str(folder / "pairs"))
    return {
        "driver_peak_mb": round(peak_mb()),
        "seconds": manifest.seconds,
        "kept": manifest.rows["rows"],  # best-worst: one pair a prompt
        "dropped": sum(manifest.dropped.values()),
        "flagged": sum(manifest.metrics["flagged"].values()),
    }


def make_table(judged: Path, rows: int) -> None:
    """Write a finished respond step: `JudgedPrompt` rows in files of `ROWS_PER_FILE`. The texts come from a few
    thousand templates, in another order for each file; ids and scores are different in each row."""
    import numpy as np
    import pyarrow.parquet as pq

    from selfreward_ray.store.step import Step

    step = Step("respond", str(judged), {}, {})
    step.is_done()  # creates the folder
    rng = np.random.default_rng(0)
    block = template(rng, min(TEMPLATES, rows))
    (judged / "rows").mkdir()
    for first in range(0, rows, ROWS_PER_FILE):
        count = min(ROWS_PER_FILE, rows - first)
        pq.write_table(vary(block, first, count, rng), judged / "rows" / f"part-{first:07d}.parquet")
    step.finish(offered=rows)


def template(rng, count: int):
    """`count` judged prompts: questions of a dozen words, replies of 40 to 70, 60 to 100 token ids each."""
    import numpy as np

    from selfreward_ray.records import Candidate, JudgedPrompt, Verdict
    from selfreward_ray.store.arrow import to_table

    letters = np.array(list("eeeaaiioutnnssrrhldcmfpgwybvk"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, 4000)]

    def text(low: int, high: int) -> str:
        return " ".join(words[int(len(words) * u**3)] for u in rng.random(rng.integers(low, high))).capitalize() + "."

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, 49_152, rng.integers(low, high)).tolist())

    def candidate() -> Candidate:
        verdicts = tuple(Verdict("", text(25, 60), 3.0, 1) for _ in range(VERDICTS))
        return Candidate("", text(40, 70), ids(60, 100), True, verdicts, 3.0, 0.0)

    return to_table(
        [
            JudgedPrompt("", text(8, 16), ids(20, 40), tuple(candidate() for _ in range(CANDIDATES)))
            for _ in range(count)
        ],
        JudgedPrompt,
    )


def vary(block, first: int, count: int, rng):
    """`count` rows of the template `block` with ids from `first` on, new scores, and replies to be flagged: 1 % have
    the same text, 1 % are empty. 5 % of the scores cannot be read, and 5 % of the replies are truncated."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    def numbered(parents, what: str, each: int):
        numbers = pa.array(np.tile(np.arange(each), len(parents))).cast(pa.string())
        return pc.binary_join_element_wise(parents.take(np.repeat(np.arange(len(parents)), each)), numbers, f"/{what}")

    orders = [rng.permutation(len(block)) for _ in range(count // len(block) + 1)]
    rows = block.take(np.concatenate(orders)[:count])
    prompts = pa.array([f"M2/p{i:06d}" for i in range(first, first + count)])
    candidates = rows["candidates"].combine_chunks().flatten()
    verdicts = candidates.field("verdicts").flatten()
    total = len(candidates)

    scores = np.clip(rng.normal(3.2, 0.8, (total, 1)) + rng.normal(0, 0.7, (total, VERDICTS)), 0, 5).round()
    unread = rng.random(scores.shape) < 0.05
    unread[unread.all(axis=1), 0] = False
    valid = np.where(unread, np.nan, scores)

    ids = numbered(prompts, "r", CANDIDATES)
    fate = rng.random(total)
    texts = pc.if_else(pa.array(fate < 0.01), "I am sorry, but I cannot help with that.", candidates.field("text"))
    new_verdicts = replaced(
        verdicts, id=numbered(ids, "v", VERDICTS), score=pa.array(scores.ravel(), mask=unread.ravel())
    )
    new_candidates = replaced(
        candidates,
        id=ids,
        text=pc.if_else(pa.array(fate > 0.99), "", texts),
        finished=pa.array(rng.random(total) > 0.05),
        verdicts=lists(new_verdicts, VERDICTS),
        mean=pa.array(np.nanmean(valid, axis=1)),
        variance=pa.array(np.nanvar(valid, axis=1)),
    )
    columns = {"id": prompts, "candidates": lists(new_candidates, CANDIDATES)}
    return pa.table([columns.get(name, rows[name]) for name in rows.column_names], schema=rows.schema)


def replaced(structs, **fields):
    """A struct array with some fields replaced."""
    import pyarrow as pa

    arrays = [fields.get(field.name, structs.field(field.name)) for field in structs.type]
    return pa.StructArray.from_arrays(arrays, fields=list(structs.type))


def lists(values, each: int):
    """Lists of `each` values."""
    import numpy as np
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, each), pa.int32()), values)


if __name__ == "__main__":
    sys.exit(main())
