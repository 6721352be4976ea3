"""Step: two models' answers head to head, by a judge's scores of each answer alone."""

from collections.abc import Iterable
from typing import Literal

from selfreward_ray.evaluation.outcomes import outcomes
from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.judging.head_to_head import ALONE
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, ScoredPair
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.tables import read_rows

TOO_FEW_VERDICTS = "too few valid verdicts on one of the answers"


def head_to_head(recipe: Recipe, *, left: str, right: str, out: str, label: str = "head to head") -> Manifest:
    """`ScoredPair` rows from two judge steps, by the same judge, on answers of two evaluate steps.

    The manifest's metrics hold the `outcomes`. A pair is dropped if an answer has fewer than ``judge.min_valid`` valid
    verdicts.
    """
    part = {"min_valid": recipe.judge.min_valid}
    step = Step("head_to_head", out, part, {"left": left, "right": right})
    if step.is_done():
        skipped(label)
        return step.manifest()
    ours, theirs = (read_rows(finished_step(uri, "judge"), JudgedPrompt) for uri in (left, right))
    with Progress(label, len(ours), "answers") as progress:
        rows, dropped = score_pairs(ours, theirs, recipe.judge.min_valid)
        step.write(rows, ScoredPair)
        step.write(dropped, Dropped, "dropped")
        progress.update(len(rows))
        return step.finish(offered=len(rows) + len(dropped), metrics={"outcomes": vars(outcomes(rows))})


def score_pairs(
    left: Iterable[JudgedPrompt], right: Iterable[JudgedPrompt], min_valid: int
) -> tuple[list[ScoredPair], list[Dropped]]:
    """Pair the answers of both sides by the id of their prompt, in the order of the ids."""
    lefts, rights = ({prompt.id: prompt for prompt in side} for side in (left, right))
    rows: list[ScoredPair] = []
    dropped: list[Dropped] = []
    for name in sorted(lefts.keys() | rights.keys()):
        if name not in lefts or name not in rights:
            dropped.append(Dropped(name, "head_to_head", ALONE["left" if name in lefts else "right"]))
            continue
        ours, theirs = lefts[name].candidates[0], rights[name].candidates[0]
        if min(len(valid_scores(ours)), len(valid_scores(theirs))) < min_valid:
            dropped.append(Dropped(name, "head_to_head", TOO_FEW_VERDICTS))
        else:
            rows.append(ScoredPair(name, lefts[name].question, ours, theirs, _preferred(ours, theirs)))
    return rows, dropped


def _preferred(left: Candidate, right: Candidate) -> Literal["left", "right", "neither"]:
    assert left.mean is not None
    assert right.mean is not None
    return "left" if left.mean > right.mean else "right" if left.mean < right.mean else "neither"
