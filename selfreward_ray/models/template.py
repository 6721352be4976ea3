"""A model's chat template: whole conversations to text, its switch for thinking, and the marks of its thoughts."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from selfreward_ray.errors import UserError
from selfreward_ray.thought import KNOWN_MARKS, THINK, Marks

Message = dict[str, Any]
"""``role`` and ``content``, both texts; for a reply with a thought also the field in which the template expects it, and
for calls of tools and their results what `selfreward_ray.models.tools` gives."""

SHOW = "give the folder a chat_template.jinja that writes the content of each message, a text, once and as it is"
SWITCHES = ("enable_thinking", "thinking", "reasoning")
"""Variables of templates that turn thinking on and off, as true and false."""
_THOUGHT_FIELDS = ("reasoning_content", "thinking", "reasoning")
_EFFORTS = ("reasoning_effort", "thinking_budget", "reasoning_budget")
"""Variables that set how much is thought; their values differ from model to model, and not all know "none"."""


class TurnsRefused(UserError):
    """The model's chat template cannot represent the conversation."""


class ReplyChanged(TurnsRefused):
    """The model's chat template shows a reply with another text."""


NO_TOOLS = "the model's chat template renders no tools"
"""The reason for which conversations with tools are dropped."""


class NoTools(TurnsRefused):
    """The model's chat template renders no tools."""


class ChatTemplate:
    """The chat template of a `model`, which messages name. `tokenizer` is transformers' or a `LightTokenizer`.

    Raises `UserError` if the folder's tokenizer has no chat template.
    """

    def __init__(self, model: Path | str, tokenizer: Any):
        self._model = model
        self._tokenizer = tokenizer
        try:
            self.source = str(tokenizer.get_chat_template())
        except (AttributeError, ValueError):
            raise UserError(
                f"model '{model}' has no chat template; add a chat_template.jinja to the folder; base models have "
                "none, and need one here"
            ) from None

    def render(
        self, messages: list[Message], *, prompt: bool, thinking: bool | None = None, tools: list[Any] | None = None
    ) -> str:
        """The conversation as text, with what precedes the next reply if `prompt` is set.

        `thinking` turns thinking on or off; None leaves the template's default. `tools` are declared. Raises
        `TurnsRefused` if the template does not accept the messages, and `UserError` if it has no switch.
        """
        variables = {} if thinking is None else {self.require_switch(): thinking}
        return self._rendered(messages, prompt, variables | ({"tools": tools} if tools else {}))

    def around_reply(
        self, messages: list[Message], place: str, thinking: bool | None = None, tools: list[Any] | None = None
    ) -> tuple[str, str]:
        """What the template writes before and after a reply, for which `place` stands, a character that it never
        writes. Raises `TurnsRefused` if it does not show a reply once."""
        answer = {"role": "assistant", "content": place}
        before, *after = self.render([*messages, answer], prompt=False, thinking=thinking, tools=tools).split(place)
        if len(after) != 1:
            raise TurnsRefused(f"the chat template of {self._model} shows a reply {len(after)} times, not once; {SHOW}")
        return before, after[0]

    def require_switch(self, fields: Sequence[str] = ()) -> str:
        """The variable that turns thinking on and off. Raises `UserError` if the template has none, which names the
        recipe's `fields` that need it."""
        if self.switch is not None:
            return self.switch
        reason = "the template has no variable that turns thinking on and off"
        if effort := next((name for name in _EFFORTS if name in self.source), None):
            reason = f"the template's variable {effort} sets how much the model thinks, and cannot turn it off"
        needed = f"{' and '.join(fields)}: " if fields else ""
        raise UserError(
            f"{needed}model '{self._model}' has no switch for thinking: {reason}; leave thinking at null, or give the "
            f"folder a chat_template.jinja with the variable {SWITCHES[0]}"
        )

    @cached_property
    def switch(self) -> str | None:
        """The variable that turns thinking on and off: one that changes what the template writes."""
        asked = [{"role": "user", "content": "a"}]
        for name in SWITCHES:
            if name in self.source:
                on, off = (self._rendered(asked, True, {name: value}) for value in (True, False))
                if on != off:
                    return name
        return None

    @cached_property
    def thought_field(self) -> str | None:
        """The field of a message from which the template takes the thought before a reply; None if it shows none."""
        asked = {"role": "user", "content": "a"}
        thought = "\ue0ff"
        for field in _THOUGHT_FIELDS:
            if field in self.source:
                reply = {"role": "assistant", "content": "b", field: thought}
                if self._rendered([asked, reply], False, {}).count(thought) == 1:
                    return field
        return None

    @property
    def names_marks(self) -> bool:
        """Whether the template or the tokenizer names marks of thoughts."""
        return bool(self._named_marks)

    @property
    def marks(self) -> tuple[Marks, ...]:
        """The marks of thoughts that the template or the tokenizer names; ``<think>`` if they name none."""
        return self._named_marks or (THINK,)

    @property
    def mark_texts(self) -> set[str]:
        """The opening and closing texts of `marks`."""
        return {text for mark in self.marks for text in (mark.opening, mark.closing)}

    @cached_property
    def _named_marks(self) -> tuple[Marks, ...]:
        added = {token.content for token in self._tokenizer.added_tokens_decoder.values()}
        named = [
            mark for mark in KNOWN_MARKS
            if mark.opening in self.source or mark.closing in self.source or {mark.opening, mark.closing} <= added
        ]  # fmt: skip
        return tuple(named)

    def _rendered(self, messages: list[Message], prompt: bool, variables: dict[str, Any]) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt, **variables
            )
        except (jinja2.TemplateSyntaxError, jinja2.TemplateAssertionError) as error:
            raise UserError(
                f"the chat template of {self._model} is no valid Jinja: line {error.lineno}: {error.message}; "
                "mend its chat_template.jinja"
            ) from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            # Templates raise for roles that they do not accept; others fail where they add texts that are missing.
            shown = ", ".join(message["role"] for message in messages)
            said = re.sub(r"\s+", " ", str(error))
            raise TurnsRefused(f"the chat template of {self._model} refuses the turns {shown}: {said}") from None
        return str(text)
