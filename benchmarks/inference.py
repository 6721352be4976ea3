"""Speed of the pool compared with plain vLLM and with ray.data.llm. Run with `make bench-inference`.

The same prompts, some for a word and some for a story, are answered (4 candidates each) and judged (3 verdicts per
candidate, without retries) by

    raw           `vllm.LLM`: all sampling, then all judging, token ids in and out
    pool          this project's pool with the program `respond_and_judge`, from one Parquet table to another
    seeded pool   the same with a seed per request, derived from its row's id
    ray.data.llm  one processor that samples, then one that judges, each with its own engine

with the same model, engine settings and sampling, each in its own process, in turns. Every reply and every verdict has
the same number of tokens on all sides. Fixed lengths: all replies have one length, and all verdicts another. Natural
lengths: those at which plain vLLM stopped in a run before the measured ones; few of them are long. `--without` omits
sides and their figures.

The last line is JSON. `pool_over_raw`: ratio of tokens per second with started engines and fixed lengths;
`pool_over_raw_natural_lengths`: the same with natural lengths; `ray_data_llm_over_pool`: ratio of the seconds of the
whole process, with fixed lengths; `seeded_over_pool`: ratio of tokens per second; `prefix_hit_rate`: the share of the
pool's prompt tokens that were in the prefix cache.

It needs an otherwise idle machine. On every side, vLLM's threads are bound to the cores of `--cores`, so that another
core is free for all other processes, Ray's included. If vLLM gets all cores (`--cores 0-1` on two), they compete: its
threads synchronize, so one preempted thread delays all.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from inference_sides import SIDES, Stage, Work

from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part

REPEATS = 3
GROWTH = [64, 128, 256, 512]
SETTLE = 5
"""Seconds between two processes, in which the children of the first one end."""
MODEL = Path(__file__).resolve().parents[1] / "models" / "SmolLM2-135M-Instruct"
FORMS = (
    "Name one thing that has to do with {}.",
    "What should one know about {}?",
    "How would you explain {} to a child?",
    "Tell me a long story about {}.",
)
TOPICS = ("bees", "bread", "clocks", "dust", "ferries", "foxes", "harbours", "kites", "moss", "rain", "salt", "wells")
WORK = {
    "fixed": Work(prompts=16, reply=48, verdict=96, context=512),
    # As many sequences as replies: plain vLLM starts all of them at once, and judges them in three waves.
    "natural": Work(prompts=8, reply=768, verdict=256, context=2048, sequences=32),
    "short": Work(prompts=64, reply=8, verdict=16, context=512),
}
SIZES = {"prompts": "how many", "reply": "tokens", "verdict": "tokens", "cache_mb": "MiB of the engine's KV cache"}
"""Fields of `Work` that the command line may set."""


def made_prompts(count: int) -> list[Prompt]:
    return [
        Prompt(f"p{number:04d}", FORMS[number % len(FORMS)].format(TOPICS[number // len(FORMS) % len(TOPICS)]))
        for number in range(count)
    ]


@dataclass(frozen=True)
class Bench:
    """A benchmark with one kind of lengths: the work, the model, and the cores of vLLM's threads."""

    mode: str
    work: Work
    model: str
    cores: str
    settle: float = SETTLE

    def lengths(self) -> dict[str, int]:
        """The number of tokens of each request. For natural lengths, plain vLLM runs once."""
        if self.mode != "natural":
            return self.work.fixed_lengths(made_prompts(self.work.prompts))
        lengths: dict[str, int] = self.run("raw", 0, {})["lengths"]
        at_end = statistics.quantiles(lengths.values(), n=10)[-1]
        print(
            f"{self.mode}: {len(lengths)} texts, {statistics.median(lengths.values()):.0f} tokens at the median, ",
            end="",
        )
        print(f"{at_end:.0f} at the ninth tenth, {max(lengths.values())} at most", flush=True)
        return lengths

    def measure(self, side: str, seed: int, lengths: dict[str, int]) -> dict[str, float]:
        found = self.run(side, seed, lengths)
        generated = found.setdefault("generated", sum(found.pop("lengths", {}).values()))
        if generated != sum(lengths.values()):
            raise SystemExit(f"{generated} tokens were generated, not {sum(lengths.values())}")
        if "seconds" in found:
            found["rate"] = generated / found["seconds"]
        print(f"{self.mode:8} {seed + 1}  {side:13} {line(found)}", flush=True)
        return found

    def run(self, side: str, seed: int, lengths: dict[str, int]) -> dict[str, Any]:
        """Run `side` in its own process. Returns its results, and `wall`: the seconds of the whole process."""
        command = [sys.executable, str(Path(__file__).with_name("inference_sides.py")), side]
        with tempfile.TemporaryDirectory(prefix="bench-inference-") as name:
            write_part(Folder(name), "prompts", made_prompts(self.work.prompts), Prompt, "part-0")
            Stage(name, self.model, self.work, lengths, seed, self.cores).write()
            time.sleep(self.settle)
            # A file, because reading a pipe would block until the last process that holds it has ended.
            with (Path(name) / "log").open("w") as log:
                start = time.monotonic()
                code = subprocess.run([*command, name], stdout=log, stderr=log).returncode  # noqa: S603 - a file beside this one
                wall = time.monotonic() - start
            if code:
                raise SystemExit((Path(name) / "log").read_text())
            return {"wall": wall, **json.loads((Path(name) / "found.json").read_text())}


def line(found: dict[str, float]) -> str:
    text = f"{found['generated']:9,.0f} tokens {found['wall']:7.1f} s in all"
    if "seconds" not in found:
        return text
    return f"{text} {found['seconds']:7.1f} s generating {found['rate']:7.0f} tokens/s"


def compare(bench: Bench, sides: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """The medians of each side, measured in turns so that changes in machine load affect all sides alike."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    lengths = bench.lengths()
    for repeat, side in product(range(repeats), sides):
        runs[side].append(bench.measure(side, repeat, lengths))
    return {
        side: {name: statistics.median(run[name] for run in found) for name in found[0]} for side, found in runs.items()
    }


def grow(model: str, cores: str) -> dict[str, Any]:
    """The pool's seconds by the number of prompts, with a started engine."""
    seconds = {}
    for count in GROWTH:
        bench = Bench("short", replace(WORK["short"], prompts=count), model, cores)
        seconds[count] = bench.measure("pool", 0, bench.lengths())["seconds"]
    for count, took in seconds.items():
        print(f"{count:5} prompts {took:7.1f} s, {took / count:5.2f} s each")
    return {"pool_seconds": {count: round(took, 1) for count, took in seconds.items()}}


def compare_all(benches: list[Bench], sides: list[str], repeats: int) -> dict[str, float]:
    """The figures of the last line: with fixed lengths all `sides`, with natural ones the pool and plain vLLM."""
    medians = {
        bench.mode: compare(bench, sides if bench.mode == "fixed" else ["raw", "pool"], repeats) for bench in benches
    }
    print(f"\nmedians of {repeats}, vLLM's threads on core {benches[0].cores}")
    figures: dict[str, float] = {}
    for mode, found in medians.items():
        for side, median in found.items():
            print(f"{mode:8}    {side:13} {line(median)}")
        raw, pool = found["raw"], found["pool"]
        name = "pool_over_raw" if mode == "fixed" else f"pool_over_raw_{mode}_lengths"
        figures[name] = pool["rate"] / raw["rate"]
        if "ray.data.llm" in found:
            figures["ray_data_llm_over_pool"] = found["ray.data.llm"]["wall"] / pool["wall"]
        if "seeded pool" in found:
            figures["seeded_over_pool"] = found["seeded pool"]["rate"] / pool["rate"]
        figures.setdefault("prefix_hit_rate", pool["prefix_hit_rate"])
    return {name: round(figure, 3) for name, figure in figures.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="a model's folder")
    for name, unit in SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"{unit}; each kind of lengths has its own")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", choices=["fixed", "natural"], help="measure with these lengths alone")
    parser.add_argument(
        "--without", nargs="+", choices=["seeded pool", "ray.data.llm"], default=[], help="sides to leave out"
    )
    parser.add_argument("--cores", default="0", help="those that vLLM's threads are bound to, as 0 or 0-3")
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds between two processes")
    parser.add_argument("--growth", action="store_true", help=f"measure the pool alone, with {GROWTH} prompts")
    arguments = parser.parse_args()
    model = str(arguments.model.resolve())
    if arguments.growth:
        print(json.dumps(grow(model, arguments.cores)))
        return 0
    given = {name: value for name in SIZES if (value := getattr(arguments, name))}
    benches = [
        Bench(mode, replace(WORK[mode], **given), model, arguments.cores, arguments.settle)
        for mode in ([arguments.only] if arguments.only else ["fixed", "natural"])
    ]
    sides = [side for side in SIDES if side not in arguments.without]
    print(json.dumps(compare_all(benches, sides, arguments.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
