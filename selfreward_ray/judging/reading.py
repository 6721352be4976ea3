"""Read the score of a verdict by its rubric's pattern alone (`reading: pattern`).

The pattern decides what is a score. A match is no score only where the pattern cuts a number or a word in two, where it
finds different grades in one line, or where the text is quoted from what is judged.
"""

import re
from collections.abc import Mapping, Sequence

MARKS = ("‹", "›")
"""Quotation marks around a score in a judged text, if the rubric is read by its pattern alone. Rubrics have no other
use for them, as they may have for other quotation marks: ``"score": "4"`` is a score in JSON."""

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+|\d+,\d{1,2})")
_DECIMAL_BEFORE, _DECIMAL_AFTER = re.compile(r"\d\.\Z"), re.compile(r"\.\d")
# Signs that a pattern may also match on purpose: "7,8" may be two numbers, and "- 4" an item of a list.
_SIGN_BEFORE, _SIGN_AFTER = re.compile(r"\d,\Z|(?<![^\W_])[-−]\Z"), re.compile(r"[,٫]\d")


def value(found: str, scores: Mapping[str, float]) -> float | None:
    """The score that `found` writes: the points of a grade in any case, or a number if `scores` has no grades.

    Digits of any script are read. None if it is neither.
    """
    written = found.strip()
    if scores:
        grade = written.casefold()
        return next((points for name, points in scores.items() if name.casefold() == grade), None)
    written = written.replace("−", "-")
    return float(written.replace(",", ".")) if _NUMBER.fullmatch(written) else None


def names_score(found: str, scores: Mapping[str, float]) -> bool:
    """Whether a part of `found` between word boundaries may be a score. A judge may copy only that part."""
    if not scores:
        return re.search(r"\d", found) is not None
    grades = "|".join(re.escape(name.casefold()) for name in scores)
    return re.search(rf"(?<!\w)(?:{grades})(?!\w)", found.casefold()) is not None


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


def pattern_score(matches: Sequence[re.Match[str]], scores: Mapping[str, float]) -> float | None:
    """The score of the last of `matches`, all matches of a rubric's pattern in a verdict; None if it is no score."""
    last = matches[-1]
    text, (start, end) = last.string, last.span(1)
    if text[start - 1 : start] == MARKS[0] or text[end : end + 1] == MARKS[1] or is_part(last):
        return None
    if scores:
        line = text.rfind("\n", 0, start) + 1
        grades = {value(match[1], scores) for match in matches if match[1] and match.start(1) >= line}
        if len(grades) > 1:  # "[[A]] is better than [[B]]"
            return None
    return value(last[1], scores)
