"""Tables that are written while their rows come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part

R = TypeVar("R")

_ROWS_PER_PART = 4096


@contextmanager
def writing_parts(folder: Folder, table: str, record: type[R]) -> Iterator[Callable[[R], None]]:
    """A function that adds a record to a table of a step, of which some thousand records are in memory.

    What an interrupted attempt left of the table is removed before. The last records are written where the block ends
    well.
    """
    (folder / table).delete()
    waiting: list[R] = []
    numbers = count()

    def write() -> None:
        write_part(folder, table, waiting, record, f"part-{next(numbers):06d}")
        waiting.clear()

    def add(row: R) -> None:
        waiting.append(row)
        if len(waiting) == _ROWS_PER_PART:
            write()

    yield add
    if waiting:
        write()
