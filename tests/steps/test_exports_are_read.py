"""What `export` writes of a finished step is read by `seed` and `judge --replies`, with every column known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.prompts.given import prompt_reading
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import RowReading, SeedData
from selfreward_ray.records import (
    Answer,
    AnsweredQuestion,
    Candidate,
    Comparison,
    Contender,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    Pair,
    Positive,
    Question,
    ReplyPair,
    ScoredReply,
    SftExample,
    Turn,
    Verdict,
)
from selfreward_ray.seed.readers import Reading, read_seed
from selfreward_ray.steps.export import export
from selfreward_ray.steps.replies import read_replies
from selfreward_ray.steps.seed import seed
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows
from selfreward_ray.store.user_files import RowError

SYSTEM = (Turn("system", "Be brief."),)
GOOD = Candidate("p/r0", "So.", (1,), True, (Verdict("v", "…", 4.0, 1),), 4.0, 0.0, "Hm.")
POOR = Candidate("p/r1", "No.", (1,), True, (Verdict("w", "…", 1.0, 1),), 1.0, 0.0, "Or no?")
TURNS = ("Why?", "And then?")
TWO_TURNS = AnsweredQuestion(
    "q", Question("q", TURNS, "81"), (Answer("q/t0", "So.", True), Answer("q/t1", "Thus.", True, "Hm."))
)
ONE_TURN = AnsweredQuestion("q", Question("q", ("Why?",), "81", SYSTEM), (Answer("q/t0", "So.", True, "Hm."),))
EVALUATED = EvaluatedSet("s", EvaluatedReply("s/answer", "Why?", "So.", True, "Hm."), ())
COMPARED = Comparison("c", ReplyPair("c", "Why?", Contender("l", "So."), Contender("r", "No.")), (), (), "left")

ROWS: list[tuple[Any, list[tuple[str, str]]]] = [
    (Pair("p", "Why?", (1,), GOOD, POOR, 0.25, SYSTEM), [("So.", "Hm."), ("No.", "Or no?")]),
    (Positive("p", "Why?", (1,), GOOD, SYSTEM), [("So.", "Hm.")]),
    (SftExample("e", "ift", "Why?", "So.", SYSTEM, "Hm."), [("So.", "Hm.")]),
    (SftExample("e", "eft", "Why?", "So."), [("So.", "")]),
    (JudgedPrompt("p", "Why?", (1,), (GOOD, POOR), SYSTEM), [("So.", "Hm."), ("No.", "Or no?")]),
    (ONE_TURN, [("So.", "Hm.")]),
    (COMPARED, [("So.", ""), ("No.", "")]),
]
"""Rows of steps, and the replies of each with their thoughts, the best one first."""


def exported(row: Any, folder: Path, file: str, *scores: ScoredReply, **options: Any) -> str:
    """The file that `export` writes of a finished step with this row."""
    step = Step("made", str(folder / "step"), {}, {})
    assert not step.is_done()
    step.write([row], type(row))
    if scores:
        step.write(list(scores), ScoredReply, "scores")
    step.finish(offered=1)
    export(step.folder.uri, out := str(folder / file), **options)
    return out


def ift_rows(source: str, folder: Path, **wanted: Any) -> list[SftExample]:
    """The IFT rows that `seed` makes of a file whose columns are all known."""
    section = {"source": source, "ift": 10, "eft": 0, "held_out": 0} | wanted
    reading = Reading(options := SeedData.model_validate(section))
    assert list(read_seed(options, reading))
    assert reading.notes() == []
    seed(Recipe.model_validate({"model": "m0", "seed_data": section}), out=str(folder / "seed"))
    return read_rows(Folder(str(folder / "seed")), SftExample)


def prompts_with_replies(source: str) -> list[JudgedPrompt]:
    """The prompts that `judge --replies` reads from a file whose columns are all known."""
    reading = prompt_reading(RowReading(), "--replies")
    found = list(read_replies(source, "--replies", reading))
    assert reading.notes() == []
    assert all(isinstance(one, JudgedPrompt) for one in found), found
    return [one for one in found if isinstance(one, JudgedPrompt)]


def said(prompts: list[JudgedPrompt]) -> list[tuple[str, str]]:
    return [(one.text, one.thought) for prompt in prompts for one in prompt.candidates]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(("row", "replies"), ROWS, ids=lambda value: type(value).__name__)
def test_prompt_replies_and_thoughts_are_read_as_they_were(
    row: Any, replies: list[tuple[str, str]], ending: str, tmp_path: Path
):
    source = exported(row, tmp_path, f"rows.{ending}")
    history = row.question.history if isinstance(row, AnsweredQuestion) else getattr(row, "history", ())
    (read,) = ift_rows(source, tmp_path)
    assert (read.prompt, (read.target, read.thought), read.history) == ("Why?", replies[0], history)
    found = prompts_with_replies(source)
    assert {(prompt.text, prompt.history) for prompt in found} == {("Why?", history)}
    assert said(found) == replies


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_each_answer_of_several_turns_keeps_its_thought(ending: str, tmp_path: Path):
    source = exported(TWO_TURNS, tmp_path, f"rows.{ending}")
    rows = {row.prompt: (row.target, row.thought, len(row.history)) for row in ift_rows(source, tmp_path, turns="any")}
    assert rows == {"Why?": ("So.", "", 0), "And then?": ("Thus.", "Hm.", 2)}
    (found,) = prompts_with_replies(source)
    assert (found.text, len(found.history), said([found])) == ("And then?", 2, [("Thus.", "Hm.")])


def test_an_evaluation_has_no_ranks_and_can_be_judged(tmp_path: Path):
    source = exported(EVALUATED, tmp_path, "rows.jsonl", ScoredReply("s/answer", 1.0, 1.0))
    with pytest.raises(UserError, match=r"gives no IFT row \(left out: .*no reply is ranked"):
        ift_rows(source, tmp_path)
    assert said(prompts_with_replies(source)) == [("So.", "Hm.")]


@pytest.mark.parametrize(
    "row",
    [
        JudgedPrompt("p", "Why?", (1,), (replace(GOOD, finished=False),)),
        replace(ONE_TURN, answers=(Answer("q/t0", "So.", False),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_reply_that_was_cut_off_is_no_seed_data(row: Any, tmp_path: Path):
    source = exported(row, tmp_path, "rows.jsonl")
    with pytest.raises(UserError, match=r"gives no IFT row \(left out: .*its reply was cut off"):
        ift_rows(source, tmp_path)
    (found,) = prompts_with_replies(source)
    assert [one.finished for one in found.candidates] == [False]


@pytest.mark.parametrize(
    "row", [EVALUATED, JudgedPrompt("p", "Why?", (1,), (GOOD,))], ids=lambda row: type(row).__name__
)
def test_a_file_for_alpaca_eval_is_read(row: Any, tmp_path: Path):
    source = exported(row, tmp_path, "rows.json", to="alpaca-eval")
    (read,) = ift_rows(source, tmp_path)
    assert (read.prompt, read.target) == ("Why?", "So.")
    found = prompts_with_replies(source)
    assert ([prompt.text for prompt in found], said(found)) == (["Why?"], [("So.", "")])


def test_a_file_for_mt_bench_is_read_with_the_turns_of_its_questions(tmp_path: Path):
    source = exported(TWO_TURNS, tmp_path, "m.jsonl", to="mt-bench")
    with pytest.raises(RowError, match="has no known format; its fields: 'question_id', 'answer_id'"):
        ift_rows(source, tmp_path)
    with pytest.raises(RowError, match="names its question by question_id and does not hold it; write the turns"):
        prompts_with_replies(source)
    answer = json.loads(Path(source).read_text())
    Path(source).write_text(json.dumps(answer | {"turns": list(TURNS)}))
    (found,) = prompts_with_replies(source)
    assert (found.text, len(found.history), said([found])) == ("And then?", 2, [("Thus.", "")])
