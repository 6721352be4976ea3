"""The JSON files of a model's folder: its configuration and the settings of its tokenizer.

Messages name the model by its `uri`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError


def read_object(folder: Path, uri: str, name: str) -> dict[str, Any]:
    """The object in a file, empty if there is no such file. Raises `UserError` for a damaged one."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"model {uri!r}: its {name} is not JSON ({error}); copy it again") from None
    if not isinstance(content, dict):
        raise UserError(f"model {uri!r}: its {name} is not a JSON object; copy it again")
    return content


def configuration(folder: Path, uri: str) -> dict[str, Any]:
    """The values of ``config.json``. Raises `UserError` for a damaged file, and for one without a `model_type`."""
    config = read_object(folder, uri, "config.json")
    if not isinstance(config.get("model_type"), str):
        raise UserError(f"model {uri!r}: its config.json has no model_type; copy the one that save_pretrained wrote")
    return config


def tokenizer_settings(folder: Path, uri: str) -> dict[str, Any]:
    """The settings of the tokenizer, those of its special tokens included. Raises `UserError` for a damaged file."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        read = read_object(folder, uri, name)
        # Null in the one leaves what the other says.
        settings |= {key: value for key, value in read.items() if value is not None or key not in settings}
    return settings


def chat_templates(settings: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates in a tokenizer's settings by their names; one alone has the name ``default``."""
    value = settings.get("chat_template")
    if isinstance(value, str):
        value = {"default": value}
    if isinstance(value, list):
        value = {one.get("name"): one.get("template") for one in value if isinstance(one, dict)}
    named = value.items() if isinstance(value, dict) else ()
    return {str(name): text for name, text in named if isinstance(text, str) and text.strip()}
