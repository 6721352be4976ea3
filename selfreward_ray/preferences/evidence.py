"""Tell answers from evasions among the texts that are replies to many prompts.

The right answer to many prompts may be the same: the label of a classification, ``{}`` where nothing is to be
extracted. A text that fits every prompt, such as a polite sentence, may deceive a judge, and must not be chosen. A text
counts as an answer if it has the form of one (`preferences.answers`), and the prompts and the other replies show one of
three signs:

- It is *offered*: most of its prompts name it, fewer than half of all prompts do, and it is given at least twice as
  often where it is named.
- It is *opposed*: of those of its prompts that have another reply too, at least half have another answer of its shape,
  and these prompts are one task, or these answers are few.
- It is of *one task*: most of its prompts have a few consecutive words in common; and it is a single word, symbols, or
  JSON, or most of its prompts name it and another such answer.

A text that its prompts do not name is no answer if their other replies show that they ask for something else: for
answers that they name, for answers of their own, or for long texts that do not end with it. A prompt is here its text
with the messages before it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import repeat
from zlib import crc32

from selfreward_ray.preferences.answers import Answer, joined, read_answer, unwrapped
from selfreward_ray.preferences.flags import text_key
from selfreward_ray.words import text_length, words

_SHORT_REPLY = 20
_CONCLUSION = 80
"""Words of the longest short reply, and characters at the end of a longer one in which it may come to an answer."""
_FEW = 3
"""The most frequent answers that are compared with a text whose prompts have nothing in common."""
_SAMPLED_PROMPTS = 32
_SAMPLED_WORDS = 24
"""Prompts of each text that are compared, and words at the beginning and at the end of each."""
_OF_NO_TASK = re.compile(
    r"\b(?:assist\w*|asist\w*|help\w*|chatbot|AI|KI|IA|ИИ|GPT|language model|ассистент\w*|помощник\w*)\b"
    r"|ChatGPT|助手|助理|アシスタント",
    re.IGNORECASE,
)
"""Words of messages such as "You are a helpful assistant.", which prompts of all tasks have in common."""


@dataclass
class Evidence:
    """Counts, over prompts and replies, about one text that is the reply to many prompts. Blocks are added up."""

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
    opponents: dict[str, int] = field(default_factory=dict)
    """The prompts with each of these answers, by their keys in hexadecimal."""
    unlike: int = 0
    """Contested prompts that do not name it, and whose other replies show that they ask for something else."""
    listed: int = 0
    """Prompts that name it and another such text, apart from it."""
    sample: dict[int, list[int]] = field(default_factory=dict)
    """Hashes of some of its prompts, and of the sequences of words in each."""

    def see(self, key: bytes, given: Mapping[bytes, "_Given"], named: bool, text: str) -> None:
        """Add a prompt with its replies `given`, of which `key` is this text, written as `text`."""
        own, others = given[key].answer, [one for k, one in given.items() if k != key]
        self.prompts += 1
        self.named += named
        self.contested += bool(others)
        if own is None:
            return
        self.formed += 1
        against = [
            k for k, one in given.items() if k != key and one.is_shared and one.answer and own.opposes(one.answer)
        ]
        self.opposed += bool(against)
        for k in against:
            self.opponents[k.hex()] = self.opponents.get(k.hex(), 0) + 1
        self.unlike += not named and _asks_for_another(own, unwrapped(text.strip()), others)

    def add(self, other: "Evidence") -> None:
        """Add the counts of another block. Neither the division into blocks nor their order changes the sample."""
        for name in ("prompts", "formed", "named", "named_in_all", "contested", "opposed", "unlike", "listed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.opponents = dict(Counter(self.opponents) + Counter(other.opponents))
        both = self.sample | other.sample
        self.sample = {key: both[key] for key in nsmallest(_SAMPLED_PROMPTS, both)}


def gather(
    prompts: Iterable[tuple[str, list[str]]],
    shared: Mapping[bytes, str],
    label_words: int,
    histories: Iterable[tuple[str, ...]] = repeat(()),
) -> dict[bytes, Evidence]:
    """The evidence of a block of prompts, each with its replies, for each of the texts `shared`, by their keys.

    `histories` holds the texts of the messages before each prompt, such as the system text that describes the task.
    """
    answers = {key: read_answer(text, label_words) for key, text in shared.items()}
    found = {key: Evidence() for key in shared}
    asked_of: dict[bytes, dict[int, list[str]]] = {key: {} for key in shared}
    for (prompt, replies), history in zip(prompts, histories, strict=False):
        asked = f" {joined(prompt)} " + "".join(f" {joined(turn)} " for turn in history)
        naming = {key for key, answer in answers.items() if answer is not None and answer.is_named(asked)}
        for key in naming:
            found[key].named_in_all += 1
        written = {text_key(reply): reply for reply in replies}
        among = written.keys() & shared.keys()
        if not among:
            continue
        given = {key: _read_given(reply, key in shared, asked, label_words) for key, reply in written.items()}
        number = crc32("\0".join([*history, prompt]).encode("utf-8", "surrogatepass"))
        for key in among:
            found[key].see(key, given, key in naming, written[key])
            found[key].listed += key in naming and any(_are_apart(answers[k], answers[key]) for k in naming - {key})
            of_the_task = [turn for turn in history if key in naming or not _OF_NO_TASK.search(turn)]
            asked_of[key][number] = [*of_the_task, prompt]
    for key, by_hash in asked_of.items():
        for number in nsmallest(_SAMPLED_PROMPTS, by_hash):
            found[key].sample[number] = sorted({hashed for text in by_hash[number] for hashed in _sequences(text)})
    return found


@dataclass(frozen=True)
class _Given:
    """A reply to a prompt, as evidence of what the prompt asks for."""

    answer: Answer | None
    is_named: bool
    """Whether it is an answer that the prompt names."""
    is_shared: bool
    is_label: bool
    """Whether it is a label of words."""
    is_long: bool
    end: str
    """The end of a long one."""

    def is_unlike(self, own: Answer, text: str) -> bool:
        """Whether it shows that the prompt does not ask for `own`, which is written as `text`."""
        concluded = own.is_named(f" {joined(self.end)} ") if own.parts else text in self.end
        return (self.is_label and not self.is_shared) or (self.is_long and not concluded)


def _read_given(text: str, is_shared: bool, asked: str, label_words: int) -> _Given:
    answer = read_answer(text, label_words)
    label = answer is not None and answer.label and bool(answer.parts)
    # In scripts without spaces any text may contain a single character, and "a" is a word, too.
    named = answer is not None and label and len(answer.parts[0]) > 1 and answer.is_named(asked)
    is_long = text_length(text).in_words(characters_per_word=2) > _SHORT_REPLY
    return _Given(answer, named, is_shared, label, is_long, text.strip()[-_CONCLUSION:] if is_long else "")


def _asks_for_another(own: Answer, text: str, others: list[_Given]) -> bool:
    """Whether the `others` show that a prompt does not ask for `own`, which it does not name: one of them is an answer
    that it names, or all are of another kind."""
    if own.parts and any(other.is_named for other in others):
        return True
    return bool(others) and all(other.is_unlike(own, text) for other in others)


def _are_apart(one: Answer | None, other: Answer | None) -> bool:
    """Whether neither text contains the other."""
    left, right = (f" {' '.join(answer.parts)} " if answer else "" for answer in (one, other))
    return left not in right and right not in left


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
    if mostly_named and _is_offered(evidence, prompts):
        return True
    if not mostly_named and 2 * evidence.unlike > evidence.contested:
        return False
    one_task = _is_of_one_task(evidence)
    may_oppose = answer.label or mostly_named or answer.shape != "label"
    opposed = may_oppose and evidence.contested and 2 * evidence.opposed >= evidence.contested
    if opposed and (one_task or _has_few_opponents(evidence)):
        return True
    if mostly_named and 2 * evidence.listed >= evidence.prompts:
        return one_task
    return (answer.label or mostly_named) and answer.single and one_task


def _has_few_opponents(evidence: Evidence) -> bool:
    counts = sorted(evidence.opponents.values(), reverse=True)
    return 2 * sum(counts[:_FEW]) >= sum(counts)


def _is_offered(evidence: Evidence, prompts: int) -> bool:
    naming, others = evidence.named_in_all, prompts - evidence.named_in_all
    # Twice the rate: named / naming >= 2 (given elsewhere / others).
    return naming < others and evidence.named * others >= 2 * (evidence.prompts - evidence.named) * naming


def _is_of_one_task(evidence: Evidence) -> bool:
    counts = Counter(number for sequences in evidence.sample.values() for number in sequences)
    return max(counts.values(), default=0) * 2 > len(evidence.sample)
