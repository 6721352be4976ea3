"""Tell answers from evasions among the texts that are replies to many prompts.

The right answer to many prompts may be the same: the label of a classification, ``{}`` where nothing is to be
extracted. A text that fits every prompt, such as a polite sentence, may deceive a judge, and must not be chosen. A text
counts as an answer if it has the form of one, and the prompts and the other replies show one of three signs:

- It is *offered*: most of its prompts name it, fewer than half of all prompts do, and it is given at least twice as
  often where it is named.
- It is *opposed*: of those of its prompts that have another reply too, at least half have another such answer.
- It is of *one task*: it is a single word, symbols, or JSON, and most of its prompts have a few consecutive words in
  common.

A form is a label of at most `pairs.label_words` words, or symbols alone. Longer texts, JSON and ``name: value`` have it
where most of their prompts name each of their parts.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import nsmallest
from typing import Any
from zlib import crc32

from selfreward_ray.preferences.flags import has_content, text_key
from selfreward_ray.words import MARKS, has_words, text_length, words

_MOST_SYMBOLS = 8
_MOST_WORDS = 8
_MOST_CHARACTERS = 400
"""Limits of an answer: characters of symbols alone, words of a text that prompts name, characters of JSON."""
_SAMPLED_PROMPTS = 32
_SAMPLED_WORDS = 24
"""Prompts of each text that are compared, and words at the beginning and at the end of each."""

_FENCE = re.compile(r"\A(```+|~~~+)[^\n`]*\n(.*)\n[ \t]*\1\Z", re.DOTALL)
_WRAPPING = "*_`\"'“”‘’"
_PLAIN = re.compile(rf"[\w{MARKS} \-/&'’.,()%+#$€£°]+")
"""What a label is written with. Brackets, colons, exclamation marks and markup within it make it none."""
_NAME_AND_VALUE = re.compile(r"([^:：\n]+)[:：]([^:：\n]+)")


@dataclass(frozen=True)
class Answer:
    """A text with the form of an answer."""

    parts: tuple[str, ...]
    """Its words between punctuation, each part joined by blanks; empty if it has only symbols."""
    label: bool
    """Whether it may be an answer without being named by the prompts."""
    single: bool
    """Whether it is a single word, symbols, JSON or ``name: value``."""

    def is_named(self, asked: str) -> bool:
        """Whether a prompt names each part; `asked` is its words, with blanks between and around them."""
        return bool(self.parts) and all(f" {part} " in asked for part in self.parts)


@lru_cache(4096)
def read_answer(text: str, label_words: int) -> Answer | None:
    """The answer that `text` may be; None if it has no form of one."""
    whole = text.strip()
    fenced = _FENCE.match(whole)
    text = fenced[2] if fenced else whole
    text = text.strip().strip(_WRAPPING).rstrip(".。").strip(_WRAPPING).strip()
    if not has_words(text):
        symbols = len("".join(text.split()))
        return Answer((), True, True) if has_content(whole) and symbols <= _MOST_SYMBOLS else None
    if _PLAIN.fullmatch(text):
        size = _size(text)
        if size > max(_MOST_WORDS, label_words):
            return None
        return Answer((_joined(text),), size <= label_words, size <= label_words and len(text.split()) == 1)
    if text.startswith(("{", "[")):
        return _json_answer(text, label_words)
    pair = _NAME_AND_VALUE.fullmatch(text)
    if pair and all(_PLAIN.fullmatch(part) and 0 < _size(part) <= label_words for part in pair.groups()):
        return Answer(tuple(map(_joined, pair.groups())), False, True)
    return None


def _json_answer(text: str, label_words: int) -> Answer | None:
    if len(text) > _MOST_CHARACTERS:
        return None
    try:
        values = list(_leaves(json.loads(text)))
    except (ValueError, RecursionError):
        return None
    parts = tuple(_joined(value) for value in values if has_words(value))
    return Answer(parts, False, True) if all(_size(value) <= label_words for value in values) else None


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


def _size(text: str) -> float:
    # Words that hyphens or points join count half.
    return max(text_length(text).in_words(characters_per_word=2), len(words(text)) / 2)


def _joined(text: str) -> str:
    return " ".join(words(text))


@dataclass
class Evidence:
    """What prompts and replies show about a text that is the reply to many prompts. That of several blocks is added."""

    prompts: int = 0
    """Prompts with this reply."""
    formed: int = 0
    """Those in which it is written as an answer."""
    named: int = 0
    """Those that name it."""
    named_in_all: int = 0
    """All prompts that name it, with this reply or not."""
    contested: int = 0
    """Its prompts with another reply too."""
    opposed: int = 0
    """Those in which another reply is an answer that many prompts share."""
    sample: dict[int, list[int]] = field(default_factory=dict)
    """Hashes of some of its prompts, and of the sequences of words in each."""

    def add(self, other: "Evidence") -> None:
        """Add that of another block. The sample is the same whatever the blocks and their order are."""
        for name in ("prompts", "formed", "named", "named_in_all", "contested", "opposed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        both = self.sample | other.sample
        self.sample = {key: both[key] for key in nsmallest(_SAMPLED_PROMPTS, both)}


def gather(
    prompts: Iterable[tuple[str, list[str]]], shared: Mapping[bytes, str], label_words: int
) -> dict[bytes, Evidence]:
    """The evidence of a block of prompts, each with its replies, for each of the texts `shared`, by their keys."""
    answers = {key: read_answer(text, label_words) for key, text in shared.items()}
    found = {key: Evidence() for key in shared}
    asked_of: dict[bytes, dict[int, str]] = {key: {} for key in shared}
    for prompt, replies in prompts:
        asked = f" {_joined(prompt)} "
        given = {text_key(reply): reply for reply in replies}
        formed = {key for key in given.keys() & shared.keys() if read_answer(given[key], label_words)}
        for key, answer in answers.items():
            evidence, named = found[key], answer is not None and answer.is_named(asked)
            evidence.named_in_all += named
            if key not in given:
                continue
            evidence.prompts += 1
            evidence.formed += key in formed
            evidence.named += named
            evidence.contested += len(given) > 1
            evidence.opposed += bool(formed - {key})
            asked_of[key][crc32(prompt.encode("utf-8", "surrogatepass"))] = prompt
    for key, prompts_by_hash in asked_of.items():
        kept = nsmallest(_SAMPLED_PROMPTS, prompts_by_hash)
        found[key].sample = {number: _sequences(prompts_by_hash[number]) for number in kept}
    return found


def _sequences(prompt: str) -> list[int]:
    """Hashes of each three consecutive words, or six characters of an unspaced script, at both ends of a prompt."""
    found, size = words(prompt), text_length(prompt)
    count = 3 if size.words >= size.characters else 6
    ends = [found] if len(found) <= 2 * _SAMPLED_WORDS else [found[:_SAMPLED_WORDS], found[-_SAMPLED_WORDS:]]
    joined = (" ".join(end[i : i + count]) for end in ends for i in range(len(end) - count + 1))
    return sorted({crc32(text.encode("utf-8", "surrogatepass")) for text in joined})


def is_answer(text: str, evidence: Evidence, prompts: int, label_words: int) -> bool:
    """Whether `text`, which is the reply to many of all `prompts`, is an answer, by the rule of this module."""
    answer = read_answer(text, label_words)
    if answer is None or 2 * evidence.formed < evidence.prompts:
        return False
    mostly_named = 2 * evidence.named >= evidence.prompts
    if not (answer.label or mostly_named):
        return False
    if mostly_named and _is_offered(evidence, prompts):
        return True
    if evidence.contested and 2 * evidence.opposed >= evidence.contested:
        return True
    return answer.single and _is_of_one_task(evidence)


def _is_offered(evidence: Evidence, prompts: int) -> bool:
    naming, others = evidence.named_in_all, prompts - evidence.named_in_all
    # Twice the rate: named / naming >= 2 (given elsewhere / others).
    return naming < others and evidence.named * others >= 2 * (evidence.prompts - evidence.named) * naming


def _is_of_one_task(evidence: Evidence) -> bool:
    counts = Counter(number for sequences in evidence.sample.values() for number in sequences)
    return max(counts.values(), default=0) * 2 > len(evidence.sample)
