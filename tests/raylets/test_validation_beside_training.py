"""Ray Train's asynchronous validation on a pool, with stubs in place of a rank's training and of the engine."""

import tempfile
import time
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
import stand_in
import stub_training
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ray.train import ValidationTaskConfig
from stand_in import StandIn, echo
from stub_training import train, within

from selfreward_ray.cluster.capacity import ResourceRequest
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.pool import Workload, open_pool
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part
from selfreward_ray.training.job import TrainJob, Validation

pytestmark = [pytest.mark.engines, pytest.mark.cluster, pytest.mark.usefixtures("cluster")]

for module in (stand_in, stub_training, __import__(__name__)):
    cloudpickle.register_pickle_by_value(module)  # other processes do not have this folder on their path

EVERY = 2
MOST = 20_000


def rank(config: dict[str, Any]) -> None:
    """Up to `MOST` steps of a twentieth of a second, with a snapshot to be validated after every second one, of six."""
    job: TrainJob = config["job"]
    folder = Path(job.out)
    for step in range(1, MOST + 1):
        if job.validation is not None and ray.get(job.progress.is_decided.remote()):
            return
        time.sleep(0.05)
        with (folder / "steps").open("a") as lines:
            lines.write(f"{step}\n")
        if step % EVERY == 0 and step <= 3 * EVERY and job.validation is not None:
            with tempfile.TemporaryDirectory() as scratch:
                (Path(scratch) / "state").write_text(str(step))
                checkpoint = ray.train.Checkpoint.from_directory(scratch)
                wanted = ValidationTaskConfig(fn_kwargs={"step": step})
                ray.train.report({"steps": step}, checkpoint=checkpoint, validation=wanted)
        if job.validation is None and step == 3:
            return


def judged(step: int, *, folder: str, decided_at: int, fails_at: int = 0) -> bool:
    """Runs a pool over two rows, and waits until training has gone on for two steps after the snapshot."""
    here = Folder(f"{folder}/{step}")
    write_part(here, "offered", [Prompt("p0", "0"), Prompt("p1", "0")], Prompt, "part")
    job = Job("judge", echo, Prompt, Prompt, f"{here.uri}/out", 8)
    inference = Inference(tokens_in_flight=60, rows_per_block=1, stall_seconds=300)
    with open_pool(f"stand-in://{folder}", inference, 0, open_engine=StandIn) as pool:
        assert sum(block.rows for _, block in pool.run([Workload(job, here / "offered", ())])) == 2
    with (Path(folder) / "judged").open("a") as lines:
        lines.write(f"{step}\n")
    while steps(Path(folder))[-1] < step + 2:
        time.sleep(0.05)
    if step == fails_at:
        raise RuntimeError("no engine started")
    return step >= decided_at


def steps(folder: Path, name: str = "steps") -> list[int]:
    return [int(line) for line in (folder / name).read_text().split()]


def validation(folder: Path, cpus: float = 1, **judge: int) -> Validation:
    request = ResourceRequest("one replica", "inference.min_replicas", 1, ({"CPU": cpus},))
    return Validation(partial(judged, folder=str(folder), **judge), request)


def test_training_goes_on_while_snapshots_are_judged_and_ends_when_the_choice_is_made(tmp_path: Path):
    """Each judge waits until training is two steps further. The first then fails, which ends no training."""
    with within(400):
        train(tmp_path, StringIO(), rank, validation(tmp_path, decided_at=4, fails_at=2), workers=1)
    assert steps(tmp_path, "judged")[:2] == [2, 4]
    assert 6 <= steps(tmp_path)[-1] < MOST


def test_without_room_for_a_replica_beside_the_workers_nothing_is_validated(tmp_path: Path, cluster: Cluster):
    """Three nodes of one CPU hold three workers, and no replica beside them: none is waited for."""
    printed = StringIO()
    with within(400):
        train(tmp_path, printed, rank, validation(tmp_path, decided_at=4), workers=3, cpus_per_worker=1)
    assert (
        "SFT: its snapshots are judged after it, because it is not certain that a replica fits beside its workers"
        in printed.getvalue()
    )
    assert not (tmp_path / "judged").exists()
    assert max(steps(tmp_path)) == 3
