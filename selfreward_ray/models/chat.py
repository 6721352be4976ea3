"""Encode conversations to token ids by the model's chat template.

Only the template writes control tokens. If a prompt or reply contains the text of one, such as ``<|im_end|>``, it is
encoded as ordinary characters, so that no text can end a turn or begin another one. In the messages to the model this
also holds for other added tokens (``<think>``, ``<tool_call>``); the model's own replies may contain those.

White space at the ends of messages is handled as the template does: that of Llama 3 strips it, that of Llama 2 strips
it and puts a space before and after a reply.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2

from selfreward_ray.errors import UserError
from selfreward_ray.records import Turn

# The placeholder of a message when the template is analysed: a private-use character between two spaces that no
# template writes. The spaces are missing if the template strips its messages.
_EDGE, _PRIVATE = "\u2003", "\ue000"
_MARK = re.compile(f"{_EDGE}?{_PRIVATE}{_EDGE}?")


class TurnsRefused(UserError):
    """The model's chat template cannot represent the conversation."""


@dataclass(frozen=True)
class _ReplyFrame:
    """The text that the template puts around a reply."""

    prompt_end: str
    """The end of the prompt, after its last control token."""
    lead: str
    trail: str
    end_id: int


class ChatCodec:
    """Encodes conversations with the tokenizer and chat template of a model folder.

    Raises `TurnsRefused` if the template cannot represent a user's message and a reply.
    """

    def __init__(self, model: Path):
        from transformers import AutoTokenizer  # imported late: it takes a second, which `--help` must not wait for

        self._model = model
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        added = self._tokenizer.added_tokens_decoder
        self._control = {token.content: token_id for token_id, token in added.items() if token.special}
        self._control_pattern = _any_of(self._control)
        # Only tokens in brackets: some vocabularies have added tokens of several spaces, which are ordinary text.
        words = [token.content for token in added.values() if not token.special]
        self._mark_pattern = _any_of([word for word in words if re.fullmatch(r"<.+>|\[.+\]", word)])
        self._frames: dict[tuple[str, ...], list[str]] = {}
        closed = self._render(["user", "assistant"], add_generation_prompt=False)
        self._strips = _EDGE not in closed
        self._reply = self._reply_frame(closed)
        self.end_id = self._reply.end_id

    def prompt_ids(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """Encode `history` and the user's `text`, up to the point where the assistant's reply begins.

        Raises `TurnsRefused` if the chat template does not accept the roles of the history.
        """
        frame = self._frame((*(turn.role for turn in history), "user"))
        ids: list[int] = []
        # Template text next to a message is encoded together with it, as the tokenizer does for the whole text.
        touching = [""]
        for rendered, message in zip(frame, [*(turn.text for turn in history), text, ""], strict=True):
            first, *rest = self._control_pattern.split(rendered)
            touching[-1] += first
            for control, after in zip(rest[::2], rest[1::2], strict=True):
                ids += [i for part in touching for i in self._text_ids(part)] + [self._control[control]]
                touching = [after]
            begin, *others = self._without_marks(self._stripped(message))
            touching[-1] += begin
            touching += others
        return ids + [i for part in touching for i in self._text_ids(part)]

    def target_ids(self, text: str) -> list[int]:
        """Encode an assistant's reply and its end token, which is the target of training."""
        shown = self._reply.lead + self._stripped(text) + self._reply.trail
        # Encoded after the end of the prompt, because some tokenizers put a space before every text.
        prompt_end = self._reply.prompt_end
        prompt_ids, ids = self._text_ids(prompt_end), self._text_ids(prompt_end + shown)
        apart = ids[: len(prompt_ids)] == prompt_ids
        return [*(ids[len(prompt_ids) :] if apart else self._text_ids(shown)), self.end_id]

    def decode(self, token_ids: list[int]) -> str:
        """Text of generated ids, without control tokens and without the white space that the template puts around a
        reply."""
        text = str(self._tokenizer.decode(token_ids, skip_special_tokens=True))
        return text.removeprefix(self._reply.lead).removesuffix(self._reply.trail)

    def _frame(self, roles: tuple[str, ...]) -> list[str]:
        """The template's text before, between and after messages of these `roles`."""
        if roles not in self._frames:
            frame = _MARK.split(self._render(roles, add_generation_prompt=True))
            if len(frame) != len(roles) + 1:
                shown = ", ".join(roles)
                raise TurnsRefused(f"the chat template of {self._model} does not show each message of {shown}")
            self._frames[roles] = frame
        return self._frames[roles]

    def _reply_frame(self, closed: str) -> _ReplyFrame:
        """The reply's frame, from the rendered prompt with its reply (`closed`) and the rendered generation prompt."""
        prompt = _MARK.split(self._render(["user"], add_generation_prompt=True))[-1]
        before, after = ["", *_MARK.split(closed)][-2:]
        lead = before.removeprefix(prompt)
        trail, *controls = self._control_pattern.split(after)
        return _ReplyFrame(
            prompt_end=self._control_pattern.split(prompt)[-1],
            # Only white space: some templates write an empty thought here, which the model may or may not generate.
            lead=lead if lead.isspace() else "",
            trail=trail if controls and trail.isspace() else "",
            end_id=self._control[controls[0]] if controls else int(self._tokenizer.eos_token_id),
        )

    def _render(self, roles: Sequence[str], *, add_generation_prompt: bool) -> str:
        messages = [{"role": role, "content": f"{_EDGE}{_PRIVATE}{_EDGE}"} for role in roles]
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except jinja2.TemplateError as error:
            raise TurnsRefused(
                f"the chat template of {self._model} refuses the turns {', '.join(roles)}: {error}"
            ) from None
        return str(text)

    def _stripped(self, text: str) -> str:
        return text.strip() if self._strips else text

    def _without_marks(self, text: str) -> list[str]:
        """Split `text` after the first character of each added token, so that none is encoded as such."""
        cuts = [match.start() + 1 for match in self._mark_pattern.finditer(text)]
        return [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]

    def _text_ids(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern with one group that matches any of `words`, longer ones first; it matches nothing if there are none."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else re.compile("((?!))")
