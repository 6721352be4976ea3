"""The rule checker of the demo world. The true score of a reply is one point for the topic and for each of four rules.

Only the annotator of the seed data and the evaluation use it, never the loop.
"""

import re
from dataclasses import dataclass

from selfreward_ray.demo.world import ASPECTS, RULES_ASKED, SENTENCES, UNSEEN_WORDS, WORDS, Kind, Rule

_PATTERNS = {
    kind: re.compile(re.escape(sentence).replace(r"\{word\}", "(?P<word>[A-Za-z]+)"))
    for kind, sentence in SENTENCES.items()
}
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_DOUBLE_QUOTES = ('"', "“", "”", "„", "‟")


@dataclass(frozen=True)
class Check:
    """Whether a reply keeps a rule. `evidence` quotes the words that decide it, or says that they are missing."""

    rule: Rule
    evidence: str
    passed: bool


MAX_TRUE_SCORE = 5
"""Also the maximum of the rubrics for which the demo world's verdicts are written."""


def parse_instruction(text: str) -> tuple[Rule, ...]:
    """The five rules of an instruction, its topic first. Raises `ValueError` if the text is no demo instruction."""
    rules = tuple(_read_sentence(sentence) for sentence in re.split(r"(?<=\.) ", text))
    aspects = [aspect for aspect in ASPECTS for rule in rules if rule.kind in aspect]
    if rules[0].kind != "topic" or len(rules) != 1 + RULES_ASKED or len(set(aspects)) != RULES_ASKED:
        raise ValueError(f"not a topic and {RULES_ASKED} rules of different kinds: {text!r}")
    return rules


def is_demo_instruction(text: str) -> bool:
    """Whether `parse_instruction` can read `text`."""
    try:
        parse_instruction(text)
    except ValueError:
        return False
    return True


def checks(instruction: str, reply: str) -> list[Check]:
    """The five checks of `reply`, in the order of the instruction. Raises `ValueError` as `parse_instruction` does."""
    return [check(rule, reply) for rule in parse_instruction(instruction)]


def true_score(instruction: str, reply: str) -> int:
    """The number of checks that `reply` passes, 0 to 5. Raises `ValueError` as `parse_instruction` does."""
    return sum(c.passed for c in checks(instruction, reply))


def kept_rules(instruction: str, reply: str) -> dict[Kind, bool]:
    """For each kind of rule in the instruction, whether `reply` keeps it. Raises `ValueError` as `parse_instruction`
    does."""
    return {c.rule.kind: c.passed for c in checks(instruction, reply)}


def habits(instruction: str, reply: str) -> dict[Kind, bool]:
    """For each kind of rule that `instruction` asks for neither directly nor by its opposite, whether `reply` keeps it.

    A rule with a word is kept with any of its words in the demo world, ``exclude`` with none of them. Raises
    `ValueError` as `parse_instruction` does.
    """
    asked = {rule.kind for rule in parse_instruction(instruction)}
    return {kind: _keeps_unasked(kind, reply) for aspect in ASPECTS if asked.isdisjoint(aspect) for kind in aspect}


def _keeps_unasked(kind: Kind, reply: str) -> bool:
    words = WORDS[kind] + UNSEEN_WORDS[kind] if kind in WORDS else ("",)
    kept = (check(Rule(kind, word), reply).passed for word in words)
    return all(kept) if kind == "exclude" else any(kept)


def check(rule: Rule, reply: str) -> Check:
    """Check whether `reply` keeps `rule`. A reply without a letter keeps no rule.

    Words are compared as whole words in any case, without surrounding punctuation. A hyphen or an apostrophe within a
    word is a part of it.
    """
    evidence, passed = _look(rule, reply.strip())
    # Otherwise an empty reply would keep the rules that forbid something.
    return Check(rule, evidence, passed and any(c.isalpha() for c in reply))


def _look(rule: Rule, reply: str) -> tuple[str, bool]:
    words, as_written = _WORD.findall(reply) or ["none"], reply.split() or ["none"]
    folded = [word.casefold() for word in words]
    demanded = rule.word.casefold()
    match rule.kind:
        case "topic" | "include":
            return _place(rule.word, words), demanded in folded
        case "exclude":
            return _place(rule.word, words), demanded not in folded
        case "start":
            return words[0], folded[0] == demanded
        case "end":
            return words[-1], folded[-1] == demanded
        case "lower case":
            return _capital(words), reply == reply.lower()
        case "normal capitals":
            letters = [c for c in reply if c.isalpha()]
            return _capital(words[:1]), any(c.islower() for c in letters) and letters[0].isupper()
        case "quotes":
            ends = f"{_bare(as_written[0])} … {as_written[-1]}"
            return ends, reply.startswith(_DOUBLE_QUOTES) and reply.endswith(_DOUBLE_QUOTES)
        case "no quotes":
            quoted = [word for word in as_written if any(quote in word for quote in _DOUBLE_QUOTES)]
            return _bare((quoted or as_written)[0]), not quoted


def _place(demanded: str, words: list[str]) -> str:
    """The demanded word as it occurs in the reply, with the word after it, or a note that it does not occur."""
    for i, word in enumerate(words):
        if word.casefold() == demanded.casefold():
            return " ".join(words[i : i + 2])
    return f"{demanded} nowhere"


def _capital(words: list[str]) -> str:
    return next((word for word in words if word != word.lower()), "none")


def _bare(word: str) -> str:
    """`word` without punctuation at its end, which would run into the verdict's comma. Quotes stay."""
    return word.rstrip(",.;:!?") or word


def _read_sentence(sentence: str) -> Rule:
    for kind, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(sentence):
            return Rule(kind, found.groupdict().get("word", ""))
    raise ValueError(f"not a sentence of a demo instruction: {sentence!r}")
