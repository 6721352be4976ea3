"""A folder's tokenizer as far as its chat template needs it, without transformers, whose import takes some seconds."""

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from selfreward_ray.models.json_files import chat_templates, tokenizer_settings
from selfreward_ray.models.vocabulary import Added, Vocabulary, read_vocabulary

_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class LightTokenizer:
    """What `ChatTemplate` asks of transformers' tokenizers, for the `folder` of the model `uri`, which messages name.

    Raises `UserError` for a damaged file of settings.
    """

    def __init__(self, folder: Path, uri: str):
        self._folder = folder
        self._uri = uri
        self.settings = tokenizer_settings(folder, uri)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Raises `UserError` for a damaged file."""
        return read_vocabulary(self._folder, self._uri)

    @property
    def added_tokens_decoder(self) -> dict[int, Added]:
        return {token.id: token for token in self.vocabulary.added}

    def get_chat_template(self) -> str:
        """Raises `ValueError` if there is none."""
        file = self._folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        templates = chat_templates(self.settings)
        if "default" not in templates:
            raise ValueError("no chat template")
        return templates["default"]

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, **variables: Any
    ) -> str:
        """The conversation as text. Raises what Jinja raises."""
        assert not tokenize
        tokens = {name: _text(self.settings[name]) for name in _TOKENS if self.settings.get(name)}
        values = {"tools": None, "documents": None, **tokens, **variables}
        template = _environment().from_string(self.get_chat_template())
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **values)


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


class _Generation(Extension):
    """The tag that templates may put around what a model generates; it changes nothing in the text."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own form)

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up for templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )

    def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **how: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **how)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment
