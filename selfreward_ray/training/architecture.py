"""What training changes in a model's architecture: its dropout, and its layers' kernels on GPUs."""

from typing import Any

from selfreward_ray.errors import UserError

# The names that architectures have for dropout (0.1 in the paper). Not those of heads that are not trained here
# (classifier_dropout), nor of whole layers (layerdrop).
_DROPOUTS = (
    "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop",
    "hidden_dropout", "hidden_dropout_prob", "dropout", "resid_pdrop", "residual_dropout", "activation_dropout",
    "embd_pdrop", "emb_pdrop", "embedding_dropout",
)  # fmt: skip
# Liger's fused Triton kernels (Hsu et al. 2024, arXiv 2410.10989).
_LIGER_KERNELS = {"rms_norm": True, "rope": True, "swiglu": True, "geglu": True}
# Liger's losses would make logits of every token; the head here makes those of targets alone.
_NOT_LIGERS_LOSSES = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def set_dropout(config: Any, rate: float | None) -> None:
    """Set `rate` wherever the architecture of the model `config` drops something; None leaves what it has.

    Raises `UserError` for a rate above 0 where it drops nothing anywhere.
    """
    if rate is None:
        return
    text = config.get_text_config()
    fields = [field for field in _DROPOUTS if hasattr(text, field)]
    if rate and not fields:
        raise UserError(
            f"training.dropout is {rate}, but models of type {text.model_type!r} have no dropout; set it to null"
        )
    for field in fields:
        setattr(text, field, rate)


def use_liger_kernels(model: Any) -> None:
    """Let the layers of `model` run by Liger's fused kernels, in place.

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
    apply_liger_kernel(model, _LIGER_KERNELS | _NOT_LIGERS_LOSSES)
