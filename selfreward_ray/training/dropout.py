"""Dropout while training, by the names that architectures have for it (0.1 in the paper)."""

from typing import Any

from selfreward_ray.errors import UserError

# Not those of heads that are not trained here (classifier_dropout), nor of whole layers (layerdrop).
_FIELDS = (
    "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop",
    "hidden_dropout", "hidden_dropout_prob", "dropout", "resid_pdrop", "residual_dropout", "activation_dropout",
    "embd_pdrop", "emb_pdrop", "embedding_dropout",
)  # fmt: skip


def set_dropout(config: Any, rate: float | None) -> None:
    """Set `rate` wherever the architecture of the model `config` drops something; None leaves what it has.

    Raises `UserError` for a rate above 0 where it drops nothing anywhere.
    """
    if rate is None:
        return
    text = config.get_text_config()
    fields = [field for field in _FIELDS if hasattr(text, field)]
    if rate and not fields:
        raise UserError(
            f"training.dropout is {rate}, but models of type {text.model_type!r} have no dropout; set it to null"
        )
    for field in fields:
        setattr(text, field, rate)
