"""Escape judged texts, so that they can neither close a tag of the judge's prompt nor forge a score.

Only the characters that would do so are changed, and every score is changed in the same way, so that a reply gains
nothing by containing one. All other text is shown to the judge unchanged.
"""

import re
from collections.abc import Callable, Iterable


def escape_tags(text: str, names: Iterable[str]) -> str:
    """Escape the tags called `names`: ``</reply>`` becomes ``&lt;/reply>``.

    A tag is ``<`` (also in its full-width or small form) followed by a name in any case, with any blanks, punctuation
    or invisible characters between the letters. Other brackets, and look-alike letters of other scripts, are not
    escaped, because they are no tag of the template.
    """
    between = r"[^\w<>＜﹤]*"
    spelt = "|".join(between.join(map(re.escape, name)) for name in sorted(names))
    return re.sub(rf"[<＜﹤](?={between}(?:{spelt})\b)", "&lt;", text, flags=re.IGNORECASE)


def quote_scores(
    text: str, searched: str, pattern: str, is_score: Callable[[str], bool], marks: tuple[str, str] = ('"', '"')
) -> str:
    """Put the scores in `text` between quotation marks: ``Score: 5`` becomes ``Score: "5"``.

    `pattern` is looked for in `searched`, which is `text` or the form of it that a rubric reads, as long and with the
    same characters at the places of scores. Its one group is the score; `is_score` tells whether a matched group is
    one. A rubric reads no score between `marks`, even if the judge copies it into its verdict.
    """
    compiled, position = re.compile(pattern), 0
    before, after = marks
    while found := compiled.search(searched, position):
        position = found.start() + 1
        if found[1] and is_score(found[1]):
            start, end = found.span(1)
            text = f"{text[:start]}{before}{text[start:end]}{after}{text[end:]}"
            searched = f"{searched[:start]}{before}{searched[start:end]}{after}{searched[end:]}"
            position = max(position, end) + len(before) + len(after)
    return text
