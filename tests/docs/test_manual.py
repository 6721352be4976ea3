"""The manual holds what it promises: links lead somewhere, examples give what they print, messages exist."""

import ast
import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.extensions import Score
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.prompts.answered import read_answered
from selfreward_ray.prompts.given import prompt_reading, read_prompts
from selfreward_ray.recipe.documentation import recipe_sections
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.seed_data import RowReading, SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers import FORMATS, Reading, read_seed
from selfreward_ray.store.user_files import read_user_rows

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@cache
def hook() -> ModuleType:
    """`docs/hooks/manual.py`, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("manual_hook", DOCS / "hooks" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    importlib.import_module("sys").modules["manual_hook"] = module
    spec.loader.exec_module(module)
    return module


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, title and text of each block of code of a page, in order."""
    return FENCE.findall((DOCS / page).read_text(encoding="utf-8"))


def links(path: Path) -> list[str]:
    """Targets of the relative links and pictures of a page, without their anchors."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text(encoding="utf-8")))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target.partition("#")[0] for target in targets if ":" not in target and not target.startswith("#")]


@pytest.mark.parametrize("path", [*TOP, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(path: Path):
    assert [target for target in links(path) if not (path.parent / target).is_file()] == []


def test_links_are_found_in_prose_and_not_in_code(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("![a](b.png) [c](d.md#e) [f](https://g) [h](#i)\n`[j](k)`\n```sh\n[l](m)\n```\n")
    assert links(page) == ["b.png", "d.md"]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_in_the_navigation_once():
    found = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = [page for part in found["nav"] for pages in part.values() for entry in pages for page in entry.values()]
    taken_in = {"proof-tried.md"}  # its text is the end of proof.md
    assert sorted(named) == sorted({page.relative_to(DOCS).as_posix() for page in PAGES} - taken_in)


def test_a_file_of_the_repository_is_taken_in_with_its_links():
    text = hook().included("README.md", "index.md")
    assert "](images/loop.svg)" in text
    assert "](architecture.md)" in text
    assert "](seed-data.md)" in text
    assert "](docs/" not in text
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    assert hook().on_page_markdown((DOCS / "index.md").read_text(encoding="utf-8"), page) == text


def test_every_field_of_the_recipe_has_a_description():
    sections = recipe_sections()
    described = {field.name: field.description for section in sections for field in section.fields}
    assert set(described) == fields_of(Recipe(model="m").model_dump())
    assert [name for name, text in described.items() if not text] == []
    assert [section.name for section in sections if not section.description] == []
    reference = hook().recipe_reference()
    assert all(f"\n`{name}`\n:   *" in reference for name in described)


def fields_of(values: dict, prefix: str = "") -> set[str]:
    """Dotted names; `inference.engine` and `inference.env` hold what a user puts into them."""
    found: set[str] = set()
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= fields_of(value, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_the_reference_shows_types_bounds_and_defaults():
    fields = {field.name: field for section in recipe_sections() for field in section.fields}
    assert fields["model"].default == "required"
    assert (fields["dpo.beta"].type, fields["dpo.beta"].bounds, fields["dpo.beta"].default) == (
        "number", "> 0", "`0.1`",
    )  # fmt: skip
    assert fields["prompts.max_requests"].type == "whole number or null"
    assert fields["prompts.sampling.temperature"].default == "`0.6`"  # the section's own, not `Sampling`'s
    assert fields["sft.learning_rate"].default == "`5.5e-6`"
    assert (fields["seed_data.ift"].unit, fields["model"].unit, fields["dpo.beta"].unit) == ("examples", "", "")
    assert (fields["sft.batch_size"].paper, fields["training.dropout"].paper, fields["pairs.band"].paper) == (
        "`16`", "`0.1`", None,
    )  # fmt: skip
    assert fields["pairs.weak"].type == "`drop` or `soften`"
    assert "Nucleus" in fields["judge.sampling.top_p"].description  # inherited


def test_the_matrix_of_architectures_is_in_the_manual():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="architectures.md"))
    text = hook().on_page_markdown((DOCS / "architectures.md").read_text(encoding="utf-8"), page)
    assert "| Mixtral 8×7B and 8×22B | `mixtral` | yes | yes | yes | yes |" in text
    assert "| BLOOM | `bloom` | `BloomForCausalLM cannot be trained here: it has attention that is not on" in text
    rows = [line for line in text.splitlines() if re.match(r"\| [^|]+ \| `\w+` \|", line)]
    assert len(rows) == len(set(rows)) > 30


def test_the_examples_of_seed_data_give_what_the_manual_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    recipe = ROOT / "selfreward_ray" / "recipe" / "recipes" / "open-assistant.yaml"
    printed, compared = "", 0
    for language, title, text in blocks("seed-data.md"):
        match language:
            case "json" if title.endswith(", written"):
                assert (tmp_path / title.removesuffix(", written")).read_text(encoding="utf-8") == text
                compared += 1
            case "json":
                (tmp_path / title).write_text(text, encoding="utf-8")
            case "sh":
                printed = "".join(run(line, recipe) for line in text.splitlines())
            case "text" if printed:
                assert [line.rstrip() for line in printed.splitlines()] == text.splitlines()
                printed = ""
    assert compared == 7  # six forms, and verdicts that stand in the source


def test_the_manual_shows_a_row_of_every_format_of_seed_data(tmp_path: Path):
    """Each is read as the format that it is named after, and every column of it is known."""
    named = {form.name for form in FORMATS}
    shown = {
        title.removesuffix(".jsonl"): text for language, title, text in blocks("seed-data.md") if language == "json"
    }
    assert named <= shown.keys()
    for name in named:
        file = tmp_path / f"{name}.jsonl"
        file.write_text(shown[name], encoding="utf-8")
        wanted = SeedData(source=str(file), turns="any")
        reading = Reading(wanted)
        assert any(isinstance(found, RankedSet) for found in read_seed(wanted, reading))
        assert (reading.format, reading.notes(), reading.figures()["reading"]["bad_rows"]) == (name, [], 0)
    page = (DOCS / "seed-data.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`([\w-]+)`\]\(#", page, re.MULTILINE)) == named


def test_the_example_of_judge_agreement_gives_what_the_manual_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    _, (_, title, scores), (_, _, command), (_, _, printed) = blocks("agreement.md")
    (tmp_path / title).write_text(scores, encoding="utf-8")
    shown = run(command, Path())
    assert [line.rstrip() for line in shown.splitlines()] == printed.splitlines()
    assert (tmp_path / "agreement.json").is_file()


def run(line: str, recipe: Path) -> str:
    name, *arguments = shlex.split(line)
    assert name == "selfreward"
    result = CliRunner().invoke(app, [str(recipe) if word == "open-assistant" else word for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_prompts_and_replies_of_the_manual_are_read(tmp_path: Path):
    for page, title, read, count in (
        ("prompts.md", "prompts.jsonl", read_prompts, 3),
        ("steps.md", "replies.jsonl", read_answered, 5),
    ):
        ((_, _, text),) = [block for block in blocks(page) if block[1] == title]
        (tmp_path / title).write_text(text, encoding="utf-8")
        reading = prompt_reading(RowReading(bad_rows="stop"), title)
        found = list(read(read_user_rows(str(tmp_path / title), None, title), reading))
        assert (len(found), reading.notes()) == (count, [])
        assert not any(isinstance(each, Dropped) for each in found)


def test_rubrics_of_the_manual_can_be_used(tmp_path: Path):
    ((_, _, rubric),) = [block for block in blocks("rubrics.md") if block[1] == "support.yaml"]
    (tmp_path / "support.yaml").write_text(rubric, encoding="utf-8")
    support = load_rubric(str(tmp_path / "support.yaml"))
    assert support.read_score("It is right.\nScore: 3") == 3
    assert support.constrained_pattern(100)


def test_the_extensions_of_the_manual_work():
    code = {title: text for _, title, text in blocks("extensions.md")}
    names: dict[str, Any] = {}
    for title in ("scorer.py", "source.py"):
        exec(compile(code[title], title, "exec"), names)  # noqa: S102 (the manual's own)
    assert names["short"]("Why?", "Because.") == Score(1.0, 1.0)
    assert names["short"]("Why?", " ") is None
    source = names["PlantSource"]()
    sets = source.seed_sets(SeedData(ift=3, eft=4, held_out=1), 7)
    assert (len(sets.ift), len(sets.eft), len(sets.held_out)) == (3, 4, 1)
    assert len({prompt.id for prompt in source.prompts(5, 7, 1)}) == 5


def test_the_messages_that_the_manual_explains_exist():
    said = "\n".join(texts())
    quoted = re.findall(r"^`(.+)`\n: ", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) >= 25
    parts = [(message, part.strip()) for message in quoted for part in message.split("…") if len(part.strip()) > 3]
    assert [message for message, part in parts if part not in said] == []


def texts() -> list[str]:
    """Every text of the package's source; what is put into a formatted one is left out."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "selfreward_ray").rglob("*.py"))
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [value for value in constants if isinstance(value, str)]
