import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfreward_ray.recipe.schema import Judge, Recipe
from selfreward_ray.recipe.text import RecipeError, differing_fields, dump_recipe, load_recipe, parse_recipe
from selfreward_ray.store.row_formats import SUFFIXES

LEAST = {"model": "m0"}


def recipe_file(folder: Path, values: Any = LEAST) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def test_every_wrong_field_has_its_line_and_a_missing_one_too():
    with pytest.raises(RecipeError) as error:
        parse_recipe({"iterations": -1, "seeed": 1})
    lines = str(error.value).splitlines()
    assert "recipe field 'model' is missing" in lines
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("dpo.beta=0.2", "dpo.beta", 0.2),
        ("dpo.learning_rate=1e-6", "dpo.learning_rate", 1e-6),
        ("judge.sampling.max_tokens=7", "judge.sampling.max_tokens", 7),
        ("respond.sampling={temperature: 0, max_tokens: 9}", "respond.sampling.max_tokens", 9),
        ("training.gradient_checkpointing=false", "training.gradient_checkpointing", False),
        ("prompts.proposer=null", "prompts.proposer", None),
        ("inference.env.A=b=c", "inference.env", {"A": "b=c"}),
        ("inference.engine.max_model_len=512", "inference.engine", {"max_model_len": 512}),
        ("model=s3://bucket/m0", "model", "s3://bucket/m0"),
    ],
)
def test_an_override_is_typed_and_may_be_nested(tmp_path: Path, override: str, field: str, value: object):
    loaded: Any = load_recipe(recipe_file(tmp_path), [override])
    for name in field.split("."):
        loaded = getattr(loaded, name)
    assert (loaded, type(loaded)) == (value, type(value))


def test_an_override_leaves_its_neighbours_of_the_file_alone(tmp_path: Path):
    path = recipe_file(tmp_path, LEAST | {"dpo": {"batch_size": 4, "beta": 0.3}})
    dpo = load_recipe(path, ["dpo.beta=0.2", "dpo.beta=0.25"]).dpo
    assert (dpo.batch_size, dpo.beta) == (4, 0.25)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dpo.beta", "override 'dpo.beta' is not of the form key=value"),
        ("=1", "override '=1' is not of the form key=value"),
        ("model.size=1", "override 'model.size=1': 'model' is a value, not a section"),
        ("dpo.beta=[1", "override 'dpo.beta=[1': '[1' is not a YAML value"),
        ("dpo.beta=0b_", "override 'dpo.beta=0b_': '0b_' is not a YAML value"),
        (f"dpo.beta={'5' * 5000}", "override 'dpo.beta=555"),
        (f"dpo.beta={'[' * 3000}", "override 'dpo.beta=[[["),
        ("dpo.beta=!!bool x", "override 'dpo.beta=!!bool x': '!!bool x' is not a YAML value"),
        ("dpo.bet=1", "unknown recipe field 'dpo.bet'; did you mean 'dpo.beta'?"),
        ("beta=1", "unknown recipe field 'beta'; did you mean 'dpo.beta'?"),
        ("temperature=1", "unknown recipe field 'temperature'; did you mean 'prompts.sampling.temperature' or"),
        ("dpo.xyz=1", "unknown recipe field 'dpo.xyz'; known: batch_size, beta, "),
    ],
)
def test_a_malformed_override_is_quoted(tmp_path: Path, override: str, message: str):
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe_file(tmp_path), [override])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"seed: 0b_", "is not YAML: invalid literal for int"),
        (b"seed: " + b"5" * 5000, "is not YAML: "),
        (b"[" * 3000, "is not YAML: "),
        (b"seed: !!bool x", "is not YAML: "),
        (b"- model", "must be a mapping"),
        (b"", "must be a mapping"),
        ("model: Größe".encode("latin-1"), "is not UTF-8"),
        (None, "cannot read recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pairs.labels=Positive", "'pairs.labels': must be a list such as [a, b] (got 'Positive')"),
        ("pairs.flags=none", "'pairs.flags': must be a list such as [a, b] (got 'none')"),
        ("tracking.trackers=5", "'tracking.trackers': must be a list such as [a, b] (got 5)"),
        ("seed_data.columns=[prompt]", "'seed_data.columns': must be a mapping such as {name: value} (got ['prompt'])"),
        ("dpo=5", "'dpo': must be a mapping such as {name: value} (got 5)"),
        ("inference.env=[A]", "'inference.env': must be a mapping such as {name: value} (got ['A'])"),
        ("respond.thinking=maybe", "'respond.thinking': must be true or false or null (got 'maybe')"),
        ("judge.constrained=[]", "'judge.constrained': must be true or false (got [])"),
        ("seed=x", "'seed': must be a whole number (got 'x')"),
        ("seed=1.5", "'seed': must be a whole number (got 1.5)"),
        ("dpo.beta=big", "'dpo.beta': must be a number (got 'big')"),
        ("model=5", "'model': must be a text (quote what YAML reads as something else, such as '1' and 'yes') (got 5)"),
        ("dpo.beta=no", "'dpo.beta': must be a number (got False)"),
        ("iterations=on", "'iterations': must be a whole number (got True)"),
        ("training.gpus_per_worker=yes", "'training.gpus_per_worker': must be a whole number (got True)"),
        ("training.dropout=no", "'training.dropout': must be a number or null (got False)"),
        (
            "iterations=99999999999999999999",
            "'iterations': must be less than or equal to 1000 (got 99999999999999999999)",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_told_what_it_must_be(tmp_path: Path, override: str, message: str):
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe_file(tmp_path), [override])
    assert str(error.value) == f"recipe field {message}"


def test_a_misspelt_name_of_a_shipped_recipe_is_told_which_is_meant():
    with pytest.raises(RecipeError, match="no shipped recipe has that name; did you mean 'quickstart'"):
        load_recipe("quickstrt")


ROWS = [end for end in SUFFIXES if not re.match(r"\.json(\.|$)", end)]
"""Endings of files of rows that are no YAML."""


@pytest.mark.parametrize("name", ["ranked.jsonl", "my data/train-00000-of-00001.parquet", *(f"A{end}" for end in ROWS)])
def test_a_file_of_data_is_told_where_it_belongs(tmp_path: Path, name: str):
    path = tmp_path / name
    with pytest.raises(RecipeError, match="is data, not a recipe: ") as error:
        load_recipe(path)
    assert f"seed_data.source={path}" in str(error.value)


def test_a_path_that_no_file_can_have_is_named():
    with pytest.raises(RecipeError, match=r"cannot read recipe 'a\\x00b\.yaml': embedded null byte"):
        load_recipe("a\0b.yaml")


def test_a_dumped_recipe_loads_as_the_same_recipe(tmp_path: Path):
    recipe = parse_recipe(
        LEAST
        | {"dpo": {"learning_rate": 3e-5, "beta": 0.15}, "inference": {"env": {"A": "1"}, "engine": {"block_size": 32}}}
    )
    assert load_recipe(recipe_file(tmp_path, dump_recipe(recipe))) == recipe
    assert "min_valid: 2" in dump_recipe(recipe)  # a default, written out


def test_a_recipe_read_back_has_the_same_fingerprint(tmp_path: Path):
    """To the digit: 5 and 5.0 are equal, but not as JSON."""
    recipe = Recipe(model="m0")
    again = load_recipe(recipe_file(tmp_path, dump_recipe(recipe)))
    assert json.dumps(again.model_dump()) == json.dumps(recipe.model_dump())


def test_differing_fields_have_dotted_names_and_both_values():
    recipe = Recipe(model="m0")
    other = recipe.model_copy(update={"seed": 5, "judge": Judge(verdicts=5)})
    assert differing_fields(recipe, other) == ["seed: 0 → 5", "judge.verdicts: 3 → 5"]
    assert differing_fields(recipe, recipe.model_copy()) == []
