"""A small random model with the architecture of another one, which writes ordinary words and ends its replies.

An ordinary random model generates random bytes without end. None of its replies would be finished, none of its prompts
would pass the filters, and a rehearsal would end before its first pair. Therefore all token embeddings have the same
large first coordinate, and the output head uses it to favour ordinary words and the end token.
"""

import math
import re
import shutil
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.pretrained import pretrained_config, pretrained_tokenizer

LAYERS, HEADS, HEAD_SIZE = 2, 4, 32
_WORDS = 20
"""Number of ordinary words that the model writes. The end token is twice as probable as each: more words would make it
so much more probable that `min_p` and low temperatures would leave no other token."""
_WORDS_BEFORE_THE_END = 10
_PLAIN = re.compile(r"[Ġ▁ ][A-Za-z]{2,}")
_COPIED = (".json", ".jinja", ".txt", ".model", ".tiktoken")
"""Suffixes of configuration, tokenizer and template files. Weights and their index are not copied."""
_PREFERENCE = 6.0
"""Logit of ordinary words; other tokens have its negative."""


def write_stand_in(name: str, folder: Path, seed: int) -> str:
    """Write a model with the architecture, tokenizer and template of the model `name` to `folder`.

    Returns a description of it. If these cannot be fetched, it is a Llama with a synthetic tokenizer and the ChatML
    template. Raises `UserError` if a local or stored model is incomplete, or if no small model of its architecture can
    be made.
    """
    from transformers import logging

    logging.disable_progress_bar()
    source, said = _companions(name)
    folder.mkdir(parents=True)
    try:
        return f"random {_write(source, folder, seed)}, {said}"
    except Exception as error:
        raise UserError(f"model {name!r}: no small model of its architecture can be made ({error})") from error


def _write(source: Path | None, folder: Path, seed: int) -> str:
    """Write the model, after the one in `source` if there is one. Returns the name of its class."""
    import torch
    from transformers import AutoModelForCausalLM

    if source is None:
        config = _made_up(folder)
    else:
        for file in source.iterdir():
            if file.is_file() and file.suffix in _COPIED and not file.name.endswith(".index.json"):
                shutil.copy(file, folder / file.name)
        config = _reduced(source)
    tokenizer = pretrained_tokenizer(folder)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    _prefer_words(model, tokenizer)
    model.save_pretrained(folder)
    return config.architectures[0] if config.architectures else type(model).__name__


def _companions(name: str) -> tuple[Path | None, str]:
    """The folder of the model's configuration, tokenizer and template, and their origin as text."""
    said = "with its own tokenizer and template"
    if "://" in name or Path(name).is_dir():
        return without_weights(name).folder, said
    try:
        return without_weights(name).folder, said
    except UserError as error:
        reason = str(error).splitlines()[0].split(": ")[0]
        return None, f"with a tokenizer and a template made here ({reason})"


def _reduced(source: Path) -> Any:
    """The configuration in `source` with few and narrow layers and small initial weights."""
    config = pretrained_config(source)
    text = config.get_text_config()
    group = max(1, text.num_attention_heads // (getattr(text, "num_key_value_heads", None) or text.num_attention_heads))
    sizes = {
        "num_hidden_layers": LAYERS,
        "hidden_size": HEADS * HEAD_SIZE,
        "intermediate_size": 2 * HEADS * HEAD_SIZE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": max(1, HEADS // group),
        "head_dim": HEAD_SIZE,
        "moe_intermediate_size": HEAD_SIZE,
        "num_experts": 4,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "initializer_range": 0.02,  # with larger weights the first coordinate would not dominate
    }
    for field, size in sizes.items():
        if getattr(text, field, None) is not None:
            setattr(text, field, size)
    if kinds := getattr(text, "layer_types", None):
        text.layer_types = [kinds[0], kinds[-1]]
    return config


def _made_up(folder: Path) -> Any:
    """Write a tokenizer of a few hundred tokens to `folder`. Returns the configuration of a Llama for it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([_SENTENCES], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=["<|im_start|>"],
        chat_template=_CHATML,
    )
    tokenizer.save_pretrained(folder)
    return LlamaConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=LAYERS,
        hidden_size=HEADS * HEAD_SIZE,
        intermediate_size=2 * HEADS * HEAD_SIZE,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
    )


def _prefer_words(model: Any, tokenizer: Any) -> None:
    import torch

    from selfreward_ray.models.chat import ChatCodec

    end = ChatCodec(Path(tokenizer.name_or_path)).end_id
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    # The value of a coordinate that is far larger than the others after normalization.
    first = math.sqrt(embeddings.shape[1])
    plain = sorted(
        token_id for token, token_id in tokenizer.get_vocab().items()
        if token_id < len(head) and _PLAIN.fullmatch(token)
    )  # fmt: skip
    words = plain[:: max(1, len(plain) // _WORDS)][:_WORDS]
    with torch.no_grad():
        embeddings[:, 0] = 2.0
        weights = torch.full((len(head),), -_PREFERENCE)
        weights[words] = _PREFERENCE
        weights[end] = _PREFERENCE + math.log(max(1, len(words)) / _WORDS_BEFORE_THE_END)
        # If the head is tied to the embeddings, their large coordinates then differ slightly, which does no harm.
        head[:, 0] = (2.0 if head.data_ptr() == embeddings.data_ptr() else 0.0) + weights / first


_SENTENCES = (
    "Write one sentence about rivers. Name three fruits that grow in a warm country, and say why people like them. "
    "The reply is relevant, it answers the question, and it is clearly written. Score: 4 Explain how bread is made. "
    "Honestly, every quiet garden has a golden bridge where people sit together in the evening and talk about books. "
    "Describe a small town near the sea, its market, its music and the weather in winter and summer. What is a prime "
    "number, and how can you find all of them below one hundred? Give advice to a friend who wants to learn to cook. "
) * 8
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
