"""Training runs that are interrupted, on Ray Train with DeepSpeed ZeRO-3: they end as if they had not been."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
import training_runs
from ray import cloudpickle
from training_runs import STEPS, checkpoints, ids_of, losses, newest_checkpoint, times_trained, train, weights

from selfreward_ray.errors import Final
from selfreward_ray.store.run import ModelLayout
from selfreward_ray.training.history import Diverged

pytestmark = [pytest.mark.engines, pytest.mark.cluster]

cloudpickle.register_pickle_by_value(training_runs)  # workers do not have this folder on their path


@pytest.fixture(scope="module", autouse=True)
def cluster(bucket: str) -> Iterator[None]:
    """With the environment in which workers find the bucket."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


BAD_PAIR = (1, "not finite", 0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(str(folder), str(tiny_model), [BAD_PAIR])
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run on a cluster of its own, whose driver is killed in step 5.

    Before, in step 3, a worker is killed, when two steps are in a checkpoint, and in step 4 its node gets notice.
    """
    folder = tmp_path_factory.mktemp("killed")
    faults = [BAD_PAIR, (3, "kill_worker", 2), (4, "announce_leaving", 4), (5, "kill_driver", 5)]
    arguments = {"folder": str(folder), "model": str(tiny_model), "faults": faults}
    places = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, training_runs.__file__, json.dumps(arguments)],
        env=os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # of a run that hangs: three groups of workers start, each with its imports
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-4000:]
    return folder


def test_a_step_that_is_not_finite_on_one_rank_is_skipped_on_all(undisturbed: Path):
    rows = [json.loads(line) for line in (undisturbed / "training" / "steps.jsonl").read_text().splitlines()]
    assert [row["skipped"] for row in rows] == [step == 1 for step in range(STEPS)]
    assert "loss" not in rows[1]
    summary = json.loads((undisturbed / "training" / "summary.json").read_text())
    assert (summary["steps"], summary["skipped_steps"], summary["last"]["step"]) == (STEPS, 1, STEPS - 1)
    assert all(torch.isfinite(tensor).all() for tensor in weights(undisturbed).values())


def test_a_killed_worker_costs_the_steps_since_the_checkpoint(killed: Path):
    assert times_trained(killed) == [1, 1, 2, 2, 1, 1, 0, 0]


def test_at_a_notice_that_the_node_is_taken_away_a_checkpoint_is_made(killed: Path):
    """Else there is one every two steps; the newest alone is kept."""
    assert newest_checkpoint(killed) == 5
    assert len(checkpoints(killed)) == 1


def test_what_was_interrupted_ends_as_if_it_had_not_been(
    undisturbed: Path, killed: Path, tiny_model: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    (computed,) = (folder / "reference").rglob("*.parquet")
    before_that = computed.stat().st_mtime_ns
    train(str(folder), str(tiny_model), [BAD_PAIR])
    assert computed.stat().st_mtime_ns == before_that, "the reference is the starting model's"
    assert times_trained(folder) == [1, 1, 2, 2, 1, 2, 1, 1]
    assert losses(folder) == losses(undisturbed)
    before, after = weights(undisturbed), weights(folder)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_number_of_workers_goes_on(undisturbed: Path, killed: Path, tiny_model: Path, tmp_path: Path):
    """Two workers, then one, then two. The sums of a step are taken in another order: float32 noise.

    What ends the run of one worker is a skipped step, where none is allowed.
    """
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    with pytest.raises(Diverged) as raised:
        train(str(folder), str(tiny_model), [(7, "not finite", 6)], workers=1, max_skipped_steps=0)
    assert all(name in str(raised.value) for name in ids_of(7))
    assert newest_checkpoint(folder) == 6
    train(str(folder), str(tiny_model))
    assert times_trained(folder) == [1, 1, 2, 2, 1, 2, 2, 2], "nobody tried the bad step again"
    assert losses(folder)[:4] == losses(undisturbed)[:4]
    assert losses(folder) == pytest.approx(losses(undisturbed), rel=1e-5)
    before, after = weights(undisturbed), weights(folder)
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-4


@pytest.mark.release
def test_a_damaged_checkpoint_ends_the_run_at_once(killed: Path, tiny_model: Path, tmp_path: Path):
    """On every rank, though one alone meets the damage; and it is not tried again."""
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    (checkpoint,) = checkpoints(folder)
    file = next(checkpoint.glob("rank-00001-*.safetensors"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Final, match=f"{file.name} is damaged; remove {folder}/training/ray_train to train anew"):
        train(str(folder), str(tiny_model))
    assert times_trained(folder) == times_trained(killed)


def test_it_goes_on_from_an_object_store(bucket: str, tiny_model: Path, tmp_path: Path):
    """A step that is not allowed to be skipped ends the run after the checkpoint of two steps."""
    out = f"{bucket}/resumed"
    with pytest.raises(Diverged):
        train(str(tmp_path), str(tiny_model), [(3, "not finite", 0)], out=out, max_skipped_steps=0)
    assert not (tmp_path / "training").exists()
    train(str(tmp_path), str(tiny_model), out=out)
    assert times_trained(tmp_path) == [1, 1, 2, 2, 1, 1, 1, 1]
    stored = ModelLayout(out)
    assert len(stored.training.read_bytes("steps.jsonl").splitlines()) == STEPS
    written = {path.rsplit("/", 1)[-1] for path in stored.model.files()}
    assert written == {path.name for path in tiny_model.iterdir()} - {"model.safetensors"} | {
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
    }
    assert stored.model.folders() == []
    assert "ray_train" in stored.training.folders(), "the step removes it, once its manifest is there"
