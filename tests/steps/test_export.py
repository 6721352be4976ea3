"""What other programs are given: pairs and examples as messages."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.records import Candidate, Pair, Positive, Prompt, SftExample, ToolCall, ToolUse, Turn
from selfreward_ray.steps.export import export
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import write_part

TEXT = 'say "hi"\u2028<|im_end|> 水'
PAIRS = [
    Pair(
        f"p{i}/pair",
        f"Why {i}?",
        (1,),
        Candidate("c", TEXT, (2,), True, (), 4.5, 0.25, thought="Hm."),
        Candidate("r", "", (3,), True, (), 1.0, 0.0, thought="So?"),
        0.25,
    )
    for i in range(3)
]
MESSAGES = [
    {
        "id": f"p{i}/pair",
        "prompt": [{"role": "user", "content": f"Why {i}?"}],
        "chosen": [{"role": "assistant", "content": TEXT}],
        "rejected": [{"role": "assistant", "content": ""}],
        "chosen_score": 4.5,
        "rejected_score": 1.0,
        "label_smoothing": 0.25,
        "chosen_thought": "Hm.",
        "rejected_thought": "So?",
    }
    for i in range(3)
]


def made(folder: Path, rows: list[Any]) -> str:
    """A step of two files."""
    step = Step("made", str(folder), {}, {})
    step.is_done()
    write_part(step.folder, "rows", rows[:1], type(rows[0]), "part-0")
    write_part(step.folder, "rows", rows[1:], type(rows[0]), "part-1")
    step.finish(offered=len(rows))
    return str(folder)


def test_pairs_as_jsonl(tmp_path: Path):
    out = tmp_path / "new" / "pairs.jsonl"
    assert export(made(tmp_path / "pairs", PAIRS), str(out)).rows == 3
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line] == MESSAGES
    assert [p.name for p in out.parent.iterdir()] == ["pairs.jsonl"]


def test_pairs_as_parquet(tmp_path: Path):
    out = tmp_path / "pairs.parquet"
    assert export(made(tmp_path / "pairs", PAIRS), str(out), "parquet").rows == 3
    assert pq.read_table(out).to_pylist() == MESSAGES


def test_both_files_are_read_by_the_library_that_trainers_use(tmp_path: Path):
    source = made(tmp_path / "pairs", PAIRS)
    for form in ("parquet", "jsonl"):
        out = str(tmp_path / f"pairs.{form}")
        export(source, out)
        kind = "json" if form == "jsonl" else form
        rows = datasets.load_dataset(kind, data_files=out, split="train", cache_dir=str(tmp_path / "cache"))
        assert rows.to_list() == MESSAGES


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            SftExample("s/ift", "ift", "Why?", "So.", (Turn("system", "Be brief."),), "Hm."),
            {
                "id": "s/ift",
                "kind": "ift",
                "messages": [("system", "Be brief."), ("user", "Why?"), ("assistant", "So.")],
                "thought": "Hm.",
            },
        ),
        (
            Positive("p/r0", "Why?", (1,), Candidate("p/r0", "So.", (2,), True, thought="Hm.")),
            {
                "id": "p/r0",
                "kind": "positive",
                "messages": [("user", "Why?"), ("assistant", "So.")],
                "thought": "Hm.",
            },
        ),
    ],
)
def test_examples_as_messages(tmp_path: Path, row: Any, expected: dict[str, Any]):
    out = tmp_path / "rows.jsonl"
    export(made(tmp_path / "step", [row]), str(out))
    found = json.loads(out.read_text())
    found["messages"] = [(m["role"], m["content"]) for m in found["messages"]]
    assert found == expected


def test_the_hub_is_given_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pushed: list[Any] = []
    monkeypatch.setattr(datasets.Dataset, "push_to_hub", lambda self, *a, **k: pushed.append((self.to_list(), a, k)))
    assert export(made(tmp_path / "pairs", PAIRS), "me/pairs", "hub").rows == 3
    assert pushed == [(MESSAGES, ("me/pairs",), {"private": True})]


def test_a_push_that_fails_names_the_data_set_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401")

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", refuse)
    with pytest.raises(UserError, match=r"cannot push to the hub data set 'me/pairs': 401; .*HF_TOKEN"):
        export(made(tmp_path / "pairs", PAIRS), "me/pairs", "hub")


def test_what_is_there_is_not_overwritten(tmp_path: Path):
    (tmp_path / "mine.jsonl").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export(made(tmp_path / "pairs", PAIRS), str(tmp_path / "mine.jsonl"))
    assert (tmp_path / "mine.jsonl").read_text() == "mine"


def test_other_folders_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="holds no rows of a finished step"):
        export(str(tmp_path / "none"), str(tmp_path / "out.jsonl"))
    write_part(Folder(str(tmp_path / "half")), "rows", PAIRS, Pair, "part-0")
    with pytest.raises(UserError, match="holds no rows of a finished step"):
        export(str(tmp_path / "half"), str(tmp_path / "out.jsonl"))
    with pytest.raises(UserError, match="holds no pairs, examples, answers or comparisons; exported are the"):
        export(made(tmp_path / "prompts", [Prompt("p", "Why?")]), str(tmp_path / "out.jsonl"))


def test_the_form_is_that_of_the_ending(tmp_path: Path):
    source = made(tmp_path / "pairs", PAIRS)
    with pytest.raises(UserError, match=r"pairs.csv does not end in .parquet or .jsonl"):
        export(source, str(tmp_path / "pairs.csv"))
    with pytest.raises(UserError, match=r"pairs.jsonl does not end in .parquet; name such a file"):
        export(source, str(tmp_path / "pairs.jsonl"), "parquet")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_examples_with_tools_keep_them(tmp_path: Path, ending: str):
    """In a form that is read again as it was: arguments and declared tools are JSON texts."""
    call = (ToolCall("look", '{"at": "sky"}', "c1"),)
    since = (Turn("assistant", "", call), Turn("tool", "dry", tool="look", call_id="c1"))
    rows = [
        SftExample(
            "a", "ift", "Rain?", "", (Turn("system", "Be brief."),), tool_use=ToolUse('[{"name": "look"}]', (), call)
        ),
        SftExample("b", "ift", "Rain?", "No.", tool_use=ToolUse("", since)),
        SftExample("c", "ift", "Why?", "So."),
    ]
    out = tmp_path / f"rows.{ending}"
    export(made(tmp_path / "seed", rows), str(out))
    if ending == "jsonl":
        written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        written = pq.read_table(out).to_pylist()
    calls = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}]
    said = [[{k: v for k, v in message.items() if v} for message in row["messages"]] for row in written]
    assert said == [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "tool_calls": calls},
        ],
        [
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "content": "dry", "name": "look", "tool_call_id": "c1"},
            {"role": "assistant", "content": "No."},
        ],
        [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
    ]
    assert [row["tools"] for row in written] == ['[{"name": "look"}]', None, None]
