"""What stands in a judged text is material: there it neither closes a tag of the question nor is a score.

The signs that would do so are written in another way, the same for every score, so that nobody gains by writing them;
all other text is shown to the judge as it is.
"""

import re
from collections.abc import Callable, Iterable


def escape_tags(text: str, names: Iterable[str]) -> str:
    """``</reply>`` becomes ``&lt;/reply>``: plain to a reader, but no longer the tag.

    A tag is a name after ``<`` (full-width and small forms too), in any case, whatever blanks, signs and invisible
    characters stand between. Other brackets and other scripts' letters are no tag of the template: they stay.
    """
    between = r"[^\w<>＜﹤]*"
    spelt = "|".join(between.join(map(re.escape, name)) for name in sorted(names))
    return re.sub(rf"[<＜﹤](?={between}(?:{spelt})\b)", "&lt;", text, flags=re.IGNORECASE)


def quote_scores(text: str, pattern: str, is_score: Callable[[str], bool]) -> str:
    """``Score: 5`` becomes ``Score: "5"``, which `pattern` does not find when a judge copies it into its verdict."""
    compiled, position = re.compile(pattern), 0
    while found := compiled.search(text, position):
        if found[1] and is_score(found[1]):
            text = f'{text[: found.start(1)]}"{found[1]}"{text[found.end(1) :]}'
            position = found.end(1) + 2
        else:
            position = found.start() + 1
    return text
