"""Encode conversations to token ids by the model's chat template, and read what the model wrote.

The ids of a conversation are those that the tokenizer's own `apply_chat_template` gives for it: the very conversation
is rendered, and the reply is what follows the prompt that the engine is given. Only tokens in the texts of messages
differ. If one contains the text of a control token, such as ``<|im_end|>``, it is encoded as ordinary characters, so
that no text can end a turn or begin another one. In the messages to the model this also holds for other added tokens
(``<tool_call>``, and in the user's messages ``<think>``); the model's own replies may contain those.

White space at the ends of messages is handled as the template does: that of Llama 3 strips it, that of Llama 2 strips
it and puts a space before and after a reply.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.alignment import Ending, NotAligned, close_of, closed_lead, ending, lead_after, without_end
from selfreward_ray.models.spelling import Spelled, Speller, any_of
from selfreward_ray.models.template import SHOW, ChatTemplate, Message, ReplyChanged, TurnsRefused
from selfreward_ray.records import Turn
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
        asked, switched = [{"role": "user", "content": "a"}], (None, True, False) if self.template.switch else (None,)
        self._shown = self._speller.control_marks(*self.template.around_reply(asked, Spelled(()).fresh(), None), marks)
        self._tokens = any_of({*self._speller.control, *self._speller.marks, *marks})
        # Thoughts in earlier replies are left to the template, which may drop them.
        self._reply_marks = any_of({*self._speller.control, *self._speller.marks} - (marks - {*self._speller.control}))
        shown = [self._rendered(asked, "b", Spelled(()), thinking) for thinking in switched]
        self._leads = {each.reply.removesuffix("b") for each in shown}
        self._headers = {*self._leads, *(part_thought(lead, self.template.marks).reply for lead in self._leads)}
        self._end = shown[0].ending
        self.end_id = self._end_id(shown[0].ending)

    def prompt_ids(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        """Encode `history` and the user's `text`, up to the point where the assistant's reply begins.

        Raises `TurnsRefused` if the chat template does not accept the roles of the history, or does not show a message.
        """
        spelled = Spelled([text, *(turn.text for turn in history)])
        messages = self._messages(text, history, spelled)
        prompt = self.template.render(messages, prompt=True, thinking=thinking)
        self._check_shown(messages, prompt)
        return self._speller.ids(prompt, spelled)

    def target_ids(
        self,
        reply: str,
        text: str = "",
        history: Sequence[Turn] = (),
        *,
        thought: str = "",
        thinking: bool | None = None,
    ) -> list[int]:
        """Encode an assistant's `reply` to that prompt with its end token, which is the target of training.

        They are what the model generates after `prompt_ids`: what the template writes before a reply is part of them.
        So are a `thought` and its marks, unless `thinking` is off or the template has no place for a thought. A thought
        that the prompt opens is closed also if it is empty.
        """
        spelled = Spelled([reply, text, thought, *(turn.text for turn in history)])
        messages = self._messages(text, history, spelled)
        control = self._speller.control_pattern
        hidden, hidden_thought = spelled.hide(reply, control), spelled.hide(thought, control)
        try:
            shown = self._rendered(messages, hidden, spelled, thinking, hidden_thought)
        except ReplyChanged:
            # Templates split a reply at the marks of a thought. Spelled, they are ordinary text.
            marked = spelled.hide(hidden, _IN_BRACKETS)
            shown = self._rendered(messages, marked, spelled, thinking, spelled.hide(hidden_thought, _IN_BRACKETS))
        written = shown.reply + shown.ending.text
        prompt_ids = self._speller.ids(shown.prompt, spelled)
        ids = self._speller.ids(shown.prompt + written, spelled)
        apart = ids[: len(prompt_ids)] == prompt_ids
        target = ids[len(prompt_ids) :] if apart else self._speller.continued(shown.prompt, written, spelled)
        return target if shown.ending.controls else [*target, self.end_id]

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

    def _messages(self, text: str, history: Sequence[Turn], spelled: Spelled) -> list[Message]:
        def content(turn: Turn) -> str:
            pattern = self._reply_marks if turn.role == "assistant" else self._speller.added_pattern
            return spelled.hide(turn.text, pattern)

        return [{"role": turn.role, "content": content(turn)} for turn in (*history, Turn("user", text))]

    def _check_shown(self, messages: list[Message], prompt: str) -> None:
        """Raise `TurnsRefused` unless the text of each message is in the prompt; of earlier replies without thought."""
        for message in messages:
            text = message["content"]
            if message["role"] == "assistant":
                for mark in self.template.marks:
                    text = text.rpartition(mark.closing)[2]
            if text.strip() not in prompt:
                shown = ", ".join(message["role"] for message in messages)
                raise TurnsRefused(f"the chat template of {self._model} does not show each message of {shown}; {SHOW}")

    def _rendered(
        self, messages: list[Message], reply: str, spelled: Spelled, thinking: bool | None, thought: str = ""
    ) -> _Rendered:
        """The conversation with its reply. Of the reply's text only control tokens are hidden."""
        prompt = self.template.render(messages, prompt=True, thinking=thinking)
        self._check_shown(messages, prompt)
        place = spelled.fresh()
        before, after = self.template.around_reply(messages, place, thinking)
        end = ending(after, self._speller.control_pattern, self._tokenizer.eos_token)
        answer = {"role": "assistant", "content": reply}
        if thought and thinking is not False:
            written = self._with_thought(messages, answer, thought, prompt, after, thinking)
            if written is not None:
                if not (reply.strip() in written and thought.strip() in written):
                    raise self._changed()
                return _Rendered(prompt, written, end)
        said = self.template.render([*messages, answer], prompt=False, thinking=thinking)
        try:
            lead = self._lead_before(messages, prompt, before, place, spelled, thinking)
        except NotAligned as error:
            raise TurnsRefused(
                f"replies cannot be trained with the chat template of {self._model}: {error}; give the folder a "
                "chat_template.jinja in which a reply begins with its generation prompt"
            ) from None
        stem, lead = (prompt, "") if prompt + lead == before and said.startswith(prompt) else (before, lead)
        written = said[len(stem) : len(said) - len(after)]
        if not (said.startswith(stem) and said.endswith(after) and reply.strip() in written):
            raise self._changed()
        return _Rendered(prompt, lead + written, end)

    def _changed(self) -> ReplyChanged:
        return ReplyChanged(
            f"the chat template of {self._model} changes the text of the reply; leave the row out, or give the "
            "folder a chat_template.jinja that writes a reply's content as it is"
        )

    def _lead_before(
        self,
        messages: list[Message],
        prompt: str,
        before: str,
        place: str,
        spelled: Spelled,
        thinking: bool | None,
    ) -> str:
        """What the model writes after the prompt and before the reply. Raises `NotAligned`."""
        marks = self.template.marks
        if before.startswith(prompt):
            lead, opened = before[len(prompt) :], opened_by(prompt, marks)
            return lead if opened is None else closed_lead(lead, opened, prompt)
        # The template writes earlier messages in another way, or asks for a reply in another way than it begins one.
        # What follows the last message can be compared all the same.
        edge = spelled.fresh()
        *earlier, last = messages
        marked = [*earlier, last | {"content": last["content"] + edge}]
        asked = self.template.render(marked, prompt=True, thinking=thinking).rpartition(edge)[2]
        answered = self.template.around_reply(marked, place, thinking)[0].rpartition(edge)[2]
        return lead_after(asked, answered, self._tokens, marks)

    def _with_thought(
        self,
        messages: list[Message],
        answer: Message,
        thought: str,
        prompt: str,
        after: str,
        thinking: bool | None,
    ) -> str | None:
        """A thought and its reply as they follow the prompt: as the template shows them in a field, or else in the
        marks that the prompt opens, or else in the reply's text. None if there is no place for it."""
        if (field := self.template.thought_field) is not None:
            said = self.template.render([*messages, answer | {field: thought}], prompt=False, thinking=thinking)
            if said.startswith(prompt) and said.endswith(after):
                return said[len(prompt) : len(said) - len(after)]
        opened = opened_by(prompt, self.template.marks)
        if opened is None:
            return self._thought_in_content(messages, answer, thought, prompt, after, thinking)
        return thought + close_of(opened, prompt) + answer["content"]

    def _thought_in_content(
        self, messages: list[Message], answer: Message, thought: str, prompt: str, after: str, thinking: bool | None
    ) -> str | None:
        """The thought in the model's marks before the reply, if the template names such marks and shows the whole."""
        if not self.template.names_marks or any(prompt.rstrip().endswith(mark.closing) for mark in self.template.marks):
            return None
        mark = self.template.marks[0]
        content = with_thought(thought, answer["content"], mark)
        said = self.template.render([*messages, answer | {"content": content}], prompt=False, thinking=thinking)
        written = said[len(prompt) : len(said) - len(after)]
        whole = said.startswith(prompt) and said.endswith(after) and written.strip() == content.strip()
        return written if whole else None

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
