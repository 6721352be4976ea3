"""A file that is one JSON object with all rows: it is taken apart where it can be nothing else, and otherwise a row."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.seed.readers import Reading, read_seed
from selfreward_ray.store.user_files import RowError, read_user_rows

ROWS = [{"prompt": f"q{n}", "reply": f"a{n}"} for n in range(12)]


def read(path: Path, value: Any, split: str | None = "train", field: str = "seed_data.source") -> list[dict[str, Any]]:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return [row.fields for row in read_user_rows(str(path), split, field)]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "value",
    [
        {"data": ROWS},
        {"version": "1.0", "info": {"by": "us"}, "rows": ROWS},
        {"train": ROWS},
        {"training_set": ROWS, "test_set": ROWS[:1], "description": "d"},
        {name: [row[name] for row in ROWS] for name in ("prompt", "reply")},
        *(json.loads(pd.DataFrame(ROWS).to_json(orient=form)) for form in ("columns", "index", "split", "table")),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_within_one_object_are_read(tmp_path: Path, value: Any, indent: int | None, name: str):
    found = read(tmp_path / name, json.dumps(value, indent=indent))
    assert [{key: row[key] for key in ("prompt", "reply")} for row in found] == ROWS


def test_rows_within_an_object_are_numbered(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps({"data": ROWS}))
    found = list(read_user_rows(f"{tmp_path}/a.json", "train", "seed_data.source"))
    assert found[1].where == f"{tmp_path}/a.json: row 2"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
        {"chosen": [{"role": "user"}, {"role": "assistant"}], "rejected": [{"role": "user"}, {"role": "assistant"}]},
        {"chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}},
        {"prompt": "q", "responses": [{"text": "a", "rank": 0}, {"text": "b", "rank": 1}]},
        {"messages": [{"role": "user"}, {"role": "assistant"}], "tags": ["a", "b"]},
        {"data": [{"a": 1}, {"a": 2}], "prompt": "q"},
        {"prompt": ["q"], "chosen": ["a"], "rejected": ["b"]},
        {"turns": ["q", "r"], "question_id": 81},
        {"turns": ["q", "r"]},
        {"data": ["a", "b"]},
        {"train": "a"},
        {},
    ],
)
def test_an_object_that_may_be_a_row_is_one(tmp_path: Path, row: dict[str, Any]):
    assert read(tmp_path / "a.json", row) == [row]


def test_objects_of_several_rows_are_not_taken_apart(tmp_path: Path):
    lines = "".join(json.dumps({"data": ROWS}) + "\n" for _ in range(2))
    assert read(tmp_path / "a.jsonl", lines) == [{"data": ROWS}] * 2


def test_of_an_object_with_splits_the_one_is_read_that_is_asked_for(tmp_path: Path):
    value = {"train": ROWS[:8], "dev": ROWS[8:]}
    assert read(tmp_path / "a.json", value) == ROWS[:8]
    assert read(tmp_path / "a.json", value, "validation") == read(tmp_path / "a.json", value, "en/dev") == ROWS[8:]
    with pytest.raises(
        RowError, match=r"a.json: is a JSON object with no split 'test'; it has train, dev; set prompts.s"
    ):
        read(tmp_path / "a.json", value, "test", "prompts.source")
    with pytest.raises(
        RowError, match=r"a.json: is a JSON object with several splits; it has train, dev; name the file"
    ):
        read(tmp_path / "a.json", value, None, "--prompts")
    assert read(tmp_path / "a.json", {"test": ROWS}, None, "--prompts") == ROWS
    with pytest.raises(RowError, match=r"no split 'train'; it has test"):
        read(tmp_path / "a.json", {"test": ROWS})


@pytest.mark.parametrize(
    "row",
    [
        {"contents": [{"role": "user", "parts": [{"text": "p"}]}, {"role": "model", "parts": [{"text": "c"}]}]},
        {"inputs": {"question": "p"}, "outputs": {"answer": "c"}},
    ],
)
def test_an_object_of_one_row_is_not_said_to_hold_several(tmp_path: Path, row: Any):
    (tmp_path / "a.json").write_text(json.dumps(row))
    wanted = SeedData(source=f"{tmp_path}/a.json")
    with pytest.raises(RowError, match=r"a.json:1: has no known format; its fields: "):
        list(read_seed(wanted, Reading(wanted)))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"dialogs": ROWS, "by": "us"}, '."dialogs"[]'),
        ({"data": {"train": ROWS}}, '."data"."train"[]'),
        ({f"q{n}": row for n, row in enumerate(ROWS)}, ".[]"),
        ({"by id": {f"q{n}": row for n, row in enumerate(ROWS)}}, '."by id"[]'),
    ],
)
def test_another_object_with_rows_is_said_to_be_one_and_how_to_take_it_apart(tmp_path: Path, value: Any, path: str):
    (tmp_path / "a.json").write_text(json.dumps(value))
    wanted = SeedData(source=f"{tmp_path}/a.json")
    with pytest.raises(RowError) as error:
        list(read_seed(wanted, Reading(wanted)))
    assert f"a.json:1: is one JSON object that holds several; write these one a line: jq -c '{path}' F" in str(
        error.value
    )
