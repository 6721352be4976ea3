import json
import shutil
from pathlib import Path

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.records import Candidate, Dropped, Pair, Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.identity import input_fingerprint
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import (
    count_reasons,
    count_rows,
    file_rows,
    finished_ids,
    read_blocks,
    read_columns,
    read_rows,
    write_block,
    write_part,
)

PROMPTS = [Prompt("p0", "Name a sea."), Prompt("p1", "Name a lake."), Prompt("p2", "Name a bay.")]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def step(out: Path, part: dict[str, object] | None = None, **inputs: Path) -> Step:
    return Step("respond", str(out), part or {"n": 1}, {name: str(uri) for name, uri in inputs.items()})


def finished(out: Path, part: dict[str, object] | None = None, **inputs: Path) -> Step:
    made = step(out, part, **inputs)
    assert not made.is_done()
    made.write(PROMPTS, Prompt)
    made.finish(offered=3)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_text("one")
    return path


def test_a_fresh_step_is_not_done_and_a_finished_one_is(tmp_path: Path, source: Path):
    finished(tmp_path / "out", source=source)
    again = step(tmp_path / "out", source=source)
    assert again.is_done()
    assert read_rows(again.folder, Prompt) == PROMPTS
    assert again.manifest().rows == {"rows": 3}


@pytest.mark.parametrize(
    ("part", "named", "said"),
    [
        ({"dpo": {"beta": 0.2, "rates": [1, 2]}}, "source", r"inputs \(dpo\.beta: 0\.1 → 0\.2\); choose"),
        ({"dpo": {"beta": 0.1, "rates": [1, 2]}}, "other", r"inputs \(another source\); choose"),
        ({"dpo": {"beta": 0.1, "rates": [1]}}, "", r"inputs \(dpo\.rates: \[1, 2\] → \[1\]; no source\); choose"),
    ],
)
def test_a_rejected_step_names_what_differs(
    tmp_path: Path, source: Path, part: dict[str, object], named: str, said: str
):
    (tmp_path / "other").write_text("two")
    inputs = {"source": {"source": source}, "other": {"source": tmp_path / "other"}, "": {}}[named]
    finished(tmp_path / "out", {"dpo": {"beta": 0.1, "rates": (1, 2)}}, source=source)
    with pytest.raises(UserError, match=f"made from another recipe or other {said}"):
        step(tmp_path / "out", part, **inputs).is_done()


def test_a_step_of_an_earlier_version_is_rejected_without_naming_what_differs(tmp_path: Path):
    made = finished(tmp_path / "out")
    manifest = made.folder.read_json("manifest.json")
    del manifest["made_from"]
    made.folder.write_json("manifest.json", manifest)
    with pytest.raises(UserError, match="made from another recipe or other inputs; choose another folder"):
        step(tmp_path / "out", {"n": 2}).is_done()


@pytest.mark.parametrize("change", ["recipe", "input", "name"])
def test_another_recipe_or_input_is_refused_and_touches_nothing(tmp_path: Path, source: Path, change: str):
    out = tmp_path / "out"
    finished(out, {"n": 1}, source=source)
    before = tree(out)
    if change == "input":
        source.write_text("two")
    other = step(out, {"n": 2 if change == "recipe" else 1}, source=source)
    if change == "name":
        other = Step("pair", str(out), {"n": 1}, {"source": str(source)})
    with pytest.raises(UserError, match="holds a finished 'respond' step made from another recipe") as error:
        other.is_done()
    assert str(out) in str(error.value)
    assert tree(out) == before


def test_leftovers_of_another_step_are_removed_and_its_own_are_kept(tmp_path: Path):
    out = tmp_path / "out"
    begun = step(out, {"n": 1})
    begun.is_done()
    write_part(begun.folder, "rows", PROMPTS[:1], Prompt, "b0")
    same = step(out, {"n": 1})
    assert not same.is_done()
    assert finished_ids(same.folder) == {"p0"}
    other = step(out, {"n": 2})
    assert not other.is_done()
    assert finished_ids(other.folder) == set()
    assert not (out / "rows").exists()


def test_a_folder_that_no_step_wrote_is_refused_and_left_alone(tmp_path: Path):
    """`--out .` must not cost anybody their files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and no step"):
        step(tmp_path).is_done()
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}


def test_finished_ids_are_those_kept_and_those_dropped_by_any_part(tmp_path: Path):
    begun = step(tmp_path / "out")
    begun.is_done()
    write_part(begun.folder, "rows", PROMPTS[:1], Prompt, "b0")
    write_part(begun.folder, "rows", PROMPTS[1:2], Prompt, "b1")
    write_part(begun.folder, "dropped", [Dropped("p9", "respond", "why")], Dropped, "b1")
    assert finished_ids(begun.folder) == {"p0", "p1", "p9"}


def test_the_same_part_is_never_there_twice(tmp_path: Path):
    folder = Folder(str(tmp_path))
    write_part(folder, "rows", PROMPTS, Prompt, "b0")
    write_part(folder, "rows", PROMPTS[:2], Prompt, "b0")
    assert read_rows(folder, Prompt) == PROMPTS[:2]
    assert count_rows(folder / "rows") == 2
    assert count_rows(folder / "nothing") == 0


def test_finish_counts_rows_reasons_and_cost(tmp_path: Path):
    begun = step(tmp_path / "out")
    begun.is_done()
    begun.write(PROMPTS, Prompt)
    begun.write(PROMPTS[:1], Prompt, "held_out")
    begun.write([Dropped(f"d{i}", "respond", "short" if i else "long") for i in range(3)], Dropped, "dropped")
    manifest = begun.finish(offered=6, tokens=17, metrics={"mean": 0.5})
    assert manifest == read_manifest(begun.folder) == begun.manifest()
    assert (manifest.rows, manifest.dropped) == ({"held_out": 1, "rows": 3}, {"short": 2, "long": 1})
    assert (manifest.tokens, manifest.metrics) == (17, {"mean": 0.5})
    assert {"ray", "torch"} <= set(manifest.versions)


def test_reasons_are_counted_over_all_files(tmp_path: Path):
    folder = Folder(str(tmp_path))
    for part, reasons in {"b0": ["short", "long", "short"], "b1": [], "b2": ["short"]}.items():
        write_part(folder, "dropped", [Dropped(f"{part}-{i}", "pair", r) for i, r in enumerate(reasons)], Dropped, part)
    assert count_reasons(folder / "dropped") == {"short": 3, "long": 1}
    assert count_reasons(folder / "nothing") == {}


def test_a_retried_block_overwrites_what_its_first_attempt_flagged(tmp_path: Path):
    folder = Folder(str(tmp_path))
    flagged = [Dropped("p0/r0", "pair", "empty"), Dropped("p1/r3", "pair", "empty")]
    write_block(folder, ["p0", "p1"], PROMPTS, Prompt, [], flagged)
    write_block(folder, ["p2"], PROMPTS, Prompt, [])
    assert (read_rows(folder, Dropped, "flagged"), folder.folders()) == (flagged, ["blocks"])
    write_block(folder, ["p0", "p1"], PROMPTS, Prompt, [], flagged[:1])
    assert read_rows(folder, Dropped, "flagged") == flagged[:1]
    write_block(folder, ["p0", "p1"], PROMPTS, Prompt, [])
    assert read_rows(folder, Dropped, "flagged") == []


@pytest.mark.parametrize(("offered", "kept"), [(4, None), (2, None), (3, 2)])
def test_finish_raises_when_rows_are_lost_or_made_up(tmp_path: Path, offered: int, kept: int | None):
    begun = step(tmp_path / "out")
    begun.is_done()
    begun.write(PROMPTS, Prompt)
    with pytest.raises(RuntimeError, match=f"was offered {offered} rows but kept {kept or 3} and dropped 0"):
        begun.finish(offered=offered, kept=kept)
    assert read_manifest(begun.folder) is None


def test_a_step_whose_rows_are_not_one_an_input_says_what_it_kept(tmp_path: Path):
    begun = step(tmp_path / "out")
    begun.is_done()
    begun.write(PROMPTS, Prompt)
    assert begun.finish(offered=2, kept=2).rows == {"rows": 3}


def weights(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text(str(folder))
    return folder


def test_a_models_fingerprint_is_its_content_not_its_path(tmp_path: Path):
    first, copy = weights(tmp_path / "a", b"one"), weights(tmp_path / "b", b"one")
    known = input_fingerprint(str(first))
    assert known == input_fingerprint(str(copy)) == input_fingerprint(f"file://{copy}")
    (copy / "model.safetensors").write_bytes(b"two")
    assert input_fingerprint(str(copy)) != known
    (first / "chat_template.jinja").write_text("{{ messages }}")
    assert input_fingerprint(str(first)) != known


def test_what_identifies_a_step_stands_in_its_manifest_and_moves_with_it(tmp_path: Path, source: Path):
    made = finished(tmp_path / "out", source=source)
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert input_fingerprint(str(tmp_path / "moved")) == made.manifest().content


def test_the_fingerprint_of_a_name_without_content_is_the_name():
    assert input_fingerprint("owner/model") == "owner/model"


def test_the_manifest_is_plain_json(tmp_path: Path):
    finished(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["step"] == "respond"


def test_blocks_of_a_table_are_cut_and_gathered_from_its_files(tmp_path: Path):
    """Files of 1, 5, 1 and 2 rows in blocks of at least two."""
    folder, number = Folder(str(tmp_path)), 0
    for size in (1, 5, 1, 2):
        write_part(folder, "rows", [Prompt(f"p{number + i}", "?") for i in range(size)], Prompt, f"part-{number}")
        number += size
    sizes = file_rows(folder / "rows")
    assert [rows for _, rows in sizes] == [1, 5, 1, 2]
    assert count_rows(folder / "rows") == 9
    blocks = list(read_blocks(folder / "rows", [path for path, _ in sizes], 2, columns=["id"]))
    assert [block["id"].to_pylist() for block in blocks] == [
        ["p0", "p1", "p2"],
        ["p3", "p4"],
        ["p5", "p6"],
        ["p7", "p8"],
    ]
    assert {name for block in blocks for name in block.column_names} == {"id"}
    assert [block.num_rows for block in read_blocks(folder / "rows", [sizes[0][0]], 2)] == [1]


def test_some_columns_of_many_files_are_read_in_order(tmp_path: Path):
    """Forty files, more than are read side by side; of a pair only the chosen reply's id."""
    folder = Folder(str(tmp_path))
    for number in range(40):
        chosen, rejected = (Candidate(f"p{number}/{name}", "text", (1,), True) for name in ("r0", "r1"))
        write_part(folder, "rows", [Pair(f"p{number}", "?", (), chosen, rejected)], Pair, f"part-{number:02}")
    found = list(read_columns(folder / "rows", ["id", "chosen.id"]))
    assert found == [{"id": f"p{number}", "chosen": {"id": f"p{number}/r0"}} for number in range(40)]
    assert list(read_columns(folder / "nothing", ["id"])) == []


def test_an_adapters_fingerprint_is_that_of_its_base_too(tmp_path: Path):
    base, adapter = Folder(str(tmp_path / "base")), Folder(str(tmp_path / "adapter"))
    base.write_json("config.json", {"layers": 2})
    adapter.write_json("adapter_config.json", {"base_model_name_or_path": base.uri})
    before = input_fingerprint(adapter.uri)
    assert input_fingerprint(adapter.uri) == before
    base.write_json("config.json", {"layers": 3})
    assert input_fingerprint(adapter.uri) != before
