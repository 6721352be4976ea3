"""What layers are made of: the sizes in a configuration, and tensors by the names that files give them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfreward_ray.models.fit import Shapes

_ALSO = {"num_experts": "num_local_experts"}
"""Names that transformers writes instead of others since version 5."""


class UnknownSize(ValueError):
    """The configuration has no valid value for a size that the architecture needs."""


class Sizes:
    """The values of a config.json, by transformers' names."""

    def __init__(self, config: Mapping[str, Any]):
        self._config = config

    def __getitem__(self, name: str) -> int:
        """A size. Raises `UnknownSize` if the configuration has none."""
        value = self._config.get(name, self._config.get(_ALSO.get(name, name)))
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UnknownSize(f"its config.json has {'no ' + name if value is None else f'{name} {value!r}'}")
        return value

    def get(self, name: str, otherwise: int) -> int:
        """A size that may be left out, or be null."""
        return otherwise if self._config.get(name) is None else self[name]

    def on(self, name: str, otherwise: bool = False) -> bool:
        """Whether a part is there."""
        value = self._config.get(name)
        return otherwise if value is None else bool(value)

    def listed(self, name: str) -> list[int]:
        """Numbers of layers; none if the configuration has no list."""
        value = self._config.get(name)
        return value if isinstance(value, list) else []

    @property
    def hidden(self) -> int:
        return self["hidden_size"]

    @property
    def heads(self) -> int:
        return self["num_attention_heads"]

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.get("num_key_value_heads", self.heads)

    @property
    def head(self) -> int:
        """Values of a head."""
        return self.get("head_dim", self.hidden // self.heads)


@dataclass(frozen=True)
class Family:
    """An architecture: the tensors of its files, as functions of the sizes in a configuration."""

    layer: Callable[[Sizes, int], Shapes]
    """The tensors of a layer, by their names in it. Its number tells layers apart that have different ones."""
    beside: Callable[[Sizes], Shapes]
    """All others, but for the output head."""
    layers: str = "model.layers"
    """What stands before the number of a layer."""
    count: str = "num_hidden_layers"
    """The field with the number of layers."""
    head: str = "lm_head"
    head_size: Callable[[Sizes], int] = lambda sizes: sizes.hidden
    """Number of values that the head reads."""
    head_bias: Callable[[Sizes], bool] = lambda _: False
    bare: str = ""
    """What files may leave out before all names but the head's, for transformers and for vLLM alike."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values that a configuration leaves out because they are transformers' own, where they are no size."""
    extra_layers: bool = False
    """Whether files may have layers beyond the last one, which predict further tokens and are not used."""


def shapes_of(family: Family, config: Mapping[str, Any]) -> Shapes:
    """Names and shapes of all tensors of a model. Raises `UnknownSize` if `config` does not tell its sizes."""
    sizes = Sizes({**family.defaults, **config})
    shapes = family.beside(sizes)
    for number in range(sizes[family.count]):
        shapes |= {f"{family.layers}.{number}.{name}": shape for name, shape in family.layer(sizes, number).items()}
    if not sizes.on("tie_word_embeddings"):
        shapes[f"{family.head}.weight"] = (sizes["vocab_size"], family.head_size(sizes))
    if family.head_bias(sizes):
        shapes[f"{family.head}.bias"] = (sizes["vocab_size"],)
    return shapes


def linear(name: str, out: int, into: int, bias: bool = False) -> Shapes:
    """The tensors of a linear layer from `into` to `out` values."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norms(*names: str, size: int, bias: bool = False) -> Shapes:
    """The tensors of normalizations of `size` values each."""
    return {f"{name}.{part}": (size,) for name in names for part in (["weight", "bias"] if bias else ["weight"])}


def attention(sizes: Sizes, bias: bool = False, out_bias: bool | None = None, out: str = "o_proj") -> Shapes:
    """The four projections of attention with groups of heads. The last one has a bias as the others, unless told."""
    queries, keys = sizes.heads * sizes.head, sizes.kv_heads * sizes.head
    return (
        linear("self_attn.q_proj", queries, sizes.hidden, bias)
        | linear("self_attn.k_proj", keys, sizes.hidden, bias)
        | linear("self_attn.v_proj", keys, sizes.hidden, bias)
        | linear(f"self_attn.{out}", sizes.hidden, queries, bias if out_bias is None else out_bias)
    )


def head_norms(size: int, other: int | None = None) -> Shapes:
    """The normalizations of queries, and of keys if they have another size."""
    return norms("self_attn.q_norm", size=size) | norms("self_attn.k_norm", size=other or size)


def gated(sizes: Sizes, inner: int, name: str = "mlp", bias: bool = False) -> Shapes:
    """A gated MLP with `inner` values inside."""
    return (
        linear(f"{name}.gate_proj", inner, sizes.hidden, bias)
        | linear(f"{name}.up_proj", inner, sizes.hidden, bias)
        | linear(f"{name}.down_proj", sizes.hidden, inner, bias)
    )


def beside(norm: str = "norm", bias: bool = False, has_norm: bool = True) -> Callable[[Sizes], Shapes]:
    """The embeddings and the last normalization of most families."""

    def made(sizes: Sizes) -> Shapes:
        last = norms(f"model.{norm}", size=sizes.hidden, bias=bias) if has_norm else {}
        return {"model.embed_tokens.weight": (sizes["vocab_size"], sizes.hidden)} | last

    return made
