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
    """Segments as FlashAttention wants them: as sequences of queries and of keys, one after the other."""

    keys: Tensor
    """Where in the row each key stands, of shape [S]; a prefix stands there for each segment that sees it."""
    query_ends: Tensor
    """Where in the queries each sequence begins, and the last one ends, int32 of shape [segments + 1]."""
    key_ends: Tensor
    longest_queries: int
    longest_keys: int

    @classmethod
    def of(cls, segments: tuple[Segment, ...], device: torch.device) -> Self:
        queries = [s.queries.stop - s.queries.start for s in segments]
        keys = [s.keys for s in segments]
        seen = [place for s in segments for span in (s.prefix, s.queries) for place in range(span.start, span.stop)]
        query_ends, key_ends = (
            torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device) for lengths in (queries, keys)
        )
        return cls(torch.tensor(seen, device=device), query_ends, key_ends, max(queries), max(keys))


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
    segments: tuple[Segment, ...] | None = None,
    spans: Spans | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Outputs of all heads, shape [1, T, H, D]; H is a multiple of the G key heads. No weights are returned.

    `spans` are those of `segments` where the device has FlashAttention, which knows neither float32 nor heads of more
    than 256, of two sizes, or of a size that is no multiple of 8. Raises `UserError` for a request that is not known
    here: left out, it would change the result.
    """
    if segments is None:
        _refuse(module, "layers that do not hand down the keywords of the model's forward")
    longest = max(segment.keys for segment in segments)
    window = more.get("sliding_window") or 0  # what is switched off may be a window of 0
    if 0 < window < longest:
        _refuse(module, f"a sliding window of {window} tokens, smaller than a sequence of {longest}")
    asked = {name: value for name, value in more.items() if name not in _HARMLESS} | {"attention_mask": attention_mask}
    unknown = [name for name, value in asked.items() if value is not None and value is not False]
    if more.get("is_causal") is False:
        unknown.append("is_causal=False")
    if unknown:
        _refuse(module, f"attention with {', '.join(unknown)}")
    size = value_1GTD.shape[-1]
    if (
        spans is not None
        and query_1HTD.dtype in (torch.bfloat16, torch.float16)
        and query_1HTD.shape[-1] == size <= 256
        and size % 8 == 0
    ):
        return _flash(query_1HTD, key_1GTD, value_1GTD, scaling, dropout, spans), None
    kernel = _products if query_1HTD.device.type == "cpu" else _fused
    outputs = [
        kernel(
            query_1HTD[:, :, segment.queries],
            _seen(key_1GTD, segment),
            _seen(value_1GTD, segment),
            scaling,
            dropout,
        )
        for segment in segments
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _flash(
    query_1HTD: Tensor, key_1GTD: Tensor, value_1GTD: Tensor, scaling: float, dropout: float, spans: Spans
) -> Tensor:
    """One call for all segments. The kernel's causal mask lets a segment's last query see its last key."""
    query_THD, key_TGD, value_TGD = (states[0].transpose(0, 1) for states in (query_1HTD, key_1GTD, value_1GTD))
    # What PyTorch's `varlen_attn` calls, which has no dropout.
    outputs_THD: Tensor = torch.ops.aten._flash_attention_forward(
        query_THD,
        key_TGD.index_select(0, spans.keys),
        value_TGD.index_select(0, spans.keys),
        spans.query_ends,
        spans.key_ends,
        spans.longest_queries,
        spans.longest_keys,
        dropout,
        True,  # causal
        False,  # no debug mask
        scale=scaling,
    )[0]
    return outputs_THD[None]


def _seen(states_1GTD: Tensor, segment: Segment) -> Tensor:
    own = states_1GTD[:, :, segment.queries]
    if segment.prefix.start == segment.prefix.stop:
        return own
    return torch.cat([states_1GTD[:, :, segment.prefix], own], dim=2)


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
