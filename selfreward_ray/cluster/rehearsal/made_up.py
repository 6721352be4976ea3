"""The data of a rehearsal: a few ranked sets of the recipe's source, or synthetic ones if it cannot be read here."""

import json
import threading
from pathlib import Path
from typing import Any

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.judging.rubric import Rubric
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import RankedSet
from selfreward_ray.seed.readers import read_seed
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.user_files import read_user_rows

_READ, _SETS = 1000, 64
"""Number of sets that are read from a source, and maximum number that are used, those with different ranks first."""
_CHARACTERS = 500
"""Length of each text: the end of a prompt, or the beginning of a reply."""
_ANSWERS_WITHIN = 30.0
"""Timeout in seconds for a storage to tell whether a source exists. The client of Google's retries for 15 minutes."""

_SUBJECTS = ("river", "garden", "market", "bridge", "winter", "harbor", "forest", "kitchen")
_ASKED = (
    "Describe a {} in one sentence.",
    "Give me three facts about a {} that few people know.",
    "Why does a {} matter to the people who live near it?",
    "Write a short letter to a friend about a {} you visited.",
    "Explain to a child what a {} is.",
    "How would a painter show a {}?",
    "Compare a {} of today with one of a hundred years ago.",
    "Name two questions that a {} raises.",
)
_REPLIES = (
    "A {} is a place where people meet, and there is always something to see.",
    "I do not know much about that.",
)


def write_rankings(file: Path, wanted: SeedData, rubric: Rubric) -> str:
    """Write ranked sets in place of ``wanted.source``, from the source if it can be read here. Describes them as text.

    Each set keeps its best and its worst reply: verdicts of a random model often agree with a ranking of two replies,
    but hardly ever with one of five. Raises `RowError` if the rows of the source are wrong.
    """
    if away := _why_away(wanted):
        _write(file, _made_up(rubric))
        return f"rows made up for the rehearsal ({away})"
    sets = [item for item in read_seed(wanted, most=_READ) if isinstance(item, RankedSet)]
    sets.sort(key=lambda ranked: len({reply.rank for reply in ranked.replies}) < 2)
    _write(file, [_best_and_worst(ranked) for ranked in sets[:_SETS]])
    taken = min(len(sets), _SETS)
    return f"{taken} of its sets, of each the best and the worst reply, of each text {_CHARACTERS} characters"


def _why_away(wanted: SeedData) -> str | None:
    """The reason why ``wanted.source`` cannot be read on this machine; None if it can. Its rows are not checked."""
    found: list[str | None] = []

    def look() -> None:
        try:
            filesystem, path = Folder(wanted.named()).filesystem()
            if filesystem.get_file_info(path).type == fs.FileType.NotFound:
                next(read_user_rows(wanted.named(), wanted.split, "seed_data.source"), None)
            found.append(None)
        except (OSError, UserError) as error:
            found.append(str(error).splitlines()[0])

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(_ANSWERS_WITHIN)
    return found[0] if found else f"its storage does not answer within {_ANSWERS_WITHIN:g} s"


def _best_and_worst(ranked: RankedSet) -> dict[str, Any]:
    """A row of seed data, with earlier messages as a part of the prompt."""
    replies = sorted(ranked.replies, key=lambda reply: reply.rank)
    kept = replies if len(replies) < 2 else [replies[0], replies[-1]]
    # Without the roles: a text with them would be read as the messages that it holds.
    asked = "\n\n".join([*(turn.text for turn in ranked.history), ranked.prompt])
    return {
        "prompt": asked[-_CHARACTERS:],
        "responses": [
            {"text": reply.text[:_CHARACTERS], "rank": reply.rank, "verdict": reply.verdict, "score": reply.score}
            for reply in kept
        ],
    }


def _made_up(rubric: Rubric) -> list[dict[str, Any]]:
    """Synthetic ranked sets, the best reply first, with verdicts that `rubric` can read."""
    endings = sorted(rubric.endings, key=lambda ending: rubric.read_score("x" + ending) or 0)
    marks = (endings[-1], endings[0]) if endings else ("", "")
    return [
        {
            "prompt": asked.format(subject),
            "responses": [
                {"text": reply.format(subject), "rank": rank, "verdict": f"The reply is looked at.{mark}"}
                for rank, (reply, mark) in enumerate(zip(_REPLIES, marks, strict=True))
            ],
        }
        for asked in _ASKED
        for subject in _SUBJECTS
    ]


def write_prompts(file: Path) -> None:
    """Write synthetic prompts that are in no ranked set."""
    _write(file, [{"prompt": f"{asked.format('desert')} Case {n}."} for n in range(8) for asked in _ASKED])


def _write(file: Path, rows: list[Any]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
