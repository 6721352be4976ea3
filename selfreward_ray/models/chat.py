"""Encode conversations to token ids by the model's chat template, and read what the model wrote.

The ids of a conversation are those that the tokenizer's own `apply_chat_template` gives for it: the very conversation
is rendered, and the reply is what follows the prompt that the engine is given. Only tokens in the texts of messages
differ. If one contains the text of a control token, such as ``<|im_end|>``, it is encoded as ordinary characters, so
that no text can end a turn or begin another one. In the messages to the model this also holds for other added tokens
(``<tool_call>``, and in the user's messages ``<think>``) and for calls of tools; the model's own replies may contain
those.

White space at the ends of messages is handled as the template does: that of Llama 3 strips it, that of Llama 2 strips
it and puts a space before and after a reply.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.alignment import Ending, NotAligned, close_of, closed_lead, ending, lead_after, without_end
from selfreward_ray.models.spelling import Spelled, Speller, any_of
from selfreward_ray.models.template import SHOW, ChatTemplate, Message, NoTools, ReplyChanged, TurnsRefused
from selfreward_ray.models.tools import (
    PROBE,
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
from selfreward_ray.thought import Marks, opened_by, part_thought, with_thought

_IN_BRACKETS = re.compile(r"(<[^<>\s]+>|\[/?[A-Z_]+\]|◁[^◁▷\s]+▷)")
"""Words that a template may take for marks."""
_PROMPT_END = 16
"""Number of the prompt's last tokens among which the opening mark of a thought is looked for."""


@dataclass(frozen=True)
class Generated:
    """What a model wrote, as text."""

    text: str
    """The reply, without the thought, control tokens and the white space that the template puts around a reply."""
    thought: str
    thought_tokens: int
    """Number of the first ids that are the thought with its marks, or another header of the reply."""
    finished: bool
    """False if the thought has no end. Then there is no reply."""


@dataclass(frozen=True)
class _Asked:
    """A conversation up to the reply in the form that the template takes, with characters in the place of tokens that
    its texts contain."""

    messages: list[Message]
    tools: list[Any]
    thinking: bool | None
    spelled: Spelled


@dataclass(frozen=True)
class _Rendered:
    """A conversation as the template writes it, with characters in the place of tokens that texts contain."""

    prompt: str
    reply: str
    """What follows the prompt, up to the end of the reply."""
    ending: Ending


class ChatCodec:
    """Encodes conversations with the tokenizer and chat template of a model folder.

    `thinking` turns thinking on or off by the template's own switch; None leaves the template's default. Raises
    `TurnsRefused` if the template cannot represent a user's message and a reply, or what it writes before a reply does
    not go on from what it writes to ask for one. Raises `UserError` if there is no template or no end token, or the
    tokenizer cannot be loaded.
    """

    def __init__(self, model: Path):
        self._model = model
        self._tokenizer = _tokenizer(model)
        self.template = ChatTemplate(model, self._tokenizer)
        if self._tokenizer.eos_token_id is None:
            raise UserError(
                f"model '{model}' has no end token; name the token that ends a reply as eos_token in its "
                "tokenizer_config.json"
            )
        self._speller = Speller(self._tokenizer)
        marks = {text for mark in self.template.marks for text in (mark.opening, mark.closing)}
        switched = (None, True, False) if self.template.switch else (None,)
        asked = [_Asked([{"role": "user", "content": "a"}], [], thinking, Spelled(())) for thinking in switched]
        self._shown = self._speller.control_marks(*self._around_reply(asked[0], Spelled(()).fresh()), marks)
        self._tokens = any_of({*self._speller.control, *self._speller.marks, *marks})
        # Thoughts in earlier replies are left to the template, which may drop them.
        self._reply_marks = any_of({*self._speller.control, *self._speller.marks} - (marks - {*self._speller.control}))
        shown = [self._rendered(each, {"role": "assistant", "content": "b"}) for each in asked]
        self._leads = {each.reply.removesuffix("b") for each in shown}
        self._headers = {*self._leads, *(part_thought(lead, self.template.marks).reply for lead in self._leads)}
        self._end = shown[0].ending
        self.end_id = self._end_id(shown[0].ending)

    def prompt_ids(
        self,
        text: str,
        history: Sequence[Turn] = (),
        thinking: bool | None = None,
        tool_use: ToolUse | None = None,
    ) -> list[int]:
        """Encode `history`, the user's `text` and the calls and results of tools since, up to the point where the
        assistant's reply begins.

        Raises `TurnsRefused` if the chat template does not accept the roles of the history, or does not show a message,
        and `NoTools` if it renders no tools.
        """
        asked, _ = self._asked(text, history, thinking, tool_use, ())
        return self._speller.ids(self._prompt(asked), asked.spelled)

    def target_ids(
        self,
        reply: str,
        text: str = "",
        history: Sequence[Turn] = (),
        *,
        thought: str = "",
        thinking: bool | None = None,
        tool_use: ToolUse | None = None,
    ) -> list[int]:
        """Encode an assistant's `reply` to that prompt with its end token, which is the target of training.

        They are what the model generates after `prompt_ids`: what the template writes before a reply is part of them.
        So are a `thought` and its marks, unless `thinking` is off or the template has no place for a thought. A thought
        that the prompt opens is closed also if it is empty. The calls of a `tool_use` follow the reply's text.
        """
        asked, answer = self._asked(text, history, thinking, tool_use, (reply, thought))
        spelled, control = asked.spelled, self._speller.control_pattern
        answer["content"], hidden_thought = spelled.hide(reply, control), spelled.hide(thought, control)
        try:
            shown = self._rendered(asked, answer, hidden_thought)
        except ReplyChanged:
            # Templates split a reply at the marks of a thought. Spelled, they are ordinary text.
            answer["content"] = spelled.hide(answer["content"], _IN_BRACKETS)
            shown = self._rendered(asked, answer, spelled.hide(hidden_thought, _IN_BRACKETS))
        written = shown.reply + shown.ending.text
        prompt_ids = self._speller.ids(shown.prompt, spelled)
        ids = self._speller.ids(shown.prompt + written, spelled)
        apart = ids[: len(prompt_ids)] == prompt_ids
        target = ids[len(prompt_ids) :] if apart else self._speller.continued(shown.prompt, written, spelled)
        return target if shown.ending.controls else [*target, self.end_id]

    @cached_property
    def renders_tools(self) -> bool:
        """Whether the template shows declared tools, their calls and results, and a call goes on from its prompt."""
        calls = PROBE.since[0].calls
        try:
            self.target_ids("b", "a", tool_use=PROBE)
            self.target_ids("", "a", tool_use=ToolUse(PROBE.tools, calls=calls))
        except TurnsRefused:
            return False
        return True

    def read(self, token_ids: Sequence[int], prompt_ids: Sequence[int] = ()) -> Generated:
        """The text of generated ids. `prompt_ids` tell whether they begin inside a thought."""
        ids = list(token_ids)
        written = self._decoded(ids)
        parted = part_thought(written, self.template.marks, self.opens_thought(prompt_ids))
        before = parted.length + self._header_length(written[parted.length :])
        count = bisect_left(range(len(ids)), before, key=lambda k: len(self._decoded(ids[:k]))) if before else 0
        text = str(self._tokenizer.decode(ids[count:], skip_special_tokens=True))
        if before:
            text = text.lstrip()
        else:
            lead = max((lead for lead in self._leads if text.startswith(lead)), key=len, default="")
            text = text.removeprefix(lead)
        thought = self._speller.control_pattern.sub("", parted.thought)
        return Generated(without_end(text, self._end, self._shown), thought, count, parted.finished)

    def opens_thought(self, prompt_ids: Sequence[int]) -> Marks | None:
        """The marks of the thought that the prompt ends in; None if its end is outside a thought."""
        end = list(prompt_ids[-_PROMPT_END:])
        return opened_by(self._decoded(end), self.template.marks) if end else None

    def decode(self, token_ids: Sequence[int]) -> str:
        """The reply in generated ids."""
        return self.read(token_ids).text

    def _asked(
        self,
        text: str,
        history: Sequence[Turn],
        thinking: bool | None,
        tool_use: ToolUse | None,
        reply: Sequence[str],
    ) -> tuple[_Asked, Message]:
        """The conversation up to the answer, and the answer with its calls, but not its texts, which are `reply`."""
        use = tool_use or ToolUse()
        form: Arguments = "object" if tool_use is None else self._arguments
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
        return _Asked(asked, outside(tools), thinking, spelled), answer

    @cached_property
    def _arguments(self) -> Arguments:
        form = arguments_form(self.template)
        if form is None:
            raise NoTools(
                f"the chat template of {self._model} renders no tools; leave out conversations with tools, or give the "
                "folder a chat_template.jinja that writes tools, the assistant's calls and the messages of role tool"
            )
        return form

    def _render(self, asked: _Asked, answer: Message | None = None) -> str:
        """Render the conversation with its answer, or up to where the answer begins."""
        messages = asked.messages if answer is None else [*asked.messages, answer]
        return self.template.render(messages, prompt=answer is None, thinking=asked.thinking, tools=asked.tools)

    def _prompt(self, asked: _Asked) -> str:
        """Up to where the answer begins. Raises `TurnsRefused` unless all of what is asked is there: the tools and the
        messages, with their calls; of earlier replies the text without thought."""
        prompt = self._render(asked)
        for message in asked.messages:
            text = message["content"]
            if message["role"] == "assistant":
                for mark in self.template.marks:
                    text = text.rpartition(mark.closing)[2]
            is_shown = shows_text(text, prompt) if message["role"] == "tool" else text.strip() in prompt
            if not (is_shown and shows_calls(message, prompt)):
                raise self._hidden(asked)
        self._check_tools(asked)
        return prompt

    def _check_tools(self, asked: _Asked, *answer: Message) -> None:
        """Raise `TurnsRefused` unless all tools, calls and results are shown."""
        messages = [*asked.messages, *answer]
        if uses_tools(messages, asked.tools) and not shows_all(
            self.template, messages, asked.tools, asked.spelled.fresh
        ):
            raise self._hidden(asked)

    def _hidden(self, asked: _Asked) -> TurnsRefused:
        shown = ", ".join(message["role"] for message in asked.messages)
        also = ", with its calls of tools" if uses_tools(asked.messages, asked.tools) else ""
        return TurnsRefused(f"the chat template of {self._model} does not show each message of {shown}{also}; {SHOW}")

    def _rendered(self, asked: _Asked, answer: Message, thought: str = "") -> _Rendered:
        """The conversation with its reply. Of the reply's text only control tokens are hidden."""
        prompt = self._prompt(asked)
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
        written = _Rendered(prompt, lead + found.reply, found.ending)
        if not self._holds(written, answer):
            raise self._changed()
        return written

    def _reply_after(self, stem: str, said: str, after: str, answer: Message) -> _Rendered | None:
        """The part of the whole text `said` after `stem`, up to the end of the reply; None if it begins otherwise.

        `after` is what the template writes after a reply without calls. Some end a call with another token.
        """
        control = self._speller.control_pattern
        if not said.startswith(stem):
            return None
        rest = said[len(stem) :]
        if rest.endswith(after):
            return _Rendered(stem, rest[: len(rest) - len(after)], ending(after, control, self._tokenizer.eos_token))
        if "tool_calls" in answer and (last := self._last_token(rest)):
            return _Rendered(stem, rest[: last.start()], Ending("", (last[0],)))
        return None

    def _last_token(self, text: str) -> re.Match[str] | None:
        """The token at the end of `text`, if it may end a turn."""
        *_, last = (None, *self._speller.added_pattern.finditer(text))
        at_end = last is not None and not text[last.end() :].strip() and not last[0].startswith("</")
        return last if at_end else None

    @staticmethod
    def _holds(written: _Rendered, answer: Message) -> bool:
        return answer["content"].strip() in written.reply and shows_calls(answer, written.reply)

    def _changed(self) -> ReplyChanged:
        return ReplyChanged(
            f"the chat template of {self._model} changes the text of the reply; leave the row out, or give the "
            "folder a chat_template.jinja that writes a reply's content as it is"
        )

    def _around_reply(self, asked: _Asked, place: str) -> tuple[str, str]:
        """What the template writes before and after a reply, for which `place` stands."""
        return self.template.around_reply(asked.messages, place, asked.thinking, asked.tools)

    def _lead_before(self, asked: _Asked, prompt: str, before: str, place: str) -> str:
        """What the model writes after the prompt and before the reply. Raises `NotAligned`."""
        marks = self.template.marks
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

    def _with_thought(self, asked: _Asked, answer: Message, thought: str, prompt: str, after: str) -> _Rendered | None:
        """A thought and its reply as they follow the prompt: as the template shows them in a field, or else in the
        marks that the prompt opens, or else in the reply's text. None if there is no place for it."""
        if (field := self.template.thought_field) is not None:
            said = self._render(asked, answer | {field: thought})
            if (found := self._reply_after(prompt, said, after, answer)) is not None:
                return found
        opened = opened_by(prompt, self.template.marks)
        if opened is None:
            return self._thought_in_content(asked, answer, thought, prompt, after)
        if "tool_calls" in answer:
            return None
        end = ending(after, self._speller.control_pattern, self._tokenizer.eos_token)
        return _Rendered(prompt, thought + close_of(opened, prompt) + answer["content"], end)

    def _thought_in_content(
        self, asked: _Asked, answer: Message, thought: str, prompt: str, after: str
    ) -> _Rendered | None:
        """The thought in the model's marks before the reply, if the template names such marks and shows the whole."""
        if not self.template.names_marks or any(prompt.rstrip().endswith(mark.closing) for mark in self.template.marks):
            return None
        content = with_thought(thought, answer["content"], self.template.marks[0])
        found = self._reply_after(prompt, self._render(asked, answer | {"content": content}), after, answer)
        if found is None or not found.reply.strip().startswith(content.strip()):
            return None
        return found if found.reply.strip() == content.strip() or "tool_calls" in answer else None

    def _end_id(self, end: Ending) -> int:
        if end.controls:
            return self._speller.control[end.controls[-1]]
        return int(self._tokenizer.eos_token_id)

    def _header_length(self, written: str) -> int:
        """Length of what the template writes before a reply without a thought, if `written` begins with it."""
        text = written.lstrip()
        headers = [header for lead in self._headers if (header := lead.strip()) and text.startswith(header)]
        return len(written) - len(text) + max(map(len, headers)) if headers else 0

    def _decoded(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer  # imported late: it takes a second, which `--help` must not wait for

    try:
        return AutoTokenizer.from_pretrained(model)
    except Exception as error:  # of any kind: a package that is missing, another format, a file that is damaged
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the tokenizer of model '{model}' cannot be loaded ({said[:300]}); save it again with the tokenizer's "
            "save_pretrained, which writes tokenizer.json"
        ) from error
