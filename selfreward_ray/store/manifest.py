"""The manifest of a step: written last, so that its presence means that the step is complete."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a finished step leaves behind: counts, cost and figures."""

    step: str
    fingerprint: str
    rows: dict[str, int]
    """Rows of each table."""
    dropped: dict[str, int]
    """Dropped rows by reason."""
    tokens: int
    seconds: float
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


_MANIFEST = TypeAdapter(Manifest)


def read_manifest(folder: Folder) -> Manifest | None:
    """The manifest of a complete step, None when the step is not complete. Raises `UserError` if it is damaged."""
    if not folder.is_file(MANIFEST):
        return None
    try:
        return _MANIFEST.validate_python(folder.read_json(MANIFEST))
    except ValidationError:
        raise UserError(
            f"{folder.uri}/{MANIFEST} is damaged (it is no step's manifest); remove that folder to make the step again"
        ) from None
