"""Launches a training run on Ray Train and follows it."""

import json
import signal
import threading
from dataclasses import replace
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from selfreward_ray.cluster.devices import on_gpus
from selfreward_ray.cluster.room import check_room
from selfreward_ray.errors import Final, UserError
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.storage import Folder, absolute
from selfreward_ray.training.board import Board
from selfreward_ray.training.job import TrainJob


def fit(job: TrainJob, progress: Progress) -> None:
    """Run `job` to its end, from its newest checkpoint where an earlier attempt left one.

    Raises `UserError`, `Diverged` among them, or what Ray Train raises when its restarts are spent.
    """
    training = job.training
    gpus = training.gpus_per_worker
    _check_batch(job)
    check_room(training.workers, training.cpus_per_worker, gpus, "one training worker", "training.workers")
    board = ray.remote(num_cpus=0)(Board).remote()
    ray_folder = Folder(job.out) / "ray_train"
    _discard_torn(ray_folder, progress)
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"job": replace(job, progress=board)},
        torch_config=TorchConfig(backend="nccl" if on_gpus(gpus) else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=training.workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": training.cpus_per_worker} | ({"GPU": gpus} if gpus else {}),
            accelerator_type=training.accelerator_type,
        ),
        run_config=RunConfig(
            name="train",
            storage_path=absolute(ray_folder.uri),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=training.max_failures),
            worker_runtime_env={"env_vars": environment(job)},
        ),
    )
    stop = threading.Event()
    follower = threading.Thread(target=_follow, args=(board, progress, stop), daemon=True)
    follower.start()
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        result = trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt from None  # Ray Train's own handler of Ctrl-C leaves the process, with success
    except ray.train.WorkerGroupError as error:
        for failure in error.worker_failures.values():
            if isinstance(cause := getattr(failure, "cause", failure), UserError | OSError):
                raise cause from None
        raise
    finally:
        signal.signal(signal.SIGINT, interrupt)
        stop.set()
        follower.join()
        ray.kill(board)
    if result.return_value is not None:
        raise result.return_value
    ray_folder.delete()


def _discard_torn(ray_folder: Folder, progress: Progress) -> None:
    """Ray Train rewrites its list of checkpoints in place, and would never start over one that it was killed at."""
    listing = ray_folder / "train", "checkpoint_manager_snapshot.json"
    if listing[0].is_file(listing[1]):
        try:
            json.loads(listing[0].read_bytes(listing[1]))
        except ValueError:
            progress.say(f"the list of checkpoints in {ray_folder.uri} is torn: training begins anew")
            ray_folder.delete()


def _rank(config: dict[str, Any]) -> Final | None:
    from selfreward_ray.training.worker import train  # on the worker: DeepSpeed looks for its devices when imported

    try:
        train(config)
    except Final as error:
        return error  # raised, it would be tried again, to the same end
    return None


def environment(job: TrainJob) -> dict[str, str]:
    """Variables of the workers' processes."""
    if on_gpus(job.training.gpus_per_worker):
        return {}
    # CPUs beside declared GPUs are declared too.
    threads = 1 if job.training.gpus_per_worker else max(1, int(job.training.cpus_per_worker))
    return {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(threads)}


def _follow(board: Any, progress: Progress, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        state = ray.get(board.read.remote())
        progress.note(state["note"])
        progress.update(done=state["done"], tokens=state["tokens"])


def _check_batch(job: TrainJob) -> None:
    if job.optimization.batch_size < job.training.workers:
        raise UserError(
            f"{job.label}: batch_size {job.optimization.batch_size} is smaller than training.workers "
            f"{job.training.workers}; some workers would never have an example"
        )
