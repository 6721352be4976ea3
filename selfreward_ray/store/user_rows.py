"""A row that users give, and the error that says what is wrong with it."""

from dataclasses import dataclass
from typing import Any

from selfreward_ray.errors import UserError


class RowError(UserError):
    """Rows that cannot be used; the message says where the fault is and what to do."""


@dataclass(frozen=True)
class Unread:
    """Why one line of a file could not be read. Other lines may be rows. `reason` is a fixed text, to be counted."""

    reason: str
    remedy: str
    more: str = ""

    def __str__(self) -> str:
        return f"{self.reason}{f' ({self.more})' if self.more else ''}; {self.remedy}"


@dataclass(frozen=True)
class Row:
    """One row of a source. `where` names file and line, or file and row, for error messages."""

    where: str
    content: dict[str, Any] | Unread

    @property
    def fault(self) -> Unread | None:
        """Why it has no fields; None if it has."""
        return self.content if isinstance(self.content, Unread) else None

    @property
    def fields(self) -> dict[str, Any]:
        """Its values by the columns' names. Raises `RowError` for a row with a fault."""
        if isinstance(self.content, Unread):
            raise RowError(f"{self.where}: {self.content}")
        return self.content
