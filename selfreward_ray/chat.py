"""Text to token ids by the model's chat template: special tokens once, user text always as text.

A control token that stands in a prompt or a reply (``<|im_end|>``) is encoded as the characters it is
made of, so that nobody's text can end a turn or open another one.
"""

import re
from pathlib import Path
from typing import Any

_MARK = "\ue000"  # a private-use character: stands where the text goes when the template is taken apart


class ChatCodec:
    """Encodes one-turn conversations of a model folder's tokenizer and chat template."""

    def __init__(self, model: Path):
        from transformers import AutoTokenizer  # a second of import that `--help` must not pay

        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        added = self._tokenizer.added_tokens_decoder
        self._control = {token.content: token_id for token_id, token in added.items() if token.special}
        longest_first = sorted(self._control, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None
        turn = [{"role": "user", "content": _MARK}]
        self._before, self._after = self._render(turn, add_generation_prompt=True).split(_MARK)
        closed = self._render([*turn, {"role": "assistant", "content": _MARK}], add_generation_prompt=False)
        self.end_id = self._first_control(closed.split(_MARK)[-1])
        self.pad_id: int = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self.end_id

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of the conversation up to where the assistant begins to write, for one user message."""
        before, after = self._pieces(self._before), self._pieces(self._after)
        # Template text that touches the message is encoded together with it, as the tokenizer itself would.
        joined = [*before[:-1], before[-1] + text + after[0], *after[1:]]
        ids: list[int] = []
        for index, piece in enumerate(joined):
            is_control = index % 2 == 1
            ids.extend([self._control[piece]] if is_control else self._text_ids(piece))
        return ids

    def target_ids(self, text: str) -> list[int]:
        """Ids of an assistant's reply, the end token included: what the model is trained to write."""
        return [*self._text_ids(text), self.end_id]

    def decode(self, token_ids: list[int]) -> str:
        """Text of generated ids, control tokens left out."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        return str(
            self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
        )

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
