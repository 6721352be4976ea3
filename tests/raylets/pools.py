"""Pools of stand-in engines, and what became of their rows."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stand_in
from ray import cloudpickle

from selfreward_ray.inference.block import Job, OpenEngine
from selfreward_ray.inference.pool import Workload, open_pool
from selfreward_ray.recipe.text import parse_recipe
from selfreward_ray.records import Dropped, Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import finished_ids, read_rows, write_part

cloudpickle.register_pickle_by_value(stand_in)  # workers do not have this folder on their path

TABLE: list[tuple[str, float | None, int, int]] = []
"""Fault, seconds until it was found where it was measured, rows lost, rows there twice."""


@dataclass
class Ran:
    """A pool that ran over rows ``p000``, ``p001``, …"""

    folder: Path
    rows: int
    faults: dict[str, int]

    @property
    def kept(self) -> list[str]:
        return [row.id for row in read_rows(Folder(str(self.folder / "out")), Prompt)]

    @property
    def dropped(self) -> dict[str, str]:
        return {row.id: row.reason for row in read_rows(Folder(str(self.folder / "out")), Dropped, "dropped")}

    def events(self, what: str) -> list[dict[str, Any]]:
        lines = (self.folder / "log").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["what"] == what]

    def check(self, fault: str, found_after: float | None = None) -> None:
        """No row was lost and none is there twice; what was seen goes into the table."""
        seen = Counter([*self.kept, *self.dropped])
        lost = len({f"p{i:03d}" for i in range(self.rows)} - seen.keys())
        twice = sum(times > 1 for times in seen.values())
        TABLE.append((fault, found_after, lost, twice))
        assert (lost, twice, sum(seen.values())) == (0, 0, self.rows)


@contextmanager
def pool_of(
    folder: Path,
    texts: list[str],
    model: str,
    job: dict[str, Any],
    inference: dict[str, Any],
    note: Callable[[str], None] = lambda text: None,
    open_engine: OpenEngine = stand_in.StandIn,
) -> Iterator[tuple[Any, Workload]]:
    """An open pool, and its work on those `texts` that are not finished in `folder` yet."""
    here = Folder(str(folder))
    write_part(here, "offered", [Prompt(f"p{i:03d}", text) for i, text in enumerate(texts)], Prompt, "part")
    small = {"tokens_in_flight": 60, "rows_per_block": 1, "min_replicas": 2, "max_replicas": 2, "stall_seconds": 60}
    settings = parse_recipe({"model": "none", "inference": small | inference}).inference
    arguments = {
        "step": "echo", "program": stand_in.echo, "record": Prompt, "result": Prompt, "out": str(folder / "out"),
        "row_tokens": 8,
    }  # fmt: skip
    made = Job(**(arguments | job))
    with open_pool(model, settings, 0, note, open_engine) as pool:
        yield pool, Workload(made, here / "offered", finished_ids(here / "out"))


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """What `true` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")
