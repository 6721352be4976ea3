import json
from pathlib import Path
from typing import Any

import pytest
from chat_families import CHATML, TOOL_FAMILIES, write_family
from transformers import AutoTokenizer

from selfreward_ray.errors import UserError
from selfreward_ray.models.template import NO_TOOLS
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, RankedSet, SftExample
from selfreward_ray.steps.seed import seed
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows


def recipe(**sizes: Any) -> Recipe:
    return Recipe.model_validate({"model": "m0", "seed_data": sizes, "judge": {"rubric": "checklist"}})


def ranked(name: str) -> dict[str, Any]:
    replies = [{"text": "Yes.", "rank": 0}, {"text": "No.", "rank": 1}]
    return {"id": name, "prompt": f"Is {name} one?", "responses": replies}


def jsonl(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_the_demo_world_gives_the_rows_asked_for(tmp_path: Path):
    wanted = recipe(source="demo", ift=8, eft=10, held_out=5, verdicts="written")
    manifest = seed(wanted, out=str(tmp_path / "a"))
    out = Folder(str(tmp_path / "a"))
    rows, eft, held_out = read_rows(out, SftExample), *(read_rows(out, RankedSet, t) for t in ("eft", "held_out"))
    assert manifest.rows == {"rows": 8, "eft": len(eft), "held_out": 5}
    assert 2 * len(eft) >= 10
    assert all(reply.verdict for s in eft for reply in s.replies)
    prompts = [row.prompt for row in rows] + [s.prompt for s in eft] + [s.prompt for s in held_out]
    assert len(set(prompts)) == len(prompts)
    seed(wanted, out=str(tmp_path / "b"))
    assert read_rows(Folder(str(tmp_path / "b")), SftExample) == rows


def test_a_file_is_divided_and_every_set_has_its_place_or_its_reason(tmp_path: Path):
    """Of ten sets, one an empty one: nine, of which one is held out (a fifth), four serve IFT and four EFT."""
    empty = {"id": "empty", "prompt": " ", "responses": [{"text": "Yes.", "rank": 0}]}
    source = jsonl(tmp_path / "sets.jsonl", [*(ranked(f"s{i}") for i in range(9)), empty])
    manifest = seed(recipe(source=source, ift=4, eft=20, held_out=2), out=str(tmp_path / "out"))
    out = Folder(str(tmp_path / "out"))
    ends = [{e.id.split("/")[0] for e in read_rows(out, SftExample)}]
    ends += [{s.id for s in read_rows(out, RankedSet, table)} for table in ("eft", "held_out")]
    assert [len(end) for end in ends] == [4, 4, 1]
    assert len(set.union(*ends)) == 9
    figures = {"format": "ranked", "bad_rows": 0, "unused_columns": []}
    assert manifest.metrics == {"ift": 4, "eft": 4, "held_out": 1, "reading": figures}
    assert sum(manifest.dropped.values()) == 1


def judged(**sizes: Any) -> Recipe:
    training = {"select": "judged"}
    return Recipe.model_validate({"model": "m0", "seed_data": sizes, "training": training})


def test_prompts_to_choose_a_checkpoint_by_are_a_table_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of forty conversations at most four, and fewer than asked for are said."""
    source = jsonl(tmp_path / "sets.jsonl", [ranked(f"s{i}") for i in range(40)])
    given = {"source": source, "ift": 4, "eft": 2, "held_out": 2, "validation": 9}
    manifest = seed(judged(**given), out=str(tmp_path / "out"))
    assert manifest.rows == {"rows": 4, "eft": 2, "held_out": 2, "validation": 4}
    assert "fewer sets than were asked for: 4 of 9 validation" in " ".join(capsys.readouterr().err.split())
    out = Folder(str(tmp_path / "out"))
    tables = [{s.id for s in read_rows(out, RankedSet, table)} for table in ("eft", "held_out", "validation")]
    ids = [{row.id.split("/")[0] for row in read_rows(out, SftExample)}, *tables]
    assert len(set.union(*ids)) == sum(map(len, ids)) == 12
    few = jsonl(tmp_path / "few.jsonl", [ranked(f"s{i}") for i in range(9)])
    with pytest.raises(UserError, match=r"few.jsonl gives no prompt to choose a checkpoint by .* ten conversations"):
        seed(judged(**given | {"source": few}), out=str(tmp_path / "few"))


def test_the_demo_world_validates_by_topics_of_its_own(tmp_path: Path):
    """Prompts of the group that recipes are chosen by, without those that are held out."""
    given = {"source": "demo", "ift": 8, "eft": 4, "held_out": 5, "held_out_groups": ["dev"], "verdicts": "written"}
    seed(judged(**given, validation=7), out=str(tmp_path / "out"))
    out = Folder(str(tmp_path / "out"))
    validation, held_out = (read_rows(out, RankedSet, table) for table in ("validation", "held_out"))
    assert [s.id for s in held_out] == [f"dev/{i:06d}" for i in range(5)]
    assert [s.id for s in validation] == [f"dev/{i:06d}" for i in range(5, 12)]
    assert not {s.prompt for s in validation} & {s.prompt for s in held_out}


def test_without_a_choice_the_seed_data_are_those_of_earlier_versions(tmp_path: Path):
    """The same tables, and the same fingerprint whatever `validation` is."""
    given = {"source": "demo", "ift": 8, "eft": 4, "held_out": 5, "verdicts": "written"}
    wanted = recipe(**given)
    manifest = seed(wanted, out=str(tmp_path / "out"))
    assert "validation" not in manifest.rows
    known = {"seed_data": wanted.seed_data.model_dump(exclude={"validation"}), "seed": 0}
    assert manifest.fingerprint == Step("seed", str(tmp_path / "out"), known, {}).fingerprint
    assert seed(recipe(**given, validation=9), out=str(tmp_path / "out")) == manifest
    with pytest.raises(UserError, match="made from another recipe"):
        seed(judged(**given), out=str(tmp_path / "out"))


def test_a_source_without_anything_to_learn_from_is_refused(tmp_path: Path):
    alone = {"prompt": "Why?", "responses": [{"text": "So.", "rank": 0}]}
    single = jsonl(tmp_path / "single.jsonl", [alone])
    with pytest.raises(UserError, match=r"no set to teach judging with beside those for IFT: .* set seed_data.eft=0"):
        seed(recipe(source=single), out=str(tmp_path / "out"))
    seed(recipe(source=single, eft=0), out=str(tmp_path / "out"))


def test_ranked_sets_without_verdicts_are_refused_where_verdicts_are_to_be_written(tmp_path: Path):
    source = jsonl(tmp_path / "sets.jsonl", [ranked(f"s{i}") for i in range(10)])
    with pytest.raises(UserError, match=r"verdicts=written a verdict on a reply; .*or seed_data.verdicts=baseline"):
        seed(recipe(source=source, verdicts="written"), out=str(tmp_path / "out"))
    seed(recipe(source=source, verdicts="baseline"), out=str(tmp_path / "out"))


def test_sets_without_a_best_reply_are_explained(tmp_path: Path):
    """They may still teach judging, but nothing is ranked 0 for IFT."""
    said = {"role": "assistant", "lang": "en"}
    replies = [
        {**said, "message_id": f"{i}{text}", "text": text, "rank": rank}
        for i in range(10)
        for rank, text in ((1, "a"), (2, "b"))
    ]
    rows = [
        {
            "message_tree_id": f"{i}",
            "prompt": {
                "message_id": f"{i}",
                "role": "prompter",
                "text": f"p{i}",
                "replies": replies[2 * i : 2 * i + 2],
            },
        }
        for i in range(10)
    ]
    source = jsonl(tmp_path / "sets.jsonl", rows)
    with pytest.raises(UserError, match=r"best replies of its sets have rank 1 or worse; .*minimum_rank=1"):
        seed(recipe(source=source, held_out=1), out=str(tmp_path / "out"))
    seed(recipe(source=source, held_out=1, minimum_rank=1), out=str(tmp_path / "out"))


def test_prompts_after_earlier_messages_have_the_remedy_that_helps(tmp_path: Path):
    said = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    rows = [
        {"prompt": [*said[:2], {"role": "user", "content": f"p{i}"}], "chosen": "a", "rejected": "b"} for i in range(4)
    ]
    source = jsonl(tmp_path / "sets.jsonl", rows)
    with pytest.raises(UserError, match=r"\(left out: 4 its prompt .*; set seed_data.turns=any to take prompts"):
        seed(recipe(source=source), out=str(tmp_path / "out"))
    seed(recipe(source=source, turns="any"), out=str(tmp_path / "out"))


def test_what_is_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Columns that nobody uses on standard error and in the manifest; bad rows with their lines in the table."""
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": None if i == 7 else "b", "mood": "good"} for i in range(12)]
    source = jsonl(tmp_path / "pairs.jsonl", rows)
    manifest = seed(recipe(source=source, ift=2, eft=2, held_out=1), out=str(tmp_path / "out"))
    figures = {"format": "preference", "bad_rows": 1, "unused_columns": ["mood"]}
    assert manifest.metrics["reading"] == figures
    assert "not used by the format 'preference': 'mood'" in " ".join(capsys.readouterr().err.split())
    dropped = read_rows(Folder(str(tmp_path / "out")), Dropped, "dropped")
    assert [row.id for row in dropped if row.reason == "field 'rejected' is null"] == [f"{source}:8"]


def test_what_left_the_sets_out_is_said_where_none_remains(tmp_path: Path):
    empty = {"prompt": " ", "responses": [{"text": "Yes.", "rank": 0}]}
    with pytest.raises(UserError, match=r"gives no IFT row \(left out: 1 prompt is empty\)"):
        seed(recipe(source=jsonl(tmp_path / "sets.jsonl", [empty])), out=str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("ift", "remedy"), [(0, "; raise seed_data.ift above 0$"), (1, "; give other sets, or change")]
)
def test_a_source_without_instructions_has_the_remedy_that_helps(tmp_path: Path, ift: int, remedy: str):
    unranked = {"prompt": "Why?", "responses": [{"text": "Yes."}, {"text": "No."}]}
    with pytest.raises(UserError, match=remedy):
        seed(recipe(source=jsonl(tmp_path / "sets.jsonl", [unranked]), ift=ift), out=str(tmp_path / "out"))


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
        ("{", r"1 × is the last line, and cut off \(first: .*sets\.jsonl:2\)"),
        (
            {"prompt": "p", "responses": [{"text": "t", "rank": "first"}]},
            r"1 × field 'responses.rank' .*sets\.jsonl:2\)",
        ),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path: Path, row: Any, message: str):
    source = jsonl(tmp_path / "sets.jsonl", [ranked("s0"), row])
    with pytest.raises(UserError, match=message):
        seed(recipe(source=source), out=str(tmp_path / "out"))


def test_a_source_that_gives_less_than_asked_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = jsonl(tmp_path / "few.jsonl", [ranked(f"s{i}") for i in range(10)])
    seed(recipe(source=source, ift=20, eft=4, held_out=2), out=str(tmp_path / "out"))
    assert "fewer sets than were asked for: 6 of 20 ift\n" in capsys.readouterr().err


CALLED = {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": {"at": "sky"}}}]}


def with_tools(number: int) -> dict[str, Any]:
    said = [{"role": "tool", "content": "dry"}, {"role": "assistant", "content": "No."}]
    return {"messages": [{"role": "user", "content": f"Rain {number}?"}, CALLED, *said]}


def chat(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Why {number}?"}, {"role": "assistant", "content": "So."}]}


def model_with(template: str | None, tiny_model: Path, folder: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    family = TOOL_FAMILIES["chatml with tools"]
    write_family(tokenizer, family, folder)
    if template is not None:
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text((tiny_model / "config.json").read_text())
    (folder / "model.safetensors").write_bytes(b"")
    return str(folder)


def test_conversations_with_tools_serve_ift_where_the_template_renders_tools(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Otherwise others take their places. A model that is not here is asked later."""
    source = jsonl(tmp_path / "chats.jsonl", [*map(with_tools, range(4)), *map(chat, range(20))])
    wanted = recipe(source=source, ift=20, eft=0, held_out=2, validation=2)
    wanted = wanted.model_copy(update={"training": wanted.training.model_copy(update={"select": "judged"})})
    rendering, plain = (
        model_with(template, tiny_model, tmp_path / name) for name, template in (("tools", None), ("plain", CHATML))
    )
    kept = {}
    for model in (rendering, plain, "m0"):
        out = str(tmp_path / f"seed-{Path(model).name}")
        manifest = seed(wanted.model_copy(update={"model": model}), out=out)
        kept[model] = [row for row in read_rows(Folder(out), SftExample) if row.tool_use]
        dropped = [row.id for row in read_rows(Folder(out), Dropped, "dropped") if row.reason == NO_TOOLS]
        assert len(dropped) == (8 if model == plain else 0)
        assert not any(row.tool_use for row in read_rows(Folder(out), RankedSet, "validation"))
        assert manifest.metrics["tools_for"] == model
    assert len(kept[rendering]) >= 6
    assert kept[plain] == []
    assert kept["m0"] == kept[rendering]
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("they are kept, and SFT drops them if the chat template of m0 renders no tools") == 1


def test_a_seed_made_for_another_models_tools_is_refused(tiny_model: Path, tmp_path: Path):
    out = str(tmp_path / "out")
    source = jsonl(tmp_path / "chats.jsonl", [*map(chat, range(4)), with_tools(0)])
    wanted = recipe(source=source, ift=20, eft=0, held_out=0)
    first = wanted.model_copy(update={"model": model_with(CHATML, tiny_model, tmp_path / "plain")})
    assert seed(first, out=out) == seed(first, out=out)
    with pytest.raises(UserError, match=f"conversations with tools were chosen for the chat template of {first.model}"):
        seed(wanted, out=out)
