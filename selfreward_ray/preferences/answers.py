"""Read the form of an answer: the forms in which one short reply may be the right one to many prompts.

A form is a label of at most `pairs.label_words` words, or symbols alone. JSON, ``name: value`` and tags have it where
they are opposed by the same with another value, and they and longer texts where most of their prompts name each of
their parts. `preferences.evidence` decides which texts of this form are answers.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from selfreward_ray.preferences.flags import has_content
from selfreward_ray.preferences.label_size import is_one_word, label_size
from selfreward_ray.words import MARKS, has_words, words

_MOST_SYMBOLS = 8
_MOST_WORDS = 8
_MOST_CHARACTERS = 400
"""Limits of an answer: characters of symbols alone, words of a text that prompts name, characters of JSON."""

_FENCE = re.compile(r"\A(```+|~~~+)[^\n`]*\n(.*)\n[ \t]*\1\Z", re.DOTALL)
_WRAPPING = "*_`\"'“”‘’"
_PLAIN = re.compile(rf"[\w{MARKS} \-/&'’.,()%+#$€£°·・]+")
"""What a label is written with. Brackets, colons, exclamation marks and markup within it make it none."""
_NAME_AND_VALUE = re.compile(r"([^:：\n]+)[:：]([^:：\n]+)")
_TAGGED = re.compile(r"<([\w-]+)>([^<>]+)</\1>\s*")
_LEVELS = re.compile(r"\s*(?:->|[>→›»|])\s*")
_MATH = re.compile(r"\\(?:boxed|fbox|text|textbf|mathrm|mathbf)\s*\{(.*)\}", re.DOTALL)
_MATH_MARKS = re.compile(r"\A(?:\$+|\\[(\[])\s*(?=\\)|(?<=\})\s*(?:\$+|\\[)\]])\Z")
_HEADING = re.compile(r"\A#+[ \t]+")
_MOST_FIELDS = 8
_ANY = "symbols"
"""The shape of symbols, which are an answer where others have fields: ``[]`` where nothing is to be extracted."""
_FORGING = """
    score scores rating rate grade mark points total choice better best winner preference verdict judgement judgment
    reason reasons explanation reply instruction prompt
"""
_OF_A_VERDICT = {*_FORGING.split(), "first reply", "second reply", "total score", "final score", "final verdict"}
"""Names with which a reply may forge a verdict, or the texts that a judge is shown. One with no others has no shape."""


@dataclass(frozen=True)
class Answer:
    """A text with the form of an answer."""

    parts: tuple[str, ...]
    """Its words between punctuation, each part joined by blanks; empty if it has only symbols."""
    label: bool
    """Whether it may be an answer without being named by the prompts."""
    single: bool
    """Whether it is a single word, symbols, JSON or ``name: value``."""
    shape: str | None = None
    """What answers that stand against each other have in common: the names of JSON, for example, or being labels. None
    for the form of a verdict."""

    def opposes(self, other: "Answer") -> bool:
        """Whether it and `other` are of the same shape, as two labels of a classification are."""
        shapes = {self.shape, other.shape}
        return None not in shapes and (len(shapes) == 1 or _ANY in shapes)

    def is_named(self, asked: str) -> bool:
        """Whether a prompt names each part; `asked` is its words, with blanks between and around them."""
        return bool(self.parts) and all(f" {part} " in asked for part in self.parts)


@lru_cache(4096)
def read_answer(text: str, label_words: int) -> Answer | None:
    """The answer that `text` may be; None if it has no form of one."""
    whole = text.strip()
    text = unwrapped(whole)
    if not has_words(text):
        symbols = len("".join(text.split()))
        return Answer((), True, True, _ANY) if has_content(whole) and symbols <= _MOST_SYMBOLS else None
    if _PLAIN.fullmatch(text):
        size = label_size(text)
        if size > max(_MOST_WORDS, label_words):
            return None
        label = size <= label_words
        return Answer((joined(text),), label, label and is_one_word(text, label_words), "label")
    if len(text) > _MOST_CHARACTERS:
        return None
    if text.startswith(("{", "[")):
        return _json_answer(text, label_words)
    levels = _LEVELS.split(text)
    if all(map(_PLAIN.fullmatch, levels)) and all(map(has_words, levels)) and _is_short(levels, label_words):
        return Answer(tuple(map(joined, levels)), label=True, single=False, shape="label")
    return _fields_answer(_fields(text), label_words)


def unwrapped(text: str) -> str:
    """The text within a code block, quotation marks, markup, a formula, or pictures."""
    fenced = _FENCE.match(text)
    text = _HEADING.sub("", fenced[2].strip() if fenced else text)
    text = text.strip(_WRAPPING).rstrip(".。").strip(_WRAPPING).strip().replace("**", "")
    text = _MATH_MARKS.sub("", text)
    while formula := _MATH.fullmatch(text):
        text = formula[1].strip()
    return _without_pictures(text) if has_words(text) else text


def _without_pictures(text: str) -> str:
    start, end = 0, len(text)
    while start < end and _is_picture(text[start]):
        start += 1
    while start < end and _is_picture(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_picture(character: str) -> bool:
    return character in " \ufe0f\u200d" or (unicodedata.category(character) in ("So", "Sk") and character not in "`^")


def _json_answer(text: str, label_words: int) -> Answer | None:
    try:
        read = json.loads(text)
        values, names = list(_leaves(read)), sorted(set(_names(read)))
    except (ValueError, RecursionError):
        return None
    parts = tuple(joined(value) for value in values if has_words(value))
    return Answer(parts, False, True, _shape("json", names)) if _is_short(values, label_words) else None


def _fields(text: str) -> list[tuple[str, str]]:
    """The names and values of tags, or of lines ``name: value``; empty if there is anything else."""
    tags = _TAGGED.findall(text)
    if tags and not _TAGGED.sub("", text):
        return tags
    found = [_NAME_AND_VALUE.fullmatch(line) for line in text.splitlines() if line.strip()]
    return [(one[1], one[2]) for one in found if one] if all(found) else []


def _fields_answer(fields: list[tuple[str, str]], label_words: int) -> Answer | None:
    written = [text.strip() for field in fields for text in field]
    if not 0 < len(fields) <= _MOST_FIELDS or not all(map(_PLAIN.fullmatch, written)):
        return None
    if not all(map(has_words, written)) or not _is_short(written, label_words):
        return None
    names = [joined(name) for name, _ in fields]
    return Answer(tuple(map(joined, written)), False, True, _shape("fields", names))


def _shape(kind: str, names: Iterable[str]) -> str | None:
    found = [" ".join(words(name.replace("_", " "))) for name in names]
    forged = found and all(name in _OF_A_VERDICT for name in found)
    return None if forged else json.dumps([kind, *found])


def _leaves(value: Any) -> Iterable[str]:
    """The names and values of JSON as texts. Truth values and null are none: a prompt seldom names them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _names(value: Any) -> Iterable[str]:
    """The names in JSON, at all depths."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, Mapping):
        yield from map(str, value)
    for one in inner:
        yield from _names(one)


def _is_short(texts: list[str], label_words: int) -> bool:
    return all(label_size(text) <= label_words for text in texts)


def joined(text: str) -> str:
    """The words of a text with one blank between."""
    return " ".join(words(text))
