"""The names that a model's weights have in a folder, and how the weights of a trained model become those again.

transformers renames weights when it reads a folder, and joins some: Mixtral's experts are matrices of their own there,
and one tensor in the model. vLLM and other readers of the folder know only the folder's names. A model is therefore
exported under the names of the folder that it was read from: each weight is split into the tensors that it was made of.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from selfreward_ray.errors import UserError
from selfreward_ray.models.fit import Shapes
from selfreward_ray.models.headers import folder_headers
from selfreward_ray.store.folder import Folder
from selfreward_ray.training.agreement import from_rank_0, together


@dataclass(frozen=True)
class _Origin:
    """What a weight of the model is in the folder."""

    names: dict[str, str]
    """Names in the folder, by the names under which `converter` gives the tensors."""
    converter: Any | None
    """transformers' reversed conversion; None where the tensor is the same."""


@dataclass(frozen=True)
class FolderNames:
    """The tensors of a folder, by the weights of the model that transformers makes of them."""

    origins: dict[str, _Origin]
    plain: Any
    """The model that plain transformers makes of the folder's configuration, without values."""

    @classmethod
    def of(cls, config: Any, stored: Shapes) -> Self:
        """The names for a folder's configuration and the shapes of its tensors.

        Raises `UserError` if a weight that transformers makes of the folder cannot be split again, by itself, into
        tensors of those names and shapes.
        """
        with torch.device("meta"):  # no memory, whatever the size
            plain = AutoModelForCausalLM.from_config(config)
        wanted = plain.state_dict()
        conversions = get_model_conversion_mapping(plain)
        renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
        converters = [each for each in conversions if isinstance(each, WeightConverter)]
        by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
        prefix = plain.base_model_prefix
        found: dict[str, _Origin] = {}
        for name in sorted(stored, key=dot_natural_key):
            weight, pattern = rename_source_key(name, renamings, converters, prefix, wanted)
            if weight not in wanted and name in wanted:
                weight, pattern = name, None
            if weight not in wanted:
                continue  # transformers does not read it
            if pattern is None:
                found[weight] = _Origin({weight: name}, None)
                continue
            if weight not in found:
                found[weight] = _Origin({}, by_pattern[pattern].reverse_transform())
            given, _ = rename_source_key(name, renamings, [])
            found[weight].names[_bare(given, prefix)] = name
        names = cls(found, plain)
        names._check(stored)
        return names

    def of_weight(self, weight: str) -> list[str]:
        """Names of the folder's tensors that the model's `weight` was made of."""
        return list(self.origins[weight].names.values())

    def split(self, weight: str, tensor: Tensor) -> dict[str, Tensor]:
        """The folder's tensors, by name, that the model's `weight` of value `tensor` was made of."""
        origin = self.origins[weight]
        if origin.converter is None:
            return dict.fromkeys(origin.names.values(), tensor)
        converter = deepcopy(origin.converter)  # it keeps what it is given
        target, pattern = converter.rename_source_key(weight)
        converter.add_tensor(target, weight, pattern, tensor)
        parts = converter.convert(target, model=self.plain, config=self.plain.config)
        whole = {
            _bare(name, self.plain.base_model_prefix): part[0] if isinstance(part, list) else part
            for name, part in parts.items()
        }
        if whole.keys() != origin.names.keys():
            raise UserError(_untaken(weight, f"{', '.join(sorted(whole.keys() ^ origin.names.keys())[:3])} differ"))
        return {origin.names[name]: part for name, part in whole.items()}

    def check_covers(self, weights: Iterable[str]) -> None:
        """Raise `UserError` unless each of `weights` is made of tensors of the folder."""
        if missing := sorted(set(weights) - self.origins.keys()):
            raise UserError(f"the model's folder has no tensors for {', '.join(missing[:5])} ({len(missing)} weights)")

    def _check(self, stored: Shapes) -> None:
        state = self.plain.state_dict()
        for weight, origin in self.origins.items():
            if origin.converter is None:
                continue  # what was read into it has its shape
            parts = {name: tuple(part.shape) for name, part in self.split(weight, state[weight]).items()}
            if wrong := [name for name, shape in parts.items() if shape != stored[name]]:
                raise UserError(_untaken(weight, f"{wrong[0]} would have shape {parts[wrong[0]]}"))


def folder_names(source: Path, config: Any) -> FolderNames:
    """The names in the folder `source`, whose weight files only rank 0 has. Every rank calls it.

    Raises `Final`, on all ranks, where `FolderNames.of` raises `UserError`.
    """
    stored = from_rank_0(lambda: folder_headers(Folder(str(source))).shapes)
    return together(lambda: FolderNames.of(config, stored))


def _bare(name: str, prefix: str) -> str:
    return name.removeprefix(f"{prefix}.")


def _untaken(weight: str, difference: str) -> str:
    return (
        f"this model cannot be trained here: its weight {weight} cannot be exported under the names of its folder "
        f"({difference})"
    )
