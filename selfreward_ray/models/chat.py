"""Text to token ids by the model's chat template: special tokens once, user text always as text.

A control token that stands in a prompt or a reply (``<|im_end|>``) is encoded as the characters it is
made of, so that nobody's text can end a turn or open another one. In what is said to the model that holds for other
marks that were added to its vocabulary too (``<think>``, ``<tool_call>``); what it is to say itself may hold those.

What a template does to a message's edges is done here too: Llama 3's strips them, Llama 2's strips them and puts a
space of its own before and after a reply.
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

# Stands where a message goes when the template is taken apart: a private-use character between two spaces that no
# template writes, which are gone where it strips its messages.
_EDGE, _PRIVATE = "\u2003", "\ue000"
_MARK = re.compile(f"{_EDGE}?{_PRIVATE}{_EDGE}?")


class TurnsRefused(UserError):
    """A conversation that the model's chat template has no place for."""


@dataclass(frozen=True)
class _ReplyFrame:
    """What the template puts round a reply."""

    prompt_end: str
    """The prompt's last words, after its last control token."""
    lead: str
    trail: str
    end_id: int


class ChatCodec:
    """Encodes conversations of a model folder's tokenizer and chat template."""

    def __init__(self, model: Path):
        from transformers import AutoTokenizer  # a second of import that `--help` must not pay

        self._model = model
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        added = self._tokenizer.added_tokens_decoder
        self._control = {token.content: token_id for token_id, token in added.items() if token.special}
        self._control_pattern = _any_of(self._control)
        # Marks in brackets only: some vocabularies have added runs of spaces, which are ordinary text.
        words = [token.content for token in added.values() if not token.special]
        self._mark_pattern = _any_of([word for word in words if re.fullmatch(r"<.+>|\[.+\]", word)])
        self._frames: dict[tuple[str, ...], list[str]] = {}
        closed = self._render(["user", "assistant"], add_generation_prompt=False)
        self._strips = _EDGE not in closed
        self._reply = self._reply_frame(closed)
        self.end_id = self._reply.end_id

    def prompt_ids(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """Ids of the conversation up to where the assistant begins to write: `history`, then the user's `text`.

        Raises `TurnsRefused` for a history whose roles the model's template does not know.
        """
        frame = self._frame((*(turn.role for turn in history), "user"))
        ids: list[int] = []
        # Template text that touches a message is encoded together with it, as the tokenizer itself would.
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
        """Ids of an assistant's reply, the end token included: what the model is trained to write."""
        shown = self._reply.lead + self._stripped(text) + self._reply.trail
        # Behind the prompt's last words, because some tokenizers begin every text with a space of their own.
        prompt_end = self._reply.prompt_end
        prompt_ids, ids = self._text_ids(prompt_end), self._text_ids(prompt_end + shown)
        apart = ids[: len(prompt_ids)] == prompt_ids
        return [*(ids[len(prompt_ids) :] if apart else self._text_ids(shown)), self.end_id]

    def decode(self, token_ids: list[int]) -> str:
        """Text of generated ids, without control tokens and without the blanks that the template puts round it."""
        text = str(self._tokenizer.decode(token_ids, skip_special_tokens=True))
        return text.removeprefix(self._reply.lead).removesuffix(self._reply.trail)

    def _frame(self, roles: tuple[str, ...]) -> list[str]:
        """What the template writes before, between and after messages of these `roles`."""
        if roles not in self._frames:
            frame = _MARK.split(self._render(roles, add_generation_prompt=True))
            if len(frame) != len(roles) + 1:
                shown = ", ".join(roles)
                raise TurnsRefused(f"the chat template of {self._model} does not show each message of {shown}")
            self._frames[roles] = frame
        return self._frames[roles]

    def _reply_frame(self, closed: str) -> _ReplyFrame:
        """Of a prompt and its reply as the template shows them (`closed`), and of the prompt as it waits for one."""
        prompt = _MARK.split(self._render(["user"], add_generation_prompt=True))[-1]
        before, after = ["", *_MARK.split(closed)][-2:]
        lead = before.removeprefix(prompt)
        trail, *controls = self._control_pattern.split(after)
        return _ReplyFrame(
            prompt_end=self._control_pattern.split(prompt)[-1],
            # Blanks alone: some templates write an empty thought here, which is for the model to say or not.
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
        """`text`, cut behind the first character of each mark: neither part of a mark is encoded as one."""
        cuts = [match.start() + 1 for match in self._mark_pattern.finditer(text)]
        return [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]

    def _text_ids(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Finds each of `words`, the longer first, in a group of its own; nothing where there are none."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else re.compile("((?!))")
