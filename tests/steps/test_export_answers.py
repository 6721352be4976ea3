"""A model's answers as rows, and in the files of AlpacaEval and MT-Bench."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.records import (
    Answer,
    AnsweredQuestion,
    Candidate,
    Comparison,
    Contender,
    Dropped,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    Pair,
    Question,
    ReplyPair,
    ScoredPair,
    ScoredReply,
    Verdict,
)
from selfreward_ray.steps.export import export
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import write_part

TEXT = 'say "hi"\u2028\x1b[31m\x00<|im_end|> 水\r\n'
MakeStep = Callable[..., str]


def candidate(name: str, text: str, *scores: float | None, finished: bool = True, thought: str = "") -> Candidate:
    verdicts = tuple(Verdict(f"{name}/v{k}", "…", score, 1) for k, score in enumerate(scores))
    valid = [score for score in scores if score is not None]
    mean = sum(valid) / len(valid) if valid else None
    return Candidate(name, text, (1,), finished, verdicts, mean, None, thought)


SAMPLED = [JudgedPrompt(f"given/p{i:06d}", f"Why {i}?", (1,), (candidate(f"r{i}", f"So {i}."),)) for i in (1, 0, 2)]
JUDGED = [
    JudgedPrompt(
        "p0",
        "Why?",
        (1,),
        (
            candidate("p0/r0", "a", 1, 2),
            candidate("p0/r1", TEXT, 4, None, thought="Hm."),
            candidate("p0/r2", "c", 4, 4),
        ),
    ),
    JudgedPrompt("p1", "How?", (1,), (candidate("p1/r0", "d", None, finished=False), candidate("p1/r1", "e", None))),
]
EVALUATED = [EvaluatedSet("s0", EvaluatedReply("s0/answer", "Why?", "So.", False, "Hm."), ())]
ANSWERED = [
    AnsweredQuestion(
        f"given/p{i:06d}",
        Question(f"given/p{i:06d}", ("Hello?", "Again?"), question_id),
        (Answer("t0", TEXT, True), Answer("t1", "two", i != 2, "Hm.")),
    )
    for i, question_id in ((2, "81"), (0, '"w-1"'), (1, "111"))
]
ONE_TURN = [AnsweredQuestion("q", Question("q", ("Hello?",), "7"), (Answer("t0", "Hi.", True),))]
COMPARED = [
    Comparison("left/r", ReplyPair("left/r", "Why?", Contender("l", "So."), Contender("r", "Thus.")), (), (), "first")
]


@pytest.fixture
def step(tmp_path: Path) -> MakeStep:
    """A finished step of two files, with a name, a model and dropped rows."""

    def make(rows: list[Any], name: str = "sample", model: str | None = None, dropped: int = 0) -> str:
        made = Step(name, str(tmp_path / "my-step"), {}, {})
        made.is_done()
        write_part(made.folder, "rows", rows[:1], type(rows[0]), "part-0")
        write_part(made.folder, "rows", rows[1:], type(rows[0]), "part-1")
        made.write([Dropped(str(i), name, "too long") for i in range(dropped)], Dropped, "dropped")
        made.finish(offered=len(rows) + dropped, metrics={} if model is None else {"model": model})
        return made.folder.uri

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_candidates_become_rows_with_their_scores(step: MakeStep, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    exported = export(step(JUDGED, "respond", "runs/mine/M2/model"), str(out))
    assert (exported.rows, exported.notes) == (5, [])
    found = lines(out)
    assert found[1] == {
        "id": "p0/r1",
        "history": None,
        "prompt": "Why?",
        "reply": TEXT,
        "generator": "M2",
        "finished": True,
        "mean": 4.0,
        "scores": [4.0, None],
        "thought": "Hm.",
    }
    assert (found[3]["finished"], found[3]["mean"], found[3]["scores"]) == (False, None, [None])


def test_what_was_not_judged_has_no_scores(step: MakeStep, tmp_path: Path):
    out = tmp_path / "answers.parquet"
    export(step(SAMPLED), str(out))
    assert [(row["mean"], row["scores"]) for row in pq.read_table(out).to_pylist()] == [(None, None)] * 3


@pytest.mark.parametrize(("pick", "texts"), [("first", ["a", "d"]), ("best", [TEXT, "d"])])
def test_one_reply_to_each_prompt_is_picked(step: MakeStep, tmp_path: Path, pick: Any, texts: list[str]):
    """Of two with a mean of 4 the first is the best; where no verdict could be read, the first."""
    out = tmp_path / "answers.jsonl"
    assert export(step(JUDGED, "judge"), str(out), pick=pick).rows == 2
    assert [row["reply"] for row in lines(out)] == texts


def test_the_best_of_replies_that_were_not_judged_is_not_chosen(step: MakeStep, tmp_path: Path):
    with pytest.raises(UserError, match="the replies to given/p000001 were not judged; use --pick first"):
        export(step(SAMPLED), str(tmp_path / "answers.jsonl"), pick="best")
    assert not (tmp_path / "answers.jsonl").exists()


def test_answers_to_held_out_prompts_become_rows(step: MakeStep, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    export(step(EVALUATED, "evaluate", "owner/tiny-1B"), str(out))
    assert lines(out) == [
        {
            "id": "s0/answer",
            "history": None,
            "prompt": "Why?",
            "reply": "So.",
            "generator": "tiny-1B",
            "finished": False,
            "mean": None,
            "scores": None,
            "thought": "Hm.",
            "scorer_score": None,
            "scorer_maximum": None,
        }
    ]


def test_conversations_become_messages(step: MakeStep, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    export(step(ANSWERED, "answer"), str(out), name="mine")
    found = lines(out)[0]
    assert [(m["role"], m["content"]) for m in found.pop("messages")] == [
        ("user", "Hello?"),
        ("assistant", TEXT),
        ("user", "Again?"),
        ("assistant", "two"),
    ]
    assert found == {
        "id": "given/p000002",
        "question_id": "81",
        "generator": "mine",
        "finished": False,
        "thoughts": [None, "Hm."],
    }


def test_comparisons_become_rows(step: MakeStep, tmp_path: Path):
    out = tmp_path / "compared.jsonl"
    export(step(COMPARED, "compare", "judge"), str(out))
    assert lines(out) == [{"id": "left/r", "prompt": "Why?", "left": "So.", "right": "Thus.", "preferred": "first"}]


def test_a_runs_own_comparison_by_scores_becomes_the_same_rows(step: MakeStep, tmp_path: Path):
    out = tmp_path / "against.jsonl"
    sides = [(candidate("l", TEXT, 2), candidate("r", "Thus.", 4)), (candidate("l", "a", 3), candidate("r", "b", 3))]
    rows = [ScoredPair(f"s{i}", "Why?", *sides[i], ("right", "neither")[i]) for i in (0, 1)]
    assert export(step(rows, "head_to_head"), str(out)).rows == 2
    assert lines(out) == [
        {"id": "s0", "prompt": "Why?", "left": TEXT, "right": "Thus.", "preferred": "right"},
        {"id": "s1", "prompt": "Why?", "left": "a", "right": "b", "preferred": "neither"},
    ]


def test_evaluated_answers_have_the_scorers_score(step: MakeStep, tmp_path: Path):
    """Null for an answer that the scorer left without a score. The judge's columns stay empty."""
    rows = [EvaluatedSet(f"s{i}", EvaluatedReply(f"s{i}/answer", "Why?", "So.", True), ()) for i in range(3)]
    source = step(rows, "evaluate")
    scores = [ScoredReply("s2/answer", 0.0, 4.0), ScoredReply("s0/answer", 3.0, 4.0)]
    write_part(Folder(source), "scores", scores, ScoredReply, "part-0")
    export(source, str(tmp_path / "answers.jsonl"))
    found = [(row["id"], row["scorer_score"], row["scorer_maximum"]) for row in lines(tmp_path / "answers.jsonl")]
    assert found == [("s0/answer", 3.0, 4.0), ("s1/answer", None, None), ("s2/answer", 0.0, 4.0)]
    assert {(row["mean"], row["scores"]) for row in lines(tmp_path / "answers.jsonl")} == {(None, None)}


@pytest.mark.parametrize(
    ("name", "model", "given", "generator"),
    [
        ("sample", "runs/mine/M2/model", None, "M2"),
        ("sample", "s3://bucket/models/tiny/", None, "tiny"),
        ("sample", "owner/tiny", None, "tiny"),
        ("sample", "owner/tiny", "mine", "mine"),
        ("sample", None, None, "my-step"),
        ("judge", "the-judge", None, "my-step"),  # it did not write the replies
    ],
)
def test_who_answered(step: MakeStep, tmp_path: Path, name: str, model: str | None, given: str | None, generator: str):
    out = tmp_path / "answers.jsonl"
    export(step(SAMPLED, name, model), str(out), name=given)
    assert {row["generator"] for row in lines(out)} == {generator}


def read_as_alpaca_eval(path: Path) -> pd.DataFrame:
    """What `alpaca_eval` asks of `model_outputs` (version 0.6.6): a JSON file that pandas reads, texts in the columns
    `instruction` and `output`, and one generator, whose name stands in the leaderboard."""
    assert path.suffix == ".json"
    table = pd.read_json(path)
    assert {"instruction", "output", "generator"} <= set(table.columns)
    assert all(isinstance(text, str) for column in ("instruction", "output") for text in table[column])
    assert table["generator"].nunique() == 1
    return table


@pytest.mark.parametrize(
    ("rows", "pick", "pairs"),
    [
        (SAMPLED, None, [("Why 0?", "So 0."), ("Why 1?", "So 1."), ("Why 2?", "So 2.")]),
        (JUDGED, "best", [("Why?", TEXT), ("How?", "d")]),
        (EVALUATED, None, [("Why?", "So.")]),
        (ONE_TURN, None, [("Hello?", "Hi.")]),
    ],
)
def test_answers_are_read_by_alpaca_eval_in_the_order_of_the_prompts(
    step: MakeStep, tmp_path: Path, rows: list[Any], pick: Any, pairs: list[tuple[str, str]]
):
    out = tmp_path / "new" / "outputs.json"
    assert export(step(rows, model="owner/tiny"), str(out), "alpaca-eval", pick=pick).rows == len(pairs)
    table = read_as_alpaca_eval(out)
    assert list(zip(table["instruction"], table["output"], strict=True)) == pairs
    assert table["generator"][0] == "tiny"


def test_answers_merge_with_the_references_by_their_instruction(step: MakeStep, tmp_path: Path):
    """As the tool joins both sides; an instruction with blanks or other characters at its ends is not the same."""
    prompts = [" Why?\n", "水\u2028?"]
    rows = [JudgedPrompt(f"p{i}", p, (1,), (candidate("r", "So."),)) for i, p in enumerate(prompts)]
    export(step(rows), str(tmp_path / "o.json"), "alpaca-eval")
    reference = pd.DataFrame({"instruction": prompts, "output": ["x", "y"], "generator": "gpt4"})
    merged = reference.merge(read_as_alpaca_eval(tmp_path / "o.json"), on="instruction", suffixes=("_1", "_2"))
    assert list(merged["output_2"]) == ["So.", "So."]


def test_several_replies_to_a_prompt_are_refused_for_alpaca_eval(step: MakeStep, tmp_path: Path):
    with pytest.raises(
        UserError, match=r"p0 has 3 replies, but AlpacaEval takes one .*: add --pick first, or --pick b"
    ):
        export(step(JUDGED), str(tmp_path / "o.json"), "alpaca-eval")
    assert not (tmp_path / "o.json").exists()


def test_what_alpaca_eval_will_not_show_is_said(step: MakeStep, tmp_path: Path):
    twice = [JudgedPrompt(f"p{i}", "Why?", (1,), (candidate("r", "So.", finished=i > 0),)) for i in range(3)]
    assert export(step(twice, dropped=2), str(tmp_path / "o.json"), "alpaca-eval").notes == [
        "1 of 3 answers were cut off by the length limit",
        "2 prompts have no answer, because the step dropped them: alpaca_eval leaves them out",
        "1 instructions occur several times; alpaca_eval compares each of their answers with each of the reference's",
    ]


def read_as_fastchat(folder: Path, questions: list[dict[str, Any]]) -> dict[str, dict[Any, Any]]:
    """What FastChat's `gen_judgment.py` asks (version 0.2.36): files `*.jsonl` in ASCII or the locale's encoding, named
    after their models; an answer for each question, found by its `question_id` as JSON gives it; in the first choice as
    many turns as the question has, texts."""
    answers: dict[str, dict[Any, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="ascii") as file:
            found = [json.loads(line) for line in file]
        answers[path.name.removesuffix(".jsonl")] = {line["question_id"]: line for line in found}
    for question in questions:
        for of_model in answers.values():
            turns = of_model[question["question_id"]]["choices"][0]["turns"]
            assert len(turns) == len(question["turns"])
            assert all(isinstance(turn, str) for turn in turns)
    return answers


QUESTIONS = [{"question_id": each, "turns": ["Hello?", "Again?"]} for each in ("w-1", 111, 81)]


def test_answers_are_read_by_the_tools_of_mt_bench(step: MakeStep, tmp_path: Path):
    out = tmp_path / "model_answer" / "my-M2.jsonl"
    source = step(ANSWERED, "answer", "runs/mine/M2/model")
    os.utime(f"{source}/manifest.json", (1_700_000_000.5, 1_700_000_000.5))
    exported = export(source, str(out), "mt-bench")
    assert (exported.rows, exported.notes) == (3, ["1 of 3 answers were cut off by the length limit"])
    (found,) = read_as_fastchat(out.parent, QUESTIONS).values()
    assert list(found) == ["w-1", 111, 81]
    line = found[81]
    assert {key: line[key] for key in ("model_id", "choices", "tstamp")} == {
        "model_id": "my-M2",
        "choices": [{"index": 0, "turns": [TEXT, "two"]}],
        "tstamp": 1_700_000_000.5,
    }
    assert len({each["answer_id"] for each in found.values()}) == 3


def test_the_same_answers_have_the_same_file_and_another_model_has_other_ids(step: MakeStep, tmp_path: Path):
    source = step(ANSWERED, "answer")
    for folder, name in (("a", "M2"), ("b", "M2"), ("c", "M3")):
        export(source, str(tmp_path / folder / f"{name}.jsonl"), "mt-bench")
    first, again, other = ((tmp_path / path).read_bytes() for path in ("a/M2.jsonl", "b/M2.jsonl", "c/M3.jsonl"))
    assert first == again
    ids = [{json.loads(line)["answer_id"] for line in data.splitlines()} for data in (first, other)]
    assert not ids[0] & ids[1]


def test_a_question_without_an_answer_stops_fastchat_and_that_is_said(step: MakeStep, tmp_path: Path):
    notes = export(step(ONE_TURN, "answer", dropped=1), str(tmp_path / "M2.jsonl"), "mt-bench").notes
    assert notes == ["1 prompts have no answer, because the step dropped them: FastChat refuses such a file"]


@pytest.mark.parametrize(
    ("rows", "out", "to", "options", "message"),
    [
        (
            ANSWERED,
            "o.json",
            "alpaca-eval",
            {},
            "given/p000002 has 2 turns, but AlpacaEval takes one; use --to mt-bench",
        ),
        (
            SAMPLED,
            "o.jsonl",
            "mt-bench",
            {},
            "--to mt-bench takes the answers of an answer step; make them with selfreward answer",
        ),
        (
            [AnsweredQuestion("q", Question("q", ("a",)), (Answer("t", "b", True),))],
            "o.jsonl",
            "mt-bench",
            {},
            "q has no question_id, by which MT-Bench's tools match answers",
        ),
        (ANSWERED, "o.jsonl", "mt-bench", {"name": "M2"}, "leave out --name, and write to M2.jsonl"),
        (SAMPLED, "o.jsonl", "alpaca-eval", {}, "o.jsonl does not end in .json; name such a file"),
        (ANSWERED, "o.json", "mt-bench", {}, "o.json does not end in .jsonl; name such a file"),
        (SAMPLED, "o.json", None, {}, "o.json does not end in .parquet or .jsonl; name such a file"),
        (COMPARED, "o.json", "alpaca-eval", {}, "holds no answers of a model; --name, --pick and the forms"),
        (COMPARED, "o.jsonl", None, {"pick": "best"}, "holds no answers of a model"),
        (
            [Pair("p", "Why?", (1,), candidate("c", "a"), candidate("r", "b"))],
            "o.jsonl",
            None,
            {"name": "M2"},
            "holds no answers of a model",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    step: MakeStep, tmp_path: Path, rows: list[Any], out: str, to: Any, options: dict[str, Any], message: str
):
    with pytest.raises(UserError) as error:
        export(step(rows), str(tmp_path / out), to, **options)
    assert message in str(error.value)
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(("to", "name"), [("alpaca-eval", "o.json"), ("mt-bench", "o.jsonl")])
def test_a_file_that_is_there_is_not_overwritten(step: MakeStep, tmp_path: Path, to: Any, name: str):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export(step(ONE_TURN, "answer"), str(tmp_path / name), to)
    assert (tmp_path / name).read_text() == "mine"
