import json
from typing import Any

import pytest

from selfreward_ray.store.user_files import RowError

REPLY = {"text": "So.", "rank": 0}
RANKED = {"prompt": "Why?", "responses": [REPLY]}
CHAT = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}
PREFERENCE = {"prompt": "p", "chosen": "c", "rejected": "r"}
INSTRUCTION = {"instruction": "i", "output": "o"}
MESSAGE = {"message_id": "m", "message_tree_id": "m", "text": "u", "role": "prompter"}
TREE = {"message_tree_id": "m", "prompt": {"message_id": "m", "text": "u", "role": "prompter", "replies": []}}


def without(row: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != field}


def ranked(**fields: Any) -> dict[str, Any]:
    return {"prompt": "Why?", "responses": [REPLY, {**REPLY, **fields}]}


def below(**fields: Any) -> dict[str, Any]:
    reply = {"message_id": "n", "text": "a", "role": "assistant", **fields}
    return {"message_tree_id": "m", "prompt": {**TREE["prompt"], "replies": [reply]}}


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (RANKED, b"{'prompt': 1}", "is not JSON (Expecting property name enclosed in double quotes, column 2); write"),
        (RANKED, b'{"prompt": "half', "is not JSON (Unterminated string"),
        (RANKED, b"[]", "is a JSON array; write one JSON object a line (jq"),
        (RANKED, b"[", "is not JSON (Expecting value, column 2); write one JSON object a line"),
        (RANKED, b'"Why?"', "is a JSON string; write one JSON object a line"),
        (RANKED, b"null", "is a JSON null; write"),
        (RANKED, b"NaN", "is a JSON number; write"),
        (RANKED, b"true", "is a JSON boolean; write"),
        (RANKED, b'{"a": ' + b"[" * 100_000, "is nested too deeply; write flat messages"),
        (RANKED, b'{"a": ' + b"9" * 5000 + b"}", "is not JSON (a number too long); write"),
        (RANKED, json.dumps(RANKED).replace("Why", "Qué").encode("latin-1"), "is not UTF-8 text (byte 0xe9 at place"),
        (RANKED, json.dumps(RANKED).encode("utf-16"), "is not UTF-8 text (byte 0xff at place 1); save the file as UTF"),
        (RANKED, json.dumps(RANKED).encode("utf-16-le"), "is not JSON"),
        (RANKED, without(RANKED, "responses"), "field 'responses' is missing; add it"),
        (RANKED, without(RANKED, "prompt"), "field 'prompt' is missing; add it"),
        (RANKED, {"promt": "Why?", **RANKED}, "unknown field 'promt'; correct its name or remove it"),
        (RANKED, {"prompt": None, "responses": []}, "field 'prompt': input should be a valid string (got None); field"),
        (RANKED, {**RANKED, "prompt": ["Why?"]}, "field 'prompt': input should be a valid string (got ['Why?'])"),
        (RANKED, {**RANKED, "responses": REPLY}, "field 'responses': input should be a valid list"),
        (RANKED, {**RANKED, "responses": ["So."]}, "field 'responses.0': input should be"),
        (RANKED, {**RANKED, "responses": []}, "field 'responses': list should have at least 1 item"),
        (RANKED, {**RANKED, "id": " "}, "field 'id': is empty; write it or remove the field"),
        (RANKED, {**RANKED, "id": "\ud800"}, "field 'id': holds a lone surrogate"),
        (RANKED, {**RANKED, "id": 1.5}, "field 'id': input should be a valid string (got 1.5)"),
        (RANKED, {**RANKED, "id": True}, "field 'id': input should be a valid string (got True)"),
        (RANKED, ranked(rank="0"), "field 'responses.1.rank': input should be a valid integer (got '0')"),
        (RANKED, ranked(rank=0.0), "field 'responses.1.rank': input should be a valid integer (got 0.0)"),
        (RANKED, ranked(rank=True), "field 'responses.1.rank': input should be a valid integer (got True)"),
        (RANKED, ranked(rank=-1), "field 'responses.1.rank': input should be greater than or equal to 0"),
        (RANKED, ranked(rank=10**400), "field 'responses.1.rank': input should be less than 2147483648"),
        (RANKED, ranked(rank=float("nan")), "field 'responses.1.rank': input should be a valid integer (got nan)"),
        (RANKED, ranked(score=float("inf")), "field 'responses.1.score': input should be a finite number"),
        (RANKED, ranked(score=10**400), "field 'responses.1.score': input should be a valid number"),
        (RANKED, ranked(score="4"), "field 'responses.1.score': input should be a valid number"),
        (RANKED, ranked(verdict=""), "field 'responses.1.verdict': is empty"),
        (RANKED, ranked(verdict="\ud800"), "field 'responses.1.verdict': holds a lone surrogate"),
        (RANKED, ranked(verdit="x"), "unknown field 'responses.1.verdit'"),
        (CHAT, {"messages": None}, "field 'messages': input should be a valid list (got None)"),
        (CHAT, {"messages": ["hi"]}, "field 'messages.0': input should be"),
        (CHAT, {"messages": [{"role": "user"}]}, "field 'messages.0.content' is missing"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"text": "u"}]}]},
            "field 'messages.0.content': input should",
        ),
        (CHAT, {"messages": [{"role": 0, "content": "u"}]}, "field 'messages.0.role': input should be a valid string"),
        (PREFERENCE, without(PREFERENCE, "rejected"), "field 'rejected' is missing"),
        (PREFERENCE, without(PREFERENCE, "prompt"), "the row: field 'prompt' is missing; add it, or give chosen and"),
        (PREFERENCE, {"chosen": [], "rejected": []}, "the row: field 'prompt' is missing"),
        (PREFERENCE, {**PREFERENCE, "chosen": 3}, "field 'chosen': input should be a valid list (got 3)"),
        (INSTRUCTION, without(INSTRUCTION, "output"), "the row: field 'output' is missing; add it, or instances"),
        (INSTRUCTION, {"instruction": "i", "instances": []}, "the row: field 'output' is missing"),
        (INSTRUCTION, {"instruction": "i", "instances": [{}]}, "field 'instances.0.output' is missing"),
        (MESSAGE, without(MESSAGE, "message_tree_id"), "field 'message_tree_id' is missing"),
        (MESSAGE, {**MESSAGE, "role": "user"}, "field 'role': input should be 'prompter' or 'assistant' (got 'user')"),
        (MESSAGE, {**MESSAGE, "parent_id": 3}, "field 'parent_id': input should be a valid string"),
        (TREE, without(TREE, "prompt"), "field 'prompt' is missing"),
        (TREE, {**TREE, "prompt": "Why?"}, "field 'prompt': input should be"),
        (TREE, below(rank=2.0), "field 'prompt.replies.0.rank': input should be a valid integer (got 2.0)"),
        (TREE, below(text=None), "field 'prompt.replies.0.text': input should be a valid string (got None)"),
        (TREE, below(message_id="\ud800"), "field 'prompt.replies.0.message_id': holds a lone surrogate"),
        (TREE, below(replies={}), "field 'prompt.replies.0.replies': input should be a valid list"),
        (RANKED, CHAT, "this row is of the kind 'chat', that of seed.jsonl:1 of the kind 'ranked set'; give a source"),
        (MESSAGE, TREE, "this row is of the kind 'Open Assistant tree', that of seed.jsonl:1 of the kind 'Open"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(read, good, bad, message):
    with pytest.raises(RowError) as error:
        read(good, b"", bad)
    assert str(error.value).startswith(f"seed.jsonl:3: {message}")


def test_every_fault_of_a_row_is_told(read):
    with pytest.raises(RowError, match=r"'prompt' is missing; add it; unknown field 'replies'"):
        read({"responses": [REPLY], "replies": []})


@pytest.mark.parametrize("row", [{}, {"prompt": "p", "\ud800": 1}, {"text": "t"}, {"message_tree_id": "t"}])
def test_a_first_row_of_no_known_kind_lists_its_fields_and_the_kinds(read, row):
    with pytest.raises(RowError, match=r"seed.jsonl:2: is no known kind of row; its fields: ") as error:
        read(b" ", row)
    assert (", ".join(map(repr, row)) or "none") + "; known: Open Assistant tree (" in str(error.value)
    assert all(kind in str(error.value) for kind in ("preference (chosen, rejected, …)", "chat (messages, …)"))


@pytest.mark.parametrize("name", ["a", "seed/000001"])
def test_a_doubled_id_names_both_lines(read, name):
    with pytest.raises(RowError, match=rf"seed.jsonl:2: id '{name}' stands in seed.jsonl:1 too; rename one"):
        read({**RANKED, "id": name}, {**RANKED, "id": "a"} if name == "a" else RANKED)


@pytest.mark.parametrize("lines", [[], [b"", b"  \n"], [b"\xef\xbb\xbf"]])
def test_a_source_without_rows_is_refused(read, lines):
    with pytest.raises(RowError, match=r"seed.jsonl: holds no rows; write one JSON object a line"):
        read(*lines)
