"""Every column of a row is used, known not to matter, reported, or refused because it changes what the row means."""

import re

from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Values
from selfreward_ray.seed.readers.languages import in_another_language
from selfreward_ray.seed.readers.media import MEDIA, is_media
from selfreward_ray.seed.readers.messages import CHATS, SYSTEM, THOUGHT_KEYS
from selfreward_ray.seed.readers.reading import LeftOut, Reading
from selfreward_ray.seed.readers.tools import NO_TOOLS, TOOLS
from selfreward_ray.seed.readers.values import ENDS, is_cut_off, is_empty, number
from selfreward_ray.store.splits import split_told_by

OTHER_SPLIT = "it belongs to another split"
OTHER_LANGUAGE = "it is in another language"
ZERO_WEIGHT = "it has weight 0"
CUT_OFF = "its reply was cut off"

_CHANGES_MEANING = {
    "context": "{section}.columns={{input: context}} appends it to a prompt that is a text",
    "input": "write it into the prompt",
    "history": "write it into the messages",
    **dict.fromkeys(SYSTEM, "write it into the messages"),
    **dict.fromkeys(
        ("options", "choices", "documents", "passage", "article", "background", "persona"), "write it into the prompt"
    ),
    **dict.fromkeys(THOUGHT_KEYS, "write it into the reply if it is to be trained on"),
}

_JUDGES = (
    "label", "chosen", "rank", "score", "rating", "reward", "is_safe", "is_response_safe", "correct", "is_correct",
    "accepted", "is_accepted", "approved", "is_approved", "is_good", "passed", "deleted", "is_deleted", "grade",
    "stars", "votes", "upvotes", "thumbs_up", "helpful", "is_helpful",
)  # fmt: skip
"""Columns that may say how good the reply of a row is."""


def check_columns(values: Values, form: Format, reading: Reading) -> None:
    """Raise `LeftOut` for a row that its columns rule out, and `RowError` for one that changes what the row means and
    that `form` does not use. Other columns that it does not know are noted."""
    if is_cut_off(values) and not form.whole_replies and not reading.asks_only:
        raise LeftOut(CUT_OFF)
    told = form.columns_in(values) or ()
    for name, value in values.items():
        if name in form.alternatives and name not in told and not is_empty(value):
            reading.unused(name)  # of two votes, the first is meant
        own = name.rpartition(".")[2]  # what `columns` left of an object
        if is_empty(value) or form.knows(name) or name in (*reading.wanted.attributes, *reading.wanted.ignore):
            continue
        if name in ENDS or (name in CHATS and reading.wanted.format is None):  # which `beside` reads
            continue
        if own != name and own in _CHANGES_MEANING:
            fault = f"changes what a row means, and {reading.section}.columns does not name it"
            raise reading.refuse(name, fault, f"{reading.section}.columns={{{own}: {name}}} uses it")
        if name in ("tools", "functions", "tool_calls"):
            if value in NO_TOOLS:
                continue
            raise LeftOut(TOOLS)
        if is_media(own, value):
            raise LeftOut(MEDIA)
        if name == "weight":
            _check_weight(value, reading)
        elif name in ("language", "lang"):
            if in_another_language(value, reading.wanted.language):
                raise LeftOut(OTHER_LANGUAGE)
        elif name in ("split", "subset", "partition"):
            if _in_another_split(value, reading.wanted.split):
                raise LeftOut(OTHER_SPLIT)
        elif name in _JUDGES and _is_judgement(value) and form.is_unranked and not reading.asks_only:
            fault = f"may say that a reply is bad, and format {form.name!r} takes every reply for a good one"
            raise reading.refuse(name, fault, f"name a format that ranks by it ({reading.section}.format)")
        elif name in _CHANGES_MEANING:
            remedy = _CHANGES_MEANING[name].format(section=reading.section)
            raise reading.refuse(name, f"changes what a row means, and format {form.name!r} does not use it", remedy)
        else:
            reading.unused(name)


def _is_judgement(value: object) -> bool:
    """Whether a value is a number or a truth value, also as the text of a CSV file, and so no class or name."""
    return isinstance(value, int | float) or bool(
        isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d+)?|true|false", value.strip(), re.IGNORECASE)
    )


def _check_weight(value: object, reading: Reading) -> None:
    weight = number(value, "weight") if not isinstance(value, bool) else float(value)
    if weight == 0:
        raise LeftOut(ZERO_WEIGHT)
    if weight != 1:
        raise reading.refuse("weight", "is neither 0 nor 1, and rows are trained on alike", "write 0 or 1")


def _in_another_split(said: object, wanted: str) -> bool:
    """Whether a row names another split; ``train_sft`` is one of ``train``. An empty `wanted` is any."""
    wanted = wanted.rpartition("/")[2]  # behind its configuration
    if not isinstance(said, str) or said == wanted or not wanted:
        return False
    here, there = map(split_told_by, (said, wanted))
    return here is not None and here != there
