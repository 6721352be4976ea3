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
    made_from: dict[str, Any] = field(default_factory=dict)
    """What the step was made from, as `made_from.record` gives it."""
    content: str = ""
    """SHA-256 of the step's tables: what steps that are made from it record. A step without tables has none, nor has
    one of an earlier version; they are known by their fingerprint."""

    @property
    def identity(self) -> str:
        return self.content or self.fingerprint


_MANIFEST = TypeAdapter(Manifest)


def read_figures(folder: Folder, name: str, *fields: str) -> dict[str, Any] | None:
    """The figures `name` in the metrics of a complete step; None when the step is not complete.

    Raises `UserError` if the manifest does not have them with all `fields`, as that of an earlier version may not.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    found = manifest.metrics.get(name)
    if not isinstance(found, dict) or not set(fields) <= found.keys():
        raise UserError(
            f"{folder.uri}/{MANIFEST} has no figures of this version ({name}: {', '.join(fields)}); remove that folder "
            "and make the step again"
        )
    return found


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
