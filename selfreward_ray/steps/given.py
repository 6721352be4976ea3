"""Rows that users give to a step directly, written to the step's table `offered` before it runs."""

from collections.abc import Iterable
from itertools import count, islice
from typing import TypeVar

from selfreward_ray.prompts.given import read_prompts
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step, finished_step, is_step
from selfreward_ray.store.tables import write_part

R = TypeVar("R")

_ROWS_PER_PART = 1024


def offered_prompts(step: Step, source: str, option: str) -> Folder:
    """The `Prompt` table of `source`: the rows of a propose step, or those of a file, folder or URI, which are written
    to `step`'s table `offered`.

    Raises `UserError` for an unfinished step, a step of another kind, and a row that is not a prompt.
    """
    if is_step(Folder(source)):
        return finished_step(source, "propose") / "rows"
    return write_offered(step, read_prompts(source, option), Prompt)


def write_offered(step: Step, rows: Iterable[R], record: type[R]) -> Folder:
    """`step`'s table `offered`. It is written from `rows` unless the step is done."""
    offered = step.folder / "offered"
    if not step.is_done():
        offered.delete()  # of an interrupted attempt, possibly incomplete
        remaining = iter(rows)
        for number in count():
            part = list(islice(remaining, _ROWS_PER_PART))
            if not part:
                break
            write_part(step.folder, "offered", part, record, f"{number:06d}")
    return offered
