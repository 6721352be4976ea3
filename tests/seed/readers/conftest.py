import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers import Reading, read_seed

Read = Callable[..., list[RankedSet | Dropped]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads rows from a file `seed.jsonl` of the working directory: a row is an object, or a line as it is.

    Any share of the rows may be bad. `reading` is given on.
    """
    monkeypatch.chdir(tmp_path)

    def read(*rows: Any, reading: Reading | None = None, **options: Any) -> list[RankedSet | Dropped]:
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        Path("seed.jsonl").write_bytes(b"\n".join(lines))
        wanted = SeedData(**{"source": "seed.jsonl", "bad_share": 1, **options})
        if reading is not None:
            reading.wanted = wanted
        return list(read_seed(wanted, reading))

    return read
