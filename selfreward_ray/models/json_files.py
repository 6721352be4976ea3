"""The text files of a model's folder: its configuration, the settings of its tokenizer, its chat template.

Messages name the model by its `uri`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError


def read_text(folder: Path, uri: str, name: str) -> str | None:
    """The text of a file, None if there is no such file. Raises `UserError` if it is no file or not in UTF-8."""
    path = folder / name
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise UserError(f"model {uri!r}: its {name} is no file, but a folder, a pipe or a broken link; copy it again")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"model {uri!r}: its {name} is not UTF-8 ({error}); save it in UTF-8") from None
    except OSError as error:
        raise UserError(f"model {uri!r}: its {name} cannot be read ({error.strerror}); copy it again") from None


def read_object(folder: Path, uri: str, name: str) -> dict[str, Any]:
    """The object in a file, empty if there is no such file. Raises `UserError` for a damaged one."""
    text = read_text(folder, uri, name)
    if text is None:
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
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


def chat_template(folder: Path, uri: str, settings: Mapping[str, Any]) -> str | None:
    """The text of the chat template: that of its file, or else the one of the tokenizer's settings that is used."""
    text = read_text(folder, uri, "chat_template.jinja")
    return chat_templates(settings).get("default") if text is None else text
