"""Overhead of the pool with engines of zero cost: rows per second and driver memory. Run with `make bench-plumbing`.

Prompts (4 candidates, 3 verdicts each) go through a real pool on a local Ray. The engines return fixed answers at once;
rows are read, run, judged, written and counted as in a real run. Each table size and each number of replicas has a
process of its own. Seconds are measured from the first finished block to the last. The last line is one JSON object:
judged prompts per minute and core, for the largest table and as many replicas as cores, and the exponent of the time's
growth from the second largest table to it.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peak_memory import peak_mb

# Only small imports: Linux counts a parent's memory at the fork as its child's, so this process must stay smaller than
# the drivers that it measures. Functions that run in processes of their own import the large packages.

CANDIDATES, VERDICTS = 4, 3
REPLY = "Together we sit on the bridge in the evening, " * 8
VERDICT = "The reply answers what was asked and is clear, but it does not say why. " * 4 + "\n\nScore: 3"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="table sizes, ascending")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if len(arguments.rows) < 2 and not arguments.drive:
        parser.error("--rows needs two sizes: growth is measured from one to the other")
    if arguments.drive:
        print(json.dumps(drive(arguments.drive, arguments.rows[0], arguments.replicas[0])))
        return 0
    seconds: dict[tuple[int, int], float] = {}
    print(f"{'prompts':>9}{'replicas':>10}{'prompts/s':>11}{'ms of core/prompt':>19}{'driver MB':>11}", flush=True)
    for rows in arguments.rows:
        for replicas in arguments.replicas:
            found = measure(rows, replicas)
            seconds[rows, replicas] = found["seconds"]
            rate = rows / found["seconds"]
            cost = 1000 * os.cpu_count() / rate
            print(f"{rows:>9,}{replicas:>10}{rate:>11.1f}{cost:>19.2f}{found['driver_peak_mb']:>11}", flush=True)
    print(json.dumps(summary(seconds, arguments.rows, arguments.replicas)))
    return 0


def summary(seconds: dict[tuple[int, int], float], sizes: list[int], replicas: list[int]) -> dict[str, float]:
    """The two figures, for the number of replicas closest to the number of cores."""
    cores = os.cpu_count() or 1
    chosen = min(replicas, key=lambda count: abs(count - cores))
    large, small = sizes[-1], sizes[-2]
    growth = math.log(seconds[large, chosen] / seconds[small, chosen]) / math.log(large / small)
    return {
        "judged_prompts_per_minute_per_core": round(60 * large / seconds[large, chosen] / cores),
        "growth_exponent": round(growth, 3),
    }


def measure(rows: int, replicas: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-plumbing-") as folder:
        command = [sys.executable, __file__, "--drive", folder, "--rows", str(rows), "--replicas", str(replicas)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - this file
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def drive(folder: Path, rows: int, replicas: int) -> dict[str, float]:
    """Run `rows` prompts through `replicas` replicas. Returns seconds and this process's peak memory in MB."""
    from functools import partial

    from selfreward_ray.cluster.session import joined
    from selfreward_ray.inference.block import Job
    from selfreward_ray.inference.pool import Workload, open_pool
    from selfreward_ray.inference.programs import respond_and_judge
    from selfreward_ray.judging.rubric import load_rubric
    from selfreward_ray.recipe.schema import Inference, Judge, Respond
    from selfreward_ray.records import JudgedPrompt, Prompt
    from selfreward_ray.store.folder import Folder
    from selfreward_ray.store.tables import count_rows, write_part

    os.environ["RAY_ADDRESS"] = "local"  # never a cluster that already runs on this machine
    here = Folder(str(folder))
    prompts = [Prompt(f"M2/p{i:06d}", f"Write one sentence about river {i}, and use lower case.") for i in range(rows)]
    write_part(here, "prompts", prompts, Prompt, "part")
    del prompts
    respond, judge = Respond(candidates=CANDIDATES), Judge(verdicts=VERDICTS)
    program = partial(respond_and_judge, respond=respond, judge=judge, rubric=load_rubric(judge.rubric))
    row_tokens = CANDIDATES * respond.sampling.max_tokens
    job = Job("respond", program, Prompt, JudgedPrompt, str(folder / "judged"), row_tokens)
    inference = Inference(min_replicas=replicas, max_replicas=replicas, cpus_per_replica=0.9 / replicas)
    with joined(), open_pool("free://", inference, 0, open_engine=FreeEngine) as pool:
        ends = [time.perf_counter() for _ in pool.run([Workload(job, here / "prompts", set())])]
    written = count_rows(here / "judged" / "rows")
    if written != rows:
        raise SystemExit(f"{rows} prompts were offered, but {written} are written")
    return {
        "seconds": ends[-1] - ends[0],
        "driver_peak_mb": round(peak_mb()),
    }


class FreeEngine:
    """Returns fixed answers at once: one reply for all prompts, one verdict for all judge questions."""

    def __init__(self, model, inference, seed, progress):
        from selfreward_ray.inference.stats import EngineStats
        from selfreward_ray.records import Completion

        self.stats = EngineStats()
        self._reply = Completion(REPLY, tuple(range(100)), "stop")
        self._verdict = Completion(VERDICT, tuple(range(80)), "stop")

    def encode(self, text, history=(), thinking=None):
        return [0] * (len(text) // 4)

    async def generate(self, prompt_ids, sampling, request_id, pattern=None):
        self.stats.touch()
        return self._verdict if "/v" in request_id else self._reply

    def shutdown(self):
        pass


if __name__ == "__main__":
    sys.exit(main())
