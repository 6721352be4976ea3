"""Models that cannot be used, each told by its configuration and the headers of its weights alone."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import LLAMA, LLAMA_70B, write_header, write_model
from pyarrow import fs

from selfreward_ray.models.architectures import FAMILIES
from selfreward_ray.models.architectures.parts import shapes_of
from selfreward_ray.models.validate import validate
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder

NEEDED = shapes_of(FAMILIES["llama"], LLAMA)
MIXTRAL = LLAMA | {"model_type": "mixtral", "num_local_experts": 2}
DEEPSEEK = LLAMA | {
    "model_type": "deepseek_v3", "moe_intermediate_size": 8, "n_routed_experts": 2, "n_shared_experts": 1,
    "q_lora_rank": 5, "kv_lora_rank": 8, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 10,
}  # fmt: skip

LONG = {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}
LLAMA_3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"model": "m", "inference": {"gpus_per_replica": 1}} | changes)


def problems(folder: Path, wanted: Recipe | None = None, **how: Any) -> list[str]:
    """Without the model's name, with which each begins."""
    found = validate(str(folder), wanted, **how)
    assert all(str(folder) in problem for problem in found)
    return [problem.removeprefix(f"model '{folder}': ") for problem in found]


def test_a_model_that_fits_has_no_problems(tmp_path: Path):
    assert problems(write_model(tmp_path / "m"), recipe()) == []


def test_a_model_of_70b_is_validated_within_two_seconds_without_torch(tmp_path: Path):
    """In a process of its own, imports included; a third of a second on a free machine."""
    folder = write_model(tmp_path / "m", LLAMA_70B, shards=30)
    code = (
        "import sys; from selfreward_ray.models.validate import validate; print(validate(sys.argv[1])); "
        "print(sorted({'torch', 'transformers', 'ray', 'vllm', 'numpy.random'} & sys.modules.keys()))"
    )
    began = time.process_time()
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "[]"
    assert "torch" not in done.stdout
    assert "transformers" not in done.stdout
    assert time.process_time() - began < 2


def test_a_model_in_a_bucket_is_validated_without_fetching_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_model(tmp_path / "m", shards=3)
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, self.uri.removeprefix("mock://")))
    monkeypatch.setenv("SELFREWARD_CACHE", str(tmp_path / "cache"))
    assert validate("mock://m", recipe()) == []
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    (tmp_path / "m" / "model-00002-of-00003.safetensors").unlink()
    (problem,) = validate("mock://m", recipe())
    assert problem.startswith("model 'mock://m': model-00002-of-00003.safetensors, which its ")


def test_a_model_on_the_hub_is_validated_by_its_snapshot_and_the_hubs_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write_model(tmp_path / "m")
    names = [path.name for path in folder.iterdir()]
    (folder / "model.safetensors").unlink()

    def header(name: str, file: str) -> Any:
        tensors = {key: type("Info", (), {"dtype": "BF16", "shape": list(s)}) for key, s in list(NEEDED.items())[:-1]}
        return type("File", (), {"tensors": tensors})

    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(folder))
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda name: names)
    monkeypatch.setattr("huggingface_hub.parse_safetensors_file_metadata", header)
    (problem,) = validate("owner/model")
    assert problem.startswith("model 'owner/model': its weights are not those of its config.json: 1 missing (lm_head.w")


def less(count: int) -> dict[str, tuple[int, ...]]:
    return dict(sorted(NEEDED.items())[:-count])


def renamed(before: str, after: str) -> dict[str, tuple[int, ...]]:
    return {name.replace(before, after): shape for name, shape in NEEDED.items()}


WEIGHTS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "17 of 21": (less(4), "4 missing (model.layers.1.self_attn.o_proj.weight, "),
    "wrapped": ({f"policy.{name}": shape for name, shape in NEEDED.items()}, "21 missing (lm_head.weight, model.embed"),
    "prefix twice": (renamed("model.", "model.model."), "20 missing (model.embed_tokens.weight, "),
    "no prefix": (renamed("model.", ""), "20 missing (model.embed_tokens.weight, "),
    "left over": (NEEDED | {"score.weight": (1, 64)}, "1 left over (score.weight); save the whole model again with"),
    "a layer too many": (NEEDED | {"model.layers.2.mlp.up_proj.weight": (24, 64)}, "1 left over (model.layers.2.mlp"),
    "a bias": (NEEDED | {"model.layers.0.self_attn.q_proj.bias": (64,)}, "1 left over (model.layers.0.self_attn.q_"),
    "other shape": (
        NEEDED | {"model.norm.weight": (32,)}, "1 of another shape (model.norm.weight is [32], not [64]); save the"
    ),
    "turned": (
        NEEDED | {"model.layers.0.mlp.up_proj.weight": (64, 24)}, "1 of another shape (model.layers.0.mlp.up_proj.weig"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, name: str):
    shapes, said = WEIGHTS[name]
    (problem,) = problems(write_model(tmp_path / "m", shapes=shapes))
    assert problem.startswith("its weights are not those of its config.json: ")
    assert said in problem


def test_experts_by_the_names_that_transformers_has_in_memory_are_refused(tmp_path: Path):
    """vLLM does not know these names: a model that was trained for days could not be sampled from."""
    needed = shapes_of(FAMILIES["mixtral"], MIXTRAL)
    stored = {name: shape for name, shape in needed.items() if ".experts." not in name}
    stored |= {f"model.layers.{n}.mlp.experts.gate_up_proj": (2, 48, 64) for n in range(2)}
    (problem,) = problems(write_model(tmp_path / "m", MIXTRAL, stored))
    assert "12 missing (model.layers.0.block_sparse_moe.experts.0.w1.weight, " in problem
    assert "2 left over (model.layers.0.mlp.experts.gate_up_proj, " in problem


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (LLAMA, lambda s: s | {"model.layers.0.self_attn.rotary_emb.inv_freq": (16,)}),
        (LLAMA | {"tie_word_embeddings": True}, lambda s: s | {"lm_head.weight": (40, 64)}),
        (DEEPSEEK, lambda s: s | {"model.layers.2.eh_proj.weight": (64, 128)}),
        (
            {"model_type": "gpt2", "vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
            lambda s: {n.removeprefix("transformer."): v for n, v in s.items()} | {"h.0.attn.bias": (1, 1, 32, 32)},
        ),
        (
            LLAMA | {"model_type": "gpt_neox"},
            lambda s: s | {"gpt_neox.layers.0.attention.masked_bias": (), "gpt_neox.layers.1.attention.bias": (1, 9)},
        ),
    ],
)
def test_harmless_differences_are_none(tmp_path: Path, config: dict[str, Any], changed: Callable[[Any], Any]):
    shapes = changed(shapes_of(FAMILIES[config["model_type"]], config))
    assert problems(write_model(tmp_path / "m", config, shapes)) == []


def test_weights_of_an_unknown_architecture_are_left_to_training(tmp_path: Path):
    assert problems(write_model(tmp_path / "m", LLAMA | {"model_type": "seed_oss"}, {"a.weight": (1,)})) == []


def test_a_missing_size_is_named(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps({k: v for k, v in LLAMA.items() if k != "intermediate_size"}))
    (problem,) = problems(folder)
    assert problem.startswith("its config.json has no intermediate_size, which its architecture llama needs; copy")


KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "vision": ({"model_type": "qwen2_vl", "vision_config": {}, "vision_tower": "v"}, "it is a model of images or soun"),
    "encoder": ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "it is an encoder (model_type 'bert'),"),
    "encoder-decoder": ({"model_type": "t5", "is_encoder_decoder": True}, "it is an encoder with a decoder (model_typ"),
    "reward model": (
        {"architectures": ["LlamaForSequenceClassification"]}, "it is a LlamaForSequenceClassification, which has no ou"
    ),
    "code of its own": (
        {"model_type": "newest", "auto_map": {"AutoConfig": "c.C"}}, "it needs code of its own (model_type 'newest'), w"
    ),
    "gptq": ({"quantization_config": {"quant_method": "gptq"}}, "its weights are quantized (gptq), and cannot be trai"),
    "mxfp4": ({"quantization_config": {"quant_method": "mxfp4"}}, "its weights are quantized (mxfp4), and cannot be"),
    "recurrent": ({"model_type": "mamba"}, "it cannot be trained here: it has layers that are not attention over whol"),
    "linear attention": (
        {"layer_types": ["linear_attention", "full_attention"]},
        "it cannot be trained here: it has layers that are not attention over whole sequences (linear_attention)",
    ),
    "convolutions": (
        {"model_type": "lfm2", "full_attn_idxs": [1]},
        "it cannot be trained here: it has layers that are not attention over whole sequences (those beside full_",
    ),
    "no interface": ({"model_type": "bloom"}, "it cannot be trained here: it has attention that is not on transformer"),
    "sinks": ({"model_type": "gpt_oss"}, "it cannot be trained here: it has attention sinks"),
    "head with a bias": ({"model_type": "phi"}, "it cannot be trained here: it has an output head with a bias"),
    "capped attention": ({"attn_logit_softcapping": 50.0}, "it cannot be trained here: it has a soft cap on its atten"),
    "capped logits": ({"final_logit_softcapping": 30.0}, "it cannot be trained here: it has a soft cap on its logits"),
    "window": ({"sliding_window": 4095}, "it cannot be trained here: it has a sliding window of 4095 tokens; set max_"),
    "bidirectional": ({"use_bidirectional_attention": True}, "it cannot be trained here: it has attention to later to"),
    "dynamic positions": (
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 2048},
        "it cannot be trained here: it has positions that depend on the longest sequence of a batch; set "
        "max_tokens to 204",
    ),
    "dynamic positions of a type of layers": (
        {"rope_parameters": {
            "sliding_attention": {"rope_type": "default"},
            "full_attention": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 1024},
        }},
        "it cannot be trained here: it has positions that depend on the longest sequence of a batch; set "
        "max_tokens to 102",
    ),
    "long positions": (
        {"rope_scaling": LONG | {"type": "su"}, "original_max_position_embeddings": 2048},
        "it cannot be trained here: it has positions that depend on the longest sequence of a batch; set "
        "max_tokens to 204",
    ),
}  # fmt: skip
ALSO_ASKED = ("vision", "encoder", "encoder-decoder", "reward model", "code of its own")
"""Kinds that cannot be asked either."""


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_models_that_cannot_be_used_are_named(tmp_path: Path, name: str):
    changes, said = KINDS[name]
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(LLAMA | changes))
    if LLAMA | changes != LLAMA and (LLAMA | changes)["model_type"] == "phi":
        write_header(folder / "model.safetensors", shapes_of(FAMILIES["phi"], LLAMA | changes))
    found = problems(folder, recipe())
    assert found
    assert found[0].startswith(said)
    if "cannot be trained here" in said:
        assert re.search("; (set max_tokens to|name a model of another family)", found[0]), "no remedy"
    asked = problems(folder, recipe(), trained=False)
    assert bool(asked) == (name in ALSO_ASKED)


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None},
        {"sliding_window": 0},
        {"sliding_window": 5, "use_sliding_window": False},
        {"sliding_window": 5, "layer_types": ["full_attention", "full_attention"]},
        {"sliding_window": 4096},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": LLAMA_3},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 4096}},
        {"quantization_config": None},
        {"auto_map": {"AutoConfig": "c.C"}},
    ],
)
def test_what_is_switched_off_or_does_no_harm_is_no_problem(tmp_path: Path, changes: dict[str, Any]):
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(LLAMA | changes))
    assert problems(folder, recipe()) == []


@pytest.mark.parametrize(
    ("changes", "windowed"),
    [
        ({"model_type": "qwen2", "sliding_window": 5}, False),
        ({"model_type": "qwen2", "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 2}, False),
        ({"model_type": "qwen2", "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 1}, True),
        ({"model_type": "mistral"}, False),  # its default is 4,096
        ({"model_type": "mistral", "sliding_window": 4095}, True),
    ],
)
def test_families_switch_their_windows_off_in_their_own_ways(tmp_path: Path, changes: dict[str, Any], windowed: bool):
    found = problems(write_model(tmp_path / "m", LLAMA | changes), recipe())
    assert bool(found) == windowed
    assert all("a sliding window of" in problem for problem in found)


def test_quantized_weights_are_told_by_their_types_and_by_files_of_programs(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    write_header(folder / "model.safetensors", NEEDED, "I8", bits=8)
    (problem,) = problems(folder)
    assert problem.startswith("its weights are quantized (lm_head.weight has the type I8), and cannot be trained; name")
    assert problems(folder, trained=False) == []
    folder = write_model(tmp_path / "other")
    (folder / "quantize_config.json").write_text("{}")
    (problem,) = problems(folder)
    assert problem.startswith("its weights are quantized (by quantize_config.json), and cannot be trained")


TIED = LLAMA | {"tie_word_embeddings": True}


def test_a_head_beside_tied_embeddings_is_a_copy_of_them(tmp_path: Path):
    shapes = shapes_of(FAMILIES["llama"], TIED) | {"lm_head.weight": (40, 64)}
    folder = write_model(tmp_path / "m", TIED, shapes)
    assert problems(folder) == []
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)  # the head is the last tensor
        file.write(b"x")
    (problem,) = problems(folder)
    assert problem.startswith(
        "its config.json has tie_word_embeddings true, but its lm_head.weight has other values tha"
    )
    write_header(folder / "model.safetensors", shapes | {"lm_head.weight": (50, 64)})
    (problem,) = problems(folder)
    assert "1 of another shape (lm_head.weight is [50, 64], not [40, 64])" in problem


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", b"[" * 100_000, "its config.json is not JSON (maximum recursion depth"),
        ("chat_template.jinja", "ü".encode("latin-1"), "its chat_template.jinja is not UTF-8 ("),
        ("tokenizer.json", None, "its tokenizer.json is no file, but a folder, a pipe or a broken link; copy it again"),
        ("config.json", None, "its config.json is no file, but a folder, a pipe or a broken link; copy it again"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, file: str, content: bytes | None, said: str):
    path = write_model(tmp_path / "m") / file
    if content is not None:
        path.write_bytes(content)
        (problem,) = problems(path.parent)
        assert problem.startswith(said)
        return
    for wrong in (lambda: path.symlink_to(path), path.mkdir, lambda: os.mkfifo(path)):
        path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
        wrong()
        assert problems(path.parent) == [said]


def test_a_weight_file_is_no_model(tmp_path: Path):
    file = write_model(tmp_path / "m") / "model.safetensors"
    assert validate(str(file)) == [f"model '{file}' is a file; name its folder: {file.parent}"]


SPLITS = {
    "heads": ({"gpus_per_replica": 3}, "it has 2 attention heads, which vLLM cannot split among 3 GPUs; set inferenc"),
    "layers": (
        {"gpus_per_replica": 1, "nodes_per_replica": 4, "min_replicas": 1, "max_replicas": 1},
        "it has 2 layers, too few for 4 stages of a pipeline; set inference.nodes_per_replica=2 or less",
    ),
    "none": ({"gpus_per_replica": 2, "nodes_per_replica": 2, "min_replicas": 1, "max_replicas": 1}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
def test_a_replica_can_split_the_model(tmp_path: Path, name: str):
    inference, said = SPLITS[name]
    found = problems(write_model(tmp_path / "m"), recipe(inference=inference))
    assert len(found) == bool(said)
    assert all(problem.startswith(said) for problem in found)


TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}"
TEMPLATES = {
    "{% if %}": "is no valid Jinja: line 1: ",
    "{{ raise_exception('system first') }}": "refuses the turns user, assistant: system first",
    "{% if messages[1] %}{{ messages[1].content + 1 }}{% endif %}": "refuses the turns user, assistant: ",
    "{{ messages[0].content }}": "shows a reply 0 times, not once; give the folder a chat_template.jinja that writes",
    TURNS.replace("m.content", "m.content | upper"): "does not show each message of user; give the folder a chat_temp",
    TURNS.replace("m.content", "m.content if m.role == 'assistant'"): "does not show each message of user; give the",
    TURNS.replace(
        "m.content", "m.content | replace('z', 's') if m.role == 'assistant' else m.content"
    ): "changes the te",
    "{{ messages | oops }}": "is no valid Jinja: line 1: No filter named 'oops'.; mend its chat_template.jinja",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_that_cannot_show_two_turns_is_named(tmp_path: Path, template: str):
    folder = write_model(tmp_path / "m")
    (folder / "chat_template.jinja").write_text(template)
    (problem,) = validate(str(folder))
    assert problem.startswith(f"the chat template of {folder} {TEMPLATES[template]}")


def test_a_reply_must_go_on_from_what_asks_for_it(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    for role, said in [("assistant", 0), ("bot", 1)]:
        asks = "{% if add_generation_prompt %}<|im_start|>" + role + ":{% endif %}"
        (folder / "chat_template.jinja").write_text(TURNS + asks)
        found = validate(str(folder))
        assert len(found) == said
    assert found[0].startswith(f"replies cannot be trained with the chat template of {folder}: it writes '")


def test_templates_may_use_what_transformers_gives_them(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "chat_template.jinja").write_text(
        "{{ bos_token }}{{ strftime_now('%Y') }}{% for m in messages %}{% generation %}{{ m.content | tojson }}"
        "{% endgeneration %}{% if m.role == 'assistant' %}{{ eos_token }}{% break %}{% endif %}{% endfor %}"
    )
    assert problems(folder, recipe()) == []


def test_thinking_that_a_recipe_turns_off_needs_a_switch(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    wanted = recipe(judge={"thinking": False})
    assert problems(folder, wanted, asked=("respond",)) == []
    (problem,) = problems(folder, wanted)
    assert problem.startswith(f"judge.thinking: model '{folder}' has no switch for thinking: the template has no")
    (folder / "chat_template.jinja").write_text("{% if enable_thinking %}t{% endif %}{{ messages[-1].content }}")
    assert problems(folder, wanted) == []


WINDOWS = {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 5, "max_window_layers": "all"}


def test_a_value_of_another_type_is_named(tmp_path: Path):
    (problem,) = problems(write_model(tmp_path / "m", LLAMA | WINDOWS), recipe())
    assert problem.startswith("its config.json has a value of another type than is meant (")


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"model_type": 3}'])
def test_a_configuration_that_is_none_is_named(tmp_path: Path, text: str):
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text(text)
    (problem,) = problems(folder)
    assert problem.startswith("its config.json ")


def test_what_a_folder_lacks_is_the_only_problem(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    assert validate(str(folder)) == [
        f"model '{folder}' has no tokenizer; put its tokenizer.json and tokenizer_config.json into the folder"
    ]
    assert "is neither a local folder" in validate("no-such-model")[0]


def test_the_base_of_an_adapter_is_validated_and_an_adapter_is_not_trained(tmp_path: Path):
    base, adapter = write_model(tmp_path / "m"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").touch()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 8}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert validate(str(adapter), recipe(), trained=False) == []
    (problem,) = validate(str(adapter), recipe(judge={"thinking": False}), trained=False)
    assert problem.startswith(f"judge.thinking: model '{base}' has no switch for thinking: ")
    (problem,) = validate(str(adapter), recipe())
    assert problem.startswith(f"'{adapter}' is a LoRA adapter, but a model is needed here; ")


SHORT = {"sampling": {"max_tokens": 512}}
LENGTHS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "training": ({"max_position_embeddings": 4000}, {}, ["sft.max_tokens is 4096, but", "dpo.max_tokens is 4096, but"]),
    "no DPO": ({"max_position_embeddings": 4000}, {"iterations": 0}, ["sft.max_tokens is 4096, but it has 4000 posit"]),
    "GPT-2's name": (
        {"n_positions": 1024, "max_position_embeddings": None}, {"iterations": 0, "respond": SHORT}, ["sft.max_tokens"]
    ),
    "scaled by a factor": ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 2}}, {}, []),
    "scaled already": (
        {"max_position_embeddings": 2048, "rope_scaling": {"rope_type": "yarn", "factor": 2}},
        {"iterations": 0},
        ["sft.max_tokens is 4096, but it has 2048 positions (max_position_embeddings); set sft.max_tokens=2048 or les"],
    ),
    "engine": (
        {},
        {"inference": {"gpus_per_replica": 1, "engine": {"max_model_len": 8193}}},
        ["inference.engine.max_model_len is 8193, but it has 8192 positions (max_position_embeddings); set inference."],
    ),
    "replies": (
        {},
        {"inference": {"gpus_per_replica": 1, "engine": {"max_model_len": 512}}},
        ["respond.sampling.max_tokens is 1024, which leaves no room", "judge.sampling.max_tokens is 512, which leaves"],
    ),
    "long positions in training and in the engine": (
        {"rope_scaling": LONG, "original_max_position_embeddings": 4096},
        {"inference": {"gpus_per_replica": 1, "engine": {"max_model_len": 8192}}},
        ["in a context of 8192 tokens vLLM gives all sequences other positions (longrope) than training, where they"],
    ),
    "long positions, short context": (
        {"rope_scaling": LONG, "original_max_position_embeddings": 4096}, {}, []
    ),
    "heads on CPUs": ({"head_dim": 24}, {"inference": {}}, ["it has attention heads of 24 values, and vLLM on CPUs k"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_that_the_model_does_not_have_are_named(tmp_path: Path, name: str):
    config, changes, said = LENGTHS[name]
    found = problems(write_model(tmp_path / "m", LLAMA | config), recipe(**changes))
    assert len(found) == len(said)
    assert all(problem.startswith(words) for problem, words in zip(found, said, strict=True))


def test_of_a_judge_only_what_is_asked_of_it_counts(tmp_path: Path):
    folder = write_model(tmp_path / "m", LLAMA | {"max_position_embeddings": 600})
    assert problems(folder, recipe(), trained=False, asked=("judge",)) == []
    (problem,) = problems(folder, recipe(), trained=False, asked=("respond",))
    assert problem.startswith("respond.sampling.max_tokens is 1024, which leaves no room for a prompt in the engine's")
