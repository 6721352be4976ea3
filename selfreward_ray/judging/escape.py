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


def quote_scores(text: str, pattern: str, is_score: Callable[[str], bool]) -> str:
    """Quote the scores in `text`: ``Score: 5`` becomes ``Score: "5"``.

    `pattern` does not match a quoted score, even if the judge copies it into its verdict. Its one group is the score;
    `is_score` tells whether a matched group is one.
    """
    compiled, position = re.compile(pattern), 0
    while found := compiled.search(text, position):
        if found[1] and is_score(found[1]):
            text = f'{text[: found.start(1)]}"{found[1]}"{text[found.end(1) :]}'
            position = found.end(1) + 2
        else:
            position = found.start() + 1
    return text
