"""Rejected models of a run: the record in the model's folder from which no later model starts from it."""

import dataclasses
import re
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder

RECORD = "rejected.json"


@dataclass(frozen=True)
class Rejection:
    """A model that an alarm has rejected, and why."""

    model: int
    """t of M(t)."""
    since: int
    """The first model that is not made from it. Earlier ones may have been."""
    alarm: str
    step: str
    """Label of the step after which the alarm fired, as in ``M2 · evaluate``."""
    value: float
    threshold: float
    text: str
    """The alarm's message."""


_RECORD = TypeAdapter(Rejection)


def write_rejection(run: Folder, rejection: Rejection) -> None:
    """Record `rejection` in the folder of its model. Removing the file takes it back."""
    (run / f"M{rejection.model}").write_json(RECORD, dataclasses.asdict(rejection))


def read_rejections(run: Folder) -> tuple[Rejection, ...]:
    """The rejected models of a run, in ascending order. Raises `UserError` for a damaged record."""
    models = sorted(int(name[1:]) for name in run.folders() if re.fullmatch(r"M\d+", name))
    folders = [run / f"M{t}" for t in models]
    return tuple(_read(folder) for folder in folders if folder.is_file(RECORD))


def _read(folder: Folder) -> Rejection:
    try:
        record = _RECORD.validate_json(folder.read_bytes(RECORD))
    except ValidationError:
        record = None
    # M1 cannot be rejected: no model is before it.
    if record is None or not folder.uri.endswith(f"/M{record.model}") or not 1 < record.model < record.since:
        raise UserError(
            f"{folder.uri}/{RECORD} is damaged (it records no rejection of this model); remove the file to take the "
            "rejection back"
        )
    return record
