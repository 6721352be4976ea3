"""What a first recipe depends on: how large the model is, and what the data can give."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.local import local_model
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers import Reading, read_seed

_MOST_SETS = 20_000
"""So many sets are looked at; no size grows beyond what they give."""
_FEWEST_TO_JUDGE = 30
"""With fewer ranked sets there are no judging rows, and nothing is held out."""
_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer"),
    "context": ("max_position_embeddings", "n_positions"),
}
"""Names of sizes in the configurations of architectures."""


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model, from its configuration."""

    parameters: float
    """An estimate, embeddings and all experts included."""
    context: int
    """The longest conversation in tokens."""


@dataclass(frozen=True)
class DataSize:
    """How many sets a source gives, and what they are used for."""

    format: str
    sets: int
    ranked: int
    """Sets with two different ranks, which alone can teach and measure judging."""
    ift: int
    eft: int
    held_out: int


def model_size(model: str) -> ModelSize:
    """Read from ``config.json``; weights are not fetched. Raises `UserError` if there is no such model, or if its
    configuration does not tell its size."""
    config = json.loads((local_model(model, weights=False) / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config", config)
    try:
        hidden, layers, context = (_size(text, name) for name in _NAMES)
        vocabulary = int(text["vocab_size"])
    except (KeyError, TypeError):
        raise UserError(
            f"model {model!r}: its config.json does not say how large it is ({', '.join(_NAMES)}, vocab_size); begin "
            "with a shipped recipe: selfreward recipe"
        ) from None
    heads = text.get("num_attention_heads") or 1
    shared = (text.get("num_key_value_heads") or heads) / heads
    width = text.get("moe_intermediate_size") or text.get("intermediate_size") or 4 * hidden
    experts = text.get("num_local_experts") or text.get("num_experts") or text.get("n_routed_experts") or 1
    layer = hidden * hidden * (2 + 2 * shared) + 3 * hidden * width * experts
    embeddings = vocabulary * hidden * (1 if text.get("tie_word_embeddings") else 2)
    return ModelSize(layers * layer + embeddings, context)


def _size(config: dict[str, Any], name: str) -> int:
    for one in _NAMES[name]:
        if config.get(one):
            return int(config[one])
    raise KeyError(name)


def data_size(source: str, fields: Mapping[str, Any]) -> DataSize:
    """Look at the data, read by `fields` of ``seed_data``. Raises `UserError` as `read_seed` does, and if no set can be
    used."""
    wanted = SeedData.model_validate({"language": None, **fields, "source": source})
    reading = Reading(wanted)
    sets: dict[Any, RankedSet] = {}
    reasons: list[str] = []
    for found in islice(read_seed(wanted, reading), _MOST_SETS):
        if isinstance(found, Dropped):
            reasons.append(found.reason)
        else:
            sets.setdefault(found.question, found)
    if not sets:
        raise UserError(f"{source} gives no set that can be used: {', '.join(sorted(set(reasons)))}")
    ranked = sum(len({reply.rank for reply in found.replies}) > 1 for found in sets.values())
    judging = ranked if ranked >= _FEWEST_TO_JUDGE else 0
    held_out = min(190, judging // 10)
    eft = min(1630, (judging - held_out) // 2)
    ift = min(3200, len(sets) - held_out - -(-eft // 2))
    return DataSize(reading.format or "", len(sets), ranked, ift, eft, held_out)
