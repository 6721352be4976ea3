"""Answers to questions of one and of several turns."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, completion, pool_of, run_on

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Answer, AnsweredQuestion, Dropped, Question
from selfreward_ray.steps.answer import answer
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

VALUES: dict[str, Any] = {
    "model": "m0",
    "respond": {"sampling": {"temperature": 0, "max_tokens": 9}},
    "inference": {"rows_per_block": 1},
}
RECIPE = Recipe.model_validate(VALUES)
QUESTIONS = [{"question_id": 81, "turns": ["Hello?", "Again?"]}, {"turns": ["Why?"]}]
ROWS = [
    AnsweredQuestion(
        "given/p000000",
        Question("given/p000000", ("Hello?", "Again?"), "81"),
        (Answer("given/p000000/t0", "one", True), Answer("given/p000000/t1", "tw", False)),
    ),
    AnsweredQuestion("given/p000001", Question("given/p000001", ("Why?",)), (Answer("given/p000001/t0", "So.", True),)),
]


def says(text: str, row: str) -> Any:
    """Answers the conversation so far, so that a wrong history gives no answer."""
    known = {
        "Hello?": "one",
        "user: Hello?\nassistant: one\nAgain?": completion("tw", "length"),
        "Why?": "So.",
    }
    return known[text]


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "question.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return str(path)


def made(out: Path) -> list[AnsweredQuestion]:
    return sorted(read_rows(Folder(str(out)), AnsweredQuestion), key=lambda row: row.id)


def test_a_later_turn_is_asked_after_the_turns_and_answers_before_it(tmp_path: Path, questions: str):
    model, out = ScriptedModel(says), tmp_path / "out"
    manifest = run_on(pool_of(model), answer(RECIPE, model="runs/M2/model", questions=questions, out=str(out)))
    assert made(out) == ROWS
    assert (manifest.step, manifest.rows) == ("answer", {"offered": 2, "rows": 2})
    assert manifest.metrics["model"] == "runs/M2/model"
    assert {sampling.temperature for sampling in model.samplings.values()} == {0}


def test_an_interrupted_step_asks_only_for_what_is_missing(tmp_path: Path, questions: str):
    out = str(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run_on(pool_of(ScriptedModel(says), stop_after=1), answer(RECIPE, model="m", questions=questions, out=out))
    second = ScriptedModel(says)
    run_on(pool_of(second), answer(RECIPE, model="m", questions=questions, out=out))
    assert second.asked == ["given/p000001/t0"]
    assert made(tmp_path / "out") == ROWS


def test_other_sampling_is_another_step_and_another_judge_is_not(tmp_path: Path, questions: str):
    out = str(tmp_path / "out")
    manifest = run_on(pool_of(ScriptedModel(says)), answer(RECIPE, model="m", questions=questions, out=out))
    other = Recipe.model_validate(VALUES | {"judge": {"verdicts": 5}})
    assert run_on(pool_of(ScriptedModel(says)), answer(other, model="m", questions=questions, out=out)) == manifest
    warm = Recipe.model_validate(VALUES | {"respond": {"sampling": {"temperature": 0.7}}})
    with pytest.raises(UserError, match="made from another recipe"):
        run_on(pool_of(ScriptedModel(says)), answer(warm, model="m", questions=questions, out=out))


def test_a_question_whose_second_turn_does_not_fit_is_dropped_as_a_whole(tmp_path: Path, questions: str):
    """The first turn takes 6 + 9 bytes of context, the second 34 + 9."""
    out = tmp_path / "out"
    manifest = run_on(
        pool_of(ScriptedModel(says, context=40)), answer(RECIPE, model="m", questions=questions, out=str(out))
    )
    assert made(out) == ROWS[1:]
    assert read_rows(Folder(str(out)), Dropped, "dropped") == [
        Dropped("given/p000000", "answer", "ContextOverflow: too long")
    ]
    assert manifest.dropped == {"ContextOverflow: too long": 1}


def test_the_folder_of_a_step_is_no_file_of_questions(tmp_path: Path):
    Step("propose", str(tmp_path / "prompts"), {}, {}).is_done()
    with pytest.raises(UserError, match="--questions: .*prompts is a step's folder; give a file of questions, or"):
        answer(RECIPE, model="m", questions=str(tmp_path / "prompts"), out=str(tmp_path / "out"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="--questions: cannot read .*no.jsonl: there is no such file or folder"):
        answer(RECIPE, model="m", questions=str(tmp_path / "no.jsonl"), out=str(tmp_path / "out"))


def test_one_question_that_cannot_be_used_stops_the_step(tmp_path: Path):
    """A benchmark without one of its questions is another one."""
    rows = [{"turns": [f"Why {n}?"]} for n in range(20)]
    rows[7] = {"turns": [None]}
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"q.jsonl:8: field 'prompt' is null"):
        answer(RECIPE, model="m1", questions=str(tmp_path / "q.jsonl"), out=str(tmp_path / "out"))
