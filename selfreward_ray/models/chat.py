"""Encode conversations to token ids by the model's chat template, and read what the model wrote.

The ids of a conversation are those that the tokenizer's own `apply_chat_template` gives for it: the very conversation
is rendered. Only tokens in the texts of messages differ. If one contains the text of a control token, such as
``<|im_end|>``, it is encoded as ordinary characters, so that no text can end a turn or begin another one.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.alignment import Ending, without_end
from selfreward_ray.models.pretrained import pretrained_tokenizer
from selfreward_ray.models.rendering import probe
from selfreward_ray.models.spelling import Speller
from selfreward_ray.models.template import ChatTemplate, TurnsRefused
from selfreward_ray.models.tools import PROBE
from selfreward_ray.records import ToolUse, Turn
from selfreward_ray.thought import Marks, opened_by, part_thought

_PROMPT_END = 16
"""Number of the prompt's last tokens among which the opening mark of a thought is looked for."""


@dataclass(frozen=True)
class Generated:
    """What a model wrote, as text."""

    text: str
    """The reply, without the thought, control tokens and the white space that the template puts around a reply."""
    thought: str
    """Without its marks; empty if there is none."""
    thought_tokens: int
    """Number of the first ids that are the thought with its marks, or another header of the reply."""
    finished: bool
    """False if the thought has no end. Then there is no reply."""


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
        probed = probe(model, self.template, self._speller, self._tokenizer.eos_token)
        self._renderer, self._shown, self._leads = probed.renderer, probed.shown, probed.leads
        self._headers = {*self._leads, *(part_thought(lead, self.template.marks).reply for lead in self._leads)}
        self._end = probed.replies[0].ending
        self.end_id = self._end_id(self._end)

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
        asked = self._renderer.asked(text, history, thinking, tool_use)
        return self._speller.ids(self._renderer.prompt(asked), asked.spelled)

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
        asked = self._renderer.asked(text, history, thinking, tool_use, (reply, thought))
        shown = self._renderer.replied(asked, reply, thought)
        written = shown.reply + shown.ending.text
        prompt_ids = self._speller.ids(shown.prompt, asked.spelled)
        ids = self._speller.ids(shown.prompt + written, asked.spelled)
        apart = ids[: len(prompt_ids)] == prompt_ids
        target = ids[len(prompt_ids) :] if apart else self._speller.continued(shown.prompt, written, asked.spelled)
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
    try:
        return pretrained_tokenizer(model)
    except Exception as error:  # of any kind: a package that is missing, another format, a file that is damaged
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the tokenizer of model '{model}' cannot be loaded ({said[:300]}); save it again with the tokenizer's "
            "save_pretrained, which writes tokenizer.json"
        ) from error
