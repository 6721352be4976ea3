"""A row that users give, and the error that says what is wrong with it."""

from dataclasses import dataclass
from typing import Any

from selfreward_ray.errors import UserError


class RowError(UserError):
    """Rows that cannot be used; the message says where the fault is and what to do."""


@dataclass(frozen=True)
class Row:
    """One row of a source. `where` names file and line, or file and row, for error messages."""

    where: str
    fields: dict[str, Any]
