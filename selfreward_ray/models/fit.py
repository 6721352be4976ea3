"""Whether the weights of a folder are those of its architecture: names, shapes, and the words for what is wrong."""

import re
from collections.abc import Iterable, Mapping

Shapes = dict[str, tuple[int, ...]]
"""Shapes of tensors by their names."""

_NAMED = 3
"""Number of tensors that a message names of each fault."""
_COMPUTED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|position_ids|(attn|attention)\.(bias|masked_bias))$")


def is_computed(name: str) -> bool:
    """Whether a tensor that its architecture does not ask for is harmless: a buffer of positions or of the causal mask,
    which earlier versions of transformers stored and models compute."""
    return _COMPUTED.search(name) is not None


def misfit(
    missing: Iterable[str], left_over: Iterable[str], other_shape: Mapping[str, tuple[Iterable[int], ...]]
) -> str:
    """What is wrong with a folder's weights, with some tensors of each fault; empty if they fit.

    `missing` are needed and not there; `left_over` are there, but have no place in the architecture. `other_shape` has
    the shape in the folder and the one that is needed.
    """
    shapes = (f"{name} is {list(found)}, not {list(needed)}" for name, (found, needed) in sorted(other_shape.items()))
    faults = ("missing", sorted(missing)), ("left over", sorted(left_over)), ("of another shape", list(shapes))
    problems = [f"{len(names)} {what} ({_some(names)})" for what, names in faults if names]
    if not problems:
        return ""
    return (
        f"its weights are not those of its config.json: {', '.join(problems)}; save the whole model again with "
        "save_pretrained, or copy its folder again"
    )


def _some(names: list[str]) -> str:
    return ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
