"""What a first recipe depends on: how large the model is, and what the data can give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.json_files import configuration
from selfreward_ray.models.lengths import positions
from selfreward_ray.models.local import without_weights
from selfreward_ray.recipe.schema import ENDING_TOKENS
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers import Reading, read_seed

_MOST_SETS = 20_000
"""Sets that are looked at; no size grows beyond what they give."""
_FEWEST_TO_JUDGE = 30
"""With fewer ranked sets there are no judging rows, and nothing is held out."""
_FEWEST_POSITIONS = 8 * ENDING_TOKENS
"""A recipe leaves an eighth of them to a verdict."""
_HIDDEN = ("hidden_size", "n_embd", "d_model")
"""Names of the hidden size in the configurations of architectures."""
_LAYERS = ("num_hidden_layers", "n_layer")
"""Names of the number of layers."""


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
    """The size of `model` by its ``config.json``; weights are not fetched.

    Raises `UserError` if there is no such model, or if its configuration does not tell its size.
    """
    config = configuration(without_weights(model).folder, model)
    text = config.get("text_config", config)
    hidden, layers, vocabulary = (_size(text, names) for names in (_HIDDEN, _LAYERS, ("vocab_size",)))
    known = positions(text)
    if not (hidden and layers and vocabulary and known):
        raise UserError(
            f"model {model!r}: its config.json does not say how large it is (hidden_size, num_hidden_layers, "
            "vocab_size, max_position_embeddings); begin with a shipped recipe: selfreward recipe"
        )
    _, context = known
    if context < _FEWEST_POSITIONS:
        raise UserError(
            f"model {model!r}: its config.json has {context} positions, too few for a judge to be shown a reply; name "
            "a model with more"
        )
    heads = text.get("num_attention_heads") or 1
    shared = (text.get("num_key_value_heads") or heads) / heads
    width = text.get("moe_intermediate_size") or text.get("intermediate_size") or 4 * hidden
    experts = text.get("num_local_experts") or text.get("num_experts") or text.get("n_routed_experts") or 1
    layer = hidden * hidden * (2 + 2 * shared) + 3 * hidden * width * experts
    embeddings = vocabulary * hidden * (1 if text.get("tie_word_embeddings") else 2)
    return ModelSize(layers * layer + embeddings, context)


def _size(config: dict[str, Any], names: Sequence[str]) -> int:
    """The size that has one of `names`; 0 if the configuration has none."""
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


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
    # The paper's numbers at most.
    judging = ranked if ranked >= _FEWEST_TO_JUDGE else 0
    held_out = min(190, judging // 10)
    eft = min(1630, (judging - held_out) // 2)
    ift = min(3200, len(sets) - held_out - -(-eft // 2))
    return DataSize(reading.format or "", len(sets), ranked, ift, eft, held_out)
