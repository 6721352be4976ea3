"""Read a score in prose (`reading: prose`): the verdict without its markup, and the words around a score.

A judge that writes freely ends in "**Score:** 4 out of 5 points", "Score: 3 or 4" or "Score: 4? No, 3". A score with
another maximum, one of several scores, a part of something else and a quotation are ambiguous, and read as no score.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

from selfreward_ray.judging.asides import is_condition, is_of_a_criterion, is_of_another_label
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
    | dict(zip("：／⁄∕÷−－‐‑‒―﹣＋％（）［］【】〔〕＜＞？", ":////-------+%()[][][]<>?", strict=True))
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
# "4/5" and "4 out of 5", also in two lines; "4 [/RESULT]" has a closing tag in the place of a maximum.
_DENOMINATOR = re.compile(
    rf"(?!{_CLOSE}\[/[^\W\d])"
    rf"(?:{_CLOSE}|[ )\]]*\n *(?=/ *\d|out of\b))(?:[(\[] *)?(?:(?:/|(?:out +)?of\b)[ (\[]*(?:(?:an?|the) +)?"
    rf"(?:(?:possible|maximum|max\.?|total) +)?(?:of +)?(\d+(?:\.\d+)?|(?:{_WORD})\b)?"
    r"|(?:von|auf|sur|de|su|di|sobre|из|van|av|\\?over)\b[ (\[]+(\d+(?:\.\d+)?))",
    re.IGNORECASE,
)
_STATED_MAXIMUM = re.compile(
    r"[^.;!?。\n\d]{0,25}?(?:max(?:imum)?\b\.?|scale\b|满分|滿分)[^.;!?\n\d]{0,20}?"
    r"(?:\d{1,3} *(?:-|–|to\b) *)?(\d{1,3})(?!\d)|[ (]{0,3}(\d{1,3}) *(?:[点分][満满滿][点分]|점 *만점)"
    r"|[ ]{0,3}[(\[] *[01] *(?:-|–|to\b) *(\d{1,3}) *[)\]]"
    r"|[^\w.;!?\n]{1,4}(?:where +)?(\d{1,3}) +(?:is|being|=|as) +(?:the +)?(?:best|max|maximum|top|highest|perfect)\b",
    re.IGNORECASE,
)
_RETRACTED = (
    _CLOSE + r"[,.;:!–—-] *(?:no|nope|wait|actually|sorry|rather|correction)\b[^\w\n]*"
    r"(?:(?:make|it|that|is|I|mean|say|a|the) +){0,4}"
)
_HALF = (
    _AROUND + r"(?:(?:and|und|et|y|e|en|og|och|с|ve|&|\+)[ ]+)?(?:(?:an?|one|une?|una|ein|eine|um|en)[ -]+)?"
    r"(?:half|quarter|third|halb|einhalb|demi|demie|medi[oa]|mezz[oa]|mei[oa]|halve|halvt?|половин\w*|pół|buçuk)"
    r"(?![^\W_])(?! +(?:the|of)\b)"
)
# Signs between two numbers that make them several: "3 … 4", "3 -> 4", "3 & 4".
_BETWEEN = rf"(?:(?:[^\w\s.:;!?()\[\]{{}}%\"'“”„‘’«»‹›「」『』]|\.{{2,}}+)[ ]*)++{_OPEN}"
# Words and signs that make a number another one: "4th", "4+", "4-ish", "4?", "4 or so", "4 and a half", "4, no, 3".
_MODIFIED = "|".join(
    [
        r"[^\W_]|[+-](?!\w)|-? ?ish\b| *\\(?:pm|times|cdot)\b",
        r" *(?:\+ *(?:[.,\n]|\Z)|(?:per ?cent|times|x|at (?:most|least|best|worst)|(?:is|seems|looks) +(?:too|not))\b)",
        _AROUND + r"(?:\?|(?:or|oder|ou|или|plus|minus)\b|或|または|또는|이상|이하|만점|정도|반\b)",
        _AROUND + r"(?:to|bis|and|und|et|à|до|и)\b" + _OPEN + rf"(?:{_DIGIT}|(?:{_WORD})\b)",
        _HALF,
        _RETRACTED + r"[+-]?\d+(?:\.\d+)?(?:/\d+)?(?: *(?:points?|stars?))?[ )]*(?:[.,;:!]|\n|\Z)",
    ]
)  # fmt: skip
# The number is one of several, or a part of something else: "4,5", "3 - 4", "1 + 1", "0, 1, 2", "4%".
_AFTER_NUMBER = re.compile(
    rf"{_MODIFIED}|{_CLOSE}[.,:·٫．，]+\d|{_PERCENT.pattern}"
    rf"|{_CLOSE}+(?:{_BETWEEN})?{_DIGIT}",
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
# "Score: <4" is below 4, and "Score: <4>" is 4 in brackets.
_BELOW = re.compile(r"\A[^\n]{0,3}[<＜][ *]*[^\s<>＜＞]{1,12}(?![^\s<>＜＞])(?! *[>＞])")
# "Score: 5" in quotation marks is a quotation from the judged reply.
_QUOTES = "\"'“”„‘’‚«»‹›「」『』"
_QUOTED = re.compile(rf"(?:[*_`>)\]}}$]|</\w+>)*[.,!]?[{_QUOTES}]")
# What `_names_another` reads.
_NEAR = 80
_TOKEN = re.compile(r"\d+(?:[.,]\d+)?|\w+(?:['’-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"(?<!\.)[.!?。！？](?![.!?])")
_SUM = re.compile(r" *\+ *\d| +- +\d")
_ALONE = re.compile(r" *(?:[)\];:!?…\n]|[.,](?!\d)|-\d|\Z)")
_ABBREVIATED = {"vs", "bzw", "resp", "ca", "approx"}
_ALTERNATIVES = {"so", "otherwise", "else", "or", "maybe", "perhaps", "then", "sonst"}
_AGAIN = {"actually", "adjusted", "better", "corrected", "correction", "edit", "final", "revised", "total", "update"}
_NOT = {"not", "nicht", "pas", "non"}
_REASONS = {
    "since", "because", "as", "for", "with", "due", "given", "while", "weil", "da", "denn", "parce", "car", "porque",
}  # fmt: skip
_COUNTED = {
    "criterion", "criteria", "step", "point", "rule", "item", "part", "section", "question", "level", "line",
    "paragraph", "number", "no", "requirement", "condition", "met", "meet", "fulfil", "satisfie", "misse", "missing",
    "lack", "fail", "failed", "add", "added", "version", "page", "figure", "table", "example", "sentence",
}  # fmt: skip
# After a unit or a maximum the line may go on with a reason: "4 points, since …", but not "1 point for the style".
_GOES_ON = re.compile(r"[ )\]>]*(?:[,;:–—-] |(?:because|since|as)\b)", re.IGNORECASE)
# The end of a line, after which the next one is no bare number.
_ENDS_LINE = re.compile(r"[ )\]>]*(?:[.!。][ )\]>]*)?(?:\Z|\n(?!\s*[-+]?\d[\d.,/ ]*(?:\n|\Z)))")


def prose_matches(pattern: str, verdict: str, scores: Mapping[str, float]) -> list[re.Match[str]]:
    """The matches of `pattern` in ``plain(verdict)`` that are a verdict.

    Those of other labels ("Maximum score: 5"), of a criterion in a table, conditions ("Score: 5 if …") and those in
    another line than their label are ignored: "Score:" and "4" alone in the next line are a score, "Score:" and "1. It
    is on the topic." are none.
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
    if is_condition(match.string, end) or is_of_another_label(match, bool(scores)) or is_of_a_criterion(match):
        return True
    if "\n" not in match.string[match.start() : match.start(1)] or _ENDS_LINE.match(match.string, end):
        return False
    return bool(scores) or end == match.end() or not _GOES_ON.match(match.string, end)


def prose_score(match: re.Match[str], verdict: str, scores: Mapping[str, float], maximum: float) -> float | None:
    """The score of a match in ``plain(verdict)``; None if it is ambiguous.

    ``4/5`` and ``4 out of 5`` are 4 if `maximum` is 5, and ambiguous otherwise. A grade is followed by punctuation or
    the end of the line: in ``Choice: A good reply`` the A is a word.
    """
    start, end = match.start(1), match.end()
    quoted = _QUOTED.match(verdict, end) or (start > 0 and verdict[start - 1] in _QUOTES)
    if quoted or is_part(match) or _BELOW.search(verdict[max(0, start - 4) : start + 20]):
        return None
    own = value(match[1], scores)
    if scores:
        doubtful = _GRADE_RUNS_ON.match(verdict, end) or _is_one_of_several(match, scores)
        read: Callable[[str], float | None] = partial(_grade_like, match[1], scores)
    else:
        doubtful, end = _is_doubtful_number(match.string, end, maximum)
        read = _amount
    return None if doubtful or _names_another(match.string, end, own, read) else own


def _is_doubtful_number(text: str, at: int, maximum: float) -> tuple[bool, int]:
    """Whether the number before `at` is not a score out of `maximum`, and where what belongs to it ends."""
    if maximum == 100 and (percent := _PERCENT.match(text, at)):
        at = percent.end()
    end, has_unit, stated = _tail(text, at)
    rest = end
    if found := _STATED_MAXIMUM.match(text, end):
        stated.append(_amount(found[found.lastindex or 1]))
        rest = found.end()
    after = _AFTER_UNIT if has_unit else _AFTER_NUMBER
    return any(each != maximum for each in stated) or after.match(text, end) is not None, rest


def _tail(text: str, at: int) -> tuple[int, bool, list[float | None]]:
    """What belongs to the number before `at`: its end, whether it ends in a unit, and the stated maximum score."""
    at, has_unit = _skip_unit(text, at)
    found = _DENOMINATOR.match(text, at)
    if not found:
        return at, has_unit, []
    return *_skip_unit(text, found.end()), [_amount(found[1] or found[2])]


def _skip_unit(text: str, at: int) -> tuple[int, bool]:
    unit = _UNIT.match(text, at)
    return (unit.end(), True) if unit else (at, False)


def _amount(written: str | None) -> float | None:
    """The number of a maximum, in digits or as an English word; None if there is none, as in "out of many"."""
    word = (written or "").casefold()
    return float(_WORDS.index(word)) if word in _WORDS else value(word, {})


def _grade_like(own: str, scores: Mapping[str, float], word: str) -> float | None:
    """The points of `word`, if it is a grade; None for a letter in another case than `own`, as in "B, a good one"."""
    return None if len(word) == 1 and word.isupper() != own.isupper() else value(word, scores)


def _names_another(text: str, at: int, own: float | None, read: Callable[[str], float | None]) -> bool:
    """Whether one of the next words in the sentence is another score: "3, maybe 4", "C (or rather D)".

    `read` gives the score of a word. Another score stands alone, as the first one does: "4, it lacks 2 facts" has none.
    After a word that opens a reason, counts something or is a label, numbers are not looked at. Only next to words such
    as "otherwise" it may be further away.
    """
    previous, place = "", at
    for count, found in enumerate(_TOKEN.finditer(text, at, at + _NEAR)):
        gap, word = text[place : found.start()], found[0].casefold()
        if "\n" in gap or (_SENTENCE_END.search(gap) and previous not in _ABBREVIATED):
            return False
        other = read(found[0])
        if other is None and (word in _REASONS or word.removesuffix("s") in _COUNTED):
            return False
        if other is not None and (_SUM.match(text, found.end()) or other == own):
            return False
        if ":" in gap and previous and previous not in _AGAIN:  # "4 (style: 1, clarity: 3)"
            return False
        near = count < 4 or previous in _ALTERNATIVES
        if other is not None and near and previous not in _NOT and _stands_alone(text, found.end()):
            return True
        previous, place = word, found.end()
    return False


def _stands_alone(text: str, at: int) -> bool:
    return _ALONE.match(text, _tail(text, at)[0]) is not None


def _is_one_of_several(match: re.Match[str], scores: Mapping[str, float]) -> bool:
    another = _ANOTHER_GRADE.match(match.string, match.end())
    return another is not None and _grade_like(match[1], scores, another[1] or another[2]) is not None
