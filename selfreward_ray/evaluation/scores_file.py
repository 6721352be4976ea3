"""Existing scores of human-ranked replies, for `selfreward agreement --scores`."""

import hashlib
import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any, TypeVar

from selfreward_ray.evaluation.agreement import Agreement, Judgement, agreement
from selfreward_ray.store.user_files import Row, RowError, read_some_rows

SETS = ("set_id", "prompt_id", "question_id", "prompt", "question", "instruction")
"""Fields that name the set of a row. The first one that the first row has is used for all rows."""
RANKS = ("rank", "human_rank")
"""Fields with the human rank; a lower rank is better."""
HUMAN_SCORES = ("human_score", "human_rating", "rating")
"""Fields with a human score; a higher one is better. They are used where no field has a rank."""
SCORES = ("score", "model_score", "judge_score")
"""Fields with the judge's score."""
REPLIES = ("reply_id", "reply", "response", "output")
"""Fields that tell the replies of a set apart, if there is one."""

MAX_REPLIES = 1000
"""Maximum number of replies in a set: every two of them are compared."""

_UNREADABLE = ("", "nan", "na", "n/a", "none", "null")
"""Texts that stand for no number, in any case."""

T = TypeVar("T")


@dataclass(frozen=True)
class Scores:
    """The scores of a file."""

    source: str
    judged: list[Judgement]
    set_field: str
    """The field that tells sets apart."""
    unranked: int
    """Number of rows that were left out because they have no human rank or score."""
    largest: float | None
    """The largest score; None if no score is readable."""


@dataclass(frozen=True)
class _Fields:
    """The names of the fields of a file."""

    set_id: str
    human: str
    is_rank: bool
    score: str
    reply: str | None


def read_scores(source: str) -> Scores:
    """Read rows of a set, a human rank or score, and the judge's score; see `SETS`, `RANKS` and the others.

    A score that is null, NaN or an empty text is an unreadable verdict. Numbers may be texts. The first row decides
    which fields are used. Raises `RowError`, which names file and line, for a row without one of these fields or with
    another value, for the same reply twice in a set, and for a set of more than `MAX_REPLIES` replies.
    """
    rows = read_some_rows(source, None, "--scores")
    first = next(rows)
    fields = _fields_of(first)
    judged: list[Judgement] = []
    met: set[bytes] = set()
    sizes: Counter[str] = Counter()
    unranked = 0
    for row in chain([first], rows):
        found = _judgement(row, fields)
        _check_new(row, fields, found.set_id, met)
        sizes[found.set_id] += 1
        if sizes[found.set_id] > MAX_REPLIES:
            raise RowError(
                f"{row.where}: the set {found.set_id!r} has more than {MAX_REPLIES} replies; field {fields.set_id!r} "
                "must name the prompt that a reply answers"
            )
        if math.isnan(found.rank):
            unranked += 1
        else:
            judged.append(found)
    largest = max((reply.score for reply in judged if reply.score is not None), default=None)
    return Scores(source, judged, fields.set_id, unranked, largest)


def agreement_of_scores(scores: Scores, max_score: float | None) -> tuple[float | None, Agreement]:
    """The agreement of the scores of a file, and the score that counts as the best for 5-best.

    By default that is the largest score. Raises `RowError` if a score is larger than `max_score`, or if there is no set
    to measure.
    """
    best = scores.largest if max_score is None else max_score
    if best is not None and scores.largest is not None and scores.largest > best:
        raise RowError(f"--max-score: a score of {scores.source} is {scores.largest:g}, which is larger than {best:g}")
    found = agreement(scores.judged, math.inf if best is None else best)
    if not found.sets:
        raise RowError(
            f"--scores: {scores.source}: no set has two replies with different human ranks, so there is nothing to "
            f"measure; rows with the same {scores.set_field} are a set: it must name the prompt that a reply answers"
        )
    return best, found


def _fields_of(row: Row) -> _Fields:
    ranks = _one_of(row, RANKS)
    human = ranks or _one_of(row, HUMAN_SCORES)
    chosen = {
        "the set": next((name for name in SETS if name in row.fields), None),
        "the human rank or score": human,
        "the judge's score": _one_of(row, SCORES),
    }
    known = dict(zip(chosen, (SETS, RANKS + HUMAN_SCORES, SCORES), strict=True))
    for what, name in chosen.items():
        if name is None:
            raise RowError(
                f"{row.where}: no field with {what}; name one of its fields ({', '.join(map(repr, row.fields))}) "
                f"{' or '.join(known[what])}"
            )
    set_id, human, score = (name or "" for name in chosen.values())
    return _Fields(set_id, human, bool(ranks), score, next((name for name in REPLIES if name in row.fields), None))


def _one_of(row: Row, names: tuple[str, ...]) -> str | None:
    found = [name for name in names if name in row.fields]
    if len(found) > 1:
        raise RowError(f"{row.where}: fields {found[0]!r} and {found[1]!r} mean the same; rename or remove one")
    return found[0] if found else None


def _judgement(row: Row, fields: _Fields) -> Judgement:
    """The row's judgement; its rank is NaN if no human ranked or scored the reply."""
    set_id = _read(row, fields.set_id, _name)
    human, score = (_read(row, name, _number) for name in (fields.human, fields.score))
    if human is None:
        return Judgement(set_id, math.nan, score)
    return Judgement(set_id, human, score) if fields.is_rank else Judgement(set_id, -human, score, human)


def _check_new(row: Row, fields: _Fields, set_id: str, met: set[bytes]) -> None:
    """Raise `RowError` if an earlier row has the same reply of the same set. `met` has a hash of each reply."""
    if fields.reply is None:
        return
    reply = _read(row, fields.reply, _text)
    key = hashlib.sha256(json.dumps([set_id, reply]).encode()).digest()
    if key in met:
        raise RowError(
            f"{row.where}: an earlier row of the set {set_id!r} has the same {fields.reply}; give each reply one row, "
            "for example with the mean of its scores, or tell replies apart by a field reply_id"
        )
    met.add(key)


def _read(row: Row, name: str, read: Callable[[Any], T]) -> T:
    if name not in row.fields:
        raise RowError(f"{row.where}: field {name!r} is missing; add it, with null where it has no value")
    try:
        return read(row.fields[name])
    except ValueError as error:
        raise RowError(f"{row.where}: field {name!r}: {error}") from None


def _name(value: Any) -> str:
    """The id of a set, or its prompt."""
    text = _text(value)
    if not text.strip():
        raise ValueError("is empty; name the prompt that the reply answers")
    return text


def _text(value: Any) -> str:
    """A text or an id; 7, 7.0 and "7" are the same, and null is the empty text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ValueError(f"must be a text or a whole number (got {reprlib.repr(value)})")
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    """A number, also as a text; None for null, NaN and what `_UNREADABLE` lists."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _UNREADABLE):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"must be a number, or null for none (got {reprlib.repr(value)})")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise ValueError(f"must be a finite number, or null for none (got {reprlib.repr(value)})")
    return None if math.isnan(number) else number
