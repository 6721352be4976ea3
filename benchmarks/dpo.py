"""DPO speed compared with TRL's DPOTrainer and with the machine's peak. Run with `make bench-dpo`.

Two CPU workers train one epoch on the same pairs of token ids, 16 pairs per step, under ZeRO-3 in bfloat16 with
gradient checkpointing. The pairs are generated from a seed: prompts of 30 to 150 words, log-normal reply lengths.

    ours             `trainer.fit`: the worker under Ray Train, as in a user's run
    trl-live         TRL's DPOTrainer under torchrun, with its default reference: a second model in memory
    trl-precomputed  the same, with the reference's log-probs computed before the first step
    trl-tuned        the same, with the fastest settings that we found
    ours-profiled    ours with the seconds of each phase; slower, and not part of the results

Each side runs in its own processes, in turns; one turn measures `ours` three times and each other side once. `--turn`
selects the sides: `--turn ours` needs no TRL. The last line omits figures of sides that were not measured.

Seconds are measured on each rank from the start of loading the model to the end of the last optimizer step. They
include the reference on every side, and exclude the start of Ray or torchrun, imports, and writing the model (only
`ours` writes it). "in all" is the time of the whole process. Peak memory is the largest resident set of a rank's
process up to the end of the last step.

`trl-live` and `trl-precomputed` use TRL's defaults (8 pairs per pass, the attention that transformers chooses, pairs in
random order) and the ZeRO-3 settings that TRL ships. `trl-tuned` uses our DeepSpeed configuration, eager attention, the
fastest number of pairs per pass on the test machine, and our batches, sorted by length within a step so that both ranks
have passes of similar length at the same time. All sides use our environment (one thread per rank), token ids, and one
fix: transformers rounds precomputed log-probs to bfloat16 under DeepSpeed. `trl-tuned` takes the same steps as `ours`.
The losses of all steps are printed, and the first must be ln 2.

The last line is JSON. `pairs_per_s_over_trl_…`: the ratio of medians, ours to TRL's. `peak_memory_over_trl`: the ratio
of ours to the smaller of `trl-live` and `trl-precomputed`; with `_tuned`, to `trl-tuned`. `padding_share`: the share of
padding in the tokens of our forward passes. `matmul_peak_share`: model FLOPs per second of our optimizer steps (see
`training/model_flops.py`; recomputed activations do not count) as a share of the machine's peak in bfloat16 matrix
products on all cores, for the best of several shapes.

It needs an otherwise idle machine with at least two cores.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_work import PRODUCTS, TRL_PAIRS_A_PASS, Work, made_pairs

from selfreward_ray.records import PairTokens
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows, write_part
from selfreward_ray.training.model_flops import ModelFlops

MODEL = Path(__file__).resolve().parents[1] / "models" / "SmolLM2-135M-Instruct"
TURN = ("ours", "trl-live", "ours", "trl-precomputed", "ours", "trl-tuned", "ours-profiled")
GROWTH_LENGTHS = (128, 256, 512, 1024, 2048)
GROWTH_WORKERS = (1, 2, 4)


def run_side(side: str, work: Work, folder: Path) -> tuple[dict[str, Any], float]:
    """The results of `side`, and the seconds of the whole process."""
    command = [str(Path(__file__).with_name("dpo_sides.py")), side, str(folder)]
    environment = dict(os.environ)
    if not side.startswith("ours"):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(work.workers)]
        command, environment = [*launcher, *command], environment | work.environment()
    (folder / "work.json").write_text(json.dumps(asdict(work)))
    # A file, because reading a pipe would block until the last process that holds it has ended.
    with (folder / "log").open("w") as log:
        start = time.monotonic()
        code = subprocess.run([sys.executable, *command], stdout=log, stderr=log, env=environment).returncode  # noqa: S603 - a file beside this one
        wall = time.monotonic() - start
    if code:
        raise SystemExit((folder / "log").read_text())
    return json.loads((folder / "found.json").read_text()), wall


def measure(side: str, work: Work) -> dict[str, Any]:
    """Run `side` on the generated pairs. Seconds are of the slowest rank, memory of the largest."""
    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.packing import longest_sequence

    with tempfile.TemporaryDirectory(prefix="bench-dpo-") as name:
        pairs = made_pairs(work)
        out = Folder(name) / "out" / "training"
        write_part(out, "rows", pairs, PairTokens, "part-0")
        steps = plan_batches(read_rows(out, PairTokens), work.recipe.dpo, work.workers, work.seed)
        ordered = [pair for step in steps for pair in sorted(step.examples(), key=longest_sequence)]
        write_part(Folder(name), "ordered", ordered, PairTokens, "part-0")
        found, wall = run_side(side, work, Path(name))
        ranks = [json.loads(path.read_text()) for path in sorted(Path(name).glob("out/rank-*.json"))]
    sequences = [s for pair in pairs for s in pair.sequences()]
    tokens = sum(len(s.prompt_ids) + len(s.target_ids) for s in sequences)
    found |= {
        "wall": wall,
        "seconds": max(rank["seconds"] for rank in ranks),
        "peak_mb": max(rank["peak_mb"] for rank in ranks),
        "padding": sum(rank["padding_tokens"] for rank in ranks) / sum(rank["computed_tokens"] for rank in ranks),
        "phases": [rank["phases"] for rank in ranks if "phases" in rank],
        "flops": ModelFlops.of(config_of(work)).training(sequences),
    }
    found["rate"] = work.pairs / found["seconds"]
    losses = " ".join(f"{loss:.4f}" for loss in found["losses"])
    print(f"{side:15} {line(found)}, {tokens:,} tokens, losses {losses}", flush=True)
    show_phases(found)
    # TRL precomputes the reference in other batches than it trains with, which differs in bfloat16.
    if abs(found["losses"][0] - math.log(2)) > (1e-2 if side == "trl-precomputed" else 1e-3):
        raise SystemExit(f"the first step's loss of {side} is {found['losses'][0]}, not ln 2")
    return found


def config_of(work: Work) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(work.model)


def line(found: dict[str, Any]) -> str:
    return (
        f"{found['seconds']:7.1f} s ({sum(found['step_seconds']):.1f} in steps, {found['wall']:.1f} in all), "
        f"{found['rate']:.3f} pairs/s, {found['peak_mb']:,.0f} MB a rank, {found['padding']:.1%} padding"
    )


def products(work: Work) -> float:
    """The machine's peak rate, in TFLOP/s of all workers' cores in total."""
    with tempfile.TemporaryDirectory(prefix="bench-dpo-") as name:
        rates, _ = run_side("products", work, Path(name))
    shown = ", ".join(f"{shape} {rate:.2f}" for shape, rate in rates.items())
    print(f"bfloat16 products, {work.workers} concurrent single-thread processes, total TFLOP/s: {shown}", flush=True)
    return max(rates.values())


def show_phases(found: dict[str, Any]) -> None:
    """Print the seconds of each phase by rank."""
    for rank, phases in enumerate(found["phases"]):
        phases["other"] = found["seconds"] - sum(phases.values())
        shares = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in sorted(phases.items(), key=lambda p: -p[1]))
        print(f"rank {rank}, seconds: {shares}", flush=True)


def grow(model: str) -> dict[str, Any]:
    """Seconds and memory of one step on four pairs: by reply length with two workers, by workers with 256 tokens."""
    figures: dict[str, Any] = {"reply_tokens": {}, "workers": {}}
    one_step = {"model": model, "pairs": 4, "pairs_a_step": 4}
    for name, runs in (
        ("reply_tokens", {length: Work(**one_step, reply_tokens=length) for length in GROWTH_LENGTHS}),
        ("workers", {count: Work(**one_step, reply_tokens=256, workers=count) for count in GROWTH_WORKERS}),
    ):
        for number, work in runs.items():
            print(f"{name} {number}, on {os.cpu_count()} cores: ", end="", flush=True)
            found = measure("ours", work)
            figures[name][number] = {"seconds": round(found["seconds"], 1), "peak_mb": round(found["peak_mb"])}
    return figures


def compare(work: Work, turn: Sequence[str], repeats: int) -> dict[str, float]:
    """The figures of the last line, from `repeats` turns of the sides in `turn`, which include ours."""
    peak = products(work)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in turn}
    for side in [*turn] * repeats:
        runs[side].append(measure(side, work))
    medians = {
        side: {name: statistics.median(run[name] for run in found) for name in ("rate", "peak_mb", "padding")}
        for side, found in runs.items()
    }
    ours = medians["ours"]
    reached = statistics.median(run["flops"] / sum(run["step_seconds"]) / 1e12 for run in runs["ours"])
    print(f"our steps: {reached:.3f} TFLOP/s of model FLOPs; peak of matrix products: {peak:.3f} TFLOP/s")

    def rate_over(side: str) -> float:
        return round(ours["rate"] / medians[side]["rate"], 2)

    def memory_over(sides: list[str]) -> float:
        return round(ours["peak_mb"] / min(medians[side]["peak_mb"] for side in sides), 3)

    theirs = [side for side in medians if side.startswith("trl")]
    figures = {f"pairs_per_s_over_{side.replace('-', '_')}": rate_over(side) for side in theirs}
    for name, sides in (("", ["trl-live", "trl-precomputed"]), ("_tuned", ["trl-tuned"])):
        if measured := [side for side in sides if side in theirs]:
            figures[f"peak_memory_over_trl{name}"] = memory_over(measured)
    return {**figures, "padding_share": round(ours["padding"], 4), "matmul_peak_share": round(reached / peak, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="a model's folder")
    parser.add_argument("--pairs", type=int, default=Work.pairs)
    parser.add_argument("--turn", nargs="+", choices=sorted(set(TURN)), default=TURN, help="the sides to measure")
    parser.add_argument(
        "--repeats", type=int, default=1, help=f"number of turns; by default a turn is {', '.join(TURN)}"
    )
    parser.add_argument("--trl-pairs-a-pass", type=int, default=TRL_PAIRS_A_PASS)
    parser.add_argument("--products", type=int, nargs=3, action="append", metavar=("ROWS", "INNER", "COLUMNS"),
                        help="a shape for the machine's peak rate; may be repeated")  # fmt: skip
    parser.add_argument("--growth", action="store_true", help="measure only ours, by reply length and by workers")
    arguments = parser.parse_args()
    if "ours" not in arguments.turn:
        parser.error("--turn must include ours, with which the other sides are compared")
    asked = () if arguments.growth else arguments.turn
    if any(side.startswith("trl") for side in asked) and importlib.util.find_spec("trl") is None:
        raise SystemExit("TRL is not installed; install the extra `parity`: pip install -e '.[parity]'")
    model = str(arguments.model.resolve())
    if arguments.growth:
        print(json.dumps(grow(model)))
        return 0
    shapes = tuple(map(tuple, arguments.products or PRODUCTS))
    work = Work(model, arguments.pairs, trl_pairs_a_pass=arguments.trl_pairs_a_pass, products=shapes)
    print(json.dumps(compare(work, arguments.turn, arguments.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
