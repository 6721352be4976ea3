"""The weights that training starts from, cut into ZeRO-3's shards; only rank 0 reads them."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

from selfreward_ray.errors import Final, UserError
from selfreward_ray.models.fit import is_computed, misfit
from selfreward_ray.models.headers import INDEX, WEIGHTS, weight_map
from selfreward_ray.training.agreement import on_rank_0


def load_sharded(source: Path, config: Any, settings: dict[str, Any], dtype: torch.dtype) -> Any:
    """The model of `config` under ZeRO-3 by DeepSpeed's `settings`, with the weights in rank 0's folder `source`.

    Under ZeRO-3 transformers opens every weight file on every rank, and then uses rank 0's values alone: it gathers
    each module's weights, fills them in on rank 0, and cuts them again. The other ranks only take part in the same
    gathers, for which they need the names. So here they get names, shapes and dtypes, and no other rank's node needs
    the files. Values of saved buffers are sent to all, because ZeRO-3 does not shard these.

    Every rank calls it. Raises `Final`, on all ranks, where rank 0's folder has no weights that transformers reads, a
    weight file or its index is damaged or missing, or the weights are not exactly those of the architecture:
    transformers fills what is missing with random values. The message names the file, or up to three of the weights.
    """
    with torch.device("meta"):  # no memory, whatever the size
        plain = AutoModelForCausalLM.from_config(config)
    state = _shared_state(source, plain)
    zero3 = HfDeepSpeedConfig(settings)  # alive while loading: each weight is sharded as it is read
    model, loaded = type(plain).from_pretrained(
        None, config=plain.config, dtype=dtype, state_dict=state, output_loading_info=True
    )
    del zero3
    # It knows fewer names than transformers without ZeRO-3, which `_check_fit` asks.
    if fault := misfit(loaded["missing_keys"], (), {}):
        raise Final(f"{source}: {fault}")
    return model


def _shared_state(source: Path, plain: Any) -> dict[str, Tensor]:
    """Rank 0's weights; on the other ranks tensors without values in their place, but for saved buffers.

    `plain` is the model without values. Raises as `load_sharded` does, before anything is broadcast.
    """
    state = on_rank_0(lambda: _fitting(source, plain)) or {}
    buffers = _saved_buffers(plain)
    described = [
        [(name, tensor.clone() if name in buffers else (tensor.shape, tensor.dtype)) for name, tensor in state.items()]
    ]
    dist.broadcast_object_list(described)
    if dist.get_rank() == 0:
        return state
    return {
        name: what if isinstance(what, Tensor) else torch.empty(what[0], dtype=what[1], device="meta")
        for name, what in described[0]
    }


def _fitting(source: Path, plain: Any) -> dict[str, Tensor]:
    """The folder's tensors, without buffers that models compute. Raises `UserError` unless they fill `plain` exactly,
    by transformers' own account of what it would load."""
    names = plain.state_dict().keys()
    state = {name: tensor for name, tensor in _stored(source).items() if name in names or not is_computed(name)}
    try:
        _, loaded = type(plain).from_pretrained(
            None,
            config=plain.config,
            state_dict={name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()},
            device_map={"": "meta"},  # nothing is loaded
            ignore_mismatched_sizes=True,  # those are in the account too
            output_loading_info=True,
        )
    except RuntimeError as error:  # it joins some weights, such as those of experts, which must be complete for that
        raise UserError(
            f"{source}: its weights are not those of its config.json: transformers cannot join them ({error}); some of "
            "an expert are missing or of another shape; save the whole model again with save_pretrained"
        ) from None
    other_shape = {name: (found, needed) for name, found, needed in loaded["mismatched_keys"]}
    if fault := misfit(loaded["missing_keys"], loaded["unexpected_keys"], other_shape):
        raise UserError(f"{source}: {fault}")
    return state


def _stored(source: Path) -> dict[str, Tensor]:
    """The tensors of a folder's weight files, which are mapped into memory and read when they are used.

    Raises `UserError` for a file that is missing or damaged: its header is checked against its size.
    """
    state: dict[str, Tensor] = {}
    for file in _weight_files(source):
        try:
            with safe_open(file, "pt") as tensors:
                state |= {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, ValueError, FileNotFoundError) as error:
            raise _unreadable(file, error) from None
    return state


def _weight_files(source: Path) -> list[Path]:
    """Those that transformers reads. A folder may hold the same weights in another form beside them.

    Raises `UserError` where there are none, and for a damaged index.
    """
    if (source / WEIGHTS).exists():
        return [source / WEIGHTS]
    if not (source / INDEX).exists():
        raise UserError(f"{source} has neither {WEIGHTS} nor {INDEX}; save the model again with save_pretrained")
    try:
        listed = weight_map((source / INDEX).read_bytes())
    except ValueError as error:
        raise _unreadable(source / INDEX, error) from None
    return [source / name for name in sorted(set(listed.values()))]


def _unreadable(file: Path, fault: Exception) -> UserError:
    return UserError(
        f"{file} cannot be read ({fault}); save the model again with save_pretrained or, if {file.parent} is a "
        "fetched copy, remove that folder and start again"
    )


def _saved_buffers(plain: Any) -> set[str]:
    """Names of buffers in a folder's files, where they may stand without the base model's prefix."""
    names: set[str] = plain.state_dict().keys() - dict(plain.named_parameters(remove_duplicate=False)).keys()
    return names | {name.removeprefix(f"{plain.base_model_prefix}.") for name in names}
