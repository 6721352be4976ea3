"""Rows in the place of data that is elsewhere: ranked sets and prompts, enough for a rehearsal."""

import json
from pathlib import Path
from typing import Any

from selfreward_ray.judging.rubric import Rubric

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
    "It is a {}.",
    "I do not know much about that.",
)


def write_rankings(file: Path, rubric: Rubric) -> None:
    """Ranked sets, the best reply first, each with a verdict that `rubric` reads."""
    endings = sorted(rubric.endings, key=lambda ending: rubric.read_score("x" + ending) or 0, reverse=True)
    marks = [endings[i * (len(endings) - 1) // (len(_REPLIES) - 1)] if endings else "" for i in range(len(_REPLIES))]
    rows = [
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
    _write(file, rows)


def write_prompts(file: Path) -> None:
    """Prompts that no ranked set has."""
    _write(file, [{"prompt": f"{asked.format('desert')} Case {n}."} for n in range(8) for asked in _ASKED])


def _write(file: Path, rows: list[Any]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
