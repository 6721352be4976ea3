"""Rendered conversations to token ids, where some characters must not become control tokens.

Only the template writes control tokens. If a text contains the characters of one, such as ``<|im_end|>``, these are
encoded as ordinary characters, so that no text can end a turn or begin another one. Everything else is encoded as the
tokenizer does it for the whole conversation.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Any

PRIVATE = range(0xE000, 0xF900)
"""Characters for private use. One that no text contains stands for a token while the template is rendered: templates
move, strip and compare texts, but do not change such a character."""


class Spelled:
    """The tokens that occur in a conversation's texts, each with the character that stands for it in the rendering."""

    def __init__(self, texts: Iterable[str]):
        used = set("".join(texts))
        self._free = (char for code in PRIVATE if (char := chr(code)) not in used)
        self.tokens: dict[str, str] = {}
        self._chars: dict[str, str] = {}

    def fresh(self) -> str:
        """A character that occurs nowhere else."""
        return next(self._free)

    def hide(self, text: str, pattern: re.Pattern[str]) -> str:
        """`text` with a character in the place of each token that `pattern` matches."""
        return pattern.sub(lambda found: self._char(found.group()), text)

    def _char(self, token: str) -> str:
        if token not in self._chars:
            self._chars[token] = self.fresh()
            self.tokens[self._chars[token]] = token
        return self._chars[token]


class Speller:
    """Encodes rendered conversations with a tokenizer."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self.control: dict[str, int] = {token.content: token_id for token_id, token in added.items() if token.special}
        self._control_ids = set(self.control.values()) - {tokenizer.unk_token_id}
        self.control_pattern = any_of(self.control)
        # Only tokens in brackets: some vocabularies have added tokens of several spaces, which are ordinary text.
        self._words = {token.content for token in added.values() if not token.special}
        self.marks = {word for word in self._words if re.fullmatch(r"<.+>|\[.+\]", word, re.DOTALL)}
        self.added_pattern = any_of({*self.control, *self.marks})
        self._eats_before = {token.content for token in added.values() if token.lstrip}
        self._eats_after = {token.content for token in added.values() if token.rstrip}

    def control_marks(self, before: str, after: str, others: Collection[str]) -> set[str]:
        """Count the added tokens that the template itself writes around a reply as control tokens from now on, but for
        `others`: those in brackets, and the one that follows the reply, in brackets or not. Returns those that the
        tokenizer shows as text. Some tokenizers do not flag what ends a turn."""
        found = {mark for mark in self.marks if mark in before + after}
        ends = [word for word in self._words if word and word == word.strip() and after.lstrip().startswith(word)]
        found = {*found, *sorted(ends, key=len)[-1:]}.difference(others)
        self.control |= {mark: self._tokenizer.convert_tokens_to_ids(mark) for mark in found}
        self._control_ids |= {self.control[mark] for mark in found}
        self.control_pattern = any_of(self.control)
        self.marks |= found
        self.added_pattern = any_of({*self.control, *self.marks})
        return found

    def ids(self, rendered: str, spelled: Spelled) -> list[int]:
        """The ids of `rendered` as the tokenizer itself gives them, but for the tokens in `spelled`."""
        if not any(char in rendered for char in spelled.tokens):
            ids = self._plain(rendered)
            controls = sum(i in self._control_ids for i in ids)
            # A tokenizer may normalize other characters to those of a control token.
            if controls <= len(self.control_pattern.findall(rendered)):
                return ids
            return self._by_section(rendered, spelled, lambda _: True)
        return self._by_section(rendered, spelled, lambda text: any(char in text for char in spelled.tokens))

    def continued(self, before: str, text: str, spelled: Spelled) -> list[int]:
        """The ids of `text` as a model generates it after `before`, whose ids are fixed.

        Encoded together, the last token of `before` could take characters of `text`. A tokenizer that puts a space
        before every text puts none here.
        """
        tail = self.added_pattern.split(before)[-1]
        return _after(self._anchors(tail), text, lambda whole: self.ids(whole, spelled))

    def _by_section(self, rendered: str, spelled: Spelled, is_spelled: Callable[[str], bool]) -> list[int]:
        """`rendered` in parts: the texts between control tokens for which `is_spelled` holds, and what is between."""
        ids: list[int] = []
        first, *rest = self.control_pattern.split(rendered)
        sections = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
        run = ""
        for number, (control, text) in enumerate(sections):
            run += control
            if not is_spelled(text):
                run += text
                continue
            ids += self._plain(run)
            run = ""
            follows = sections[number + 1][0] if number + 1 < len(sections) else ""
            text = text.lstrip() if control in self._eats_after else text
            text = text.rstrip() if follows in self._eats_before else text
            ids += self._spelled_ids(text, spelled, control)
        return ids + self._plain(run)

    def _spelled_ids(self, text: str, spelled: Spelled, control: str) -> list[int]:
        """The ids of a `text` behind `control`; of the tokens that it spells, none is recognized."""
        first, *others = _pieces(text, spelled, self.marks)
        if not control or self._same_after_control:
            ids = self._as_text(first)
        else:
            ids = _after(self._anchors(""), first, self._as_text)
        return ids + [i for piece in others for i in _after(self._anchors(""), piece, self._as_text)]

    @cached_property
    def _same_after_control(self) -> bool:
        """Whether a text is encoded after a control token as it is alone. Some tokenizers put a space before a text
        that begins the whole, and before no other one."""
        control = next((token for token in self.control if token not in self._eats_after), "")
        return self._plain(f"{control}\n")[bool(control) :] == self._plain("\n")

    def _anchors(self, tail: str) -> Iterator[str]:
        """Texts that can stand before another one without changing it; one of them does not merge with it."""
        yield from (anchor for anchor in (tail, "\n", "x", ".") if anchor)

    def _plain(self, text: str) -> list[int]:
        return self._encoded(text, split_special_tokens=False)

    def _as_text(self, text: str) -> list[int]:
        return self._encoded(text, split_special_tokens=True)

    def _encoded(self, text: str, *, split_special_tokens: bool) -> list[int]:
        if not text:
            return []
        made = self._tokenizer(text, add_special_tokens=False, split_special_tokens=split_special_tokens)
        return list(made["input_ids"])


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern with one group that matches any of `words`, longer ones first; it matches nothing if there are none."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else re.compile("((?!))")


def _pieces(text: str, spelled: Spelled, marks: set[str]) -> list[str]:
    """`text` with its tokens spelled, cut after the first character of each mark: the tokenizer recognizes marks in any
    text, control tokens only where it is asked to."""
    first, *rest = any_of(spelled.tokens).split(text)
    pieces = [[first]]
    for char, after in zip(rest[::2], rest[1::2], strict=True):
        token = spelled.tokens[char]
        if token in marks:
            pieces[-1].append(token[0])
            pieces.append([token[1:]])
        else:
            pieces[-1].append(token)
        pieces[-1].append(after)
    return ["".join(piece) for piece in pieces]


def _after(anchors: Iterable[str], text: str, encode: Callable[[str], list[int]]) -> list[int]:
    """The ids of `text` behind the first of `anchors` that keeps its own ids there; alone if none does."""
    for anchor in anchors:
        before, whole = encode(anchor), encode(anchor + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
    return encode(text)
