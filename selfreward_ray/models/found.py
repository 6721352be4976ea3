"""A model's folder on this node, and what a model must have there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.json_files import chat_templates, read_text, tokenizer_settings
from selfreward_ray.store.identity import ADAPTER_CONFIG

_NO_DEFAULT_TOKENS = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers that have no special tokens but those that their settings name."""


@dataclass(frozen=True)
class Found:
    """A model, or an adapter, whose files are on this node, with or without its weights."""

    uri: str
    folder: Path
    """A local folder."""
    names: frozenset[str]
    """Of all files at its origin, also of those that were not fetched."""


def require_model(model: Found) -> None:
    """Raise `UserError` unless it is a model with weights, a tokenizer, a chat template and an end token."""
    uri, folder, names = model.uri, model.folder, model.names

    def lacks(what: str, remedy: str) -> UserError:
        return UserError(f"model {uri!r} has no {what}; {remedy}")

    if ADAPTER_CONFIG in names:
        raise UserError(f"{uri!r} is a LoRA adapter, but a model is needed here; merge it into its base first")
    if "config.json" not in names:
        inside = (folder / "model" / "config.json").is_file()  # a training step's folder was given
        remedy = (
            f"the model is {uri.rstrip('/')}/model"
            if inside
            else "name a folder that transformers' save_pretrained wrote"
        )
        raise lacks("config.json", remedy)
    if not any(name.endswith(".safetensors") for name in names):
        raise lacks("*.safetensors weights", "convert them with save_pretrained (pickled weights are not read)")
    if not names & {"tokenizer.json", "tokenizer.model"}:
        raise lacks("tokenizer", "put its tokenizer.json and tokenizer_config.json into the folder")
    settings = tokenizer_settings(folder, uri)
    templates = chat_templates(settings)
    if "default" not in templates and not _has_template_file(model):
        if templates:
            raise lacks(
                f"chat template named default, but {', '.join(sorted(templates))}",
                "write the one that is meant into a chat_template.jinja in the folder",
            )
        raise lacks(
            "chat template", "add a chat_template.jinja to the folder; base models have none, and need one here"
        )
    if _without_eos(settings):
        raise lacks("end token", "name the token that ends a reply as eos_token in its tokenizer_config.json")


def _has_template_file(model: Found) -> bool:
    return bool((read_text(model.folder, model.uri, "chat_template.jinja") or "").strip())


def _without_eos(settings: dict[str, Any]) -> bool:
    """Whether the tokenizer has no EOS token by its settings. The class of a model family has one by default."""
    without_default = settings.get("tokenizer_class") in _NO_DEFAULT_TOKENS
    return not settings["eos_token"] if "eos_token" in settings else without_default
