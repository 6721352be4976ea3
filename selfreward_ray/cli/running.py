"""Common parts of commands: load the recipe, join the cluster, report errors."""

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.steps.pooled import PooledStep
    from selfreward_ray.store.manifest import Manifest


@contextmanager
def prepared(recipe: str, overrides: list[str] | None, cluster: bool = True, judge: str = "") -> Iterator["Recipe"]:
    """Load and check the recipe, then join a cluster if `cluster` is set and the model `judge` is no endpoint."""
    from selfreward_ray.recipe.endpoint import is_endpoint
    from selfreward_ray.recipe.text import load_recipe

    with explained():
        loaded = load_recipe(recipe, overrides)
        with joined_cluster() if cluster and not is_endpoint(judge) else nullcontext():
            yield loaded


@contextmanager
def explained() -> Iterator[None]:
    """Report errors that the user can fix in one message, without a traceback."""
    from selfreward_ray.errors import UserError

    try:
        yield
    except KeyboardInterrupt:
        _leave("interrupted; finished work is kept, and the same command continues from here", 130)
    except UserError as error:
        # An error from another process arrives wrapped, with that process's traceback in its text.
        _leave(f"error: {getattr(error, 'cause', error)}", 2)
    except OSError as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, FileNotFoundError | FileExistsError | NotADirectoryError | PermissionError):
            _leave(f"error: {cause}; check the path and its permissions", 2)
        if cause.errno != errno.ENOSPC:
            raise
        _leave(
            "error: no space left on the disk; finished work is kept: free some space and run the same command again", 2
        )


def _leave(message: str, code: int) -> None:
    typer.secho(message, err=True, fg=typer.colors.RED if code == 2 else typer.colors.YELLOW)
    sys.exit(code)


@contextmanager
def joined_cluster() -> Iterator[None]:
    """Join the cluster of the Ray job or of RAY_ADDRESS, else start one on this machine."""
    from selfreward_ray.cluster.session import joined

    with joined():
        # Stopping a Ray job sends SIGTERM. Handle it as Ctrl-C, in place of the handler that `ray.init` installs.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield


def show_counts(step: "Manifest | PooledStep") -> "Manifest":
    """Run a pooled step, and print how many rows a step wrote and dropped, with reasons."""
    from selfreward_ray.reporting.terminal import print_counts
    from selfreward_ray.store.manifest import Manifest

    if not isinstance(step, Manifest):
        from selfreward_ray.steps.pooled import run_pooled

        (step,) = run_pooled(step)
    print_counts(step.rows, step.dropped)
    return step
