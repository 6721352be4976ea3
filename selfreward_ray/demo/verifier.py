"""The true score of a reply to a demo instruction: the topic and four rules, one point each.

Only the annotator of the seed data and the evaluation know it; the loop never does.
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
    """Whether a reply keeps a rule; `evidence` quotes what decides it, or says that it is not there."""

    rule: Rule
    evidence: str
    passed: bool


MAX_TRUE_SCORE = 5
"""And the best score of each rubric that the demo world's verdicts are written for."""


def parse_instruction(text: str) -> tuple[Rule, ...]:
    """The five rules that the instruction states, its topic first. Raises `ValueError` for any other text."""
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
    """The five checks of `reply`, in the order of the instruction. Raises `ValueError` as `parse_instruction`."""
    return [check(rule, reply) for rule in parse_instruction(instruction)]


def true_score(instruction: str, reply: str) -> int:
    """How many of the five checks `reply` passes, 0 to 5. Raises `ValueError` as `parse_instruction`."""
    return sum(c.passed for c in checks(instruction, reply))


def kept_rules(instruction: str, reply: str) -> dict[Kind, bool]:
    """For each kind that the instruction states, whether `reply` keeps it. Raises as `parse_instruction`."""
    return {c.rule.kind: c.passed for c in checks(instruction, reply)}


def habits(instruction: str, reply: str) -> dict[Kind, bool]:
    """For each kind that `instruction` leaves open, it and its opposite, whether `reply` keeps it all the same.

    Rules of words are kept with any word of theirs in the world, ``exclude`` with none. Raises as `parse_instruction`.
    """
    asked = {rule.kind for rule in parse_instruction(instruction)}
    return {kind: _keeps_unasked(kind, reply) for aspect in ASPECTS if asked.isdisjoint(aspect) for kind in aspect}


def _keeps_unasked(kind: Kind, reply: str) -> bool:
    words = WORDS[kind] + UNSEEN_WORDS[kind] if kind in WORDS else ("",)
    kept = (check(Rule(kind, word), reply).passed for word in words)
    return all(kept) if kind == "exclude" else any(kept)


def check(rule: Rule, reply: str) -> Check:
    """Whether `reply` keeps `rule`, asked for or not. A reply without a letter keeps none.

    Words are whole words in any case, without the punctuation around them; a hyphen or an apostrophe
    inside belongs to the word.
    """
    evidence, passed = _look(rule, reply.strip())
    # An empty reply must not earn the point for what it leaves out.
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
    """The demanded word as it stands in the reply, with the one after it; or that it is nowhere."""
    for i, word in enumerate(words):
        if word.casefold() == demanded.casefold():
            return " ".join(words[i : i + 2])
    return f"{demanded} nowhere"


def _capital(words: list[str]) -> str:
    return next((word for word in words if word != word.lower()), "none")


def _bare(word: str) -> str:
    """Without the punctuation at its end, which would run into the verdict's comma; quotes stay."""
    return word.rstrip(",.;:!?") or word


def _read_sentence(sentence: str) -> Rule:
    for kind, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(sentence):
            return Rule(kind, found.groupdict().get("word", ""))
    raise ValueError(f"not a sentence of a demo instruction: {sentence!r}")
