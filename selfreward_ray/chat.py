"""Text to token ids by the model's chat template: special tokens once, user text always as text.

A control token that stands in a prompt or a reply (``<|im_end|>``) is encoded as the characters it is
made of, so that nobody's text can end a turn or open another one.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from selfreward_ray.errors import UserError
from selfreward_ray.records import Turn

_MARK = "\ue000"  # a private-use character: stands where a message goes when the template is taken apart


class ChatCodec:
    """Encodes conversations of a model folder's tokenizer and chat template."""

    def __init__(self, model: Path):
        from transformers import AutoTokenizer  # a second of import that `--help` must not pay

        self._model = model
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        added = self._tokenizer.added_tokens_decoder
        self._control = {token.content: token_id for token_id, token in added.items() if token.special}
        longest_first = sorted(self._control, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None
        self._frames: dict[tuple[str, ...], list[str]] = {}
        closed = self._render(["user", "assistant"], add_generation_prompt=False)
        self.end_id = self._first_control(closed.split(_MARK)[-1])
        self.pad_id: int = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self.end_id

    def prompt_ids(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """Ids of the conversation up to where the assistant begins to write: `history`, then the user's `text`.

        Raises `UserError` for a history whose roles the model's template does not know.
        """
        frame = self._frame((*(turn.role for turn in history), "user"))
        ids: list[int] = []
        # Template text that touches a message is encoded together with it, as the tokenizer itself would.
        touching = ""
        for rendered, message in zip(frame, [*(turn.text for turn in history), text, ""], strict=True):
            first, *rest = self._pieces(rendered)
            touching += first
            for control, after in zip(rest[::2], rest[1::2], strict=True):
                ids += [*self._text_ids(touching), self._control[control]]
                touching = after
            touching += message
        return ids + self._text_ids(touching)

    def target_ids(self, text: str) -> list[int]:
        """Ids of an assistant's reply, the end token included: what the model is trained to write."""
        return [*self._text_ids(text), self.end_id]

    def decode(self, token_ids: list[int]) -> str:
        """Text of generated ids, control tokens left out."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

    def _frame(self, roles: tuple[str, ...]) -> list[str]:
        """What the template writes before, between and after messages of these `roles`."""
        if roles not in self._frames:
            frame = self._render(roles, add_generation_prompt=True).split(_MARK)
            if len(frame) != len(roles) + 1:
                raise UserError(f"the chat template of {self._model} does not show each message of {', '.join(roles)}")
            self._frames[roles] = frame
        return self._frames[roles]

    def _render(self, roles: Sequence[str], *, add_generation_prompt: bool) -> str:
        messages = [{"role": role, "content": _MARK} for role in roles]
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except jinja2.TemplateError as error:
            raise UserError(
                f"the chat template of {self._model} refuses the turns {', '.join(roles)}: {error}"
            ) from None
        return str(text)

    def _pieces(self, rendered: str) -> list[str]:
        """Alternating text and control tokens, text first and last."""
        return self._split.split(rendered) if self._split else [rendered]

    def _text_ids(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _first_control(self, rendered: str) -> int:
        controls = self._pieces(rendered)[1::2]
        return self._control[controls[0]] if controls else int(self._tokenizer.eos_token_id)
