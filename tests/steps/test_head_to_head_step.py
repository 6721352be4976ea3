"""Answers of two models, scored by one judge and compared."""

import re
from pathlib import Path

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedReply, EvaluatedSet, ScoredPair
from selfreward_ray.steps.head_to_head import TOO_FEW_VERDICTS, head_to_head
from selfreward_ray.steps.judge import judge
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

RECIPE = Recipe.model_validate(
    {"model": "m0", "judge": {"rubric": "checklist", "verdicts": 2, "min_valid": 2, "retries": 0}}
)


def evaluation(folder: Path, answers: list[str]) -> str:
    """An evaluate step whose answers are so; the prompt of a set has its number."""
    step = Step("evaluate", str(folder / "evaluation"), {"answers": answers}, {})
    step.is_done()
    made = [EvaluatedReply(f"s{i}/answer", f"Prompt {i}?", text, True) for i, text in enumerate(answers)]
    step.write([EvaluatedSet(f"s{i}", reply, ()) for i, reply in enumerate(made)], EvaluatedSet)
    step.finish(offered=len(answers))
    return step.folder.uri


def scored(folder: Path, answers: list[str]) -> str:
    """The answers judged by a model that reads the score, or two scores, from the answer itself."""

    def verdict(text: str, row: str) -> str:
        said = re.findall(r"mark=([a-z0-9|]+)", text)[-1].split("|")
        return f"Score: {said[int(row.split('/v')[1][0]) % len(said)]}"

    out = str(folder / "answers")
    model = ScriptedModel(verdict)
    run_on(pool_of(model), judge(RECIPE, model="m1", replies=evaluation(folder, answers), out=out))
    return out


def compared(tmp_path: Path, left: list[str], right: list[str]) -> tuple[list[ScoredPair], Manifest]:
    out = str(tmp_path / "out")
    manifest = head_to_head(
        RECIPE, left=scored(tmp_path / "left", left), right=scored(tmp_path / "right", right), out=out
    )
    return read_rows(Folder(out), ScoredPair), manifest


def test_the_higher_mean_wins_and_equal_means_tie(tmp_path: Path):
    rows, manifest = compared(
        tmp_path, ["mark=4", "mark=2", "mark=3|4", "mark=1"], ["mark=2", "mark=4", "mark=4|3", "mark=0|1"]
    )
    assert [(row.id, row.prompt, row.preferred) for row in rows] == [
        ("s0", "Prompt 0?", "left"),
        ("s1", "Prompt 1?", "right"),
        ("s2", "Prompt 2?", "neither"),
        ("s3", "Prompt 3?", "left"),
    ]
    assert (rows[3].left.mean, rows[3].right.mean) == (1.0, 0.5)
    outcomes = manifest.metrics["outcomes"]
    assert (outcomes["left"], outcomes["right"], outcomes["ties"]) == (2, 1, 1)
    assert outcomes["left_win_rate"] == 0.625
    low, high = outcomes["left_win_interval"]
    assert low < 0.625 < high


def test_an_answer_without_enough_valid_verdicts_takes_no_part(tmp_path: Path):
    rows, manifest = compared(tmp_path, ["mark=4", "mark=none|3"], ["mark=none", "mark=3"])
    assert rows == []
    assert manifest.dropped == {TOO_FEW_VERDICTS: 2}
    assert manifest.metrics["outcomes"]["left_win_rate"] is None


def test_a_prompt_of_one_side_only_is_dropped_with_the_reason(tmp_path: Path):
    rows, manifest = compared(tmp_path, ["mark=4"], ["mark=2", "mark=2"])
    assert [row.id for row in rows] == ["s0"]
    assert manifest.dropped == {"its prompt has a reply on the right only": 1}


def test_a_finished_step_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    left, right = scored(tmp_path / "left", ["mark=4"]), scored(tmp_path / "right", ["mark=2"])
    first, again = (
        head_to_head(RECIPE, left=left, right=right, out=str(tmp_path / "out"), label="M2 · against M1") for _ in "12"
    )
    assert first == again
    assert "M2 · against M1  already done" in capsys.readouterr().err
