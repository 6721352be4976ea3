"""A pool whose replicas fetch a large model for longer than anything else may take."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pools import Ran, pool_of

from selfreward_ray.inference.pool import PoolStopped

pytestmark = [pytest.mark.engines, pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


def test_a_fetch_that_goes_on_is_progress_and_is_shown(tmp_path: Path):
    """36 seconds of it, in a pool that ends when nothing moves for 30, which a busy machine may take to start it."""
    (tmp_path / "fetch").write_text("36")
    notes: list[str] = []
    one = {"stall_seconds": 30, "min_replicas": 1, "max_replicas": 1}  # of two, the one that is behind is shown
    with pool_of(tmp_path, ["0.1"] * 4, f"stand-in://{tmp_path}", {}, one, note=notes.append) as (pool, work):
        assert sum(block.rows for _, block in pool.run([work])) == 4
    shares = [int(note.removeprefix("fetching the model ").removesuffix("%")) for note in notes if "fetching" in note]
    assert shares == sorted(shares)
    assert len(set(shares)) >= 5


def test_a_fetch_that_stands_still_ends_the_pool(run: Callable[..., Ran], tmp_path: Path):
    """It reports all the time, and always the same."""
    (tmp_path / "fetch").write_text("60")
    (tmp_path / "stuck").write_text("2")
    with pytest.raises(PoolStopped, match="no progress for 4 s .* no engine started"):
        run(["0.1"] * 4, stall_seconds=4)
