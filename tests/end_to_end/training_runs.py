"""Real training runs of a tiny model that meet faults on their way; also a driver's process of its own.

A fault strikes when its pair is first trained on. With one epoch that is at one step, on one rank.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import ray
import torch
from rich.console import Console
from safetensors.torch import load_file

from selfreward_ray.recipe.training import Dpo, Training
from selfreward_ray.records import PairTokens
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part
from selfreward_ray.training.batches import plan_batches
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective
from selfreward_ray.training.trainer import fit

STEPS = 8
OPTIMIZATION = Dpo(learning_rate=2e-3, final_learning_rate=2e-4, batch_size=4, micro_batch_tokens=1)
PAIRS = [
    PairTokens(f"p{i:02d}", tuple(range(5, 8 + i % 5)), tuple(range(20 + i, 26 + 2 * i)), tuple(range(90, 93 + i)))
    for i in range(4 * STEPS)
]


def ids_of(step: int) -> list[str]:
    """The pairs of a step: the same whatever the number of ranks."""
    return sorted(pair.id for pair in plan_batches(PAIRS, OPTIMIZATION, 1, seed=0)[step].examples())


@dataclass(frozen=True)
class FaultyDpo(DpoObjective):
    """DPO whose training goes wrong at some pairs, once each; a file in `folder` has a line for each pair trained."""

    folder: str = ""
    faults: tuple[tuple[str, str, int], ...] = ()
    """(pair, what happens, steps of the checkpoint that Ray Train must know of before)"""

    def loss(self, examples: tuple[PairTokens, ...], logprobs: Any, reference: Any) -> Any:
        total, metrics = super().loss(examples, logprobs, reference)
        if not torch.is_grad_enabled():  # the check of the first loss
            return total, metrics
        for example in examples:
            with (Path(self.folder) / "trained").open("a") as trained:
                trained.write(example.id + "\n")
            for pair, what, steps in self.faults:
                struck = Path(self.folder) / f"struck-{pair}"
                if pair != example.id or struck.exists():
                    continue
                while newest_checkpoint(Path(self.folder)) < steps:
                    time.sleep(0.05)
                if what == "not finite":
                    total = total + torch.inf  # its gradient is finite
                    continue
                struck.touch()
                getattr(self, what)()
        return total, metrics

    def kill_worker(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_driver(self) -> None:
        while len(checkpoints(Path(self.folder))) > 1:
            time.sleep(0.05)  # Ray Train deletes the older one after it has listed the newer
        os.kill(int((Path(self.folder) / "driver").read_text()), signal.SIGKILL)
        time.sleep(60)

    def announce_leaving(self) -> None:
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # cannot be pickled with this module

        context = ray.get_runtime_context()
        soon = int((time.time() + 600) * 1000)
        reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        ray._raylet.GcsClient(address=context.gcs_address).drain_node(context.get_node_id(), reason, "spot", soon)
        time.sleep(5)  # Ray Train looks ten times a second here


def checkpoints(folder: Path) -> list[Path]:
    """Folders of the checkpoints that Ray Train has, named by the time."""
    return list((folder / "training" / "ray_train" / "train").glob("checkpoint_2*"))


def newest_checkpoint(folder: Path) -> int:
    """Steps of the checkpoint that Ray Train would go on from; 0 where there is none."""
    listing = folder / "training" / "ray_train" / "train" / "checkpoint_manager_snapshot.json"
    try:
        newest = json.loads(listing.read_text())["latest_checkpoint_result"]
    except (FileNotFoundError, ValueError):
        return 0
    return int(newest["metrics"]["steps"])


def train(
    folder: str,
    model: str,
    faults: Sequence[tuple[int, str, int]] = (),
    fingerprint: str = "this run",
    out: str | None = None,
    **training: Any,
) -> str:
    """Run or go on with the training in `folder`, `faults` at the first pairs of their steps; what progress printed.

    What the run itself writes is in `out`, or in `folder` too.
    """
    out = out or folder
    os.environ |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.1"}
    (Path(folder) / "driver").write_text(str(os.getpid()))
    write_part(Folder(out) / "training", "rows", PAIRS, PairTokens, "pair-000000")
    settings: dict[str, Any] = {"dtype": "float32", "checkpoint_every": 2, "max_failures": 1} | training
    struck = tuple((ids_of(step)[0], what, steps) for step, what, steps in faults)
    job = TrainJob(
        label="tiny",
        model=model,
        out=out,
        objective=FaultyDpo(OPTIMIZATION, folder, struck),
        optimization=OPTIMIZATION,
        training=Training(**settings),
        seed=0,
        fingerprint=fingerprint,
        progress=None,
    )
    printed = StringIO()
    with Progress("tiny", STEPS, "steps", console=Console(file=printed, width=200)) as progress:
        fit(job, progress)
    return printed.getvalue()


def losses(folder: Path) -> list[float]:
    """Of each step that was not skipped."""
    rows = [json.loads(line) for line in (folder / "training" / "steps.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if not row["skipped"]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "model").glob("*.safetensors")))


def times_trained(folder: Path) -> list[int]:
    """How often the pairs of each step were trained on; a blank pass counts too."""
    trained = (folder / "trained").read_text().split()
    return [max(trained.count(name) for name in ids_of(step)) for step in range(STEPS)]


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    train(**json.loads(sys.argv[1]))
