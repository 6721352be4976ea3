"""The manifest of a step: written last, so that its presence means that the step is complete."""

from dataclasses import dataclass, field
from typing import Any

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


def read_manifest(folder: Folder) -> Manifest | None:
    """The manifest of a complete step, None when the step is not complete."""
    return Manifest(**folder.read_json(MANIFEST)) if folder.is_file(MANIFEST) else None
