import json
import re
from typing import Any, get_args

import pytest

from selfreward_ray.recipe.seed_data import FormatName, SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers import FORMATS, Reading, read_seed
from selfreward_ray.store.user_files import RowError, read_some_rows

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
    ("bad", "reason", "more"),
    [
        (b"{'prompt': 1}", "is not JSON", " (Expecting property name enclosed in double quotes, column 2); write"),
        (b'{"prompt": "half', "is the last line, and cut off", " (Unterminated string"),
        (b'{"prompt": ', "is the last line, and cut off", " (Expecting value, column 12); fetch the file again"),
        (b'{"prompt": "half\n', "is not JSON", " (Unterminated string"),
        (b"[]", "is a JSON array", "; write one JSON object a line (jq"),
        (b"[\n", "is not JSON", " (Expecting value, column 2); write one JSON object a line"),
        (b'"Why?"', "is a JSON string", "; write one JSON object a line"),
        (b"null", "is a JSON null", "; write"),
        (b"NaN", "is a JSON number", "; write"),
        (b"true", "is a JSON boolean", "; write"),
        (b'{"a": ' + b"[" * 100_000, "is nested too deeply", "; write flat messages"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON", " (a number too long); write"),
        (json.dumps(RANKED).replace("Why", "Qué").encode("latin-1"), "is not UTF-8 text", " (byte 0xe9 at place"),
        (json.dumps(RANKED).encode("utf-16"), "is not UTF-8 text", " (byte 0xff at place 1); save the file as UTF"),
        (json.dumps(RANKED).encode("utf-16-le"), "is not JSON", " (Expecting property name"),
    ],
)
@pytest.mark.parametrize("good", [RANKED, MESSAGE, TREE])
def test_a_line_that_is_no_row_is_a_bad_row(read, good, bad, reason, more):
    """In every kind of format, also where it is the first line; ``stop`` shows where in the line the fault is."""
    assert Dropped("seed.jsonl:3", "seed", reason) in read(good, b"", bad)
    with pytest.raises(RowError, match=r"^seed.jsonl:3: " + re.escape(reason + more)):
        read(good, b"", bad, bad_rows="stop")
    with pytest.raises(RowError, match=rf"1 of 2 rows cannot be used, .* 1 × {reason} \(first: seed.jsonl:3\)"):
        read(good, b"", bad, bad_share=0.4)


def test_lines_that_are_no_rows_do_not_hide_the_format(read):
    *dropped, kept = read(*[b'{"half": "\n'] * 99, RANKED)
    assert [item.id for item in dropped] == [f"seed.jsonl:{n}" for n in range(1, 198, 2)]
    assert kept.prompt == "Why?"
    with pytest.raises(RowError, match=r"^seed.jsonl:1: is not JSON \(Expecting value, column 1\); write one JSON"):
        read(*[b"Why?"] * 200)


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (RANKED, CHAT, "this row is of the format 'chat', the source (seed.jsonl:1) of the format 'ranked'; give a"),
        (MESSAGE, TREE, "this row is of the format 'oasst-tree', the source (seed.jsonl:1) of the format 'oasst-mess"),
    ],
)
def test_a_row_of_another_format_is_an_error_that_names_its_line(read, good, bad, message):
    with pytest.raises(RowError) as error:
        read(good, b"", bad)
    assert str(error.value).startswith(f"seed.jsonl:3: {message}")


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (RANKED, without(RANKED, "responses"), "field 'responses' is missing"),
        (RANKED, without(RANKED, "prompt"), "field 'prompt' is missing"),
        (RANKED, {**RANKED, "prompt": None}, "field 'prompt' is null"),
        (RANKED, {**RANKED, "prompt": 7}, "field 'prompt' is not a list of messages"),
        (RANKED, {**RANKED, "responses": REPLY}, "field 'responses' is not a list"),
        (RANKED, {**RANKED, "responses": [["So."]]}, "field 'responses' is not a list of objects or texts"),
        (RANKED, {**RANKED, "responses": []}, "field 'responses' is empty"),
        (RANKED, {**RANKED, "responses": ["a", "b"], "ranks": [1]}, "field 'ranks' is not as long as the list of resp"),
        (RANKED, ranked(text=None), "field 'responses.text' is null"),
        (RANKED, ranked(rank="first"), "field 'responses.rank' is not a number"),
        (RANKED, ranked(rank=0.5), "field 'responses.rank' is not a whole number from 0 on"),
        (RANKED, ranked(rank=True), "field 'responses.rank' is not a number"),
        (RANKED, ranked(rank=-1), "field 'responses.rank' is not a whole number from 0 on"),
        (RANKED, ranked(rank=10**400), "field 'responses.rank' is not a number"),
        (RANKED, ranked(rank=float("nan")), "field 'responses.rank' is not a finite number"),
        (RANKED, ranked(score=float("inf")), "field 'responses.score' is not a finite number"),
        (RANKED, ranked(verdict=7), "field 'responses.verdict' is not a text"),
        (CHAT, {"messages": None}, "field 'messages' is null"),
        (CHAT, {"messages": [7]}, "field 'messages' is not a list of messages"),
        (CHAT, {"messages": [{"role": "user"}]}, "a message has no role and text"),
        (CHAT, {"messages": [{"content": "hi"}]}, "a message has no role and text"),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, "field 'messages.content' is null"),
        (CHAT, {"messages": [{"role": "user", "content": {"text": "u"}}]}, "field 'messages.content' is not a text"),
        (CHAT, {"messages": [{"role": 0, "content": "u"}]}, "field 'messages.role' is not a text"),
        (CHAT, {"messages": [{"role": "narrator", "content": "u"}]}, "a message has the unknown role 'narrator'"),
        (PREFERENCE, without(PREFERENCE, "rejected"), "field 'rejected' is missing"),
        (PREFERENCE, {**PREFERENCE, "rejected": None}, "field 'rejected' is null"),
        (PREFERENCE, without(PREFERENCE, "prompt"), "it has no prompt: chosen and rejected are no whole conversations"),
        (PREFERENCE, {**PREFERENCE, "chosen": 3}, "field 'chosen' is not a text"),
        (PREFERENCE, {**PREFERENCE, "score_chosen": "high"}, "field 'score_chosen' is not a number"),
        (INSTRUCTION, without(INSTRUCTION, "output"), "field 'output' is missing"),
        (INSTRUCTION, {"instruction": "i", "instances": [{}]}, "field 'output' is missing"),
        (INSTRUCTION, {**INSTRUCTION, "output": None}, "field 'output' is null"),
        (MESSAGE, without(MESSAGE, "message_tree_id"), "field 'message_tree_id' is missing"),
        (MESSAGE, {**MESSAGE, "role": "narrator"}, "a message has the unknown role 'narrator'"),
        (MESSAGE, {**MESSAGE, "parent_id": 3}, "field 'parent_id' is not a text"),
        (TREE, without(TREE, "prompt"), "field 'prompt' is not a message with its replies"),
        (TREE, {**TREE, "prompt": "Why?"}, "field 'prompt' is not a message with its replies"),
        (TREE, below(rank=2.5), "field 'rank' is not a whole number from 0 on"),
        (TREE, below(text=None), "field 'text' is null"),
        (TREE, below(message_id="\ud800"), "field 'message_id' is no id"),
        (TREE, below(replies="n"), "field 'replies' is not a list"),
    ],
)
def test_a_bad_row_is_dropped_with_its_line(read, good, bad, reason):
    found = [item for item in read(good, b"", bad) if isinstance(item, Dropped) and item.id == "seed.jsonl:3"]
    assert [item.step for item in found] == ["seed"]
    assert found[0].reason.startswith(reason)


def test_a_bad_row_ends_the_reading_where_the_recipe_says_so(read):
    with pytest.raises(RowError, match=r"^seed.jsonl:2: field 'rejected' is null; correct the row, or .*bad_rows=drop"):
        read(PREFERENCE, {**PREFERENCE, "rejected": None}, bad_rows="stop")


def test_too_many_bad_rows_end_the_reading_with_the_most_common_reasons(read):
    """One of ten is not too many at a tenth, two of ten are."""
    good = [{**PREFERENCE, "prompt": f"p{i}"} for i in range(8)]
    null, missing = {**PREFERENCE, "rejected": None}, without(PREFERENCE, "chosen")
    assert len(read(*good, good[0], null, bad_share=0.1)) == 9
    with pytest.raises(RowError) as error:
        read(*good, null, null, missing, bad_share=0.1)
    assert str(error.value).startswith(
        "seed_data.source: 3 of 11 rows cannot be used, more than seed_data.bad_share=0.1 allows: 2 × field 'rejected' "
        "is null (first: seed.jsonl:9); 1 × field 'chosen' is missing (first: seed.jsonl:11); correct them, "
    )
    assert len(read(*good, null, null, missing, bad_share=0.3)) == 11


def test_the_three_most_common_reasons_are_shown_the_most_common_one_first(read):
    rows = [
        *[without(PREFERENCE, "chosen")] * 2,
        *[{**PREFERENCE, "rejected": None}] * 4,
        *[{**PREFERENCE, "chosen": 7}] * 3,
        without(PREFERENCE, "rejected"),
    ]
    with pytest.raises(RowError) as error:
        read(PREFERENCE, *rows, bad_share=0.1)
    assert (
        "allows: 4 × field 'rejected' is null (first: seed.jsonl:4); 3 × field 'chosen' is not a text (first: "
        "seed.jsonl:8); 2 × field 'chosen' is missing (first: seed.jsonl:2); correct them, "
    ) in str(error.value)


@pytest.mark.parametrize(
    ("good", "bad"), [(TREE, {**TREE, "prompt": "Why?"}), (MESSAGE, {**MESSAGE, "role": "narrator"})]
)
def test_too_many_bad_trees_or_messages_end_the_reading_too(read, good, bad):
    with pytest.raises(RowError, match=r"^seed_data.source: 1 of 2 rows cannot be used"):
        read(good, bad, bad_share=0.1)


def test_sound_rows_that_are_left_out_are_not_bad(read):
    """Rows with tools, another language, or no replies that differ do not stop a reading."""
    tools = {"messages": [*CHAT["messages"], {"role": "tool", "content": "42"}]}
    german = {**CHAT, "language": "German"}
    *dropped, kept = read(tools, german, {**german, "language": "de-AT"}, {**CHAT, "lang": "en"}, bad_share=0)
    assert [item.reason for item in dropped] == ["a tool's result follows no call that is read"] + [
        "it is in another language"
    ] * 2
    assert isinstance(kept, RankedSet)


@pytest.mark.parametrize("row", [{}, {"prompt": "p", "\ud800": 1}, {"words": "t"}, {"message_tree_id": "t"}])
def test_a_source_without_a_row_of_a_known_format_lists_its_fields_and_the_formats(read, row):
    with pytest.raises(RowError, match=r"seed.jsonl:2: has no known format; its fields: ") as error:
        read(b" ", row)
    assert (", ".join(map(repr, row)) or "none") + "; seed_data.columns=" in str(error.value)
    assert all(f"{form.name} ({', '.join(form.told_by)}, …)" in str(error.value) for form in FORMATS)


def test_a_bad_first_row_does_not_hide_the_format(read):
    dropped, kept = read({"words": "t"}, PREFERENCE)
    assert dropped == Dropped("seed.jsonl:1", "seed", "field 'chosen' is missing")
    assert kept.prompt == "p"


def test_a_row_that_lacks_a_column_is_a_bad_one_though_another_format_has_the_rest(read):
    liked = {"prompt": "p", "completion": "c", "label": True}
    dropped, kept = read(liked, without(liked, "label"))
    assert dropped == Dropped("seed.jsonl:2", "seed", "its label is neither true nor false")
    assert kept.prompt == "p"


def test_a_null_column_does_not_tell_a_format(read):
    """As in a table that holds rows of several data sets."""
    (found,) = read({"messages": None, "chosen": None, "rejected": None, "instruction": "i", "output": "o"})
    assert found.prompt == "i"


def test_the_formats_of_the_recipe_are_those_that_are_read():
    assert get_args(FormatName) == tuple(form.name for form in FORMATS)


def test_a_format_may_be_named(read):
    """Then the columns decide no more: a row with messages and an instruction is an instruction."""
    row = {**CHAT, **INSTRUCTION}
    assert read(row)[0].prompt == "u"
    reading = Reading(SeedData())
    assert read(row, format="instruction", reading=reading)[0].prompt == "i"
    assert "not used by the format 'instruction': 'messages'" in reading.notes()[0]
    with pytest.raises(
        RowError, match=r"seed.jsonl:1: is no row of seed_data.format=sharegpt, which has the fields conv"
    ):
        read(row, format="sharegpt")


@pytest.mark.parametrize("name", ["a", "seed/000001"])
def test_the_second_of_two_rows_with_one_id_is_a_bad_row(read, name):
    rows = {**RANKED, "id": name}, {**RANKED, "id": "a"} if name == "a" else RANKED
    reason = "an earlier row has the same id (seed_data.ignore=[id] calls rows by their places)"
    kept, dropped = read(*rows)
    assert (kept.id, dropped) == (name, Dropped("seed.jsonl:2", "seed", reason))
    assert [item.id for item in read(*rows, ignore=["id"])] == ["seed/000000", "seed/000001"]
    with pytest.raises(RowError, match=rf"^seed.jsonl:2: an earlier .*: '{name}' in seed.jsonl:1; correct the row, or"):
        read(*rows, bad_rows="stop")
    with pytest.raises(RowError, match=r"1 of 2 rows cannot be used, .* \(seed_data.ignore=\[id\] calls rows"):
        read(*rows, bad_share=0.4)


@pytest.mark.parametrize("given", [" ", "\ud800", 1.5, True, None, ["a"]])
def test_what_is_no_id_names_nothing(read, given):
    (found,) = read({**RANKED, "id": given})
    assert found.id == "seed/000000"


def test_reading_may_stop_after_some_rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({**PREFERENCE, "prompt": str(i)}) + "\n" for i in range(5)))
    assert len(list(read_seed(SeedData(source=str(file)), most=3))) == 3


@pytest.mark.parametrize("lines", [[], [b"", b"  \n"], [b"\xef\xbb\xbf"]])
def test_a_source_without_rows_is_refused(read, lines):
    with pytest.raises(RowError, match=r"seed.jsonl: holds no rows; write one JSON object a line$"):
        read(*lines)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("seed.csv", "write a line with the names of the columns, and below it one line for each row"),
        ("seed.tsv", "write a line with the names of the columns"),
        ("seed.ndjson", "write one JSON object a line"),
    ],
)
def test_how_rows_are_written_depends_on_the_file(tmp_path, name, remedy):
    (tmp_path / name).write_text("")
    with pytest.raises(RowError, match=f"{name}: holds no rows; {remedy}"):
        list(read_seed(SeedData(source=str(tmp_path / name))))
    with pytest.raises(RowError, match=f"--replies: .*{name} holds no rows; {remedy}"):
        list(read_some_rows(str(tmp_path / name), None, "--replies"))


def test_prompts_without_replies_are_sent_where_they_belong(read):
    with pytest.raises(RowError, match=r"; prompts without replies are for prompts.source; known: "):
        read({"system": "s", "prompt": "p"})
