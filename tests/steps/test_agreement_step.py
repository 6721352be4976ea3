"""Agreement of a judge with the rankings of any data."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedPools

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, JudgedSet
from selfreward_ray.steps.agreement import NO_ORDER, agreement
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows

RECIPE = Recipe.model_validate(
    {"model": "m0", "judge": {"rubric": "checklist", "verdicts": 2, "min_valid": 2, "retries": 0}}
)
GIVEN = {"good": ("5", "4"), "fair": ("3", "5"), "bad": ("3", "1"), "odd": ("5", "?")}


def judge(text: str, row: str) -> str:
    """The scores of the reply's word, one for each of its two verdicts."""
    (word,) = [word for word in GIVEN if f"<reply>{word}</reply>" in text]
    return f"Score: {GIVEN[word]['/v1/' in row]}"


@pytest.fixture
def pool() -> ScriptedPools:
    return ScriptedPools(judge)


def ranked(path: Path, *sets: dict[str, int | None]) -> str:
    rows = [
        {"prompt": f"{number}?", "responses": [{"text": text, "rank": rank} for text, rank in replies.items()]}
        for number, replies in enumerate(sets)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_ranked_sets_of_a_file_are_judged_and_measured(tmp_path: Path, pool: ScriptedPools):
    """First verdicts: 5 over 3, right; 3 and 3, a tie. Means: 4.5 over 4, right; 4 over 2, right."""
    model = pool()
    data = ranked(
        tmp_path / "d.jsonl", {"good": 0, "fair": 1}, {"fair": 1, "bad": 2}, {"good": 0}, {"bad": 0, "odd": 0}
    )
    manifest = pool.run(agreement(RECIPE, model="m", data=data, out=str(tmp_path / "out")))
    one, means = manifest.metrics["agreement"], manifest.metrics["agreement_of_means"]
    assert (one["pairwise_accuracy"], one["tied"], one["exact_match"], one["verdicts"]) == (0.5, 0.5, 0.5, 4)
    assert (means["pairwise_accuracy"], means["exact_match"], means["verdicts"]) == (1, 1, 8)
    assert (manifest.step, manifest.rows, manifest.dropped) == ("agreement", {"offered": 2, "rows": 2}, {NO_ORDER: 2})
    (first, *_) = sorted(read_rows(Folder(str(tmp_path / "out")), JudgedSet), key=lambda row: row.id)
    assert [[v.score for v in reply.verdicts] for reply in first.judged] == [[5, 4], [3, 5]]
    assert len(model.asked) == 8  # none on sets that cannot be measured


def test_a_reply_with_too_few_readable_verdicts_has_no_mean(tmp_path: Path, pool: ScriptedPools):
    pool()
    data = ranked(tmp_path / "d.jsonl", {"odd": 0, "bad": 1}, {"good": 0, "bad": 1})
    metrics = pool.run(agreement(RECIPE, model="m", data=data, out=str(tmp_path / "out"))).metrics
    assert (metrics["agreement"]["pairwise_accuracy"], metrics["agreement"]["unreadable"]) == (1, 0)
    means = metrics["agreement_of_means"]
    assert (means["pairwise_accuracy"], means["unreadable"]) == (0.5, 0.25)


def test_what_the_readers_leave_out_is_dropped_with_their_reasons(
    tmp_path: Path, pool: ScriptedPools, capsys: pytest.CaptureFixture[str]
):
    pool()
    data = ranked(tmp_path / "d.jsonl", {"good": 0, "fair": None, "bad": 1}, {"good": None})
    manifest = pool.run(agreement(RECIPE, model="m", data=data, out=str(tmp_path / "out")))
    assert manifest.dropped == {"reply has no rank": 1, "no reply is ranked": 1}
    assert manifest.metrics["agreement"]["verdicts"] == 2
    [ended] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("✓ agreement")]
    assert ended.split("  ")[1] == "1 set", "one set was judged; a dropped reply is none"
    assert [d.id for d in read_rows(Folder(str(tmp_path / "out")), Dropped, "dropped")] == [
        "seed/000000/r1",
        f"{data}:2",
    ]


def test_of_an_installed_source_the_held_out_sets_are_judged(tmp_path: Path):
    recipe = RECIPE.model_validate(RECIPE.model_dump() | {"seed_data": {"held_out": 4}, "evaluation": {"verdicts": 1}})
    pool = ScriptedPools(lambda text, row: "Score: 2")
    pool()
    manifest = pool.run(agreement(recipe, model="m", data="demo", out=str(tmp_path / "out")))
    assert manifest.rows["rows"] == 4
    assert (manifest.metrics["agreement"]["tied"], manifest.metrics["agreement_of_means"]) == (1, None)


def test_data_without_two_ranks_starts_no_engine(tmp_path: Path, pool: ScriptedPools):
    model = pool()
    data = ranked(tmp_path / "d.jsonl", {"good": 0, "fair": 0})
    with pytest.raises(UserError, match=f"agreement: every row failed, most often with: {NO_ORDER}"):
        pool.run(agreement(RECIPE, model="m", data=data, out=str(tmp_path / "out")))
    assert model.asked == []


def test_the_same_command_again_judges_nothing_and_other_data_is_refused(tmp_path: Path, pool: ScriptedPools):
    pool()
    data, out = ranked(tmp_path / "d.jsonl", {"good": 0, "fair": 1}), str(tmp_path / "out")
    manifest = pool.run(agreement(RECIPE, model="m", data=data, out=out))
    again: Any = pool()
    assert pool.run(agreement(RECIPE, model="m", data=data, out=out)) == manifest
    assert again.asked == []
    other = ranked(tmp_path / "e.jsonl", {"good": 0, "bad": 1})
    with pytest.raises(UserError, match="made from another recipe or other inputs"):
        pool.run(agreement(RECIPE, model="m", data=other, out=out))
