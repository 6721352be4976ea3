"""Where a reply begins and ends in the rendered conversation: what follows the prompt that the engine is given.

Strings alone. A template may place, strip or repeat earlier texts as it likes, and need not begin a finished reply as
it asks for one; the prompt is what it writes to ask for one.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from selfreward_ray.thought import Marks, opened_by


class NotAligned(ValueError):
    """What the template writes before a reply does not go on from what it writes to ask for one."""


@dataclass(frozen=True)
class Ending:
    """What stands between a reply and the next message."""

    trail: str
    """Text between the reply and its end token; white space for most templates."""
    controls: tuple[str, ...]
    """The end token, and what must precede it; empty if the template writes none."""

    @property
    def text(self) -> str:
        return self.trail + "".join(self.controls)


def ending(after: str, control: re.Pattern[str], eos: str | None) -> Ending:
    """The end of a reply, from the text `after` it: all up to the first control token, or up to `eos` if only control
    tokens are between the two.

    A mark that closes a part of the reply (``</answer>``) is text where another token ends the turn. Without a token,
    the text is the end but for white space at its end, and is followed by the tokenizer's EOS token.
    """
    first, *rest = control.split(after)
    tokens, gaps = rest[::2], rest[1::2]
    if not tokens:
        return Ending(after.rstrip(), ())
    if eos in tokens and not any(gaps[: tokens.index(eos)]):
        return Ending(first, tuple(tokens[: tokens.index(eos) + 1]))
    place = next((n for n, token in enumerate(tokens) if token == eos or not token.startswith("</")), 0)
    before = first + "".join(token + gap for token, gap in zip(tokens[:place], gaps, strict=False))
    return Ending(before, (tokens[place],))


def without_end(text: str, end: Ending, shown: Collection[str]) -> str:
    """A generated `text` without its end. Of the control tokens, those in `shown` are still in it."""
    for part in reversed([end.trail, *(token for token in end.controls if token in shown)]):
        # A model may write other white space around the text that ends a reply.
        text = text.removesuffix(part) if text.endswith(part) else _without_word(text, part.strip())
    return text


def _without_word(text: str, word: str) -> str:
    return text.rstrip().removesuffix(word) if word and text.rstrip().endswith(word) else text


def lead_after(asked: str, answered: str, tokens: re.Pattern[str], marks: Sequence[Marks]) -> str:
    """The text between a prompt and its reply, which the model generates before the reply.

    `asked` is what the template writes after the last message to ask for a reply, `answered` what it writes there
    before a reply. A thought that the prompt opens is closed. Raises `NotAligned` if the model could not go on from
    the one with the other.
    """
    same = _common(asked, answered, tokens)
    more_asked, lead = asked[same:], answered[same:]
    opened = opened_by(asked, marks)
    if opened is not None:
        return closed_lead(lead, opened, asked)
    if not more_asked.strip():
        # White space alone: the model goes on with what is not white space.
        return lead.lstrip() if more_asked else lead
    if any(more_asked.rstrip().endswith(mark.closing) for mark in marks):  # an empty thought
        empty = "|".join(f"(?:{re.escape(mark.opening)})?\\s*{re.escape(mark.closing)}" for mark in marks)
        if not re.sub(empty, "", lead).strip():
            return ""
    raise NotAligned(f"it writes {more_asked!r} where a reply is to begin, but {lead!r} before a finished reply")


def closed_lead(lead: str, opened: Marks, asked: str) -> str:
    """`lead` after a prompt that ends in an opened thought: up to the reply the thought is closed.

    The closing mark is the template's own, if it writes one before a reply. Raises `NotAligned` for a lead of other
    text.
    """
    if opened.closing in lead:
        begin = lead.index(opened.closing)
        return lead[begin:] if lead[:begin].strip() else lead
    if lead.strip():
        raise NotAligned(f"it opens a thought with {opened.opening!r}, but writes {lead!r} before a finished reply")
    return close_of(opened, asked)


def close_of(opened: Marks, asked: str) -> str:
    """The end of an empty or finished thought, on a line of its own if the prompt `asked` opens it on one."""
    return f"\n{opened.closing}\n\n" if asked.endswith("\n") else f"{opened.closing}"


def _common(left: str, right: str, tokens: re.Pattern[str]) -> int:
    """The length of the common beginning of both texts, without a part of a token."""
    pairs = enumerate(zip(left, right, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(left), len(right)))
    for text in (left, right):
        for found in tokens.finditer(text):
            if found.start() < same < found.end():
                same = found.start()
    return same
