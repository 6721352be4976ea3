"""Conversations as the chat template writes them: a prompt that asks for a reply, and the reply that goes on from it.

The very conversation is rendered, and the reply is what follows the prompt that the engine is given. All of it must be
shown, and a reply as it is. White space at the ends of messages is handled as the template does: that of Llama 3
strips it, that of Llama 2 strips it and puts a space before and after a reply.

Tokens in the texts of messages are replaced by single characters before a conversation is rendered, which the
`Speller` encodes as ordinary text. In the model's own replies these are control tokens alone; in the messages to the
model, calls of tools included, also other added tokens (``<tool_call>``, and in the user's messages ``<think>``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selfreward_ray.models.alignment import Ending, NotAligned, close_of, closed_lead, ending, lead_after
from selfreward_ray.models.spelling import Spelled, Speller, any_of
from selfreward_ray.models.template import SHOW, ChatTemplate, Message, NoTools, ReplyChanged, TurnsRefused
from selfreward_ray.models.tools import (
    Arguments,
    arguments_form,
    as_message,
    declared,
    mapped,
    shows_all,
    shows_calls,
    shows_text,
    texts_in,
    uses_tools,
)
from selfreward_ray.records import ToolUse, Turn
from selfreward_ray.thought import opened_by, with_thought

_IN_BRACKETS = re.compile(r"(<[^<>\s]+>|\[/?[A-Z_]+\]|◁[^◁▷\s]+▷)")
"""Words that a template may take for marks."""


@dataclass(frozen=True)
class Asked:
    """A conversation up to the reply in the form that the template takes, with characters in the place of tokens that
    its texts contain."""

    messages: list[Message]
    answer: Message
    """The reply with its calls of tools, and without a text."""
    tools: list[Any]
    thinking: bool | None
    spelled: Spelled


@dataclass(frozen=True)
class Rendered:
    """A conversation as the template writes it, with characters in the place of tokens that texts contain."""

    prompt: str
    reply: str
    """What follows the prompt, up to the end of the reply."""
    ending: Ending


@dataclass(frozen=True)
class Probed:
    """What a template writes around a reply, with each setting of its switch for thinking."""

    renderer: "Renderer"
    shown: set[str]
    """The tokens around a reply that the tokenizer shows as text."""
    replies: list[Rendered]
    leads: set[str]
    """What the model writes after a prompt and before a reply."""


def probe(model: Path | str, template: ChatTemplate, speller: Speller, eos: str | None) -> Probed:
    """Render a question and a reply as `Renderer` does, which tells `speller` what ends a turn.

    Raises `TurnsRefused` if the template does not show both as they are, or what it writes before the reply does not
    go on from what it writes to ask for one.
    """
    question, reply = "qZq", "zQz"  # which no template writes, and which every change of case changes
    asked = [{"role": "user", "content": question}]
    around = template.around_reply(asked, Spelled(()).fresh())
    shown = speller.control_marks(*around, template.mark_texts)
    renderer = Renderer(model, template, speller, eos)
    switched = (None, True, False) if template.switch else (None,)
    replies = [
        renderer.replied(Asked(asked, {"role": "assistant"}, [], thinking, Spelled(())), reply) for thinking in switched
    ]
    return Probed(renderer, shown, replies, {each.reply.removesuffix(reply) for each in replies})


class Renderer:
    """Renders conversations with the `template` of a `model`, which messages name.

    `speller` must know what ends a turn by now (`Speller.control_marks`); `eos` is the text of the tokenizer's EOS
    token.
    """

    def __init__(self, model: Path | str, template: ChatTemplate, speller: Speller, eos: str | None):
        self._model = model
        self._template = template
        self._speller = speller
        self._eos = eos
        marks = template.mark_texts
        self._tokens = any_of({*speller.control, *speller.marks, *marks})
        # Thoughts in earlier replies are left to the template, which may drop them.
        self._reply_marks = any_of({*speller.control, *speller.marks} - (marks - {*speller.control}))

    def asked(
        self,
        text: str,
        history: Sequence[Turn],
        thinking: bool | None = None,
        tool_use: ToolUse | None = None,
        reply: Sequence[str] = (),
    ) -> Asked:
        """The conversation up to the answer, in the template's form. `reply` are the texts of the answer.

        Raises `NoTools` for a `tool_use` that the template does not render.
        """
        use = tool_use or ToolUse()
        form: Arguments = "object" if tool_use is None else self.arguments
        turns = [*history, Turn("user", text), *use.since, Turn("assistant", "", use.calls)]
        messages, tools = [as_message(turn, form) for turn in turns], declared(use.tools)
        spelled = Spelled([*texts_in([messages, tools]), *reply])

        def hidden(message: Message) -> Message:
            pattern = self._reply_marks if message["role"] == "assistant" else self._speller.added_pattern
            content = {"content": spelled.hide(message["content"], pattern)}
            return message | content | {key: outside(message[key]) for key in message if key not in ("role", "content")}

        def outside(value: Any) -> Any:
            return mapped(value, lambda text: spelled.hide(text, self._speller.added_pattern))

        *asked, answer = map(hidden, messages)
        return Asked(asked, answer, outside(tools), thinking, spelled)

    @cached_property
    def arguments(self) -> Arguments:
        """How the template takes the arguments of calls. Raises `NoTools` if it renders no tools."""
        form = arguments_form(self._template)
        if form is None:
            raise NoTools(
                f"the chat template of {self._model} renders no tools; leave out conversations with tools, or give the "
                "folder a chat_template.jinja that writes tools, the assistant's calls and the messages of role tool"
            )
        return form

    def prompt(self, asked: Asked) -> str:
        """The rendered conversation up to where the answer begins.

        Raises `TurnsRefused` unless all of what is asked is there: the tools and the messages, with their calls; of
        earlier replies the text without thought.
        """
        prompt = self._render(asked)
        for message in asked.messages:
            text = message["content"]
            if message["role"] == "assistant":
                for mark in self._template.marks:
                    text = text.rpartition(mark.closing)[2]
            is_shown = shows_text(text, prompt) if message["role"] == "tool" else text.strip() in prompt
            if not (is_shown and shows_calls(message, prompt)):
                raise self._hidden(asked)
        self._check_tools(asked)
        return prompt

    def replied(self, asked: Asked, reply: str, thought: str = "") -> Rendered:
        """The conversation with its reply, and the thought before it if the template has a place for one.

        Raises `TurnsRefused` as `prompt` does, and if the template does not show all of it as it is.
        """
        spelled, control = asked.spelled, self._speller.control_pattern
        said, thought = spelled.hide(reply, control), spelled.hide(thought, control)
        try:
            return self._replied(asked, asked.answer | {"content": said}, thought)
        except ReplyChanged:
            # Templates split a reply at the marks of a thought. Spelled, they are ordinary text.
            said, thought = spelled.hide(said, _IN_BRACKETS), spelled.hide(thought, _IN_BRACKETS)
            return self._replied(asked, asked.answer | {"content": said}, thought)

    def _replied(self, asked: Asked, answer: Message, thought: str) -> Rendered:
        """As `replied`, for texts without control tokens."""
        prompt = self.prompt(asked)
        self._check_tools(asked, answer)
        place = asked.spelled.fresh()
        before, after = self._around_reply(asked, place)
        if thought and asked.thinking is not False:
            written = self._with_thought(asked, answer, thought, prompt, after)
            if written is not None:
                if not (self._holds(written, answer) and thought.strip() in written.reply):
                    raise self._changed()
                return written
        said = self._render(asked, answer)
        try:
            lead = self._lead_before(asked, prompt, before, place)
        except NotAligned as error:
            raise TurnsRefused(
                f"replies cannot be trained with the chat template of {self._model}: {error}; give the folder a "
                "chat_template.jinja in which a reply begins with its generation prompt"
            ) from None
        goes_on = prompt + lead == before and said.startswith(prompt)
        stem, lead = (prompt, "") if goes_on else (before, lead)
        found = self._reply_after(stem, said, after, answer)
        if found is None:
            raise self._changed()
        written = Rendered(prompt, lead + found.reply, found.ending)
        if not self._holds(written, answer):
            raise self._changed()
        return written

    def _render(self, asked: Asked, answer: Message | None = None) -> str:
        """Render the conversation with its answer, or up to where the answer begins."""
        messages = asked.messages if answer is None else [*asked.messages, answer]
        return self._template.render(messages, prompt=answer is None, thinking=asked.thinking, tools=asked.tools)

    def _check_tools(self, asked: Asked, *answer: Message) -> None:
        """Raise `TurnsRefused` unless all tools, calls and results are shown."""
        messages = [*asked.messages, *answer]
        if uses_tools(messages, asked.tools) and not shows_all(
            self._template, messages, asked.tools, asked.spelled.fresh
        ):
            raise self._hidden(asked)

    def _hidden(self, asked: Asked) -> TurnsRefused:
        shown = ", ".join(message["role"] for message in asked.messages)
        also = ", with its calls of tools" if uses_tools(asked.messages, asked.tools) else ""
        return TurnsRefused(f"the chat template of {self._model} does not show each message of {shown}{also}; {SHOW}")

    def _reply_after(self, stem: str, said: str, after: str, answer: Message) -> Rendered | None:
        """The part of the whole text `said` after `stem`, up to the end of the reply; None if it begins otherwise.

        `after` is what the template writes after a reply without calls. Some end a call with another token.
        """
        control = self._speller.control_pattern
        if not said.startswith(stem):
            return None
        rest = said[len(stem) :]
        if rest.endswith(after):
            return Rendered(stem, rest[: len(rest) - len(after)], ending(after, control, self._eos))
        if "tool_calls" in answer and (last := self._last_token(rest)):
            return Rendered(stem, rest[: last.start()], Ending("", (last[0],)))
        return None

    def _last_token(self, text: str) -> re.Match[str] | None:
        """The token at the end of `text`, if it may end a turn."""
        *_, last = (None, *self._speller.added_pattern.finditer(text))
        at_end = last is not None and not text[last.end() :].strip() and not last[0].startswith("</")
        return last if at_end else None

    @staticmethod
    def _holds(written: Rendered, answer: Message) -> bool:
        return answer["content"].strip() in written.reply and shows_calls(answer, written.reply)

    def _changed(self) -> ReplyChanged:
        return ReplyChanged(
            f"the chat template of {self._model} changes the text of the reply; leave the row out, or give the "
            "folder a chat_template.jinja that writes a reply's content as it is"
        )

    def _around_reply(self, asked: Asked, place: str) -> tuple[str, str]:
        """What the template writes before and after a reply, for which `place` stands."""
        return self._template.around_reply(asked.messages, place, asked.thinking, asked.tools)

    def _lead_before(self, asked: Asked, prompt: str, before: str, place: str) -> str:
        """What the model writes after the prompt and before the reply. Raises `NotAligned`."""
        marks = self._template.marks
        if before.startswith(prompt):
            lead, opened = before[len(prompt) :], opened_by(prompt, marks)
            return lead if opened is None else closed_lead(lead, opened, prompt)
        # The template writes earlier messages in another way, or asks for a reply in another way than it begins one.
        # What follows the last message can be compared all the same.
        edge = asked.spelled.fresh()
        *earlier, last = asked.messages
        marked = replace(asked, messages=[*earlier, last | {"content": last["content"] + edge}])
        asks = self._render(marked).rpartition(edge)[2]
        answers = self._around_reply(marked, place)[0].rpartition(edge)[2]
        return lead_after(asks, answers, self._tokens, marks)

    def _with_thought(self, asked: Asked, answer: Message, thought: str, prompt: str, after: str) -> Rendered | None:
        """A thought and its reply as they follow the prompt: as the template shows them in a field, or else in the
        marks that the prompt opens, or else in the reply's text. None if there is no place for it."""
        if (field := self._template.thought_field) is not None:
            said = self._render(asked, answer | {field: thought})
            if (found := self._reply_after(prompt, said, after, answer)) is not None:
                return found
        opened = opened_by(prompt, self._template.marks)
        if opened is None:
            return self._thought_in_content(asked, answer, thought, prompt, after)
        if "tool_calls" in answer:
            return None
        end = ending(after, self._speller.control_pattern, self._eos)
        return Rendered(prompt, thought + close_of(opened, prompt) + answer["content"], end)

    def _thought_in_content(
        self, asked: Asked, answer: Message, thought: str, prompt: str, after: str
    ) -> Rendered | None:
        """The thought in the model's marks before the reply, if the template names such marks and shows the whole."""
        if not self._template.names_marks or any(
            prompt.rstrip().endswith(mark.closing) for mark in self._template.marks
        ):
            return None
        content = with_thought(thought, answer["content"], self._template.marks[0])
        found = self._reply_after(prompt, self._render(asked, answer | {"content": content}), after, answer)
        if found is None or not found.reply.strip().startswith(content.strip()):
            return None
        return found if found.reply.strip() == content.strip() or "tool_calls" in answer else None
