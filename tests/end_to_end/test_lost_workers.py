"""A training whose workers are lost and come back, on three nodes that hold one worker each.

One node is killed and a new one comes: three workers, two, three.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import ray
import training_runs
from ray import cloudpickle
from ray.cluster_utils import Cluster
from rich.console import Console
from training_runs import newest_checkpoint

from selfreward_ray.recipe.training import Sft, Training
from selfreward_ray.records import SftTokens
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part
from selfreward_ray.training.batches import plan_batches
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import SftObjective
from selfreward_ray.training.trainer import fit

pytestmark = [pytest.mark.engines, pytest.mark.cluster, pytest.mark.release]

for module in (training_runs, __import__(__name__)):
    cloudpickle.register_pickle_by_value(module)  # workers do not have this folder on their path

STEPS, EVERY = 20, 4
"""Optimizer steps, and steps between checkpoints."""
KILLED_AT, RETURNED_AT = 6, 8
"""The steps (from 0) in which a node is killed, with six steps done and four in a checkpoint, and a new one comes."""
OPTIMIZATION = Sft(learning_rate=2e-3, final_learning_rate=2e-4, batch_size=6, micro_batch_tokens=1)
ROWS = [SftTokens(f"r{i:03d}", tuple(range(5, 8 + i % 5)), tuple(range(20 + i, 26 + i))) for i in range(6 * STEPS)]


def ids_of(step: int) -> list[str]:
    return sorted(row.id for row in plan_batches(ROWS, OPTIMIZATION, 1, seed=0)[step].examples())


@dataclass(frozen=True)
class Watched(SftObjective):
    """SFT that writes down what is trained when and by how many ranks, and waits for what is to happen."""

    folder: str = ""
    waits: tuple[tuple[str, int], ...] = ()
    """(file, step): until there is the file, no rank goes on in this step."""

    def loss(self, examples: tuple[SftTokens, ...], logprobs: Any, reference: Any) -> Any:
        import torch.distributed as dist

        ranks, folder = dist.get_world_size(), Path(self.folder)
        (example,) = examples
        with (folder / "trained").open("a") as trained:
            trained.write(json.dumps([example.id, ranks, time.time()]) + "\n")
        for file, step in self.waits:
            while example.id in ids_of(step) and not (folder / file).exists():
                time.sleep(0.05)
        if ranks == 2:
            time.sleep(0.5)  # so that the third worker is back before the training's end
        return super().loss(examples, logprobs, reference)


@dataclass
class Ran:
    folder: Path
    printed: str
    at: dict[str, float]
    """Seconds at which something was done to the cluster."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "training" / "steps.jsonl").read_text().splitlines()]

    @property
    def trained(self) -> list[tuple[int, int, float]]:
        """Step, ranks and time of each pass."""
        steps = {name: step for step in range(STEPS) for name in ids_of(step)}
        lines = (self.folder / "trained").read_text().splitlines(keepends=True)
        written = [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be under way
        return [(steps[name], ranks, at) for name, ranks, at in written]

    def times_trained(self) -> list[int]:
        """How often the rows of each step were trained on: six passes are once."""
        passes = [step for step, _, _ in self.trained]
        return [-(-passes.count(step) // 6) for step in range(STEPS)]


def run(folder: Path, model: Path, waits: tuple[tuple[str, int], ...] = (), **training: Any) -> str:
    write_part(Folder(str(folder)) / "training", "rows", ROWS, SftTokens, "rows-000000")
    job = TrainJob(
        label="tiny",
        model=str(model),
        out=str(folder),
        objective=Watched(str(folder), waits),
        optimization=OPTIMIZATION,
        training=Training(dtype="float32", checkpoint_every=EVERY, max_failures=1, **training),
        seed=0,
        fingerprint="this run",
        progress=None,
    )
    printed = StringIO()
    with Progress("tiny", STEPS, "steps", console=Console(file=printed, width=200)) as progress:
        fit(job, progress)
    return printed.getvalue()


def disturb(cluster: Cluster, ran: Ran, stop: threading.Event) -> None:
    """Do to the nodes what this file is about, each when the training has come so far."""

    def when(happened: Any) -> None:
        while not (happened() or stop.wait(0.1)):
            pass

    def began(step: int, ranks: int) -> bool:
        return (ran.folder / "trained").exists() and sum((s, r) == (step, ranks) for s, r, _ in ran.trained) >= ranks

    def do(what: str, work: Any) -> None:
        if not stop.is_set():
            work()
            ran.at[what] = time.time()
            (ran.folder / what).touch()

    when(lambda: began(KILLED_AT, 3) and newest_checkpoint(ran.folder) == EVERY)
    do("killed", lambda: cluster.remove_node(min(cluster.worker_nodes, key=id), allow_graceful=False))
    when(lambda: began(RETURNED_AT, 2))
    do("returned", lambda: cluster.add_node(num_cpus=1))
    stop.wait()  # a node's processes are killed when the thread that started them ends


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes of one CPU each, joined by this process; a lost one is noticed within seconds."""
    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        # A thread adds the node, and Python sets handlers of signals in the main thread only.
        patch.setattr("ray._private.utils.set_sigterm_handler", lambda handler: None)
        nodes = Cluster(initialize_head=True, head_node_args=head)
        try:
            nodes.add_node(num_cpus=1)
            nodes.add_node(num_cpus=1)
            ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()


@pytest.fixture(scope="module")
def disturbed(cluster: Cluster, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    ran = Ran(tmp_path_factory.mktemp("disturbed"), "", {})
    stop = threading.Event()
    nodes = threading.Thread(target=disturb, args=(cluster, ran, stop))
    nodes.start()
    try:
        waits = (("killed", KILLED_AT), ("returned", RETURNED_AT))
        ran.printed = run(ran.folder, tiny_model, waits, workers=3, min_workers=2)
        yield ran
    finally:
        stop.set()
        nodes.join()


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, disturbed: Ran, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Not beside the other one."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return Ran(folder, run(folder, tiny_model, workers=1), {})


def test_two_workers_go_on_and_three_when_the_third_is_back(disturbed: Ran):
    of_groups = groupby(disturbed.rows, lambda row: row["workers"])
    groups = [(workers, [row["step"] for row in rows]) for workers, rows in of_groups]
    assert [workers for workers, _ in groups] == [3, 2, 3]
    assert [step for _, steps in groups for step in steps] == list(range(STEPS)), "none is lost, none is there twice"
    said = [line for line in disturbed.printed.splitlines() if "goes on" in line]
    assert said == [f"tiny: goes on with {workers} of 3 workers" for workers in (2, 3)]


def test_a_killed_node_costs_the_steps_since_the_checkpoint(disturbed: Ran):
    repeated = KILLED_AT - EVERY + 1
    assert disturbed.times_trained()[: KILLED_AT + 1] == [1] * EVERY + [2] * repeated


def test_a_worker_that_is_back_costs_no_step(disturbed: Ran):
    assert disturbed.times_trained()[KILLED_AT + 1 :] == [1] * (STEPS - KILLED_AT - 1)


def test_losses_are_those_of_an_undisturbed_run(disturbed: Ran, undisturbed: Ran):
    """Sums over other numbers of ranks are taken in another order: float32 noise."""
    assert {row["workers"] for row in undisturbed.rows} == {1}
    losses, expected = ([row["loss"] for row in ran.rows] for ran in (disturbed, undisturbed))
    assert losses == pytest.approx(expected, rel=1e-4)
    assert losses[-1] < 0.9 * losses[0], "it learns"
