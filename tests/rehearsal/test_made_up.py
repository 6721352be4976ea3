"""The data of a rehearsal: a part of the recipe's own, or synthetic."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.cluster.rehearsal import made_up
from selfreward_ray.cluster.rehearsal.made_up import write_rankings
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import RankedSet
from selfreward_ray.seed.readers import read_seed
from selfreward_ray.seed.split import divide
from selfreward_ray.store.user_files import RowError

RUBRIC = load_rubric("additive")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("datasets.load_dataset", refuse)


def written(tmp_path: Path, source: str, **options: Any) -> tuple[str, list[RankedSet]]:
    out = tmp_path / "rankings.jsonl"
    said = write_rankings(out, SeedData(source=source, **options), RUBRIC)
    sets = list(read_seed(SeedData(source=str(out))))
    assert all(isinstance(item, RankedSet) for item in sets)
    return said, sets


def source(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_of_own_sets_the_best_and_the_worst_reply_are_kept(tmp_path: Path):
    replies = [{"text": f"reply {rank}", "rank": rank} for rank in (2, 0, 4, 1, 3)]
    own = source(tmp_path, [{"prompt": f"Say {n}.", "responses": replies} for n in range(100)])
    said, sets = written(tmp_path, own)
    assert said == "64 of its sets, of each the best and the worst reply, of each text 500 characters"
    assert len(sets) == 64
    assert [(reply.text, reply.rank) for reply in sets[0].replies] == [("reply 0", 0), ("reply 4", 4)]


def test_long_texts_are_cut_as_no_run_would_leave_them_out(tmp_path: Path):
    replies = [{"text": f"{rank} {'x' * 3000}", "rank": rank} for rank in (0, 1)]
    own = source(tmp_path, [{"prompt": "y" * 3000 + " Why?", "responses": replies}])
    _, (found,) = written(tmp_path, own)
    assert (len(found.prompt), found.prompt[-4:]) == (500, "Why?")
    assert [(len(reply.text), reply.text[:2]) for reply in found.replies] == [(500, "0 "), (500, "1 ")]


def test_storage_that_does_not_answer_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Google's is asked for a quarter of an hour."""
    answer = threading.Event()
    monkeypatch.setattr(made_up, "_ANSWERS_WITHIN", 0.05)

    def never(_: made_up.Folder) -> None:
        answer.wait(60)
        raise OSError("at last")

    monkeypatch.setattr(made_up.Folder, "filesystem", never)
    out = tmp_path / "rankings.jsonl"
    said = write_rankings(out, SeedData(source="gs://nobody/rows.jsonl"), RUBRIC)
    answer.set()
    assert said == "rows made up for the rehearsal (its storage does not answer within 0.05 s)"


def test_sets_that_can_teach_judging_are_taken_first(tmp_path: Path):
    alone = [{"prompt": f"Say {n}.", "responses": [{"text": "so", "rank": 0}]} for n in range(90)]
    ranked = [
        {"prompt": f"Do {n}.", "responses": [{"text": "a", "rank": 1}, {"text": "b", "rank": 0}]} for n in range(20)
    ]
    _, sets = written(tmp_path, source(tmp_path, alone + ranked))
    assert [len(found.replies) for found in sets] == [2] * 20 + [1] * 44


def test_a_conversation_before_the_prompt_stays_with_it(tmp_path: Path):
    said = [("user", "Hello."), ("assistant", "Good day."), ("user", "Bye.")]
    messages = [{"role": role, "content": text} for role, text in said]
    own = source(tmp_path, [{"prompt": messages, "chosen": "Farewell.", "rejected": "What?"}])
    _, (found,) = written(tmp_path, own, turns="any")
    assert found.prompt == "Hello.\n\nGood day.\n\nBye."


@pytest.mark.parametrize("elsewhere", ["nowhere/at-all", "/data/of/the/cluster.jsonl"])
def test_what_is_elsewhere_is_made_up(tmp_path: Path, elsewhere: str):
    said, sets = written(tmp_path, elsewhere)
    assert said.startswith("rows made up for the rehearsal (seed_data.source: cannot read")
    assert len(sets) == 64
    best, worst = sets[0].replies
    scores = [RUBRIC.read_score(reply.verdict or "") for reply in (best, worst)]
    assert scores == [5.0, 0.0]
    divided = divide(sets, SeedData(source="x", ift=16, eft=12, held_out=4, validation=0), 0)
    assert (len(divided.ift), len(divided.eft), len(divided.held_out)) == (16, 12, 4)


def test_what_is_wrong_with_own_rows_is_an_error(tmp_path: Path):
    own = source(tmp_path, [{"asked": "What?", "said": "That."}])
    with pytest.raises(RowError, match="has no known format"):
        written(tmp_path, own)
