"""A finished step for tests of the steps that read it."""

from pathlib import Path
from typing import Any

from selfreward_ray.store.step import Step


def finished_step(folder: Path, name: str, rows: list[Any], table: str = "rows") -> str:
    """Write the step `name`, with `rows` in one table, to a folder of its name in `folder`. Returns its URI."""
    step = Step(name, str(folder / name), {}, {})
    step.is_done()
    step.write(rows, type(rows[0]), table)
    step.finish(offered=len(rows), kept=len(rows))
    return step.folder.uri
