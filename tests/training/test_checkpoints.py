"""The form of checkpoints; `tests/end_to_end/test_resume.py` saves and restores them for real."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.errors import Final, UserError

pytestmark = pytest.mark.engines

ranks = st.integers(1, 9)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    """One of the run ``mine`` with one damaged file."""
    folder = tmp_path / "out" / "ray_train" / "train" / "checkpoint_1"
    folder.mkdir(parents=True)
    (folder / "whole").write_bytes(b"weights")
    (folder / "damaged").write_bytes(b"weighty")
    (folder / "checkpoint.json").write_text(
        json.dumps({"fingerprint": "mine", "files": [], "updates": 0, "steps": [], "tokens": 0})
    )
    return ray.train.Checkpoint.from_directory(folder)


@given(numel=st.integers(0, 60), writers=ranks, readers=ranks)
def test_slices_that_some_ranks_wrote_are_read_whole_by_any_others(numel: int, writers: int, readers: int):
    from selfreward_ray.training.checkpoints import _overlap, slice_of

    vector = list(range(numel))
    written = [vector[slice(*slice_of(numel, rank, writers))] for rank in range(writers)]
    assert [number for part in written for number in part] == vector
    for rank in range(readers):
        mine = slice_of(numel, rank, readers)
        read: list[int | None] = [None] * (mine[1] - mine[0])
        for writer, part in enumerate(written):
            if overlap := _overlap(mine, slice_of(numel, writer, writers)):
                here, there = overlap
                assert read[here] == [None] * len(part[there]), "nothing is read twice"
                read[here] = part[there]
        assert read == vector[slice(*mine)]


def test_a_run_without_a_checkpoint_begins(checkpoint: Any):
    from selfreward_ray.training.checkpoints import restore

    assert restore(None, None, "mine").done == 0


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("index", ["", '{"fingerprint": "mi', "[]", '{"fingerprint": "mine"}'])
def test_a_damaged_index_is_refused(index: str, checkpoint: Any, tmp_path: Path):
    from selfreward_ray.training.checkpoints import restore

    (Path(checkpoint.path) / "checkpoint.json").write_text(index)
    with pytest.raises(Final, match=rf"/checkpoint.json is damaged.*; remove {tmp_path}/out/ray_train to train anew"):
        restore(None, checkpoint, "mine")


@pytest.mark.usefixtures("one_rank")
def test_a_checkpoint_of_another_run_is_refused(checkpoint: Any, tmp_path: Path):
    from selfreward_ray.training.checkpoints import restore

    with pytest.raises(UserError, match=rf"another run; remove {tmp_path}/out/ray_train to"):
        restore(None, checkpoint, "another")


def test_a_damaged_file_is_refused_before_it_is_opened(checkpoint: Any, tmp_path: Path):
    from selfreward_ray.training.checkpoints import _fetch

    digest = hashlib.sha256(b"weights").hexdigest()
    assert _fetch(checkpoint, "whole", digest, tmp_path).read_bytes() == b"weights"
    with pytest.raises(UserError, match=rf"/damaged is damaged; remove {tmp_path}/out/ray_train to"):
        _fetch(checkpoint, "damaged", digest, tmp_path)


@pytest.mark.parametrize(
    ("every", "notices", "due"),
    [
        (3, ["", "", "", "", "", "", ""], [3, 6]),
        (0, ["", "", "", "", "", "", ""], []),
        (0, ["", "a", "a", "a", "ab", "ab", "b"], [2, 5]),
        (3, ["", "", "a", "a", "", "", ""], [3, 6]),
    ],
)
def test_a_checkpoint_is_due_every_so_often_and_once_a_notice(
    every: int, notices: list[str], due: list[int], monkeypatch: pytest.MonkeyPatch
):
    from selfreward_ray.training.checkpoints import Schedule

    answers = iter([SimpleNamespace(preempted_node_ids=list(nodes)) if nodes else None for nodes in notices])
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: next(answers))
    schedule = Schedule(every)
    assert not schedule.is_noticed
    assert [done for done in range(1, len(notices) + 1) if schedule.is_due(done)] == due
    assert schedule.is_noticed == any(notices)
