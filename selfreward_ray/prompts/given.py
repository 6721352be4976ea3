"""Prompts and questions that users give: whatever seed data may be, prompts alone, and the questions of MT-Bench.

A question of MT-Bench is ``{"question_id": 81, "turns": ["…", "…"]}``: turns of the user, of which each but the first
is asked after the answer to the one before.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from selfreward_ray.recipe.seed_data import RowReading
from selfreward_ray.records import Dropped, Question, Turn
from selfreward_ray.seed.readers import read_asked
from selfreward_ray.seed.readers.messages import ASKING, CHATS
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.store.user_files import Row, RowError

LATER_TURN = "it is asked after an answer, and does not open a conversation"
_OF_A_BENCHMARK = ("category", "reference", "question_id")
"""Columns of MT-Bench beside `turns`, which a model is not shown."""


@dataclass(frozen=True)
class GivenPrompt:
    """What a row asks. `where` names its file and line."""

    where: str
    history: tuple[Turn, ...]
    turns: tuple[str, ...]
    """The user's turns: one, or those of a question of MT-Bench."""
    question_id: object
    """The question's own id, as it stands in the row; None if it has none."""


def prompt_reading(options: RowReading, source: str, split: str = "") -> Reading:
    """How prompts are read from rows by `options`, the recipe's section ``prompts``.

    `source` is the field or the option that names the rows. With an empty `split` rows of any split are read.
    """
    return Reading.of_prompts(options, source, split)


def read_prompts(rows: Iterable[Row], reading: Reading) -> Iterator[GivenPrompt | Dropped]:
    """What `rows` ask, in their order. A row that cannot be used is `Dropped`, with file and line as its id.

    Raises `RowError` where no row has a known format, or more rows are bad than the recipe allows.
    """
    later: dict[str, tuple[tuple[str, ...], object]] = {}
    for found in read_asked(_first_turns(rows, later), reading):
        if isinstance(found, Dropped):
            later.pop(found.id, None)
            yield found
        else:
            turns, question_id = later.pop(found.where, ((), None))
            yield GivenPrompt(found.where, found.history, (found.prompt, *turns), question_id)


def read_questions(rows: Iterable[Row], reading: Reading) -> Iterator[Question]:
    """The questions of `rows`, with ids by their place (``given/p000017``), and with their own `question_id`.

    Raises `RowError` for a row that is no question, because a benchmark without it is another one, and where two have
    the same `question_id`.
    """
    first: dict[str, str] = {}
    for number, found in enumerate(read_prompts(rows, reading)):
        if isinstance(found, Dropped):
            raise RowError(f"{found.id}: {found.reason}; correct the question, or remove it")
        own = _own_id(found)
        if own is not None and first.setdefault(own, found.where) != found.where:
            raise RowError(f"{found.where}: question_id {own} stands in {first[own]} too; change one of them")
        yield Question(given_id(number), found.turns, own, found.history)


def given_id(number: int) -> str:
    """The id of the prompt at this place, counted from 0 with those that cannot be used."""
    return f"given/p{number:06d}"


def _first_turns(rows: Iterable[Row], later: dict[str, tuple[tuple[str, ...], object]]) -> Iterator[Row]:
    """The rows with the first turn of a question as its prompt. `later` is given the other turns and the question's own
    id, by the place of the row."""
    for row in rows:
        if row.fault is not None:  # which is met where the row is read
            yield row
            continue
        own = row.fields.get("question_id")
        turns = row.fields.get("turns")
        if not isinstance(turns, list):
            if own is not None:
                later[row.where] = ((), own)
            yield row
            continue
        others = [name for name in (*ASKING, *CHATS) if row.fields.get(name) is not None]
        if others:
            raise RowError(f"{row.where}: fields 'turns' and {others[0]!r} both say what is asked; remove one of them")
        fields = {name: value for name, value in row.fields.items() if name not in ("turns", *_OF_A_BENCHMARK)}
        first, *rest = turns or [None]
        later[row.where] = (tuple(_later_turn(turn, row.where) for turn in rest), own)
        yield Row(row.where, fields | {"prompt": first})


def _later_turn(turn: object, where: str) -> str:
    if not isinstance(turn, str) or not turn.strip():
        raise RowError(f"{where}: field 'turns' must be a list of texts that are not empty; correct it")
    return turn


def _own_id(found: GivenPrompt) -> str | None:
    """The question's own id as JSON; None if it has none."""
    own = found.question_id
    if own is None:
        return None
    if type(own) is int or (isinstance(own, str) and own.strip()):
        return json.dumps(own, ensure_ascii=False)
    raise RowError(f"{found.where}: field 'question_id' must be a whole number or a text; correct it")
