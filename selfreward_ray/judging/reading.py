"""Read the score of a verdict by its rubric's pattern alone (`reading: pattern`).

The pattern decides what is a score. A match is no score only where the pattern cuts a number or a word in two, where it
finds different numbers in one sentence or different grades in one line, in a condition, in an inner object of JSON, or
where the text is quoted from what is judged.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from selfreward_ray.judging.asides import is_condition, outermost

MARKS = ("‹", "›")
"""Quotation marks around a score in a judged text, if the rubric is read by its pattern alone. Rubrics have no other
use for them, as they may have for other quotation marks: ``"score": "4"`` is a score in JSON."""

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+|\d+,\d{1,2})")
_DECIMAL_BEFORE, _DECIMAL_AFTER = re.compile(r"\d\.\Z"), re.compile(r"\.\d")
# Signs that a pattern may also match on purpose: "7,8" may be two numbers, and "- 4" an item of a list.
_SIGN_BEFORE, _SIGN_AFTER = re.compile(r"\d,\Z|(?<![^\W_])[-−]\Z"), re.compile(r"[,٫]\d")


def value(found: str, scores: Mapping[str, float]) -> float | None:
    """The score that `found` writes: the points of a grade in any case, or a number if `scores` has no grades.

    Digits of any script are read, and letters of full width. "1,500" is 1500, and "1,5" is 1.5. None if it is neither.
    """
    written = found.strip()
    if scores:
        grade = _folded(written)
        return next((points for name, points in scores.items() if _folded(name) == grade), None)
    written = written.replace("−", "-")
    if _THOUSANDS.fullmatch(written):
        return float(written.replace(",", ""))
    return float(written.replace(",", ".")) if _NUMBER.fullmatch(written) else None


def _folded(grade: str) -> str:
    return unicodedata.normalize("NFKC", grade).casefold()


def names_score(found: str, scores: Mapping[str, float]) -> bool:
    """Whether a part of `found` between word boundaries may be a score. A judge may copy only that part."""
    if not scores:
        return re.search(r"\d", found) is not None
    grades = "|".join(re.escape(_folded(name)) for name in scores)
    return re.search(rf"(?<!\w)(?:{grades})(?!\w)", _folded(found)) is not None


def is_part(match: re.Match[str]) -> bool:
    """Whether the group of `match` is only a part of a number or a word: the 1 of "10", the B of "Bad"."""
    text, (start, end) = match.string, match.span(1)
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if _joined(before[-1:], text[start]) or _joined(text[end - 1], after[:1]):
        return True
    if text[start].isdecimal() and (
        _DECIMAL_BEFORE.search(before) or (start == match.start() and _SIGN_BEFORE.search(before))
    ):
        return True
    return text[end - 1].isdecimal() and bool(
        _DECIMAL_AFTER.match(after) or (end == match.end() and _SIGN_AFTER.match(after))
    )


def _joined(left: str, right: str) -> bool:
    """Whether two characters in a row belong to one number or one word.

    Only letters of scripts with capitals count: others, such as Chinese, are often written without blanks.
    """
    return (left.isdecimal() and right.isdecimal()) or (_is_cased(left) and _is_cased(right))


def _is_cased(letter: str) -> bool:
    return letter.isalpha() and letter.lower() != letter.upper()


_SENTENCE_END = re.compile(r"\n|[。！？]|(?<!\.)[.!?](?![.!?])[\"'”’)\]},;]*\s")


def pattern_matches(pattern: str, verdict: str) -> list[re.Match[str]]:
    """The matches of `pattern` in `verdict` that may be its score.

    Conditions ("[[A]] if it is better") are none, nor are inner objects of JSON if the outer one has a match.
    """
    found = re.finditer(pattern, verdict)
    return outermost([match for match in found if not (match[1] and is_condition(verdict, match.end(1)))])


def pattern_score(matches: Sequence[re.Match[str]], scores: Mapping[str, float]) -> float | None:
    """The score of the last of `matches`, all matches of a rubric's pattern in a verdict; None if it is no score."""
    last = matches[-1]
    text, start = last.string, last.start(1)
    if not _is_whole(last):
        return None
    if scores:
        line = text.rfind("\n", 0, start) + 1
        grades = {value(match[1], scores) for match in matches if match[1] and match.start(1) >= line}
        if len(grades) > 1:  # "[[A]] is better than [[B]]"
            return None
    elif _is_another_number(matches):
        return None
    return value(last[1], scores)


def _is_whole(match: re.Match[str]) -> bool:
    """Whether the group of `match` is neither quoted from a judged text nor a part of something else."""
    text, (start, end) = match.string, match.span(1)
    return not (text[start - 1 : start] == MARKS[0] or text[end : end + 1] == MARKS[1] or is_part(match))


def _is_another_number(matches: Sequence[re.Match[str]]) -> bool:
    """Whether the sentence of the last of `matches` has another number before it: "[[7]] or [[8]]"."""
    last = following = matches[-1]
    for match in reversed(matches[:-1]):
        if not match[1] or _SENTENCE_END.search(match.string, match.end(1), following.start(1)):
            return False
        if _is_whole(match) and value(match[1], {}) not in {None, value(last[1], {})}:
            return True
        following = match
    return False
