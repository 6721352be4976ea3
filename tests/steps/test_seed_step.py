import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe
from selfreward_ray.records import RankedSet, SftExample
from selfreward_ray.run_store import read_rows
from selfreward_ray.steps.seed import seed
from selfreward_ray.storage import Folder


def recipe(**sizes: Any) -> Recipe:
    return Recipe.model_validate({"model": "m0", "seed_data": sizes, "judge": {"rubric": "checklist"}})


def ranked(name: str, good: str = "Score: 5", bad: str = "Score: 1") -> dict[str, Any]:
    replies = [{"text": "Yes.", "rank": 0, "verdict": good}, {"text": "No.", "rank": 1, "verdict": bad}]
    return {"id": name, "prompt": f"Is {name} one?", "responses": replies}


def jsonl(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_the_demo_world_gives_the_rows_asked_for(tmp_path: Path):
    wanted = recipe(source="demo", ift=8, eft=10, held_out=5)
    manifest = seed(wanted, out=str(tmp_path / "a"))
    rows = read_rows(Folder(str(tmp_path / "a")), SftExample)
    held_out = read_rows(Folder(str(tmp_path / "a")), RankedSet, "held_out")
    assert manifest.rows == {"held_out": 5, "rows": len(rows)}
    assert manifest.metrics == {kind: sum(r.kind == kind for r in rows) for kind in ("ift", "eft")}
    assert manifest.metrics["ift"] == 8
    assert manifest.metrics["eft"] >= 10
    assert not {r.prompt for r in rows} & {s.prompt for s in held_out}
    seed(wanted, out=str(tmp_path / "b"))
    assert read_rows(Folder(str(tmp_path / "b")), SftExample) == rows


def test_a_file_is_divided_and_what_disagrees_is_dropped_with_its_reason(tmp_path: Path):
    """Ten sets: two are held out (a fifth), the rest give IFT and EFT; two rows have a broken verdict."""
    rows = [ranked(f"s{i}") for i in range(8)]
    rows += [ranked("wrong", good="Score: 1", bad="Score: 5"), ranked("dumb", good="Hm.")]
    source = jsonl(tmp_path / "sets.jsonl", rows)
    manifest = seed(recipe(source=source, ift=1, eft=99, held_out=2), out=str(tmp_path / "out"))
    out = Folder(str(tmp_path / "out"))
    held_out = {s.id for s in read_rows(out, RankedSet, "held_out")}
    examples = read_rows(out, SftExample)
    used = {e.id.split("/")[0] for e in examples}
    assert (len(held_out), manifest.metrics["ift"], held_out & used) == (2, 1, set())
    dropped = {"wrong", "dumb"} - held_out - {e.id.split("/")[0] for e in examples if e.kind == "ift"}
    assert sum(manifest.dropped.values()) == len(dropped)
    assert manifest.metrics["eft"] == 2 * (10 - 2 - 1 - len(dropped))


def test_lines_end_at_line_feeds_alone(tmp_path: Path):
    """U+2028 may stand in a JSON string as it is."""
    source = jsonl(tmp_path / "sets.jsonl", [ranked("one\u2028half"), ranked("two")])
    seed(recipe(source=source, ift=2, eft=0, held_out=0), out=str(tmp_path / "out"))
    prompts = {e.prompt for e in read_rows(Folder(str(tmp_path / "out")), SftExample)}
    assert prompts == {"Is one\u2028half one?", "Is two one?"}


def test_a_changed_file_is_noticed_and_an_unchanged_one_is_not_read_again(tmp_path: Path):
    rows = [ranked(f"s{i}") for i in range(6)]
    wanted = recipe(source=jsonl(tmp_path / "sets.jsonl", rows), ift=2, eft=2, held_out=1)
    first = seed(wanted, out=str(tmp_path / "out"))
    assert seed(wanted, out=str(tmp_path / "out")) == first
    jsonl(tmp_path / "sets.jsonl", [*rows, ranked("new")])
    with pytest.raises(UserError, match="made from another recipe or other inputs"):
        seed(wanted, out=str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"sets\.jsonl:2: is not JSON"),
        ({"prompt": "p"}, r"sets\.jsonl:2: field 'responses' is missing"),
        ({"prompt": "p", "responses": [{"text": "t", "rank": "first"}]}, r"sets\.jsonl:2: field 'responses.0.rank'"),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path: Path, row: Any, message: str):
    source = jsonl(tmp_path / "sets.jsonl", [ranked("s0"), row])
    with pytest.raises(UserError, match=message):
        seed(recipe(source=source), out=str(tmp_path / "out"))


def test_a_missing_file_names_the_recipe_field(tmp_path: Path):
    with pytest.raises(UserError, match=r"seed_data\.source: can not read"):
        seed(recipe(source=str(tmp_path / "no.jsonl")), out=str(tmp_path / "out"))


def test_a_source_that_gives_less_than_asked_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = jsonl(tmp_path / "few.jsonl", [ranked(f"s{i}") for i in range(10)])
    seed(recipe(source=source, ift=20, eft=4, held_out=2), out=str(tmp_path / "out"))
    assert "less than was asked for: 6 of 20 ift\n" in capsys.readouterr().err
