import dataclasses
import inspect

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selfreward_ray import records
from selfreward_ray.errors import UserError
from selfreward_ray.records import Candidate, JudgedPrompt, Pair, RankedReply, RankedSet, SftExample, Turn, Verdict
from selfreward_ray.store.arrow import arrow_schema, from_rows, from_table, to_table

RECORDS = [kind for _, kind in inspect.getmembers(records, dataclasses.is_dataclass)]
st.register_type_strategy(str, st.text(st.characters(exclude_categories=["Cs"])))  # Arrow's strings are UTF-8
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False))


@pytest.mark.parametrize("record", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_records_come_back_equal_from_a_table_of_one_schema(record: type, data: st.DataObject):
    rows = data.draw(st.lists(st.from_type(record), max_size=3))
    table = to_table(rows, record)
    assert table.schema == arrow_schema(record)
    assert from_table(table, record) == rows


JUDGED = Candidate("r0", "yes", (1, 2), True, (Verdict("r0/v0", "?", None, 3),), 4.5, 0.25)
UNJUDGED = Candidate("r1", "", (), False)


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (RankedSet, RankedSet("s", "p", ())),
        (RankedSet, RankedSet("s", "p", (RankedReply("r", "t", 0), RankedReply("q", "u", 1, 4.0, "Score: 4")))),
        (JudgedPrompt, JudgedPrompt("p", "t", (), (JUDGED, UNJUDGED))),
        (Pair, Pair("p", "t", (1,), JUDGED, UNJUDGED)),
    ],
)
def test_none_and_empty_lists_survive(record: type, row: object):
    [back] = from_table(to_table([row], record), record)
    assert back == row


def test_an_empty_table_and_one_of_nones_have_the_schema_of_a_full_one():
    nones = to_table([RankedReply("r", "t", 0)], RankedReply)
    full = to_table([RankedReply("r", "t", 0, 4.0, "v")], RankedReply)
    assert nones.schema == to_table([], RankedReply).schema == full.schema
    assert full.schema.field("score").type == pa.float64()
    assert pa.concat_tables([nones, full]).num_rows == 2


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="score"):
        from_rows([{"id": "v", "text": "", "score": "four", "attempts": 1}], Verdict)


def test_rows_of_another_version_are_said_with_their_place_and_the_field():
    table = to_table([Candidate("r0", "yes", (1,), True)], Candidate).drop_columns(["finished"])
    with pytest.raises(
        UserError, match=r"^M1/x.parquet: its rows are no Candidate rows of this version \(finished: Field"
    ):
        from_table(table, Candidate, "M1/x.parquet")


def test_a_field_that_arrow_can_not_hold_is_named():
    @dataclasses.dataclass(frozen=True)
    class Odd:
        things: dict[str, str]

    with pytest.raises(TypeError, match=r"dict\[str, str\]"):
        arrow_schema(Odd)


def test_rows_from_before_there_were_tools_are_read():
    """Their messages have a role and a text, and they have no column for tools."""
    turn = pa.struct([("role", pa.string()), ("text", pa.string())])
    fields = [field for field in arrow_schema(SftExample) if field.name not in ("history", "tool_use")]
    row = {"id": "a", "kind": "ift", "prompt": "Why?", "target": "So.", "thought": ""}
    history = [{"role": "system", "text": "Be brief."}]
    schema = pa.schema([*fields, pa.field("history", pa.list_(turn))])
    table = pa.Table.from_pylist([{**row, "history": history}], schema=schema)
    assert from_table(table, SftExample) == [SftExample("a", "ift", "Why?", "So.", (Turn("system", "Be brief."),))]
