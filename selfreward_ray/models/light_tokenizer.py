"""A folder's tokenizer as far as its chat template needs it, without transformers, whose import takes some seconds."""

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import jinja2
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from selfreward_ray.models.json_files import chat_template, tokenizer_settings
from selfreward_ray.models.vocabulary import NAMED, Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from tokenizers import AddedToken


class LightTokenizer:
    """What `ChatTemplate` and `probe` ask of transformers' tokenizers, for the `folder` of the model `uri`, which
    messages name.

    Raises `UserError` for a damaged file of settings.
    """

    def __init__(self, folder: Path, uri: str):
        self._folder = folder
        self._uri = uri
        self.settings = tokenizer_settings(folder, uri)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Raises `UserError` for a damaged file."""
        return read_vocabulary(self._folder, self._uri, self.settings)

    @property
    def added_tokens_decoder(self) -> "dict[int, AddedToken]":
        return self.vocabulary.added

    @property
    def eos_token(self) -> str | None:
        return self._named.get("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        return self._ids.get(self._named.get("unk_token", ""))

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self._ids.get(token)

    def get_chat_template(self) -> str:
        """Raises `ValueError` if there is none."""
        template = chat_template(self._folder, self._uri, self.settings)
        if template is None:
            raise ValueError("no chat template")
        return template

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, **variables: Any
    ) -> str:
        """The conversation as text. Raises what Jinja raises."""
        assert not tokenize
        values = {"tools": None, "documents": None, **self._named, **variables}
        template = _environment().from_string(self.get_chat_template())
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **values)

    @cached_property
    def _named(self) -> dict[str, str]:
        return {name: _text(self.settings[name]) for name in NAMED if self.settings.get(name)}

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token.content: number for number, token in self.added_tokens_decoder.items()}


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
