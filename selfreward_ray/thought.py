"""Where a model's thought ends and its reply begins.

The thought is not the reply: what is judged, compared, exported and shown is the text after it. A thought stands
between marks at the beginning of a text. Where the chat template already writes the opening mark, a text begins inside
it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Marks:
    """The texts that begin and end a thought."""

    opening: str
    closing: str


THINK = Marks("<think>", "</think>")
KNOWN_MARKS = (
    THINK,
    Marks("[THINK]", "[/THINK]"),
    Marks("<seed:think>", "</seed:think>"),
    Marks("<mm:think>", "</mm:think>"),
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),
    Marks("<|channel>thought\n", "<channel|>"),
    Marks("<thinking>", "</thinking>"),
    Marks("<thought>", "</thought>"),
    Marks("<reasoning>", "</reasoning>"),
    Marks("<|begin_of_thought|>", "<|end_of_thought|>"),
    Marks("◁think▷", "◁/think▷"),
    # A channel of its own. The reply's channel begins with the header that closes it.
    Marks("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
)
"""The marks of the model families that are known. A model's own are those that its template or tokenizer names."""

_WRAPPINGS = (
    Marks("<answer>", "</answer>"),
    Marks("<output>", "</output>"),
    Marks("<response>", "</response>"),
    Marks("<solution>", "</solution>"),
    Marks("<|begin_of_solution|>", "<|end_of_solution|>"),
    Marks("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
"""What stands around the whole reply after a thought, in data of many sources."""
_BLANK = re.compile(r"\s*")
_GOES_ON = re.compile(r"[ \t]+(?!\s)[^\W\d_A-Z]")
_PUNCTUATION = re.compile(r"[ \t]*[,.;:?)]")
_FENCE = "```"


@dataclass(frozen=True)
class Parted:
    """A text as its thought and its reply."""

    thought: str
    """Without marks and without white space around it; empty if there is none."""
    reply: str
    finished: bool = True
    """False if the thought has no end. Then there is no reply."""
    length: int = 0
    """Number of the text's first characters that are the thought with its marks."""


def part_thought(text: str, marks: Sequence[Marks] = KNOWN_MARKS, opened: Marks | None = None) -> Parted:
    """`text` as thought and reply. `opened` are the marks of a thought that has begun before the text.

    Thoughts that follow each other at the beginning are one. A closing mark alone ends a thought that began with the
    text, as models write whose template opens it: at the beginning of a line, or at its end and not after a word and a
    space, with no opening mark before it and outside code. All other marks are ordinary text: a reply may speak about
    them, and may begin so, ``<think> and </think> are tags``. Within a sentence a mark is followed by a space and a
    small letter, or, if it is a closing one, by punctuation.
    """
    thoughts: list[str] = []
    place, inside = 0, opened
    while True:
        found_at = place
        if found := _opening(text, place, marks):
            inside, place = found
        if inside is None:
            break
        end = text.find(inside.closing, place)
        if found and _in_sentence(text, inside, place, end):
            place = found_at
            break
        if end < 0:
            return Parted(_joined([*thoughts, text[place:]]), "", False, len(text))
        thoughts.append(text[place:end])
        place, inside = end + len(inside.closing), None
    if not place and (closed := _closed_alone(text, marks)):
        end, place = closed
        thoughts.append(text[:end])
    return Parted(_joined(thoughts), _unwrapped(text[place:].lstrip()) if place else text, True, place)


def with_thought(thought: str, reply: str, mark: Marks) -> str:
    """A text that begins with its thought, as models write it: the marks of ``<think>`` stand on lines of their own."""
    if mark == THINK:
        return f"{mark.opening}\n{thought.strip()}\n{mark.closing}\n\n{reply}"
    return f"{mark.opening}{thought}{mark.closing}{reply}"


def without_thoughts(text: str, marks: Iterable[Marks] = KNOWN_MARKS) -> str:
    """`text` without anything that is marked as a thought, wherever it stands.

    This is what a verdict's score is read from. A thought that begins a line and has no end reaches to the end.
    """
    for mark in marks:
        kept: list[str] = []
        place = 0
        while (start := text.find(mark.opening, place)) >= 0:
            end = text.find(mark.closing, start)
            if end < 0:
                break
            kept.append(text[place:start])
            place = end + len(mark.closing)
        rest = text[place:]
        endless = re.search(rf"^[ \t]*{re.escape(mark.opening)}", rest, re.MULTILINE)
        text = "".join(kept) + (rest[: endless.start()] if endless else rest)
    return text


def opened_by(prompt: str, marks: Iterable[Marks]) -> Marks | None:
    """The marks of the thought that `prompt` ends in; None if its end is outside a thought."""
    end = prompt.rstrip()
    return next((mark for mark in marks if end.endswith(mark.opening.rstrip())), None)


def _opening(text: str, place: int, marks: Iterable[Marks]) -> tuple[Marks, int] | None:
    """The marks that open at `place`, after white space at most, and the place after the opening one."""
    blank = _BLANK.match(text, place)
    start = blank.end() if blank else place
    return next(((m, start + len(m.opening)) for m in marks if text.startswith(m.opening, start)), None)


def _closed_alone(text: str, marks: Iterable[Marks]) -> tuple[int, int] | None:
    """The begin and the end of the first closing mark that ends a thought, with no opening mark before it."""
    for mark in marks:
        if mark.closing not in text:  # as in most texts; this check is faster than the pattern
            continue
        closing = re.escape(mark.closing)
        opened = text.find(mark.opening)
        counted, fences = 0, 0
        for found in re.finditer(
            rf"^[ \t]*(?P<first>{closing})|(?<!\w[ \t])(?P<last>{closing})[ \t]*$", text, re.MULTILINE
        ):
            if 0 <= opened < found.start():
                break
            fences += text.count(_FENCE, counted, found.start())
            counted = found.start()
            if not fences % 2 and not _follows_a_mark(text, found.end()):
                return found.span(found.lastgroup or 0)
    return None


def _unwrapped(reply: str) -> str:
    """`reply` without marks around the whole of it."""
    whole = reply.strip()
    for mark in _WRAPPINGS:
        if whole.startswith(mark.opening) and whole.find(mark.closing) == len(whole) - len(mark.closing):
            return whole.removeprefix(mark.opening).removesuffix(mark.closing).strip()
    return reply


def _in_sentence(text: str, mark: Marks, place: int, end: int) -> bool:
    """Whether the opening mark that ends at `place` is a word of a sentence. `end` is where the closing one stands."""
    if not _GOES_ON.match(text, place):
        return False
    if end >= 0:
        return _follows_a_mark(text, end + len(mark.closing))
    return text.rstrip().endswith((".", "!", "?"))


def _follows_a_mark(text: str, place: int) -> bool:
    return bool(_GOES_ON.match(text, place) or _PUNCTUATION.match(text, place))


def _joined(thoughts: Iterable[str]) -> str:
    return "\n\n".join(stripped for thought in thoughts if (stripped := thought.strip()))
