"""A prompt with a system text and earlier turns, on its way from a user's file to training, export and comparison."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted_model import ScriptedModel, ScriptedPools

from selfreward_ray.errors import UserError
from selfreward_ray.inference.programs import answer_question
from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.preferences import POLICIES
from selfreward_ray.preferences.candidate_set import build_candidate_set
from selfreward_ray.recipe.schema import Recipe, Sampling
from selfreward_ray.records import (
    Answer,
    AnsweredQuestion,
    Candidate,
    Comparison,
    Dropped,
    JudgedPrompt,
    Pair,
    Positive,
    Prompt,
    Question,
    Turn,
    Verdict,
)
from selfreward_ray.steps.compare import compare
from selfreward_ray.steps.export import export
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.sample import sample
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_blocks, read_rows
from selfreward_ray.training.examples import pair_tokens, positive_tokens

HISTORY = (Turn("system", "Answer in French."), Turn("user", "Hello."), Turn("assistant", "Bonjour."))
MESSAGES = [{"role": turn.role, "content": turn.text} for turn in HISTORY]
ENCODED = "system: Answer in French.\nuser: Hello.\nassistant: Bonjour.\nName a sea."
SHOWN = "System: Answer in French.\n\nUser: Hello.\n\nAssistant: Bonjour.\n\nUser: Name a sea."
RUBRIC = load_rubric("checklist")
RECIPE = Recipe.model_validate(
    {
        "model": "m0",
        "respond": {"candidates": 2},
        "judge": {"rubric": "checklist", "verdicts": 2, "min_valid": 1, "retries": 0},
    }
)


class Listener:
    """Answers, and keeps what each request has shown."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}

    def __call__(self, text: str, row: str) -> str:
        self.shown[row] = text
        if "-first/" in row:
            return "Better: first"
        return f"Score: {row[-4]}" if "/v" in row else f"La mer {row[-1]}"


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def pool(listener: Listener) -> ScriptedPools:
    pools = ScriptedPools(listener)
    pools()
    return pools


def step(folder: Path, name: str, *rows: Any) -> str:
    made = Step(name, str(folder), {}, {})
    made.is_done()
    made.write(list(rows), type(rows[0]))
    made.finish(offered=len(rows))
    return str(folder)


def lines(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def reply(name: str) -> Candidate:
    return Candidate(f"p/{name}", f"reply {name}", (5,), True)


def scored(name: str, score: float) -> Candidate:
    return with_verdicts(reply(name), tuple(Verdict(f"p/{name}/v{k}", "", score, 1) for k in range(3)))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*MESSAGES, {"role": "user", "content": "Name a sea."}]},
        {"system": "Answer in French.", "history": [["Hello.", "Bonjour."]], "prompt": "Name a sea."},
    ],
)
@pytest.mark.parametrize("name", [sample, respond])
def test_a_model_is_asked_with_the_whole_conversation_and_its_judge_is_shown_it(
    tmp_path: Path, pool: ScriptedPools, listener: Listener, name: Any, row: dict[str, Any]
):
    source, out = lines(tmp_path / "prompts.jsonl", row), str(tmp_path / "out")
    pool.run(name(RECIPE, model="m1", prompts=source, out=out))
    (made,) = read_rows(Folder(out), JudgedPrompt)
    assert (made.text, made.history, made.question) == ("Name a sea.", HISTORY, SHOWN)
    assert bytes(made.token_ids).decode() == listener.shown["given/p000000/r0"] == ENCODED
    if name is respond:
        assert listener.shown["given/p000000/r1/v0/a0"] == RUBRIC.render(SHOWN, "La mer 1")


def test_given_replies_are_judged_as_answers_to_the_whole_conversation(
    tmp_path: Path, pool: ScriptedPools, listener: Listener
):
    row = {
        "messages": [*MESSAGES, {"role": "user", "content": "Name a sea."}, {"role": "assistant", "content": "Azov"}]
    }
    out = str(tmp_path / "out")
    pool.run(judge(RECIPE, model="m1", replies=lines(tmp_path / "a.jsonl", row), out=out))
    (made,) = read_rows(Folder(out), JudgedPrompt)
    assert (made.text, made.history) == ("Name a sea.", HISTORY)
    assert listener.shown["given/p000000/r0/v0/a0"] == RUBRIC.render(SHOWN, "Azov")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_hands_the_earlier_messages_on(policy: str):
    judged = JudgedPrompt("p", "Name a sea.", (1,), (scored("a", 5), scored("b", 0)), HISTORY)
    rows = POLICIES[policy].choose(build_candidate_set(judged, RECIPE.judge, frozenset()), RECIPE.pairs)
    assert not isinstance(rows, Dropped)
    assert [(row.prompt, row.history) for row in rows] == [("Name a sea.", HISTORY)]


def test_what_no_engine_wrote_is_trained_on_with_the_earlier_messages(tiny_model: Path):
    codec = ChatCodec(tiny_model)
    expected = tuple(codec.prompt_ids("Name a sea.", HISTORY))
    assert expected != tuple(codec.prompt_ids("Name a sea."))
    pair = Pair("p/pair", "Name a sea.", (), reply("a"), reply("b"), history=HISTORY)
    assert pair_tokens(pair, lambda: codec).prompt_ids == expected
    positive = Positive("p/a", "Name a sea.", (), reply("a"), HISTORY)
    assert positive_tokens(positive, lambda: codec).prompt_ids == expected


def exported(tmp_path: Path, name: str, row: Any) -> dict[str, Any]:
    out = tmp_path / f"{name}.jsonl"
    export(step(tmp_path / name, name, row), str(out))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_exports_have_the_whole_conversation(tmp_path: Path):
    asked = [*MESSAGES, {"role": "user", "content": "Name a sea."}]
    answered = {"role": "assistant", "content": "reply a"}
    pair = exported(tmp_path, "pair", Pair("p/pair", "Name a sea.", (1,), reply("a"), reply("b"), history=HISTORY))
    assert (pair["prompt"], pair["chosen"]) == (asked, [answered])
    positive = exported(tmp_path, "positive", Positive("p/a", "Name a sea.", (1,), reply("a"), HISTORY))
    assert positive["messages"] == [*asked, answered]
    judged = exported(tmp_path, "respond", JudgedPrompt("p", "Name a sea.", (1,), (reply("a"),), HISTORY))
    assert (judged["history"], judged["prompt"]) == (MESSAGES, "Name a sea.")
    question = Question("q", ("Name a sea.",), None, HISTORY)
    answers = exported(tmp_path, "answer", AnsweredQuestion("q", question, (Answer("q/t0", "reply a", True),)))
    assert answers["messages"] == [*asked, answered]


def test_exported_replies_are_read_again_as_they_were(tmp_path: Path, pool: ScriptedPools):
    unfinished = replace(reply("b"), finished=False)
    rows = [
        JudgedPrompt("p", "Name a sea.", (1,), (reply("a"),), HISTORY),
        JudgedPrompt("q", "Why?", (1,), (unfinished,)),
    ]
    source = tmp_path / "replies.jsonl"
    export(step(tmp_path / "sampled", "sample", *rows), str(source))
    pool.run(judge(RECIPE, model="m1", replies=str(source), out=str(tmp_path / "out")))
    made = sorted(read_rows(Folder(str(tmp_path / "out")), JudgedPrompt, "offered"), key=lambda row: row.id)
    assert [(m.text, m.history, m.candidates[0].text, m.candidates[0].finished) for m in made] == [
        ("Name a sea.", HISTORY, "reply a", True),
        ("Why?", (), "reply b", False),
    ]


@pytest.mark.parametrize(
    "row",
    [
        JudgedPrompt("p", "Name a sea.", (1,), (reply("a"),), HISTORY),
        AnsweredQuestion("q", Question("q", ("Name a sea.",), "1", HISTORY), (Answer("q/t0", "So.", True),)),
    ],
)
def test_the_file_of_a_benchmark_has_no_place_for_earlier_messages(tmp_path: Path, row: Any):
    source = step(tmp_path / "step", "sample", row)
    with pytest.raises(UserError, match=r"has messages before its prompt, .* export it as .jsonl"):
        export(source, str(tmp_path / "out.json"), "alpaca-eval")


def test_replies_are_compared_where_the_whole_conversation_is_the_same(
    tmp_path: Path, pool: ScriptedPools, listener: Listener
):
    """The left side is a step, the right one a file with the same conversation and another of the same last message."""
    left = step(tmp_path / "l", "sample", JudgedPrompt("p", "Name a sea.", (1,), (reply("a"),), HISTORY))
    right = lines(
        tmp_path / "r.jsonl",
        {"prompt": "Name a sea.", "output": "alone"},
        {"prompt": "Name a sea.", "history": MESSAGES, "output": "with its history"},
    )
    out = str(tmp_path / "out")
    pool.run(compare(RECIPE, model="judge", left=left, right=right, out=out))
    (made,) = read_rows(Folder(out), Comparison)
    assert (made.pair.prompt, made.pair.right.text) == (SHOWN, "with its history")
    assert all(SHOWN in text for text in listener.shown.values())
    assert len(read_rows(Folder(out), Dropped, "dropped")) == 1


def test_a_question_with_earlier_messages_is_answered_after_them():
    listener = Listener()
    question = Question("q", ("Name a sea.", "Another?"), None, HISTORY)
    asyncio.run(answer_question(question, ScriptedModel(listener), Sampling()))
    assert listener.shown["q/t0"] == ENCODED
    assert (
        listener.shown["q/t1"]
        == f"{ENCODED.removesuffix('Name a sea.')}user: Name a sea.\nassistant: La mer 0\nAnother?"
    )


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (Prompt("p", "Why?"), "rows"),
        (JudgedPrompt("p", "Why?", (1,), (reply("a"),)), "rows"),
        (Pair("p", "Why?", (1,), reply("a"), reply("b")), "rows"),
        (Positive("p", "Why?", (1,), reply("a")), "rows"),
    ],
)
def test_tables_of_earlier_versions_have_no_such_column_and_are_read(tmp_path: Path, row: Any, table: str):
    source = step(tmp_path / "step", "respond", row)
    old = tmp_path / "step" / table / "part-0.parquet"
    pq.write_table(pq.read_table(old).drop_columns(["history"]), old)
    assert read_rows(Folder(source), type(row)) == [row]
    if not isinstance(row, Prompt):
        assert export(source, str(tmp_path / "out.jsonl")).rows == 1


def test_blocks_of_a_table_do_not_mix_files_of_two_versions(tmp_path: Path):
    made = Folder(step(tmp_path / "step", "respond", Prompt("p0", "Why?")))
    old = tmp_path / "step" / "rows" / "part-0.parquet"
    pq.write_table(pq.read_table(old).drop_columns(["history"]), old)
    pq.write_table(pq.read_table(step(tmp_path / "new", "respond", Prompt("p1", "How?")) + "/rows"), f"{old}-1.parquet")
    blocks = read_blocks(made / "rows", (made / "rows").files(), 10)
    assert [block["id"].to_pylist() for block in blocks] == [["p0"], ["p1"]]
