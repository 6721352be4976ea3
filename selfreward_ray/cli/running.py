"""What commands have in common: the recipe, the cluster, and how a command ends."""

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
def prepared(recipe: str, overrides: list[str] | None, cluster: bool = True) -> Iterator["Recipe"]:
    """The recipe, checked before a cluster is started for it."""
    from selfreward_ray.recipe.text import load_recipe

    with explained():
        loaded = load_recipe(recipe, overrides)
        with joined_cluster() if cluster else nullcontext():
            yield loaded


@contextmanager
def explained() -> Iterator[None]:
    """What the user can put right is said in one message, without a traceback."""
    from selfreward_ray.errors import UserError

    try:
        yield
    except KeyboardInterrupt:
        _leave("interrupted; finished work is kept, and the same command goes on from here", 130)
    except UserError as error:
        # Raised on another process it arrives wrapped, with that process's traceback in its text.
        _leave(f"error: {getattr(error, 'cause', error)}", 2)
    except OSError as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, FileNotFoundError | NotADirectoryError | PermissionError):
            _leave(f"error: {cause}; is that path right, and may this user use it?", 2)
        if cause.errno != errno.ENOSPC:
            raise
        _leave("error: no space left on the disk; finished work is kept: free some, and run the same command again", 2)


def _leave(message: str, code: int) -> None:
    typer.secho(message, err=True, fg=typer.colors.RED if code == 2 else typer.colors.YELLOW)
    sys.exit(code)


@contextmanager
def joined_cluster() -> Iterator[None]:
    """This process joined to the cluster of a job or of RAY_ADDRESS, or to one of its own on this machine."""
    from selfreward_ray.cluster.session import joined

    with joined():
        # A stopped job gets SIGTERM; it ends as Ctrl-C does, and says so. `ray.init` has set a handler of its own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield


def show_counts(made: "Manifest | PooledStep") -> "Manifest":
    """How many rows a step made, and how many it dropped for which reason; replicas' work is done first."""
    from selfreward_ray.reporting.terminal import print_counts
    from selfreward_ray.store.manifest import Manifest

    if not isinstance(made, Manifest):
        from selfreward_ray.steps.pooled import run_pooled

        (made,) = run_pooled(made)
    print_counts(made.rows, made.dropped)
    return made
