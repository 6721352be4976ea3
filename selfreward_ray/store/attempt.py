"""The record of the last attempt at a run: which process made it, and how it ended. `selfreward status` shows it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from selfreward_ray.credentials import masked
from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.object_store import hurried
from selfreward_ray.store.this_process import this_process

ATTEMPT = "attempt.json"
_LONGEST = 4000
"""Characters of an error."""


@dataclass(frozen=True)
class Attempt:
    """A process that has worked on a run."""

    process: str
    """Who it is, for people."""
    how: Literal["at work", "ended", "stopped", "failed"] = "at work"
    """How it has ended; a process that was killed has not said so, and its attempt is ``at work`` for ever."""
    at: str = ""
    """When it has ended."""
    error: str = ""


_ATTEMPT = TypeAdapter(Attempt)


@contextmanager
def recorded(run: Folder, is_owner: Callable[[], bool], stops: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Record this process's attempt at the run, and how the block ends, unless the run is then another one's.

    An interrupt and the errors `stops` stop it; any other error is a failure.
    """
    attempt = Attempt(this_process())
    run.write_json(ATTEMPT, asdict(attempt))
    try:
        yield
        attempt = replace(attempt, how="ended")
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, *stops))
        attempt = replace(attempt, how="stopped" if stopped else "failed", error=_said(error))
        raise
    finally:
        if is_owner():
            with (
                suppress(OSError),
                hurried(),
            ):  # the storage that fails is often why the run does, and its error must be seen
                run.write_json(ATTEMPT, asdict(replace(attempt, at=f"{datetime.now():%Y-%m-%d %H:%M:%S}")))


def read_attempt(run: Folder) -> Attempt | None:
    """The last attempt at the run; None if none was recorded, or if the record is damaged."""
    try:
        return _ATTEMPT.validate_python(json.loads(run.read_bytes(ATTEMPT)))
    except (FileNotFoundError, ValueError, RecursionError, ValidationError):
        return None


def _said(error: BaseException) -> str:
    """What an error says; one of another process has that process's traceback in its text, and the error as cause."""
    if isinstance(error, KeyboardInterrupt):
        return ""
    cause = getattr(error, "cause", None) or error
    kind = "" if isinstance(cause, UserError) else f"{type(cause).__name__}: "
    return masked(f"{kind}{cause}")[:_LONGEST]
