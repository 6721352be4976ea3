import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfreward_ray.recipe import Judge, Recipe, RecipeError, differing_fields, dump_recipe, load_recipe, parse_recipe

LEAST = {"model": "m0"}


def recipe_file(folder: Path, values: Any = LEAST) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("field", "figure"),
    [
        ("seed_data.ift", 3200),
        ("seed_data.eft", 1630),
        ("prompts.seed_demonstrations", 6),
        ("prompts.new_demonstrations", 2),
        ("prompts.sampling.temperature", 0.6),
        ("prompts.sampling.top_p", 0.9),
        ("prompts.max_rouge_l", 0.7),
        ("respond.candidates", 4),
        ("respond.sampling.temperature", 0.7),
        ("respond.sampling.top_p", 0.9),
        ("judge.rubric", "additive"),
        ("judge.verdicts", 3),
        ("judge.sampling.temperature", 0.7),
        ("judge.sampling.top_p", 0.9),
        ("pairs.policy", "best-worst"),
        ("sft.learning_rate", 5.5e-6),
        ("sft.final_learning_rate", 1.1e-6),
        ("sft.schedule", "cosine"),
        ("sft.batch_size", 16),
        ("dpo.learning_rate", 1e-6),
        ("dpo.final_learning_rate", 1e-7),
        ("dpo.batch_size", 16),
        ("dpo.beta", 0.1),
        ("iterations", 2),
    ],
)
def test_a_default_is_the_papers_figure(field: str, figure: object):
    value: Any = parse_recipe(LEAST)
    for name in field.split("."):
        value = getattr(value, name)
    assert value == figure


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": "x"}, "unknown recipe field 'modle'; did you mean 'model'?"),
        ({"dpo": {"betta": 1}}, "unknown recipe field 'dpo.betta'; did you mean 'dpo.beta'?"),
        (
            {"judge": {"sampling": {"temprature": 1}}},
            "unknown recipe field 'judge.sampling.temprature'; did you mean 'judge.sampling.temperature'?",
        ),
        ({"pairs": {"zzz": 1}}, "unknown recipe field 'pairs.zzz'; known: band, constant_share, margin"),
        (
            {"dpo": {"eft_weight": 0.5}, "seed_data": {"eft": 0}},
            "recipe field 'recipe': dpo.eft_weight needs EFT rows, but seed_data.eft is 0",
        ),
        ({"dpo": {"beta": -1}}, "recipe field 'dpo.beta': input should be greater than 0 (got -1)"),
        ({"dpo": {"beta": float("inf")}}, "recipe field 'dpo.beta'"),
        ({"respond": {"sampling": {"top_p": 1.5}}}, "recipe field 'respond.sampling.top_p'"),
        ({"iterations": "two"}, "recipe field 'iterations'"),
        ({"pairs": {"policy": "worst-best"}}, "recipe field 'pairs.policy': input should be 'best-worst'"),
        (
            {"judge": {"verdicts": 2, "min_valid": 3}},
            "recipe field 'judge': min_valid is 3, but only 2 verdicts are asked for",
        ),
        (
            {"judge": {"constrained": True, "sampling": {"max_tokens": 15}}},
            "recipe field 'judge': constrained needs sampling.max_tokens of at least 16",
        ),
        ({"sft": {"final_learning_rate": 1.0}}, "recipe field 'sft': final_learning_rate must not exceed"),
        ({"inference": {"min_replicas": 3, "max_replicas": 2}}, "recipe field 'inference': min_replicas"),
        (
            {"inference": {"nodes_per_replica": 2}},
            "recipe field 'inference': nodes_per_replica above 1 needs gpus_per_replica",
        ),
        (
            {"inference": {"nodes_per_replica": 2, "gpus_per_replica": 8, "max_replicas": 2}},
            "recipe field 'inference': nodes_per_replica above 1 needs min_replicas = max_replicas",
        ),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, Any], message: str):
    with pytest.raises(RecipeError) as error:
        parse_recipe(LEAST | values)
    assert str(error.value).startswith(message)


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
        ("dpo.bet=1", "unknown recipe field 'dpo.bet'; did you mean 'dpo.beta'?"),
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
        (b"- model", "must hold a mapping"),
        (b"", "must hold a mapping"),
        ("model: Größe".encode("latin-1"), "is not UTF-8"),
        (None, "can not read recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(path)
    assert str(path) in str(error.value)


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


@pytest.mark.parametrize("name", ["HF_TOKEN", "aws_secret_access_key", "DB_PASSWORD", "API_KEY"])
def test_secrets_do_not_stand_in_a_recipe(name: str):
    with pytest.raises(RecipeError, match=rf"inference.env.*{name} would stand in the run's files") as error:
        parse_recipe({"model": "m0", "inference": {"env": {name: "hunter2"}}})
    assert "hunter2" not in str(error.value)
    assert parse_recipe({"model": "m0", "inference": {"env": {"VLLM_CPU_KVCACHE_SPACE": "2"}}})


def test_a_field_of_a_sampling_changes_no_other():
    recipe = parse_recipe(LEAST | {"prompts": {"sampling": {"temperature": 1}}, "judge": {"sampling": {"top_p": 1}}})
    assert (recipe.prompts.sampling.seeded, recipe.prompts.sampling.max_tokens) == (True, 256)
    assert recipe.judge.sampling.max_tokens == 512
