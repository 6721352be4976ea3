"""How far a step on the pool is, and what all attempts at it have cost: a small file of its folder.

The step writes it as it goes (`steps.so_far`). So the manifest counts an attempt that was killed too, but for its last
seconds, and `selfreward status` need not open the blocks.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder

SO_FAR = "so-far.json"


@dataclass(frozen=True)
class Sums:
    """Over the attempts at a step, when this was written."""

    done: int = 0
    """Rows, or proposals, that were finished or dropped."""
    seconds: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)
    """Of finished blocks, by the names of `BlockCounts`."""
    faults: dict[str, float] = field(default_factory=dict)
    """Deaths, retries and others, by name."""


_SUMS = TypeAdapter(Sums)


def read_sums(step: Folder) -> Sums | None:
    """None if none were written. Raises `UserError` if they are damaged."""
    if not step.is_file(SO_FAR):
        return None
    try:
        return _SUMS.validate_json(step.read_bytes(SO_FAR))
    except ValidationError:
        raise UserError(
            f"{step.uri}/{SO_FAR} is damaged; remove it: what earlier attempts cost is not known then"
        ) from None
