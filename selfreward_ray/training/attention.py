"""Attention over a packed row: each segment against what it sees, so that nothing is padded and no mask is built.

On GPUs all segments are one call of FlashAttention's kernel for sequences of various lengths, elsewhere a loop.

Registered with transformers as ``packed``. The segments reach it as a keyword of the model's forward, which models
on transformers' attention interface hand down to it. What a model does beside plain causal attention would be left
out here in silence; it is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NoReturn, Self

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface

from selfreward_ray.errors import UserError
from selfreward_ray.models.packable import obstacles
from selfreward_ray.training.packing import Segment

NAME = "packed"
# What models hand down that does not change the result here.
_HARMLESS = {"position_ids", "position_embeddings", "is_causal", "sliding_window", "use_cache", "cache_position"}


@dataclass(frozen=True)
class Spans:
    """Segments on the device, as FlashAttention wants them: sequences of queries and of keys, one after the other."""

    queries: list[int]
    """Number of queries of each sequence."""
    keys: list[int]
    """Number of its keys."""
    places: Tensor
    """Where in the row each key stands, of shape [S]; a shared beginning stands there for each sequence that has it."""
    query_ends: Tensor
    """Where in the queries each sequence begins, and the last one ends, int32 of shape [segments + 1]."""
    key_ends: Tensor
    flash: bool
    """Whether the device has FlashAttention."""

    @classmethod
    def of(cls, segments: tuple[Segment, ...], device: torch.device) -> Self:
        queries = [s.queries.stop - s.queries.start for s in segments]
        keys = [s.keys for s in segments]
        places = torch.tensor([place for s in segments for place in s.places()], device=device)
        query_ends, key_ends = (
            torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device) for lengths in (queries, keys)
        )
        return cls(queries, keys, places, query_ends, key_ends, has_flash_attention(device))


def has_flash_attention(device: torch.device) -> bool:
    """Whether it is a GPU of NVIDIA's Ampere generation or later."""
    return device.type == "cuda" and bool(torch.cuda.get_device_capability(device) >= (8, 0))


def use_packed_attention(model: Any, max_tokens: int) -> None:
    """Let `model` attend by segments. Raises `UserError` where it would then say of a sequence of up to `max_tokens`
    something else than of the sequence alone."""
    for reason in _obstacles(model, max_tokens):
        _refuse(model, reason)
    model.set_attn_implementation(NAME)


def _obstacles(model: Any, max_tokens: int) -> Iterator[str]:
    config = model.config.get_text_config()
    # Some compute the types of their layers.
    yield from obstacles({**config.to_dict(), "layer_types": getattr(config, "layer_types", None)}, max_tokens)
    if model._is_stateful:
        yield "layers that are not attention over whole sequences (recurrent)"
    if not getattr(model, "_supports_attention_backend", False):
        yield "attention that is not on transformers' attention interface"


def packed_attention(
    module: Any,
    query_1HTD: Tensor,
    key_1GTD: Tensor,
    value_1GTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    spans: Spans | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Outputs of all heads, shape [1, T, H, D]; H is a multiple of the G key heads. No weights are returned.

    FlashAttention knows neither float32 nor heads of more than 256, of two sizes, or of a size that is no multiple of
    8. Raises `UserError` for a request that is not known here: left out, it would change the result.
    """
    if spans is None:
        _refuse(module, "layers that do not hand down the keywords of the model's forward")
    longest = max(spans.keys)
    window = more.get("sliding_window") or 0  # what is switched off may be a window of 0
    if 0 < window < longest:
        _refuse(module, f"a sliding window of {window} tokens, smaller than a sequence of {longest}")
    asked = {name: value for name, value in more.items() if name not in _HARMLESS} | {"attention_mask": attention_mask}
    unknown = [name for name, value in asked.items() if value is not None and value is not False]
    if more.get("is_causal") is False:
        unknown.append("is_causal=False")
    if unknown:
        _refuse(module, f"attention with {', '.join(unknown)}")
    keys_1GSD, values_1GSD = (_Seen.apply(states, spans.places) for states in (key_1GTD, value_1GTD))
    size = value_1GTD.shape[-1]
    if (
        spans.flash
        and query_1HTD.dtype in (torch.bfloat16, torch.float16)
        and query_1HTD.shape[-1] == size <= 256
        and size % 8 == 0
    ):
        return _flash(query_1HTD, keys_1GSD, values_1GSD, scaling, dropout, spans), None
    kernel = _products if query_1HTD.device.type == "cpu" else _fused
    # Split, not sliced: in the backward pass each slice would fill a gradient of the whole row.
    parts = zip(
        query_1HTD.split(spans.queries, 2),
        keys_1GSD.split(spans.keys, 2),
        values_1GSD.split(spans.keys, 2),
        strict=True,
    )
    outputs = [kernel(query, keys, values, scaling, dropout) for query, keys, values in parts]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


class _Seen(torch.autograd.Function):
    """The states at `places`, shape [1, G, S, D]. What many sequences see sums its gradients in float32."""

    @staticmethod
    def forward(ctx: Any, states_1GTD: Tensor, places_S: Tensor) -> Tensor:
        ctx.save_for_backward(places_S)
        ctx.shape = states_1GTD.shape
        return states_1GTD.index_select(2, places_S)

    @staticmethod
    def backward(ctx: Any, gradient_1GSD: Tensor) -> tuple[Tensor, None]:
        (places_S,) = ctx.saved_tensors
        wide = torch.promote_types(gradient_1GSD.dtype, torch.float32)
        summed = gradient_1GSD.new_zeros(ctx.shape, dtype=wide).index_add_(2, places_S, gradient_1GSD.to(wide))
        return summed.to(gradient_1GSD.dtype), None


def _flash(
    query_1HTD: Tensor, keys_1GSD: Tensor, values_1GSD: Tensor, scaling: float, dropout: float, spans: Spans
) -> Tensor:
    """One call for all segments. The kernel's causal mask lets a segment's last query see its last key."""
    query_THD, keys_SGD, values_SGD = (states[0].transpose(0, 1) for states in (query_1HTD, keys_1GSD, values_1GSD))
    # What PyTorch's `varlen_attn` calls, which has no dropout.
    outputs_THD: Tensor = torch.ops.aten._flash_attention_forward(
        query_THD,
        keys_SGD,
        values_SGD,
        spans.query_ends,
        spans.key_ends,
        max(spans.queries),
        max(spans.keys),
        dropout,
        True,  # causal
        False,  # no debug mask
        scale=scaling,
    )[0]
    return outputs_THD[None]


def _fused(query_1HLD: Tensor, key_1GSD: Tensor, value_1GSD: Tensor, scaling: float, dropout: float) -> Tensor:
    """PyTorch's fused kernels, where FlashAttention's does not hold."""
    return functional.scaled_dot_product_attention(
        query_1HLD,
        key_1GSD,
        value_1GSD,
        attn_mask=causal_lower_right(query_1HLD.shape[2], key_1GSD.shape[2]),
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=query_1HLD.shape[1] != key_1GSD.shape[1],
    )


def _products(query_1HLD: Tensor, key_1GSD: Tensor, value_1GSD: Tensor, scaling: float, dropout: float) -> Tensor:
    """Plain products: on a CPU three times as fast as its fused kernel at 400 tokens, half as fast again at 1,200.

    The softmax sums in float32 whatever the dtype.
    """
    (_, heads, length, _), (_, groups, seen, _) = query_1HLD.shape, key_1GSD.shape
    # A group's query heads are one long list of queries: no key is copied for each of them.
    queries = query_1HLD.reshape(groups, heads // groups * length, -1)
    later = queries.new_full((length, seen), -torch.inf).triu(seen - length + 1).repeat(heads // groups, 1)
    scores = torch.baddbmm(later, queries, key_1GSD[0].mT, alpha=scaling)
    weights = functional.dropout(scores.softmax(-1), dropout)
    return (weights @ value_1GSD[0]).view(1, heads, length, -1)


def _no_mask(*, use_vmap: bool = False, **_: Any) -> None:
    """In place of a mask. Raises `UserError` where a model adds something of its own to the causal one."""
    if use_vmap:
        raise UserError("this model cannot be trained here: it has an attention mask of its own")


def _refuse(model: Any, reason: str) -> NoReturn:
    raise UserError(f"{type(model).__name__} cannot be trained here: it has {reason}")


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _no_mask)
