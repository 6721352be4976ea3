"""The small model of a rehearsal: it has the architecture of the real one, and its replies end."""

import json
import re
from pathlib import Path

import pytest
from tiny_model import write_tiny_model

from selfreward_ray.cluster.rehearsal.stand_in_model import HEADS, LAYERS, write_stand_in
from selfreward_ray.errors import UserError
from selfreward_ray.models.chat import ChatCodec


def sampled(folder: Path, count: int, **sampling: float) -> list[str]:
    """What the model answers, at temperature 1 unless `sampling` says otherwise; ``<end>`` where it came to its end."""
    import torch
    from transformers import AutoModelForCausalLM

    codec = ChatCodec(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([codec.prompt_ids("Name a river.")] * count)
    torch.manual_seed(0)
    out = model.generate(ids, do_sample=True, top_k=0, max_new_tokens=60, eos_token_id=codec.end_id, **sampling)
    replies = [reply[ids.shape[1] :].tolist() for reply in out]
    return [codec.decode(reply) + ("<end>" if codec.end_id in reply else "") for reply in replies]


@pytest.mark.parametrize("tied", [False, True])
def test_it_has_the_models_architecture_tokenizer_and_template(tmp_path: Path, tied: bool):
    real = write_tiny_model(tmp_path / "real", tied=tied)
    large = json.loads((real / "config.json").read_text())
    large |= {"num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8}
    (real / "config.json").write_text(json.dumps(large))
    said = write_stand_in(str(real), tmp_path / "made", seed=0)
    assert said == "random LlamaForCausalLM, with its own tokenizer and template"
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert config["architectures"] == large["architectures"]
    assert config["tie_word_embeddings"] == tied
    assert (config["num_hidden_layers"], config["num_attention_heads"], config["num_key_value_heads"]) == (
        LAYERS, HEADS, 1,
    )  # fmt: skip
    assert ChatCodec(tmp_path / "made").prompt_ids("a b") == ChatCodec(real).prompt_ids("a b")
    replies = sampled(tmp_path / "made", 32)
    assert sum(reply.endswith("<end>") for reply in replies) >= 30
    words = re.findall(r"[A-Za-z]+", " ".join(replies))
    assert len(words) > 32


@pytest.mark.parametrize(("temperature", "min_p"), [(0.6, 0.05), (1.0, 0.2), (0.4, 0.05)])
def test_of_a_large_vocabulary_too_its_replies_are_some_words_long(tmp_path: Path, temperature: float, min_p: float):
    """Proposals of fewer than four words are refused."""
    from transformers import AutoTokenizer

    real = write_tiny_model(tmp_path / "real")
    tokenizer = AutoTokenizer.from_pretrained(real)
    letters = "abcdefghijklmnopqrst"
    tokenizer.add_tokens([f"Ġ{a}{b}{c}" for a in letters for b in letters for c in letters])
    tokenizer.save_pretrained(real)
    config = json.loads((real / "config.json").read_text()) | {"vocab_size": len(tokenizer)}
    (real / "config.json").write_text(json.dumps(config))
    write_stand_in(str(real), tmp_path / "made", seed=0)
    replies = sampled(tmp_path / "made", 64, temperature=temperature, min_p=min_p)
    assert sum(len(re.findall("[A-Za-z]{2,}", reply.removesuffix("<end>"))) >= 4 for reply in replies) >= 12
    assert sum(reply.endswith("<end>") for reply in replies) >= 60


def test_of_a_model_in_shards_no_weights_and_no_index_are_copied(tmp_path: Path):
    """vLLM looks for the files that an index names, and pickled weights may have a hundred GB."""
    real = write_tiny_model(tmp_path / "real")
    (real / "model.safetensors").rename(real / "model-00001-of-00002.safetensors")
    (real / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head.weight": "model-00002-of-00002"}}')
    others = ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.gguf")
    for name in (*others, "README.md", "vocab.txt"):
        (real / name).write_text("{}")
    write_stand_in(str(real), tmp_path / "made", seed=0)
    made = {file.name for file in (tmp_path / "made").iterdir()}
    assert {name for name in made if "model" in name or "consolidated" in name} == {"model.safetensors"}
    kept = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.txt"}
    assert kept <= made
    assert "README.md" not in made


def test_a_model_that_can_not_be_fetched_has_a_stand_in_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    said = write_stand_in("nobody/nothing", tmp_path / "made", seed=0)
    assert said.startswith("random LlamaForCausalLM, with a tokenizer and a template made here (cannot fetch")
    replies = sampled(tmp_path / "made", 32)
    assert sum(reply.endswith("<end>") for reply in replies) >= 30


def refuse(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_a_folder_that_is_no_model_is_refused_as_the_real_run_would(tmp_path: Path):
    real = write_tiny_model(tmp_path / "real")
    (real / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        write_stand_in(str(real), tmp_path / "made", seed=0)
