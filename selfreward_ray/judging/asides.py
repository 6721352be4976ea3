"""Matches of a rubric's pattern that are not the verdict: the scores of other labels, conditions, and inner objects.

They are ignored, so that "Score: 4" counts in a verdict that goes on with "Maximum score: 5".
"""

import re
from collections import deque
from collections.abc import Sequence

# English labels, since the words that may stand before a label are known for English only.
_LABEL = re.compile(
    r"\W*(?:score|rating|grade|mark|points|choice|verdict|answer|better|winner)(?![^\W_])", re.IGNORECASE
)
_BEFORE = 80
"""How many characters before a label are looked at."""
_JOINED = re.compile(r"[^\W_][-_/+'’]\Z")
_CLAUSE = re.compile(r"(?:[^\W_]+(?:[-'’][^\W_]+)*[ ]+)+\Z")
_WHOLE = {"total", "final", "overall", "adjusted", "revised", "corrected", "updated", "new", "actual", "resulting"}
_OF_ALL = _WHOLE | {"verdict", "result", "sum", "gesamt", "insgesamt"}
_WORDS = re.compile(r"[^\W_]+")
_GIVING = {
    "assign", "assigned", "assigns", "award", "awarded", "awards", "conclude", "deserve", "deserves", "earned",
    "earns", "gave", "get", "gets", "give", "given", "gives", "granted", "merits", "receives", "say", "suggest",
}  # fmt: skip
_OWN = {
    *_WHOLE, *_GIVING,
    "my", "the", "this", "its", "your", "our", "their", "his", "her", "mein", "der", "die", "das", "le", "la", "il",
    "el", "lo", "un", "it", "that", "these", "both", "as", "is", "are", "be", "by", "of", "at", "answer", "answers",
    "assistant", "assistant's", "evaluation", "judge", "judgement", "numeric", "numerical", "quality", "reply",
    "replies", "reply's", "response", "responses", "response's", "verdict",
}  # fmt: skip
_OF_GRADES = {"best", "chosen", "correct", "preferred"}
_CONNECTIVES = {"so", "thus", "hence", "therefore", "then", "now", "and", "with", "but"}
_NOT_GIVEN = {"not", "never", "cannot", "if", "unless"}
_NOT_REACHED = {
    "max", "maximum", "maximal", "min", "minimum", "minimal", "possible", "perfect", "highest", "lowest", "passing",
    "to", "no",
}  # fmt: skip
_CONDITION = re.compile(r"[ *_`\"'”’)\]}>]*(?:if|when|unless|would|wenn|falls|würde|如果|若)(?![^\W_])", re.IGNORECASE)


def is_condition(text: str, end: int) -> bool:
    """Whether the score that ends at `end` is one of a condition: "[[A]] if it is right", "5/5 would need sources"."""
    return _CONDITION.match(text, end) is not None


def is_of_another_label(match: re.Match[str], of_grades: bool) -> bool:
    """Whether the words before `match` make its label another one: "Maximum score: 5", "Style score: 1".

    Nothing, or words such as "total", "my" and "I give it the", leave it the verdict's own. Labels in other languages
    than English, and patterns that begin otherwise than with a label, are never another one.
    """
    text, start = match.string, match.start()
    label = _LABEL.match(text, start, match.start(1))
    if label is None:
        return False
    before = text[max(0, start - _BEFORE) : start].rpartition("\n")[2]
    if _JOINED.search(before):
        return True
    clause = _CLAUSE.search(before)
    words = [word.casefold().replace("’", "'") for word in clause[0].split()] if clause else []
    if not words or words[-1] in _CONNECTIVES or _has_no_case(words[-1]):
        return False
    if words[-1].isdecimal():  # "Criterion 1 score: 1", but not "yes, 3 score: 3"
        return len(words) > 1
    joins = [place for place, word in enumerate(words) if word in _CONNECTIVES]
    words = words[joins[-1] + 1 if joins else 0 :][-6:]
    if any(word in _NOT_GIVEN or word.endswith("n't") for word in words) or _NOT_REACHED.intersection(words[-3:]):
        return True
    if words[-1] in {"a", "an"}:
        return not _GIVING.intersection(words)
    return not (words[-1] in _OWN or _WHOLE.intersection(words[-2:]) or (of_grades and words[-1] in _OF_GRADES))


def is_of_a_criterion(match: re.Match[str]) -> bool:
    """Whether `match` is in a table row whose cells before it name a single criterion:
    ``| Style | Score: 1 |``, but not ``| Overall | Score: 4 |``."""
    before = match.string[: match.start()].rpartition("\n")[2]
    if not (before.lstrip().startswith("|") or before.rstrip().endswith("|")):
        return False
    words = _WORDS.findall(before.casefold().rpartition("|")[0])
    return bool(words) and _OF_ALL.isdisjoint(words)


def outermost(matches: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """`matches` without those inside of braces which are in braces that have a match of their own.

    In ``{"score": 3, "parts": {"style": {"score": 1}}}`` the score is 3.
    """
    waiting, braces = deque(matches), re.finditer(r"[{}]", matches[0].string if len(matches) > 1 else "")
    own: list[list[re.Match[str]]] = [[]]
    inner: list[list[re.Match[str]]] = [[]]

    def close() -> None:
        outer, ended = inner[-2], own.pop() or inner[-1]
        inner.pop()
        shorter, inner[-1] = sorted((outer, ended), key=len)
        inner[-1].extend(shorter)

    for brace in braces:
        while waiting and waiting[0].start() < brace.start():
            own[-1].append(waiting.popleft())
        if brace[0] == "{":
            own.append([])
            inner.append([])
        elif len(own) > 1:
            close()
    own[-1].extend(waiting)
    while len(own) > 1:
        close()
    return sorted(own[0] + inner[0], key=lambda match: match.start())


def _has_no_case(word: str) -> bool:
    """Whether the word is of a script without capitals. Many of them have no blanks between words."""
    return word.isalpha() and word.lower() == word.upper()
