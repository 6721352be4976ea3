"""Common parts of commands: load the recipe, join the cluster, report errors."""

import errno
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

from selfreward_ray.credentials import masked
from selfreward_ray.errors import UserError

if TYPE_CHECKING:
    from selfreward_ray.inference.rounds import Rounds
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.reporting.progress import Progress
    from selfreward_ray.steps.pooled import PooledStep
    from selfreward_ray.store.manifest import Manifest
    from selfreward_ray.training.job import TrainJob


_PATH = "check the path and its permissions"
_SPACE = "finished work is kept: free some space and run the same command again"
_REMEDIES = {
    **dict.fromkeys([errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP], _PATH),
    **dict.fromkeys([errno.EACCES, errno.EPERM], _PATH),
    errno.EROFS: "name a folder on a disk that can be written to",
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EMFILE: "raise the limit of open files and run the same command again: ulimit -n 65536",
}
"""By the number of an error of the operating system, what to do about it."""


@contextmanager
def prepared(recipe: str, overrides: list[str] | None, step: str, *, out: str, **inputs: Any) -> Iterator["Recipe"]:
    """Load the recipe, check whatever can be known of the step before it begins, and keep other processes from its
    folder. Errors, also those inside the block, are reported as `explained` does."""
    from selfreward_ray.recipe.text import load_recipe
    from selfreward_ray.reporting.silence import doing

    with explained(), doing("at work"):
        loaded = load_recipe(recipe, overrides)
        from selfreward_ray.check.check import check_step, require
        from selfreward_ray.plan import own_folder
        from selfreward_ray.store.owner import owned_step

        with doing("checking the recipe and what the step is given"):
            require(check_step(loaded, step, out, inputs))
        with owned_step(own_folder(step, out)):
            yield loaded


@contextmanager
def explained() -> Iterator[None]:
    """Report errors that the user can fix in one message, without a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _leave(
            "interrupted; finished work is kept, and the same command continues from here, a training from its newest "
            "checkpoint",
            130,
        )
    except UserError as error:
        # An error from another process arrives wrapped, with that process's traceback in its text.
        _leave(f"error: {getattr(error, 'cause', error)}", 2)
    except OSError as error:
        from selfreward_ray.store.object_store import remedy

        cause = getattr(error, "cause", error)
        what = _REMEDIES.get(cause.errno or 0)
        if what is None and (what := remedy(cause)) is not None:
            what += ", and run the same command again; finished work is kept"
        if what is None:
            raise
        said = " ".join(str(cause).removeprefix(f"[Errno {cause.errno}] ").split())
        _leave(f"error: {said}; {what}", 2)


def _leave(message: str, code: int) -> None:
    typer.secho(masked(message), err=True, fg=typer.colors.RED if code == 2 else typer.colors.YELLOW)
    sys.exit(code)


@contextmanager
def joined_cluster() -> Iterator[None]:
    """Join the cluster of the Ray job or of RAY_ADDRESS, else start one on this machine."""
    from selfreward_ray.cluster.session import joined

    with joined():
        yield


def fit_on_cluster(job: "TrainJob", progress: "Progress") -> None:
    """Train on a cluster that is joined only now, when the step has found its inputs."""
    from selfreward_ray.training.trainer import fit

    with joined_cluster():
        fit(job, progress)


@contextmanager
def rounds_on_cluster(*given: Any, **more: Any) -> Iterator["Rounds"]:
    """`open_rounds` on a cluster that is joined only now, when the step has found its inputs."""
    from selfreward_ray.inference.rounds import open_rounds

    with joined_cluster(), open_rounds(*given, **more) as rounds:
        yield rounds


def show_report_place(run_dir: str) -> None:
    """Print where the report of a run is."""
    typer.echo(f"report: {run_dir.rstrip('/')}/report.html")


def show_counts(step: "Manifest | PooledStep") -> "Manifest":
    """Run a pooled step, on a cluster if it needs one, and print how many rows a step wrote and dropped, and why."""
    from selfreward_ray.reporting.terminal import print_counts
    from selfreward_ray.store.manifest import Manifest

    if not isinstance(step, Manifest):
        (step,) = run_on_cluster(step)
    print_counts(step.rows, step.dropped)
    return step


def run_on_cluster(step: "PooledStep") -> "list[Manifest]":
    """`run_pooled` on a cluster that is joined only now, if the step needs one."""
    from selfreward_ray.steps.pooled import run_pooled

    with _cluster_of(step):
        return run_pooled(step)


def _cluster_of(step: "PooledStep") -> AbstractContextManager[None]:
    """The cluster for a step's replicas. An endpoint and a finished step need none."""
    from selfreward_ray.recipe.endpoint import is_endpoint

    if is_endpoint(step.model) or step.step.is_done():
        return nullcontext()
    return joined_cluster()
