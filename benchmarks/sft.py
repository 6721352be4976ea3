"""The quickstart's SFT by this tree and by another checkout, in turns. Run with `make bench-sft BEFORE=FOLDER`.

Both train SmolLM2-135M on the same examples of the demo world by the recipe `quickstart`, each in its own processes, as
`selfreward sft` does: Ray Train's workers under ZeRO-3. The two share one environment of packages.

The last line is JSON: for each side the medians over all turns of the seconds of a step (a turn's median, its first
step left out), and of the seconds of the command outside its steps (the start of Ray and of the workers, imports,
loading, writing the model). `step_seconds_over_before` is the ratio of the medians. Each turn's losses are printed:
they differ by rounding alone.

It needs an otherwise idle machine: a neighbour on the same cores changes a step by more than most of what is measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
MODEL = HERE / "models" / "SmolLM2-135M-Instruct"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="another checkout, for example of `git worktree add`")
    parser.add_argument("--turns", type=int, default=3, help="turns, in each of which both sides train")
    parser.add_argument("--sets", type=int, default=30, help="IFT rows, and sets that are judged for EFT")
    parser.add_argument("--model", type=Path, default=MODEL)
    asked = parser.parse_args()
    sides = {"before": asked.before.resolve(), "now": HERE}
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sizes = [f"model={asked.model}", *(f"seed_data.{name}={asked.sets}" for name in ("ift", "eft"))]
        seed, eft = f"--seed-data={folder}/seed", f"--eft={folder}/eft"
        _run(HERE, "seed", "quickstart", f"--out={folder}/seed", *sizes)
        _run(HERE, "eft", "quickstart", seed, f"--out={folder}/eft", *sizes)
        for turn in range(asked.turns):
            for side, tree in sides.items():
                out = folder / f"{side}-{turn}"
                wall = _run(tree, "sft", "quickstart", f"--model={asked.model}", seed, eft, f"--out={out}", *sizes)
                found[side].append(_measured(out / "training", wall))
                print(f"turn {turn + 1}, {side}: {json.dumps(found[side][-1])}", flush=True)
    figures: dict[str, Any] = {side: _medians(turns) for side, turns in found.items()}
    ratio = figures["now"]["step_seconds"] / figures["before"]["step_seconds"]
    print(json.dumps(figures | {"step_seconds_over_before": round(ratio, 3)}))


def _run(tree: Path, *command: str) -> float:
    """Seconds of a command of the checkout `tree`. Ends the benchmark, with its messages, if it fails."""
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "selfreward_ray", *command],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "RAY_ADDRESS": "local"},  # this tree, on Ray's workers too
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{tree}: {' '.join(command)}\n{done.stderr}")
    return time.monotonic() - began


def _measured(training: Path, wall: float) -> dict[str, Any]:
    steps = [json.loads(line) for line in (training / "steps.jsonl").read_text().splitlines()]
    seconds = [step["seconds"] for step in steps]
    return {
        "steps": len(steps),
        "step_seconds": round(statistics.median(seconds[1:]), 3),
        "tokens_computed": sum(step["tokens"] for step in steps),
        "outside_steps": round(wall - sum(seconds), 1),
        "losses": [round(steps[i]["loss"], 4) for i in (0, len(steps) // 2, -1)],
    }


def _medians(turns: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(turn[name] for turn in turns) for name in ("step_seconds", "outside_steps")}


if __name__ == "__main__":
    main()
