"""Whether a model has the positions that a recipe asks for, in training and in its engine."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from selfreward_ray.models.packable import head_size, rope_type, rotary_embeddings, uniform_positions
from selfreward_ray.recipe.schema import Recipe

_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
"""Names of the number of positions."""
_HEADS, _LAYERS = ("num_attention_heads", "n_head"), ("num_hidden_layers", "n_layer")
_SCALED = ("linear", "dynamic")
"""Types of rotary embeddings whose configuration has the positions before they are scaled."""
_CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Sizes of heads that the attention of vLLM 0.32 on CPUs has."""


def positions(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """The field that tells how long a sequence may be, and the length; None if there is none."""
    lengths = [(field, config[field]) for field in _FIELDS if isinstance(config.get(field), int)]
    if not lengths:
        return None
    field, count = min(lengths, key=lambda each: each[1])
    factors = [rope.get("factor") for rope in rotary_embeddings(config) if rope_type(rope) in _SCALED]
    return field, int(count * max((float(factor) for factor in factors if factor), default=1.0))


def longest_training(recipe: Recipe) -> int:
    """Tokens of the longest sequence that `recipe` trains on."""
    return max(length for _, length in _trainings(recipe))


def too_long(config: Mapping[str, Any], recipe: Recipe, trained: bool, asked: Collection[str]) -> Iterator[str]:
    """Each length in `recipe` that the model with this configuration does not have, with the remedy.

    `trained` and `asked` are as in `validate`.
    """
    if "hf_overrides" in recipe.inference.engine:  # other values of the configuration, for the engine alone
        return
    context = _context(config, recipe)
    told = recipe.inference.engine.get("max_model_len")
    wanted = _trainings(recipe) if trained else []
    if asked and isinstance(told, int):
        wanted = [*wanted, ("inference.engine.max_model_len", told)]
    if (known := positions(config)) is not None:
        field, most = known
        for name, length in wanted:
            if length > most:
                yield f"{name} is {length}, but it has {most} positions ({field}); set {name}={most} or less"
    if context is None:
        return
    for section in asked:
        length = getattr(recipe, section).sampling.max_tokens
        if length >= context:
            yield (
                f"{section}.sampling.max_tokens is {length}, which leaves no room for a prompt in the engine's context "
                f"of {context} tokens; lower it"
            )
    if trained and asked and _is_longrope(config):
        reach = uniform_positions(config) or 0
        if context > reach:
            yield (
                f"in a context of {context} tokens vLLM gives all sequences other positions (longrope) than training, "
                f"where they have up to {reach} tokens; set inference.engine.max_model_len={reach} or less"
            )


def head_fault(config: Mapping[str, Any], recipe: Recipe) -> str | None:
    """Why the pool of `recipe` cannot compute attention with heads of this size, with the remedy; None if it can."""
    size = head_size(config)
    if recipe.inference.gpus_per_replica or size is None or size in _CPU_HEADS:
        return None
    return (
        f"it has attention heads of {size} values, and vLLM on CPUs knows {', '.join(map(str, _CPU_HEADS))}; name "
        "another model, or sample on GPUs"
    )


def split_fault(config: Mapping[str, Any], recipe: Recipe) -> str | None:
    """Why a replica of `recipe` cannot split the model among its GPUs and nodes, with the remedy; None if it can."""
    if "hf_overrides" in recipe.inference.engine:
        return None
    gpus, stages = recipe.inference.gpus_per_replica, recipe.inference.nodes_per_replica
    heads, layers = (_first(config, names) for names in (_HEADS, _LAYERS))
    if gpus and heads and heads % gpus:
        return (
            f"it has {heads} attention heads, which vLLM cannot split among {gpus} GPUs; set "
            f"inference.gpus_per_replica to a divisor of {heads}"
        )
    if layers and stages > layers:
        return (
            f"it has {layers} layers, too few for {stages} stages of a pipeline; set inference.nodes_per_replica="
            f"{layers} or less"
        )
    return None


def _first(config: Mapping[str, Any], names: Collection[str]) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _context(config: Mapping[str, Any], recipe: Recipe) -> int | None:
    """The engine's context in tokens: what the recipe says, or what vLLM takes from the configuration."""
    told = recipe.inference.engine.get("max_model_len")
    if isinstance(told, int) and told > 0:
        return told
    if _is_longrope(config) and config.get("original_max_position_embeddings"):
        return int(config["original_max_position_embeddings"])
    known = positions(config)
    return None if known is None else known[1]


def _is_longrope(config: Mapping[str, Any]) -> bool:
    return any(rope_type(rope) == "longrope" for rope in rotary_embeddings(config))


def _trainings(recipe: Recipe) -> list[tuple[str, int]]:
    dpo = [("dpo.max_tokens", recipe.dpo.max_tokens)] if recipe.iterations else []
    return [("sft.max_tokens", recipe.sft.max_tokens), *dpo]
