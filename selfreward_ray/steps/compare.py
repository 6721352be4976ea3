"""Step: a head-to-head comparison of two models' replies to the same prompts (paper, section 3.1)."""

from functools import partial
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.outcomes import outcomes
from selfreward_ray.inference import programs
from selfreward_ray.inference.block import Job
from selfreward_ray.judging.head_to_head import match_replies
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Comparison, Dropped, ReplyPair
from selfreward_ray.steps.asked_model import asked_part, judging
from selfreward_ray.steps.given import reading_part
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.steps.replies import first_replies
from selfreward_ray.store.folder import Folder, absolute, same_place
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_files


def compare(recipe: Recipe, *, model: str, left: str, right: str, out: str, label: str = "compare") -> PooledStep:
    """`left` and `right` → `Comparison` rows by the judge `model`. The manifest's metrics hold the `outcomes`, and what
    `left` and `right` are.

    Each side is an evaluate step (its answers), a sample, respond or judge step, or a file, folder or URI of replies.
    If a prompt has several replies, the first one is compared. The driver holds the prompts of both sides in memory.
    With `out` in the folder ``comparisons`` of a run, the report of that run shows the outcomes.
    """
    _check_place(out)
    rubric, part = judging(recipe, pairwise=True)
    part |= reading_part(recipe, left, right) | asked_part(recipe, model)
    step = Step("compare", out, part, {"model": model, "left": left, "right": right})
    program = partial(programs.compare, judge=recipe.judge, rubric=rubric)
    row_tokens = 2 * recipe.judge.verdicts * recipe.judge.sampling.max_tokens
    job = Job("compare", program, ReplyPair, Comparison, step.folder.uri, row_tokens)
    dropped: list[Dropped] = []
    if not step.is_done():
        sides = {"left": (left, "--left"), "right": (right, "--right")}
        unusable: dict[str, list[Dropped]] = {side: [] for side in sides}
        replies = {side: first_replies(*given, recipe, unusable[side]) for side, given in sides.items()}
        pairs, dropped = match_replies(replies["left"], replies["right"])
        dropped += [Dropped(f"{side}/{row.id}", step.name, row.reason) for side in sides for row in unusable[side]]
        step.write(pairs, ReplyPair, "offered")
        step.write(dropped, Dropped, "dropped")
    return PooledStep(
        step, job, recipe, model, step.folder / "offered", unit="pairs", label=label, refused=len(dropped),
        measure=lambda: {"left": _place(left), "right": _place(right), **_figures(step)},
    )  # fmt: skip


def _check_place(out: str) -> None:
    """Raise `UserError` if `out` is among the comparisons of a run, but not where its report looks."""
    run, found, name = same_place(out).rpartition("/comparisons")
    if found and (not name.strip("/") or "/" in name[1:]) and Folder(run).is_file("recipe.yaml"):
        raise UserError(f"--out {out}: the report of {run} shows only comparisons in {run}/comparisons/NAME")


def _place(side: str) -> str:
    """`side` as a reader in another folder can find it: a local one by its absolute path."""
    return absolute(side) if Path(side).exists() else side


def _figures(step: Step) -> dict[str, Any]:
    compared = (row for _, rows in read_files(step.folder / "rows", Comparison) for row in rows)
    return {"outcomes": vars(outcomes(compared))}
