"""Launches a training run on Ray Train and follows it."""

import json
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, ValidationConfig
from ray.train.torch import TorchConfig, TorchTrainer

from selfreward_ray.cluster.capacity import can_hold, check_capacity
from selfreward_ray.cluster.devices import collectives, on_gpus
from selfreward_ray.cluster.placement import LASTING, groups_released, on_driver_node
from selfreward_ray.cluster.requests import least_workers, worker_request
from selfreward_ray.cluster.waiting import wait_for_some
from selfreward_ray.errors import Final, UserError, recurs
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.folder import Folder, absolute
from selfreward_ray.training.elastic import Growth, Left
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.progress_actor import ProgressActor

TrainLoop = Callable[[dict[str, Any]], Final | Left | None]
"""Ray Train's `train_loop_per_worker`: takes its configuration; returns what ended all workers before the training's
end, or None."""


def train_loop(config: dict[str, Any]) -> Final | Left | None:
    """Train on one worker. Returns a `Final` instead of raising it, because Ray Train would retry."""
    from selfreward_ray.training.worker import train  # on the worker: DeepSpeed looks for its devices when imported

    try:
        return train(config)
    except Final as error:
        return error


def fit(job: TrainJob, progress: Progress, loop: TrainLoop = train_loop) -> None:
    """Run `job` to its end, from its newest checkpoint if an earlier attempt left one. Each worker runs `loop`.

    The checkpoints stay: the caller removes them once it has noted that the training is done. Raises `UserError`,
    `Diverged` among them, when the cluster has no capacity for the workers, or what Ray Train raises when its restarts
    are spent.
    """
    training = job.training
    workers, least = worker_request(training), least_workers(training)
    check_capacity(least)
    if job.validation is not None and not can_hold([workers, job.validation.request]):
        progress.say(
            f"{job.label}: its snapshots are judged after it, because it is not certain that a replica fits beside its "
            "workers"
        )
        job = replace(job, validation=None)
    reported = on_driver_node(ProgressActor, **LASTING)
    if job.validation is not None and job.validation.decided:
        reported.decide.remote()
    ray_folder = job.folders.checkpoints
    _discard_torn(ray_folder, progress)

    def attempt() -> Final | Left | None:
        # Ray Train would wait for capacity without a message and without a limit, and would not react to Ctrl-C.
        found = wait_for_some(workers, least, training.start_timeout_s, "training.start_timeout_s", progress.note)
        progress.team(found, workers.count)
        return _attempt(replace(job, progress=reported), found, ray_folder, progress, loop)

    try:
        final = with_restarts(attempt, training.max_failures, lambda text: progress.say(f"{job.label}: {text}"))
    finally:
        ray.kill(reported)
    if final is not None:
        raise final


def with_restarts(
    attempt: Callable[[], Final | Left | None], max_failures: int, say: Callable[[str], None]
) -> Final | None:
    """Call `attempt` until no workers have `Left`. Retry at most `max_failures` times, and without limit after
    preemptions; `say` is told why.

    Raises the worker's `UserError` or `OSError`, else Ray Train's error, for one that `recurs` and when the retries are
    spent.
    """
    failures = 0
    while True:
        try:
            outcome = attempt()
        except ray.train.TrainingFailedError as error:
            preempted = _preempted(error)
            failures += not preempted
            if failures > max_failures or _is_final(error):
                raise _cause(error) from None
            why = (
                "a node was taken back"
                if preempted
                else f"{_last_line(error)} (failure {failures} of at most {max_failures})"
            )
            say(f"starts again from the newest checkpoint: {why}")
        else:
            if not isinstance(outcome, Left):
                return outcome


def _attempt(
    job: TrainJob, workers: int, ray_folder: Folder, progress: Progress, loop: TrainLoop
) -> Final | Left | None:
    """Run one group of `workers` from the newest checkpoint. Returns what the loop does; raises as Ray Train."""
    trainer = TorchTrainer(loop, train_loop_config={"job": job}, **settings(job, workers, ray_folder))
    job.progress.start.remote()
    stop = threading.Event()
    growth = Growth(worker_request(job.training), workers, job.progress)
    follower = threading.Thread(target=_follow, args=(job.progress, progress, growth, stop), daemon=True)
    follower.start()
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with groups_released():
            outcome: Final | Left | None = trainer.fit().return_value
    except SystemExit:
        raise KeyboardInterrupt from None  # Ray Train's own handler of Ctrl-C leaves the process, with success
    finally:
        signal.signal(signal.SIGINT, interrupt)
        stop.set()
        follower.join()
        growth.release()
    return outcome


def settings(job: TrainJob, workers: int, ray_folder: Folder) -> dict[str, Any]:
    """Ray Train's configurations of `job` for a group of `workers`, by the names of `TorchTrainer`'s arguments."""
    training = job.training
    filesystem, path = Folder(absolute(ray_folder.uri)).filesystem()
    return {
        "torch_config": TorchConfig(backend=collectives(training.gpus_per_worker)),
        "scaling_config": ScalingConfig(
            num_workers=workers,
            use_gpu=training.gpus_per_worker > 0,
            resources_per_worker=dict(worker_request(training).bundles[0]),
        ),
        "run_config": RunConfig(
            name="train",
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            worker_runtime_env={"env_vars": environment(job)},
        ),
        "validation_config": _validation(job),
    }


def _validation(job: TrainJob) -> ValidationConfig | None:
    if job.validation is None:
        return None
    # Its task only waits for replicas, and a CPU of its own might be one that a worker needs.
    return ValidationConfig(fn=partial(_validate, job=job), ray_remote_kwargs={"num_cpus": 0})


def _validate(_checkpoint: ray.train.Checkpoint, *, job: TrainJob, step: int) -> dict[str, Any]:
    """Judge the snapshots up to `step` in a task of Ray Train's, one at a time, and tell the ranks if they may stop.

    If it raises, Ray Train logs the error and the training goes on; the snapshots are then judged after it.
    """
    assert job.validation is not None
    decided = job.validation.is_decided(step)
    if decided:
        ray.get(job.progress.decide.remote())
    return {"decided": decided}


def _preempted(error: ray.train.TrainingFailedError) -> bool:
    """Whether workers ended because a node was taken back: no fault of theirs, and so not counted."""
    failures = getattr(error, "worker_failures", {}).values()
    deaths = [getattr(failure, "health_check_failure", failure) for failure in failures]
    return isinstance(error, ray.train.PreemptionError) or any(getattr(each, "preempted", False) for each in deaths)


def _causes(error: Exception) -> list[Exception]:
    """What each worker that failed has raised or died of."""
    return [getattr(failure, "cause", failure) for failure in getattr(error, "worker_failures", {}).values()]


def _is_final(error: Exception) -> bool:
    """Whether a restart would meet the error again. Not where a worker died: what others raise may follow from it."""
    causes = _causes(error)
    return any(map(recurs, causes)) and not any(hasattr(cause, "health_check_failure") for cause in causes)


def _cause(error: Exception) -> Exception:
    """What a worker raised for the user to read, else `error`."""
    return next((cause for cause in _causes(error) if isinstance(cause, UserError | OSError)), error)


def _last_line(error: Exception) -> str:
    """The last line of a worker's error. Where the worker died, it says whether its process or its node did."""
    lines = str(next(iter(_causes(error)), error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _discard_torn(ray_folder: Folder, progress: Progress) -> None:
    """Ray Train rewrites its list of checkpoints in place, and would never start over one that it was killed at."""
    listing = ray_folder / "train", "checkpoint_manager_snapshot.json"
    if listing[0].is_file(listing[1]):
        try:
            json.loads(listing[0].read_bytes(listing[1]))
        except ValueError:
            progress.say(f"the list of checkpoints in {ray_folder.uri} is torn: training begins anew")
            ray_folder.delete()


def environment(job: TrainJob) -> dict[str, str]:
    """Variables of the workers' processes."""
    if on_gpus(job.training.gpus_per_worker):
        return {}
    # CPUs beside declared GPUs are declared too.
    threads = 1 if job.training.gpus_per_worker else max(1, int(job.training.cpus_per_worker))
    return {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(threads)}


def _follow(reported: Any, progress: Progress, growth: Growth, stop: threading.Event) -> None:
    """Show what `reported` has been told, and look for workers that are missing, until `stop` is set and once more."""
    stopped = False
    while not stopped:
        stopped = stop.wait(0.5)
        with suppress(RayError):  # a cluster that ends is told of by the thread that waits for the training
            state = ray.get(reported.read.remote())
            progress.note(state["note"])
            progress.update(done=state["done"], tokens=state["tokens"])
            for metrics in state["steps"]:
                progress.record(metrics, at=metrics["step"] + 1)
            if not stopped:
                growth.look(state["begun"])
