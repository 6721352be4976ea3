"""Folders of models of any size without values: headers of real files, whose data the file system need not store."""

import json
import math
from pathlib import Path
from typing import Any

from tiny_model import CHATML

Shapes = dict[str, tuple[int, ...]]

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 40, "hidden_size": 64,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 8192, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_70B = LLAMA | {
    "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8,
}  # fmt: skip
_SPECIAL = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
ADDED = ("<|im_start|>", "<|im_end|>")


def write_header(path: Path, shapes: Shapes, kind: str = "BF16", *, bits: int = 16) -> None:
    """A safetensors file of these tensors; its values are a hole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * bits // 8
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def write_shards(folder: Path, shapes: Shapes, count: int) -> list[Path]:
    """The tensors in `count` files, with their index."""
    names = sorted(shapes)
    paths = [folder / f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    listed = {}
    for number, path in enumerate(paths):
        held = {name: shapes[name] for name in names[number::count]}
        write_header(path, held)
        listed |= dict.fromkeys(held, path.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    return paths


def write_tokenizer(folder: Path, tokens: int = 38, added: tuple[str, ...] = ADDED) -> None:
    """A vocabulary of so many tokens, and after it the special ones in `added`."""
    vocabulary = {f"t{number}": number for number in range(tokens)}
    special = [_SPECIAL | {"id": tokens + n, "content": token} for n, token in enumerate(added)]
    content = {
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "t0"}, "added_tokens": special
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": ADDED[1] if ADDED[1] in added else "t0", "chat_template": CHATML})
    )


def write_model(folder: Path, config: dict[str, Any] = LLAMA, shapes: Shapes | None = None, shards: int = 0) -> Path:
    """A folder with `config`, a tokenizer, and the tensors that it needs, or `shapes`, in one file or in `shards`."""
    from selfreward_ray.models.architectures import FAMILIES
    from selfreward_ray.models.architectures.parts import shapes_of

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    shapes = shapes_of(FAMILIES[config["model_type"]], config) if shapes is None else shapes
    if shards:
        write_shards(folder, shapes, shards)
    else:
        write_header(folder / "model.safetensors", shapes)
    return folder
