"""Liger's fused Triton kernels (Hsu et al. 2024, arXiv 2410.10989) in the place of a model's own, on GPUs."""

from typing import Any

from selfreward_ray.errors import UserError

_KERNELS = {"rms_norm": True, "rope": True, "swiglu": True, "geglu": True}
# Its losses would make logits of every token; the head here makes those of targets alone.
_NOT_ITS_LOSSES = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def use_liger_kernels(model: Any) -> None:
    """Let the layers of `model` run by Liger's kernels, in place.

    Raises `UserError` where the package is not installed and for an architecture that it does not know: left out, the
    training would only be slower, and nobody would know why.
    """
    try:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN
    except ImportError:
        raise UserError(
            "training.liger_kernels needs the package liger-kernel on every worker; it comes with the extra `gpu`"
        ) from None
    from transformers.integrations.liger import apply_liger_kernel

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise UserError(
            f"Liger has no kernels for models of type {model.config.model_type!r}; set training.liger_kernels to false"
        )
    apply_liger_kernel(model, _KERNELS | _NOT_ITS_LOSSES)
