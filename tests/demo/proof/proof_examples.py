"""Rows of two small seeds, as the folders of a proof give them, with figures that can be worked out by hand."""

from pathlib import Path
from typing import Any

from selfreward_ray.demo.proof.figures import PairCount, SeedRows
from selfreward_ray.demo.rules import CheckedAnswer
from selfreward_ray.records import EvaluatedReply, JudgedReply, Verdict
from selfreward_ray.reporting.summary import Sample
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step

DEMO = (
    'Write one sentence about lakes. Start with "Honestly". Do not use quotes. End with "together". '
    "Use lower case only."
)
BEST, MIDDLE, WORST = "honestly, lakes bring us together.", "Honestly, lakes are wide.", '"Seas."'
"""Of five points: 5; 3, with a capital letter and another end; and 0, off the topic and in quotes."""
HOSTILE = "<script>alert(1)</script> {{ 7 * 7 }} | a\x1b[31m"


def answers(scores: list[int], group: str) -> list[CheckedAnswer]:
    """Answers of these true scores that keep the asked quotes where the score is 3 or more, and always lower case."""
    return [
        CheckedAnswer(
            f"{group}/{i:06d}",
            group,
            EvaluatedReply(f"{group}/{i:06d}/answer", "Write.", "a b a b", True),
            score,
            {"topic": True, "quotes": score >= 3},
            {"lower case": True, "normal capitals": False},
        )
        for i, score in enumerate(scores)
    ]


def judged(*scores: float | None) -> list[JudgedReply]:
    """One set of replies that are worth 0, 1, 2, … points, with the scores that a judge gave them."""
    best = len(scores) - 1
    return [
        JudgedReply(f"s/r{i}", "s", best - i, float(i), (Verdict(f"s/r{i}/v0", "", given, 1),))
        for i, given in enumerate(scores)
    ]


def seed_rows(shift: int = 0, controls: bool = True) -> SeedRows:
    """True scores in percent, on each set: M0 20 and 40, M1 20 and 60, M2 60 and 60, M3 80 and 100 (mean 90); a seed's
    `shift` takes so many points of 20 % from M3. M1 orders its fixed set rightly, M2 turns two of three round, M3 gives
    the best no score."""
    by_model = {"M0": [1, 2], "M1": [1, 3], "M2": [3, 3], "M3": [4 - shift, 5 - shift]}

    def both(scores: list[int]) -> list[CheckedAnswer]:
        return answers(scores, "topics") + answers(scores, "words")

    sample = Sample("M2", HOSTILE, HOSTILE, 4.0, HOSTILE, 1.0)
    made = {
        "random": {"M2": both([1, 2]), "M3": both([2, 2])},
        "ceiling": {"M2": both([4, 4]), "M3": both([5, 5])},
        "more_sft": {"M2": both([1, 3]), "M3": both([1, 3])},
        "no_eft": {"M1": both([1, 2])},
    }
    verdicts = {"M1": judged(0, 1, 2), "M2": judged(1, 0, 2), "M3": judged(0, 1, None)}
    return SeedRows(
        seed=5 + shift,
        answers={model: both(scores) for model, scores in by_model.items()},
        greedy={model: both(scores) for model, scores in by_model.items() if model != "M0"},
        judged=verdicts,
        own=verdicts,
        controls=made if controls else {},
        pairs={"M2": PairCount(10, 8, 5, 2), "M3": PairCount(10, 6, 3, 1)},
        shared_pairs={"M2": 4, "M3": 3} if controls else {},
        judge_scores={"M1": {"a": 1.0, "b": 2.0, "c": 3.0}, "M2": {"a": 3.0, "b": 2.0}, "M3": {"a": 2.0, "c": 5.0}},
        samples=(sample,),
        loop_seconds=60.0 + shift,
        seconds=100.0 + shift,
    )


def table(folder: Path, rows: list[Any], name: str = "rows", step: str = "seed") -> Folder:
    """A finished step with one table."""
    made = Step(step, str(folder), {}, {})
    made.is_done()
    made.write(rows, type(rows[0]), name)
    made.finish(offered=len(rows), kept=len(rows))
    return made.folder
