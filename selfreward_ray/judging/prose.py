"""Read a score in prose (`reading: prose`): the verdict without its markup, and the words around a score.

A judge that writes freely ends in "**Score:** 4 out of 5 points", "Score: 3 or 4" or "Score: 4? No, 3". A score with
another maximum, one of several scores, a part of something else and a quotation are ambiguous, and read as no score.
"""

import re
from collections.abc import Mapping

from selfreward_ray.judging.asides import is_condition, is_of_another_label
from selfreward_ray.judging.reading import is_part, value

_FRACTION = re.compile(r"\\[dtc]?frac *\{([^{}\n]{1,12})\}\{([^{}\n]{1,12})\}")
# Tags in lower case only: "Choice: <B>" is a grade. Math in LaTeX is written inside "$", "\(" or "\[".
_MARKUP = re.compile(
    r"</?(?:b|strong|em|i|u|mark|code|span|font|big|small|p|br|div|center)(?: [^<>\n]{0,80})?/?>"
    r"|&nbsp;|\\(?:boxed|fbox|underline|emph|text[a-z]*|math[a-z]*) *\{|\\[()\[\],;:! ]"
)
# Blanks of all widths, invisible characters, and signs of markup. All of them are one character long.
_BLANKS = "\t*_`${}｛｝" + "".join(
    map(chr, [0xA0, 0xAD, 0x1680, 0x180E, *range(0x2000, 0x2010), 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF])
)
_SIGNS = str.maketrans(
    dict.fromkeys(_BLANKS, " ")
    | dict.fromkeys("\r\v\f\x85\u2028\u2029", "\n")
    | dict(zip("：／⁄−－＋％（）［］＜＞？", "://--+%()[]<>?", strict=True))
)
_OPENERS = re.compile(r"(?<=:)[ \n(\[<]+")


def plain(text: str) -> str:
    """`text` with blanks in place of its markup, so that each character keeps its place.

    Markup is Markdown's emphasis and code, common HTML tags, LaTeX around a text, and opening brackets after a colon.
    Blanks of any width are plain ones; colons, slashes and brackets of other scripts are ASCII's.
    """
    text = _FRACTION.sub(lambda found: f"{' ' * (found.start(1) - found.start())}{found[1]}/ {found[2]} ", text)
    text = _MARKUP.sub(lambda found: " " * len(found[0]), text)
    text = text.translate(_SIGNS)
    return _OPENERS.sub(lambda found: re.sub(r"[(\[<]", " ", found[0]), text)


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORD = "|".join(_WORDS)
_OPEN, _CLOSE, _AROUND, _DIGIT = r"[ (\[<]*", r"[ )\]>]*", r"[ ()\[\]<>]*", r"[\d¼-¾⅐-⅞]"
# What belongs to a number: a unit, and its maximum, as in "4 out of a possible 5 points" or "4 (on a scale of 1 to 5)".
_UNIT = re.compile(
    _CLOSE + r"(?:(?:full|whole|total|possible) +)?"
    r"(?:(?:points?|pts?|stars?|marks?|Punkte?|puntos)(?![^\W_])\.?|[分點点점星★⭐]\ufe0f?(?:입니다|です)?)",
    re.IGNORECASE,
)
_PERCENT = re.compile(r" *\\?%")
_DENOMINATOR = re.compile(
    _CLOSE + r"(?:[(\[] *)?(?:(?:/|(?:out +)?of\b)[ (\[]*(?:(?:an?|the) +)?(?:(?:possible|maximum|max\.?|total) +)?"
    rf"(?:of +)?(\d+(?:\.\d+)?|(?:{_WORD})\b)?|(?:von|sur|de|su|di|из|van|av)\b[ (\[]+(\d+(?:\.\d+)?))",
    re.IGNORECASE,
)
_STATED_MAXIMUM = re.compile(
    r"[^.;!?。\n\d]{0,25}?(?:max(?:imum)?\b\.?|scale\b|满分|滿分)[^.;!?\n\d]{0,12}?"
    r"(?:\d{1,3} *(?:-|–|to\b) *)?(\d{1,3})(?!\d)|[ (]{0,3}(\d{1,3}) *(?:点満点|점 *만점)",
    re.IGNORECASE,
)
_RETRACTED = (
    _CLOSE + r"[,.;:!–—-] *(?:no|nope|wait|actually|sorry|rather|correction)\b[^\w\n]*"
    r"(?:(?:make|it|that|is|I|mean|say|a|the) +){0,4}"
)
# Words and signs that make a number another one: "4th", "4+", "4-ish", "4?", "4 or so", "4 and a half", "4, no, 3".
_MODIFIED = "|".join(
    [
        r"[^\W_]|[+-](?!\w)|-? ?ish\b| *\\(?:pm|times|cdot)\b",
        _AROUND + r"(?:\?|(?:or|oder|ou|или|plus|minus)\b|或|または|또는|이상|이하|만점|정도|반\b)",
        _AROUND + r"(?:to|bis|and|und|et|à|до|и)\b" + _OPEN
        + rf"(?:{_DIGIT}|(?:(?:an?|one) +)?(?:half|quarter|third)\b|(?:{_WORD})\b)",
        _RETRACTED + r"[+-]?\d+(?:\.\d+)?(?:/\d+)?(?: *(?:points?|stars?))?[ )]*(?:[.,;:!]|\n|\Z)",
    ]
)  # fmt: skip
# The number is one of several, or a part of something else: "4,5", "3 - 4", "1 + 1", "0, 1, 2", "4%".
_AFTER_NUMBER = re.compile(
    rf"{_MODIFIED}|{_CLOSE}[.,:·٫．，]+\d|{_PERCENT.pattern}"
    rf"|{_CLOSE}(?:[-–—+=×/,|&^±~〜～]{_OPEN})?{_DIGIT}",
    re.IGNORECASE,
)
# After a unit a number is no longer one of a list: "4 points, 1 for each step". "4点～5点" and "4 point 5" are none.
_AFTER_UNIT = re.compile(rf"{_MODIFIED}|[-–~〜～]{_DIGIT}|{_CLOSE}{_DIGIT}|{_CLOSE}(?:{_WORD}|half)\b", re.IGNORECASE)
# The letter is a word, or has a sign: "A good reply", "B+", "B-", "B?".
_GRADE_RUNS_ON = re.compile(r"[^\W_]|[^\S\n]+[^\W_]|[+−-](?!\w)|[*_`)\]}$]*[?？]")
_ANOTHER_GRADE = re.compile(
    rf"{_RETRACTED}(\w+)[ )]*(?:[.,;:!]|\n|\Z)"
    rf"|{_CLOSE}(?:[-–—+=/,|&]|(?:to|or|and|oder|und|ou|et)\b){_OPEN}(?:the +)?(\w+)",
    re.IGNORECASE,
)
# "Score: 5" in quotation marks is a quotation from the judged reply.
_QUOTES = "\"'“”„‘’‚«»‹›「」『』"
_QUOTED = re.compile(rf"(?:[*_`>)\]}}$]|</\w+>)*[.,!]?[{_QUOTES}]")
# The end of a line, after which the next one is no bare number.
_ENDS_LINE = re.compile(r"[ )\]>]*(?:[.!。][ )\]>]*)?(?:\Z|\n(?!\s*[-+]?\d[\d.,/ ]*(?:\n|\Z)))")


def prose_matches(pattern: str, verdict: str, scores: Mapping[str, float]) -> list[re.Match[str]]:
    """The matches of `pattern` in ``plain(verdict)`` that are a verdict.

    Those of other labels ("Maximum score: 5"), conditions ("Score: 5 if …") and those in another line than their label
    are ignored: "Score:" and "4" alone in the next line are a score, "Score:" and "1. It is on the topic." are none.
    """
    compiled, text, position = re.compile(pattern), plain(verdict), 0
    matches: list[re.Match[str]] = []
    while found := compiled.search(text, position):
        position = found.start() + 1
        if not _is_aside(found, scores):
            matches.append(found)
            position = max(position, found.end())
    return matches


def _is_aside(match: re.Match[str], scores: Mapping[str, float]) -> bool:
    if not match[1]:
        return False
    end = match.end() if scores else _tail(match.string, match.end())[0]
    if is_condition(match.string, end) or is_of_another_label(match, bool(scores)):
        return True
    in_another_line = "\n" in match.string[match.start() : match.start(1)]
    return in_another_line and not _ENDS_LINE.match(match.string, end)


def prose_score(match: re.Match[str], verdict: str, scores: Mapping[str, float], maximum: float) -> float | None:
    """The score of a match in ``plain(verdict)``; None if it is ambiguous.

    ``4/5`` and ``4 out of 5`` are 4 if `maximum` is 5, and ambiguous otherwise. A grade is followed by punctuation or
    the end of the line: in ``Choice: A good reply`` the A is a word.
    """
    start, end = match.start(1), match.end()
    quoted = _QUOTED.match(verdict, end) or (start > 0 and verdict[start - 1] in _QUOTES)
    if quoted or is_part(match):
        return None
    if scores:
        doubtful = _GRADE_RUNS_ON.match(verdict, end) or _is_one_of_several(match, scores)
    else:
        doubtful = _is_doubtful_number(match.string, end, maximum)
    return None if doubtful else value(match[1], scores)


def _is_doubtful_number(text: str, at: int, maximum: float) -> bool:
    if maximum == 100 and (percent := _PERCENT.match(text, at)):
        at = percent.end()
    end, has_unit, stated = _tail(text, at)
    after = _AFTER_UNIT if has_unit else _AFTER_NUMBER
    return any(each != maximum for each in stated) or after.match(text, end) is not None


def _tail(text: str, at: int) -> tuple[int, bool, list[float | None]]:
    """What belongs to the number before `at`: its end, whether it ends in a unit, and the stated maximum scores."""
    stated: list[float | None] = []
    at, has_unit = _skip_unit(text, at)
    if found := _DENOMINATOR.match(text, at):
        stated.append(_amount(found[1] or found[2]))
        at, has_unit = _skip_unit(text, found.end())
    if found := _STATED_MAXIMUM.match(text, at):
        stated.append(_amount(found[1] or found[2]))
    return at, has_unit, stated


def _skip_unit(text: str, at: int) -> tuple[int, bool]:
    unit = _UNIT.match(text, at)
    return (unit.end(), True) if unit else (at, False)


def _amount(written: str | None) -> float | None:
    """The number of a maximum, in digits or as an English word; None if there is none, as in "out of many"."""
    word = (written or "").casefold()
    return float(_WORDS.index(word)) if word in _WORDS else float(word) if word else None


def _is_one_of_several(match: re.Match[str], scores: Mapping[str, float]) -> bool:
    another = _ANOTHER_GRADE.match(match.string, match.end())
    return another is not None and value(another[1] or another[2], scores) is not None
