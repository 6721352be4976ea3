"""`selfreward init`: a first recipe, which loads whatever the model, the data and the machine."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.models.found import Found
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.starter.sizes import ModelSize, data_size, model_size

MACHINES = {"cpu": (2, 0, 1), "1gpu": (1, 1, 1), "8gpu": (8, 1, 8)}
"""Workers, GPUs of a worker, and replicas of a small model."""
SMALL = {"model_type": "llama", "tie_word_embeddings": True,
         "hidden_size": 576, "num_hidden_layers": 30, "vocab_size": 49152, "max_position_embeddings": 8192,
         "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536}  # fmt: skip
LARGE = {"model_type": "llama",
         "hidden_size": 8192, "num_hidden_layers": 80, "vocab_size": 32000, "max_position_embeddings": 4096,
         "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local model is read from the folder of its name, without weights or a tokenizer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selfreward_ray.starter.sizes.without_weights", lambda uri: Found(uri, Path(uri), frozenset()))


def model(config: dict[str, Any]) -> str:
    Path("m").mkdir()
    Path("m/config.json").write_text(json.dumps(config))
    return "m"


def preferences(count: int) -> str:
    rows = [{"prompt": f"Why {i}?", "chosen": f"Because {i}.", "rejected": "No."} for i in range(count)]
    Path("my data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "my data.jsonl"


def written(machine: str, config: dict[str, Any], data: str) -> Recipe:
    given = ["init", "--model", model(config), "--data", data, "--machine", machine, "--out", "mine.yaml"]
    done = CliRunner().invoke(app, given)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "mine.yaml: look at it, then `selfreward check mine.yaml`\n"
    return load_recipe("mine.yaml")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_recipe_for_each_machine(machine: str):
    recipe = written(machine, SMALL, preferences(400))
    workers, gpus, replicas = MACHINES[machine]
    assert (recipe.model, recipe.seed_data.source) == ("m", "my data.jsonl")
    assert (recipe.training.workers, recipe.training.gpus_per_worker) == (workers, gpus)
    assert (recipe.inference.min_replicas, recipe.inference.gpus_per_replica) == (replicas, gpus)
    assert (recipe.seed_data.ift, recipe.seed_data.eft, recipe.seed_data.held_out) == (270, 180, 40)
    assert recipe.sft.batch_size in (8, 16, 32)
    assert recipe.sft.learning_rate == pytest.approx(5e-5 * (recipe.sft.batch_size / 16) ** 0.5, rel=0.02)
    lines = Path("mine.yaml").read_text().splitlines()
    assert sum("#" in line for line in lines) >= 12
    assert max(map(len, lines)) <= 120


def test_a_large_model_is_divided_over_gpus_and_trained_by_adapters():
    recipe = written("8gpu", LARGE, preferences(400))
    assert (recipe.inference.gpus_per_replica, recipe.inference.min_replicas) == (4, 2)
    assert recipe.training.lora.rank == 16
    assert recipe.inference.engine["max_model_len"] == recipe.dpo.max_tokens == 4096


def test_a_short_context_bounds_every_length():
    recipe = written("1gpu", SMALL | {"max_position_embeddings": 512}, preferences(400))
    assert recipe.inference.engine["max_model_len"] == recipe.sft.max_tokens == recipe.dpo.max_tokens == 512
    assert recipe.respond.sampling.max_tokens + recipe.judge.sampling.max_tokens < 512


@pytest.mark.parametrize(("config", "billions"), [(SMALL, 0.135), (LARGE, 69.0)])
def test_the_size_of_a_model_is_estimated_from_its_configuration(config: dict[str, Any], billions: float):
    size = model_size(model(config))
    assert size.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert size == ModelSize(size.parameters, config["max_position_embeddings"])


def test_data_without_ranks_teaches_answering_alone():
    rows = [{"instruction": f"Name sea {i}.", "input": "", "output": f"Sea {i}."} for i in range(200)]
    Path("d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = data_size("d.jsonl", {})
    assert (found.format, found.sets, found.ranked) == ("instruction", 200, 0)
    assert (found.ift, found.eft, found.held_out) == (200, 0, 0)
    recipe = written("cpu", SMALL, "d.jsonl")
    assert (recipe.seed_data.eft, recipe.seed_data.held_out) == (0, 0)


def test_a_prompt_that_stands_twice_is_counted_once():
    row = {"prompt": "Name a sea.", "responses": [{"text": "The North Sea.", "rank": 0}, {"text": "No.", "rank": 1}]}
    Path("d.jsonl").write_text("".join(json.dumps(row | {"prompt": f"Why {i % 50}?"}) + "\n" for i in range(100)))
    found = data_size("d.jsonl", {})
    assert (found.sets, found.ranked) == (50, 50)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"--out": "there.yaml"}, "error: there.yaml exists; choose another --out, or remove it\n"),
        ({"--data": "no.jsonl"}, "error: seed_data.source: cannot read no.jsonl"),
        ({"--model": "other"}, "error: model 'other': its config.json does not say how large it is"),
        ({"--model": "short"}, "error: model 'short': its config.json has 100 positions, too few for a judge"),
        ({"--model": "torn"}, "error: model 'torn': its config.json is not JSON ("),
    ],
)
def test_what_cannot_be_used_writes_nothing(given: dict[str, str], said: str):
    Path("other").mkdir()
    Path("other/config.json").write_text(json.dumps({"model_type": "new"}))
    Path("short").mkdir()
    Path("short/config.json").write_text(json.dumps(SMALL | {"max_position_embeddings": 100}))
    Path("torn").mkdir()
    Path("torn/config.json").write_text("{")
    Path("there.yaml").write_text("model: mine\n")
    options = {"--model": model(SMALL), "--data": preferences(50), "--machine": "cpu", "--out": "r.yaml"} | given
    done = CliRunner().invoke(app, ["init", *(word for pair in options.items() for word in pair)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert Path("there.yaml").read_text() == "model: mine\n"
    assert not Path("r.yaml").exists()


def test_columns_of_other_names_are_given_as_in_a_recipe():
    Path("prefs.csv").write_text(
        "Frage;besser;schlechter\n" + "".join(f"Warum {i}?;Darum {i}.;Nein.\n" for i in range(40))
    )
    given = ["init", "--model", model(SMALL), "--data", "prefs.csv", "--machine", "cpu", "--out", "mine.yaml"]
    columns = "seed_data.columns={prompt: Frage, chosen: besser, rejected: schlechter}"
    done = CliRunner().invoke(app, [*given, columns, "seed_data.language=de"])
    assert (done.exit_code, done.stderr) == (0, "")
    wanted = load_recipe("mine.yaml").seed_data
    assert wanted.columns == {"prompt": "Frage", "chosen": "besser", "rejected": "schlechter"}
    assert (wanted.language, wanted.ift + wanted.held_out > 0) == ("de", True)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dpo.beta=0.2", "only how data are read can be given here"),
        ("seed_data.colums={}", "unknown recipe field 'seed_data.colums'; did you mean 'seed_data.columns'?"),
    ],
)
def test_only_how_data_are_read_can_be_given(override: str, said: str):
    given = ["init", "--model", model(SMALL), "--data", preferences(9), "--machine", "cpu", "--out", "mine.yaml"]
    done = CliRunner().invoke(app, [*given, override])
    assert done.exit_code == 2
    assert said in done.stderr
    assert not Path("mine.yaml").exists()
