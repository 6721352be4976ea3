"""Existing scores, as strangers write them."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfreward_ray.evaluation import scores_file
from selfreward_ray.evaluation.agreement import Judgement
from selfreward_ray.evaluation.scores_file import agreement_of_scores, read_scores
from selfreward_ray.store.user_files import RowError

ROWS = [
    {"set_id": "a", "reply": "Yes.", "rank": 1, "score": 4.0},
    {"set_id": "a", "reply": "No.", "rank": 2, "score": 2.5},
    {"set_id": "b", "reply": "Yes.", "rank": 1, "score": None},
    {"set_id": "b", "reply": "No.", "rank": 2, "score": 5.0},
]
JUDGED = [Judgement("a", 1, 4), Judgement("a", 2, 2.5), Judgement("b", 1, None), Judgement("b", 2, 5)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def as_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(buffer.getvalue())
    return str(path)


def parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("s.jsonl", jsonl), ("s.json", jsonl), ("s.csv", as_csv), ("s.parquet", parquet)],
    ids=["jsonl", "json", "csv", "parquet"],
)
def test_each_format_gives_the_same_scores(tmp_path: Path, name: str, write: Any):
    found = read_scores(write(tmp_path / name, ROWS))
    assert found.judged == JUDGED
    assert (found.set_field, found.unranked, found.largest) == ("set_id", 0, 5)


def one(tmp_path: Path, **fields: Any) -> Judgement:
    """What a row reads as whose fields replace those of a good one; None as a name removes a field."""
    row = {"set_id": "a", "reply": "Yes.", "rank": 0, "score": 4} | fields
    return read_scores(jsonl(tmp_path / "s.jsonl", [row])).judged[0]


@pytest.mark.parametrize("value", [None, "", " ", "nan", "NaN", float("nan"), "N/A", "null", "None"])
def test_a_score_that_is_none_is_an_unreadable_verdict(tmp_path: Path, value: Any):
    assert one(tmp_path, score=value).score is None


@pytest.mark.parametrize(("value", "score"), [("4", 4), (" 4.50 ", 4.5), (4, 4), ("1e1", 10), (-2, -2), ("0", 0)])
def test_numbers_may_be_texts(tmp_path: Path, value: Any, score: float):
    assert one(tmp_path, score=value).score == score
    assert one(tmp_path, rank=value).rank == score


@pytest.mark.parametrize("value", ["4/5", "good", "4,5", True, [4], float("inf"), "-inf", "1e999", 10**400])
@pytest.mark.parametrize("field", ["score", "rank"])
def test_what_is_no_number_is_named_with_its_line(tmp_path: Path, field: str, value: Any):
    with pytest.raises(RowError, match=rf"s.jsonl:1: field '{field}': must be a (finite )?number, or null for none"):
        one(tmp_path, **{field: value})


def test_decimals_of_parquet_are_numbers(tmp_path: Path):
    rows = [{"set_id": 7, "rank": Decimal("1.00"), "score": Decimal("3.25")}]
    assert read_scores(parquet(tmp_path / "s.parquet", rows)).judged == [Judgement("7", 1, 3.25)]


def test_ids_may_be_numbers_and_7_is_the_text_7(tmp_path: Path):
    rows = [{"set_id": given, "rank": n, "score": n} for n, given in enumerate((7, 7.0, "7", 8))]
    assert [reply.set_id for reply in read_scores(jsonl(tmp_path / "s.jsonl", rows)).judged] == ["7", "7", "7", "8"]


@pytest.mark.parametrize("value", [None, "", "  ", True, ["a"], 7.5])
def test_a_set_without_a_name_is_refused(tmp_path: Path, value: Any):
    with pytest.raises(RowError, match=r"s.jsonl:1: field 'set_id': (is empty; name the prompt|must be a text or a)"):
        one(tmp_path, set_id=value)


def test_a_human_score_is_better_the_higher_it_is(tmp_path: Path):
    """A Likert scale of 1 to 5, whose values are ties if they are equal."""
    rows = [{"prompt": "Why?", "human_score": human, "judge_score": human + 1} for human in (1, 5, 5, 3)]
    found = read_scores(jsonl(tmp_path / "s.jsonl", rows))
    assert [reply.human_score for reply in found.judged] == [1, 5, 5, 3]
    best, figures = agreement_of_scores(found, None)
    assert best == 6
    assert (figures.pairwise_accuracy, figures.five_best, figures.exact_match) == (1, 1, 1)
    assert (figures.spearman, figures.pooled_spearman) == pytest.approx((1, 1))


def test_a_rank_is_used_before_a_human_score(tmp_path: Path):
    assert one(tmp_path, rating=9).rank == 0


@pytest.mark.parametrize(
    ("names", "set_field"),
    [
        (("prompt_id", "human_rank", "model_score", "reply_id"), "prompt_id"),
        (("question", "rank", "judge_score", "response"), "question"),
        (("instruction", "rank", "score", "output"), "instruction"),
    ],
)
def test_other_names_of_the_fields(tmp_path: Path, names: tuple[str, ...], set_field: str):
    rows = [dict(zip(names, values, strict=True)) for values in (("a", 0, 5, "x"), ("a", 1, 4, "y"))]
    found = read_scores(jsonl(tmp_path / "s.jsonl", rows))
    assert (found.set_field, found.judged) == (set_field, [Judgement("a", 0, 5), Judgement("a", 1, 4)])


def test_an_id_is_used_before_the_prompt(tmp_path: Path):
    assert one(tmp_path, prompt="Why?").set_id == "a"


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("set_id", "no field with the set; name one of its fields ('reply', 'rank', 'score') set_id or prompt_id or"),
        ("rank", "no field with the human rank or score; name one of its fields ('set_id', 'reply', 'score') rank or"),
        ("score", "no field with the judge's score; name one of its fields ('set_id', 'reply', 'rank') score or model"),
    ],
)
def test_a_missing_field_is_named_with_those_that_are_there(tmp_path: Path, remove: str, message: str):
    row = {name: value for name, value in ROWS[0].items() if name != remove}
    with pytest.raises(RowError) as refused:
        read_scores(jsonl(tmp_path / "s.jsonl", [row]))
    assert f"s.jsonl:1: {message}" in str(refused.value)


def test_two_names_of_the_same_are_refused(tmp_path: Path):
    with pytest.raises(RowError, match="fields 'score' and 'model_score' mean the same; rename or remove one"):
        one(tmp_path, model_score=3)


def test_the_first_row_decides_and_later_ones_must_have_its_fields(tmp_path: Path):
    rows = [*ROWS, {"set_id": "c", "reply": "x", "human_rank": 1, "score": 3}]
    with pytest.raises(RowError, match="s.jsonl:5: field 'rank' is missing; add it, with null where it has no value"):
        read_scores(jsonl(tmp_path / "s.jsonl", rows))


def test_replies_that_nobody_ranked_are_left_out_and_counted(tmp_path: Path):
    rows = [*ROWS, {"set_id": "a", "reply": "Perhaps.", "rank": None, "score": 9}]
    found = read_scores(jsonl(tmp_path / "s.jsonl", rows))
    assert (found.judged, found.unranked, found.largest) == (JUDGED, 1, 5)


@pytest.mark.parametrize("field", ["reply", "reply_id"])
def test_the_same_reply_twice_in_a_set_is_refused(tmp_path: Path, field: str):
    rows = [{"set_id": name, field: "same", "rank": 0, "score": 1} for name in ("a", "b", "a")]
    with pytest.raises(RowError, match=f"s.jsonl:3: an earlier row of the set 'a' has the same {field}; give each"):
        read_scores(jsonl(tmp_path / "s.jsonl", rows))


def test_equal_texts_are_told_apart_by_a_reply_id_and_rows_without_either_are_replies(tmp_path: Path):
    rows = [{"set_id": "a", "reply_id": n, "reply": "same", "rank": n, "score": 1} for n in range(2)]
    assert len(read_scores(jsonl(tmp_path / "s.jsonl", rows)).judged) == 2
    rows = [{"set_id": "a", "rank": n, "score": 1} for n in range(2)]
    assert len(read_scores(jsonl(tmp_path / "s.jsonl", rows)).judged) == 2


def test_a_set_of_too_many_replies_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As if every row were of one set: 10^6 rows have 5·10^11 pairs."""
    monkeypatch.setattr(scores_file, "MAX_REPLIES", 3)
    rows = [{"set_id": "all", "rank": n, "score": 1} for n in range(4)]
    assert len(read_scores(jsonl(tmp_path / "s.jsonl", rows[:3])).judged) == 3
    with pytest.raises(RowError, match="s.jsonl:4: the set 'all' has more than 3 replies; field 'set_id' must name"):
        read_scores(jsonl(tmp_path / "s.jsonl", rows))


def test_the_best_score_is_the_largest_or_what_is_given(tmp_path: Path):
    """Of two 5s one has the best rank of its set, of one 4 of 4 none is looked at."""
    rows = [{"set_id": s, "rank": r, "score": v} for s, r, v in (("a", 1, 5), ("a", 2, 3), ("b", 1, 4), ("b", 2, 5))]
    found = read_scores(jsonl(tmp_path / "s.jsonl", rows))
    assert [(best, figures.five_best) for best, figures in (agreement_of_scores(found, m) for m in (None, 5, 10))] == [
        (5, 0.5), (5, 0.5), (10, None),
    ]  # fmt: skip
    with pytest.raises(RowError, match="--max-score: a score of .*s.jsonl is 5, which is larger than 4"):
        agreement_of_scores(found, 4)


def test_scores_that_are_all_unreadable_are_all_wrong(tmp_path: Path):
    found = read_scores(jsonl(tmp_path / "s.jsonl", [row | {"score": None} for row in ROWS]))
    best, figures = agreement_of_scores(found, None)
    assert (best, found.largest) == (None, None)
    assert (figures.pairwise_accuracy, figures.five_best, figures.unreadable) == (0, None, 1)


@pytest.mark.parametrize("ranks", [(0, 0, 0), (0, 1, 2)])
def test_nothing_to_measure_is_refused_with_a_remedy(tmp_path: Path, ranks: tuple[int, ...]):
    """All ranks equal, or one reply in each set: then `set_id` was the row's own id."""
    sets = ("a", "a", "a") if len(set(ranks)) == 1 else ("a", "b", "c")
    rows = [{"set_id": name, "rank": rank, "score": 3} for name, rank in zip(sets, ranks, strict=True)]
    found = read_scores(jsonl(tmp_path / "s.jsonl", rows))
    with pytest.raises(RowError, match="no set has two replies with different human ranks, .* same set_id are a set"):
        agreement_of_scores(found, None)


def test_a_file_without_rows_is_refused(tmp_path: Path):
    with pytest.raises(RowError, match="--scores: .* holds no rows"):
        read_scores(jsonl(tmp_path / "s.jsonl", []))
