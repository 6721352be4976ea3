"""Whether a model has the positions that a recipe asks for, in training and in its engine."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from selfreward_ray.models.packable import head_size, rope_type, rotary_embeddings
from selfreward_ray.recipe.schema import Recipe

_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
"""Names of the number of positions."""
_SCALED = ("linear", "dynamic")
"""Types of rotary embeddings whose configuration has the positions before they are scaled."""
_CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Sizes of heads that the attention of vLLM 0.32 on CPUs has."""


def positions(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """The field that tells how long a sequence may be, and the length; None if there is none."""
    told = [(field, config[field]) for field in _FIELDS if isinstance(config.get(field), int)]
    if not told:
        return None
    field, count = min(told, key=lambda each: each[1])
    factors = [rope.get("factor") for rope in rotary_embeddings(config) if rope_type(rope) in _SCALED]
    return field, int(count * max((float(factor) for factor in factors if factor), default=1.0))


def longest_training(recipe: Recipe) -> int:
    """Tokens of the longest sequence that `recipe` trains on."""
    return max(length for _, length in _trainings(recipe))


def too_long(config: Mapping[str, Any], recipe: Recipe, trained: bool, asked: Collection[str]) -> Iterator[str]:
    """Each length in `recipe` that the model with this configuration does not have, with the remedy.

    `trained` and `asked` are as in `validate`.
    """
    known = positions(config)
    engine = recipe.inference.engine
    if known is not None and "hf_overrides" not in engine:  # which may say otherwise
        field, most = known
        wanted = _trainings(recipe) if trained else []
        if asked and isinstance(engine.get("max_model_len"), int):
            wanted = [*wanted, ("inference.engine.max_model_len", engine["max_model_len"])]
        for name, length in wanted:
            if length > most:
                yield f"{name} is {length}, but it has {most} positions ({field}); set {name}={most} or less"
    context = engine.get("max_model_len") or (known and known[1])
    if isinstance(context, int) and context > 0:
        for section in asked:
            length = getattr(recipe, section).sampling.max_tokens
            if length >= context:
                yield (
                    f"{section}.sampling.max_tokens is {length}, which leaves no room for a prompt in the engine's "
                    f"context of {context} tokens; lower it"
                )
    size = head_size(config)
    if asked and not recipe.inference.gpus_per_replica and size is not None and size not in _CPU_HEADS:
        yield (
            f"it has attention heads of {size} values, and vLLM on CPUs knows {', '.join(map(str, _CPU_HEADS))}; name "
            "another model, or sample on GPUs"
        )


def _trainings(recipe: Recipe) -> list[tuple[str, int]]:
    dpo = [("dpo.max_tokens", recipe.dpo.max_tokens)] if recipe.iterations else []
    return [("sft.max_tokens", recipe.sft.max_tokens), *dpo]
