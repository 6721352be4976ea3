"""Read the score that follows "Score:" in a verdict. An ambiguous one is read as no score, never guessed."""

import re
from collections.abc import Mapping

_OPEN, _CLOSE, _MARKUP = r"[ \t*_`<(\[]*", r"[ \t*_`>)\]]*", r"[ \t*_`<>()\[\]]*"  # as in "**4** / 5" or "<4>"
# "Score: 5" in quotation marks is a quotation from the judged reply.
_QUOTED = re.compile(r"[*_`>)\]]*[.,!]?[\"'“”‘’«»]")
_DENOMINATOR = re.compile(
    rf"{_MARKUP}(?:points?\b{_MARKUP})?(?:[/／⁄]|(?:out )?of\b){_OPEN}(\d+(?:\.\d+)?)?{_CLOSE}", re.IGNORECASE
)
# The number is a part of something else: "4th", "4,5", "4%", "4-5", "1+1", "3 or 4", "0, 1, 2".
_NUMBER_RUNS_ON = re.compile(
    rf"[^\W_]|[.,٫．，]\d|[ \t]*[%％]|{_CLOSE}(?:(?:[-–—−+=×/／,|&]|to\b|or\b|and\b){_OPEN})?\d", re.IGNORECASE
)
# The letter is a word, or has a sign: "A good reply", "B+", "B-".
_GRADE_RUNS_ON = re.compile(r"[^\W_]|[ \t]+[^\W_]|[+−-](?!\w)")
_ANOTHER = re.compile(rf"{_CLOSE}(?:[-–—−+=/／,|&]|to\b|or\b|and\b){_OPEN}(\w+)", re.IGNORECASE)


def read_number(found: str, rest: str, maximum: float) -> float | None:
    """The number `found` as a score, given the text `rest` right after it; None if it is ambiguous.

    Digits of any script are read. ``4/5`` and ``4 out of 5`` are 4 if `maximum` is 5, and ambiguous otherwise.
    """
    if denominator := _DENOMINATOR.match(rest):
        if denominator[1] is None or float(denominator[1]) != maximum:
            return None
        rest = rest[denominator.end() :]
    if _QUOTED.match(rest) or _NUMBER_RUNS_ON.match(rest):
        return None
    try:
        return float(found)
    except ValueError:
        return None


def read_grade(found: str, rest: str, grades: Mapping[str, float]) -> float | None:
    """The value of the grade `found`, in any case; None if it is not in `grades`, or one of several.

    A grade is followed by punctuation or the end of the line: in ``Choice: A good reply`` the A is a word.
    """
    another = _ANOTHER.match(rest)
    if _QUOTED.match(rest) or _GRADE_RUNS_ON.match(rest) or (another and another[1].casefold() in grades):
        return None
    return grades.get(found.casefold())
