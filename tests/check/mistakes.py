"""Mistakes that people make, each with the message that they must get. `make bench-mistakes` times them.

Each is a command in a folder of its own, which has sound data, a copy of a sound model, and a recipe of another one.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Prepare = Callable[[Path], None]
"""Makes a mistake in the folder."""


@dataclass(frozen=True)
class Mistake:
    """A wrong command. It must end with status 2, a message, and nothing left behind."""

    about: str
    """What is wrong: recipe, data, model, machine or store."""
    what: str
    """The mistake in words."""
    message: str
    """A part of the message."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Changes of the sound recipe, by dotted names."""
    prepare: Prepare = lambda folder: None
    arguments: tuple[str, ...] = ("run", "recipe.yaml", "--run-dir", "run")
    """Of the command, in the folder."""
    environment: dict[str, str] = field(default_factory=dict)


def sound_recipe(model: Path) -> dict[str, Any]:
    """A recipe without a mistake, for two cores."""
    return {
        "model": str(model),
        "iterations": 2,
        "seed_data": {"source": "pairs.jsonl", "ift": 20, "eft": 10, "held_out": 4, "verdicts": "baseline"},
        "prompts": {"source": "prompts.jsonl", "count": 20},
        "training": {"workers": 1, "dtype": "float32"},
        "sft": {"max_tokens": 512},
        "dpo": {"max_tokens": 512},
        "inference": {"min_replicas": 1, "max_replicas": 1},
    }


def make(mistake: Mistake, folder: Path, model: Path) -> None:
    """Write what the mistake is made with to the empty `folder`."""
    (folder / "pairs.jsonl").write_text(rows())
    (folder / "prompts.jsonl").write_text("".join(line(prompt=f"What is {n}?") for n in range(60)))
    recipe = sound_recipe(model)
    for name, value in mistake.fields.items():
        *sections, leaf = name.split(".")
        place = recipe
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    shutil.copytree(model, folder / "copy")
    mistake.prepare(folder)


def line(**row: Any) -> str:
    return json.dumps(row) + "\n"


def rows(**more: Any) -> str:
    """Sixty preferences with `more` columns."""
    return "".join(line(prompt=f"What is {n}?", chosen="It is.", rejected="No.", **more) for n in range(60))


def written(name: str, text: str | bytes) -> Prepare:
    """Write a file."""

    def prepare(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return prepare


def appended(name: str, text: str | bytes) -> Prepare:
    """Add to the end of a file."""

    def prepare(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    return prepare


def removed(*names: str) -> Prepare:
    """Remove files of the copied model."""

    def prepare(folder: Path) -> None:
        for name in names:
            (folder / "copy" / name).unlink()

    return prepare


def changed(name: str, **values: Any) -> Prepare:
    """Change values of a JSON file of the copied model; None removes one."""

    def prepare(folder: Path) -> None:
        path = folder / "copy" / name
        content = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return prepare


def replaced(name: str, before: str, after: str) -> Prepare:
    """Replace a part of a text file of the copied model."""

    def prepare(folder: Path) -> None:
        path = folder / "copy" / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return prepare


def tensors(change: Callable[[dict[str, Any]], object]) -> Prepare:
    """Change the tensors of the copied model by name."""

    def prepare(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / "copy" / "model.safetensors")
        change(held)
        save_file(held, folder / "copy" / "model.safetensors", metadata={"format": "pt"})

    return prepare


def prefixed(held: dict[str, Any]) -> None:
    """As a training that wraps the model saves it."""
    for name in list(held):
        held[f"module.{name}"] = held.pop(name)


def reshaped(held: dict[str, Any]) -> None:
    held["model.norm.weight"] = held["model.norm.weight"][:-1].clone()


def one_more_token(folder: Path) -> None:
    """A token that was added to the tokenizer alone, and that the template writes."""
    appended("copy/chat_template.jinja", "{% if false %}<|more|>{% endif %}")(folder)
    path = folder / "copy" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 400, "content": "<|more|>"})
    path.write_text(json.dumps(content))


def cut(folder: Path) -> None:
    """As an interrupted copy leaves it."""
    path = folder / "copy" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def long_prompts(folder: Path) -> None:
    """Seed prompts that can be shown to a model that proposes others."""
    path = folder / "pairs.jsonl"
    path.write_text(path.read_text().replace("What is", "What is the square of"))


def after(*steps: Prepare) -> Prepare:
    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare


def in_a_step(folder: Path) -> None:
    """Put the copied model where a training step does."""
    (folder / "step").mkdir()
    (folder / "copy").rename(folder / "step" / "model")


def unwritable(folder: Path) -> None:
    """A file where a folder must be: permissions do not stop a superuser."""
    (folder / "run").write_text("")


_NO_STORE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_COPY = {"model": "copy"}
_RUN = ("run", "recipe.yaml", "--run-dir")

RECIPE = [
    Mistake(
        "recipe",
        "a field that does not exist",
        "unknown recipe field 'dpo.betta'; did you mean 'dpo.beta'?",
        {"dpo.betta": 1},
    ),
    Mistake("recipe", "a section that does not exist", "unknown recipe field 'trainin'; did you mean", {"trainin": {}}),
    Mistake(
        "recipe", "a text for a number", "recipe field 'iterations': must be a whole number", {"iterations": "two"}
    ),
    Mistake("recipe", "a value out of range", "recipe field 'dpo.beta'", {"dpo.beta": -1}),
    Mistake("recipe", "a choice that does not exist", "recipe field 'dpo.loss'", {"dpo.loss": "orpo"}),
    Mistake(
        "recipe",
        "an override without =",
        "override 'seed' is not of the form key=value",
        arguments=(*_RUN, "run", "seed"),
    ),
    Mistake(
        "recipe",
        "an override of a value as a section",
        "'seed' is a value, not a section",
        {"seed": 1},
        arguments=(*_RUN, "run", "seed.x=1"),
    ),
    Mistake(
        "recipe",
        "a recipe file that is not there",
        "cannot read recipe recpie.yaml",
        arguments=("run", "recpie.yaml", "--run-dir", "run"),
    ),
    Mistake(
        "recipe", "a recipe that is no YAML", "recipe.yaml is not YAML", prepare=written("recipe.yaml", "model: [")
    ),
    Mistake(
        "recipe", "a recipe that is a list", "recipe.yaml must be a mapping", prepare=written("recipe.yaml", "- model")
    ),
    Mistake("recipe", "no model", "recipe field 'model' is missing", prepare=written("recipe.yaml", "seed: 1")),
    Mistake(
        "recipe",
        "a batch smaller than the workers",
        "dpo.batch_size 2 is smaller than training.workers 4",
        {"dpo.batch_size": 2, "training.workers": 4},
    ),
    Mistake(
        "recipe",
        "fewer workers than at least",
        "min_workers must not exceed workers",
        {"training.min_workers": 3, "training.workers": 2},
    ),
    Mistake(
        "recipe",
        "a final learning rate above the first",
        "final_learning_rate must not exceed learning_rate",
        {"sft.final_learning_rate": 1.0},
    ),
    Mistake(
        "recipe",
        "a secret in the recipe",
        "HF_TOKEN=… holds a secret, which would stand in the run's files; set HF_TOKEN in the environment of",
        {"inference.env": {"HF_TOKEN": "x"}},
    ),
    Mistake(
        "recipe",
        "EFT rows in DPO without EFT rows",
        "dpo.eft_weight needs EFT rows",
        {"dpo.eft_weight": 0.1, "seed_data.eft": 0},
    ),
    Mistake(
        "recipe",
        "a checkpoint chosen where there is no DPO",
        "set training.select=last",
        {"training.select": "judged", "pairs.policy": "positive-only"},
    ),
    Mistake("recipe", "a rubric that does not exist", "unknown rubric 'aditive'", {"judge.rubric": "aditive"}),
    Mistake("recipe", "a rubric for two replies", "rubric pairwise has the placeholders", {"judge.rubric": "pairwise"}),
    Mistake(
        "recipe",
        "a scorer that is not installed",
        "no installed package has a scorer 'mine'",
        {"evaluation.scorer": "mine"},
    ),
    Mistake(
        "recipe",
        "a tracker that is not installed",
        "no installed package has a tracker 'board'",
        {"tracking.trackers": ["board"]},
    ),
    Mistake(
        "recipe",
        "a proposer of this run",
        "is trained on prompts of this run",
        {"prompts.source": "model", "prompts.proposer": "run/M2/model"},
    ),
    Mistake(
        "recipe",
        "a number at its limit",
        "recipe field 'training.dropout': must be less than 1 (got 1)",
        {"training.dropout": 1},
    ),
    Mistake("recipe", "no number", "recipe field 'dpo.beta': must be a finite number", {"dpo.beta": float("nan")}),
    Mistake(
        "recipe",
        "a name that is a number",
        "unknown recipe field '1'; known: ",
        prepare=appended("recipe.yaml", "1: 2\n"),
    ),
    Mistake(
        "recipe",
        "thousands of brackets",
        "recipe.yaml is not YAML: it is nested too deeply; write fewer",
        prepare=written("recipe.yaml", "model: " + "[" * 5000),
    ),
    Mistake(
        "recipe",
        "thousands of digits",
        "000… is not a YAML value",
        arguments=(*_RUN, "run", "iterations=1" + "0" * 5000),
    ),
    Mistake(
        "recipe",
        "an adapter for a layer that is not there",
        "training.lora.targets ['q_prj']: q_prj is not found in the model; name layers such as down_proj",
        {"training.lora": {"rank": 8, "targets": ["q_prj"]}},
    ),
    Mistake(
        "recipe",
        "an adapter for the output head",
        "only linear layers and experts can be trained, and not the output head",
        {"training.lora": {"rank": 8, "targets": ["lm_head"]}},
    ),
    Mistake(
        "recipe",
        "a router loss of a model without routers",
        "training.router_loss is 0.1, but models of type",
        {"training.router_loss": 0.1},
    ),
    Mistake(
        "recipe",
        "more demonstrations than seed prompts",
        "pairs.jsonl has 0 IFT prompts of 4 to 150 words",
        {"prompts.source": "model"},
    ),
    Mistake(
        "recipe",
        "a misspelt argument of the engine",
        "inference.engine.max_modle_len: the vLLM that is installed here has no such argument; did you mean 'max_model",
        {"inference.engine": {"max_modle_len": 100}},
    ),
    Mistake(
        "recipe",
        "a length of the engine that is a text",
        "max_model_len must be a whole number of tokens above 0, or -1",
        {"inference.engine": {"max_model_len": "4k"}},
    ),
    Mistake(
        "recipe",
        "another model for the engine",
        "recipe field 'inference.engine': model is that of the model which a step asks; leave it out",
        {"inference.engine": {"model": "other"}},
    ),
    Mistake(
        "recipe",
        "one candidate, of which no pair can be made",
        "respond.candidates is 1, and pairs.policy=best-worst makes a pair of two replies to a prompt; raise",
        {"respond.candidates": 1},
    ),
    Mistake(
        "recipe",
        "candidates that are all the same",
        "respond.sampling.temperature is 0, so that the 4 candidates for a prompt (respond.candidates) would be",
        {"respond.sampling": {"temperature": 0}},
    ),
    Mistake(
        "recipe",
        "a budget smaller than what is wanted of it",
        "prompts.max_requests allows 16 proposals (in rounds of 8), of which prompts.count=20 prompts cannot come",
        {"prompts.source": "model", "prompts.max_requests": 10, "prompts.requests_per_round": 8},
        prepare=long_prompts,
    ),
]

DATA = [
    Mistake("data", "no seed data", "seed_data.source is not set", {"seed_data.source": None}),
    Mistake("data", "a file that is not there", "cannot read paris.jsonl", {"seed_data.source": "paris.jsonl"}),
    Mistake("data", "an empty file", "holds no rows", prepare=written("pairs.jsonl", "")),
    Mistake(
        "data",
        "rows that are no JSON",
        "pairs.jsonl:1",
        prepare=written("pairs.jsonl", "prompt,chosen\nWhy?,So.\n" * 30),
    ),
    Mistake("data", "rows that are lists", "pairs.jsonl: is not JSON", prepare=written("pairs.jsonl", "[1, 2]\n" * 30)),
    Mistake(
        "data",
        "columns that no format has",
        "has no known format; its fields: 'colour'",
        prepare=written("pairs.jsonl", line(colour="red")),
    ),
    Mistake(
        "data",
        "prompts alone as seed data",
        "prompts without replies are for prompts.source",
        prepare=written("pairs.jsonl", line(prompt="Why?") * 30),
    ),
    Mistake(
        "data",
        "another encoding",
        "20 × is not UTF-8",
        prepare=appended("pairs.jsonl", '{"prompt": "Größe?"}\n'.encode("latin-1") * 20),
    ),
    Mistake(
        "data",
        "more null texts than are allowed",
        "more than seed_data.bad_share=0.1 allows",
        prepare=appended("pairs.jsonl", line(prompt="Why?", chosen=None, rejected="b") * 20),
    ),
    Mistake(
        "data",
        "rows of two formats",
        "give a source of one format",
        prepare=appended("pairs.jsonl", line(question="Why?", answer="So.")),
    ),
    Mistake(
        "data",
        "ties alone",
        "has no set to teach judging with",
        prepare=written("pairs.jsonl", rows(score_chosen=1, score_rejected=1)),
    ),
    Mistake(
        "data",
        "a column that is mapped and not there",
        "has no column 'frage' for 'prompt'",
        {"seed_data.columns": {"prompt": "frage"}},
    ),
    Mistake(
        "data",
        "a mapping to a field that does not exist",
        "no format has a field 'prompts'; did you mean 'prompt'?",
        {"seed_data.columns": {"prompts": "prompt"}},
    ),
    Mistake(
        "data",
        "a column that changes the meaning",
        "column 'context'",
        prepare=written("pairs.jsonl", rows(context="2 + 2")),
    ),
    Mistake(
        "data",
        "a folder without rows",
        "holds no file with rows",
        {"seed_data.source": "empty"},
        prepare=written("empty/notes.txt", ""),
    ),
    Mistake(
        "data",
        "a split that is not there",
        "has no split 'test'",
        {"seed_data.source": "data", "seed_data.split": "test"},
        prepare=written("data/train.jsonl", line(prompt="a", chosen="b", rejected="c")),
    ),
    Mistake(
        "data",
        "a prompts file that is not there",
        "prompts.source: cannot read promts.jsonl",
        {"prompts.source": "promts.jsonl"},
    ),
    Mistake(
        "data",
        "too few prompts for all iterations",
        "has 60 prompts that can be used, and 3 iterations of prompts.count=40 need 120",
        {"prompts.count": 40, "iterations": 3},
    ),
    Mistake("data", "an empty source", "cannot open storage ''", {"seed_data.source": ""}),
    Mistake("data", "a home folder", "only a shell expands ~", {"seed_data.source": "~/pairs.jsonl"}),
    Mistake(
        "data",
        "a pipe",
        "cannot read pipe: it is neither a file nor a folder; write its rows to a file",
        {"seed_data.source": "pipe"},
        lambda folder: os.mkfifo(folder / "pipe"),
    ),
    Mistake(
        "data",
        "an address of the hub",
        "what is on the hub is named owner/name, without hf://",
        {"prompts.source": "hf://datasets/you/data"},
    ),
    Mistake(
        "data",
        "questions that are no prompts",
        "--prompts",
        arguments=("respond", "recipe.yaml", "--model", "copy", "--prompts", "nothing.jsonl", "--out", "run"),
    ),
    Mistake(
        "data",
        "a model where its answers are wanted",
        "is a model, not its replies",
        arguments=("judge", "recipe.yaml", "--model", "copy", "--replies", "copy", "--out", "run"),
    ),
]

MODEL = [
    Mistake(
        "model",
        "a folder that is not there",
        "model 'modles/mine/x' is neither a local folder, nor a hub name",
        {"model": "modles/mine/x"},
    ),
    Mistake(
        "model",
        "a folder without a configuration",
        "has no config.json; name a folder that",
        _COPY,
        removed("config.json"),
    ),
    Mistake(
        "model",
        "a training step's folder instead of its model",
        "has no config.json; the model is step/model",
        {"model": "step"},
        in_a_step,
    ),
    Mistake("model", "no weights", "has no *.safetensors weights", _COPY, removed("model.safetensors")),
    Mistake(
        "model",
        "pickled weights",
        "pickled weights are not read",
        _COPY,
        after(removed("model.safetensors"), written("copy/pytorch_model.bin", b"x")),
    ),
    Mistake("model", "no tokenizer", "has no tokenizer; put its tokenizer.json", _COPY, removed("tokenizer.json")),
    Mistake(
        "model",
        "no chat template",
        "has no chat template; add a chat_template.jinja",
        _COPY,
        removed("chat_template.jinja"),
    ),
    Mistake("model", "an empty chat template", "has no chat template", _COPY, written("copy/chat_template.jinja", "")),
    Mistake(
        "model",
        "no end token",
        "has no end token; name the token that ends a reply",
        _COPY,
        changed("tokenizer_config.json", eos_token=None),
    ),
    Mistake(
        "model",
        "a damaged tokenizer configuration",
        "its tokenizer_config.json is not JSON (",
        _COPY,
        written("copy/tokenizer_config.json", "{"),
    ),
    Mistake(
        "model",
        "an adapter instead of a model",
        "is a LoRA adapter, but a model is needed here",
        _COPY,
        written("copy/adapter_config.json", "{}"),
    ),
    Mistake(
        "model",
        "a tensor that is missing",
        "1 missing (model.norm.weight)",
        _COPY,
        tensors(lambda held: held.pop("model.norm.weight")),
    ),
    Mistake("model", "names with a prefix", "21 missing (lm_head.weight", _COPY, tensors(prefixed)),
    Mistake(
        "model",
        "a tensor of another shape",
        "1 of another shape (model.norm.weight is [63], not [64])",
        _COPY,
        tensors(reshaped),
    ),
    Mistake("model", "a file that was cut", "model.safetensors is cut off: it has", _COPY, cut),
    Mistake(
        "model",
        "more tokens than embeddings",
        "gives '<|more|>' the id 400, and it has embeddings for 400 ids",
        _COPY,
        one_more_token,
    ),
    Mistake(
        "model",
        "too few positions for the examples",
        "sft.max_tokens is 4096, but it has 2048 positions",
        {"sft.max_tokens": 4096},
    ),
    Mistake(
        "model",
        "a quantized model",
        "its weights are quantized (gptq), and cannot be trained",
        _COPY,
        changed("config.json", quantization_config={"quant_method": "gptq"}),
    ),
    Mistake(
        "model",
        "an encoder",
        "it is an encoder (model_type 'clip'), which generates nothing",
        _COPY,
        changed("config.json", model_type="clip", vision_config={}),
    ),
    Mistake(
        "model",
        "a configuration without a type",
        "its config.json has no model_type",
        _COPY,
        changed("config.json", model_type=None),
    ),
    Mistake(
        "model",
        "a configuration that is no JSON",
        "its config.json is not JSON",
        _COPY,
        written("copy/config.json", "{"),
    ),
    Mistake(
        "model",
        "a configuration with a misspelt type",
        "has model_type 'llamma', which transformers does not know (did you mean llama?)",
        _COPY,
        changed("config.json", model_type="llamma"),
    ),
    Mistake(
        "model",
        "a number that is written as a text",
        'its config.json has max_position_embeddings "2048", and it must be a whole number above 0',
        _COPY,
        changed("config.json", max_position_embeddings="2048"),
    ),
    Mistake(
        "model",
        "a configuration that is a folder",
        "its config.json is no file, but a folder, a pipe or a broken link",
        _COPY,
        after(removed("config.json"), written("copy/config.json/x", "")),
    ),
    Mistake("model", "a weight file", "is a file; name its folder: copy", {"model": "copy/model.safetensors"}),
    Mistake(
        "model",
        "an end token that the vocabulary lacks",
        "gives '<|end|>' the id 400, and it has embeddings for 400 ids",
        _COPY,
        changed("tokenizer_config.json", eos_token="<|end|>"),
    ),
    Mistake(
        "model",
        "a tokenizer that is none",
        "its tokenizer.json cannot be loaded (",
        _COPY,
        written("copy/tokenizer.json", "{}"),
    ),
    Mistake(
        "model",
        "replies that end at an ordinary word",
        "its generation_config.json has eos_token_id 50, the ordinary token",
        _COPY,
        changed("generation_config.json", eos_token_id=[1, 50]),
    ),
    Mistake(
        "model",
        "a chat template in another encoding",
        "its chat_template.jinja is not UTF-8 (",
        _COPY,
        written("copy/chat_template.jinja", "ü".encode("latin-1")),
    ),
    Mistake(
        "model",
        "a chat template that changes the messages",
        "does not show each message of user",
        _COPY,
        replaced("chat_template.jinja", "message['content']", "message['content'] | upper"),
    ),
    Mistake(
        "model",
        "a chat template that asks for another speaker",
        "replies cannot be trained with the chat template of copy",
        _COPY,
        replaced("chat_template.jinja", "<|im_start|>assistant", "<|im_start|>bot"),
    ),
    Mistake(
        "model",
        "a head beside tied embeddings",
        "its lm_head.weight has other values than its model.embed_tokens.weight",
        _COPY,
        changed("config.json", tie_word_embeddings=True),
    ),
    Mistake(
        "model",
        "an endpoint as the model to train",
        "is an endpoint, which can only judge",
        {"model": "https://host/v1#m"},
    ),
    Mistake("model", "a switch for thinking that it has not", "respond.thinking", {"respond.thinking": True}),
    Mistake("model", "a home folder", "only a shell expands ~, and not behind =", {"model": "~/model"}),
    Mistake("model", "a judge that is not there", "model 'jugde' is neither", {"evaluation.judge": "jugde"}),
]

PLACES = [
    Mistake(
        "machine",
        "more workers than cores",
        "training.workers = 20 asks for 20 × (1 CPU), and this machine",
        {"training.workers": 20, "sft.batch_size": 20, "dpo.batch_size": 20},
    ),
    Mistake(
        "machine", "GPUs that are not there", "and this machine", {"training.gpus_per_worker": 1, "training.workers": 1}
    ),
    Mistake(
        "machine",
        "a Ray cluster that is gone",
        "the Ray cluster at 127.0.0.1:1 takes no connections",
        environment={"RAY_ADDRESS": "127.0.0.1:1"},
    ),
    Mistake(
        "store",
        "a file where the run's folder must be",
        "is no folder; choose another place",
        prepare=unwritable,
        arguments=(*_RUN, "run/one"),
    ),
    Mistake(
        "store",
        "a bucket that cannot be reached",
        "s3://bucket/run",
        arguments=(*_RUN, "s3://bucket/run"),
        environment=_NO_STORE,
    ),
    Mistake(
        "store",
        "a scheme that does not exist",
        "cannot open storage 's4://bucket/run'",
        arguments=(*_RUN, "s4://bucket/run"),
    ),
    Mistake(
        "store",
        "a bucket of another cloud that cannot be reached",
        "the storage has not answered within 8 seconds",
        arguments=(*_RUN, "gs://anonymous@bucket/run?scheme=http&endpoint_override=127.0.0.1:1"),
    ),
    Mistake(
        "recipe",
        "a key that stands twice",
        "occurs twice",
        prepare=appended("recipe.yaml", "iterations: 1\n"),
    ),
    Mistake(
        "machine",
        "the address of Ray Client",
        "is that of Ray Client, which cannot run the loop",
        environment={"RAY_ADDRESS": "ray://127.0.0.1:10001"},
    ),
    Mistake(
        "machine",
        "the address of the dashboard",
        "is that of a dashboard, which takes jobs",
        environment={"RAY_ADDRESS": "http://127.0.0.1:8265"},
    ),
    Mistake(
        "machine",
        "an address without a port",
        "is no address of a Ray cluster",
        environment={"RAY_ADDRESS": "127.0.0.1"},
    ),
    Mistake(
        "data",
        "a pointer of Git LFS",
        "is a pointer of git-lfs",
        prepare=written("pairs.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 12\n"),
    ),
    Mistake(
        "data",
        "a part of a data set that is missing",
        "folder data lacks train-00001-of-00002.jsonl",
        {"seed_data.source": "data"},
        prepare=written("data/train-00000-of-00002.jsonl", rows()),
    ),
    Mistake(
        "machine",
        "a temporary folder with a long path",
        "is too long for the paths of Ray's sockets",
        environment={"RAY_TMPDIR": "/tmp/" + "x" * 120},
    ),
    Mistake("store", "an empty place", "cannot open storage ''", arguments=(*_RUN, "")),
    Mistake("store", "a home folder", "only a shell expands ~", arguments=(*_RUN, "~/runs/x")),
    Mistake("store", "a URI without //", "a URI has // behind its scheme", arguments=(*_RUN, "s3:bucket/run")),
    Mistake(
        "store",
        "the folder of the model",
        "is the folder of the model itself; choose another --run-dir",
        _COPY,
        arguments=(*_RUN, "copy"),
    ),
    Mistake("store", "no bucket", "it names no bucket or folder", arguments=(*_RUN, "s3://")),
    Mistake("store", "a # in a path", "write %23 for #", arguments=(*_RUN, "file:///tmp/run#1")),
    Mistake(
        "store",
        "an input that is no step",
        "holds no finished 'seed' step",
        arguments=("sft", "recipe.yaml", "--model", "copy", "--seed-data", "seed", "--out", "run"),
    ),
    Mistake("store", "iterate without a run", "is no run's folder", arguments=("iterate", "--run-dir", "run")),
]

MISTAKES = [*RECIPE, *DATA, *MODEL, *PLACES]
