"""Step: verdicts on ranked replies → EFT rows, from the verdicts that agree with the human ranking."""

from collections import Counter

from selfreward_ray.errors import UserError
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import Dropped, JudgedSet, RankedSet, SftExample
from selfreward_ray.reporting.formatting import commonest
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.seed.eft import choose_eft, written_verdicts
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.tables import read_rows


def eft(recipe: Recipe, *, seed_data: str, verdicts: str | None, out: str, label: str = "EFT") -> Manifest:
    """`SftExample` rows, judge prompt → verdict (paper, section 3.1.1).

    `verdicts` is a verdicts step, or None to use the verdicts in the source of `seed_data` (a seed step). Raises
    `UserError` when no verdict agrees, as the model would not be trained to judge.
    """
    rubric = load_rubric(recipe.judge.rubric)
    seeds = finished_step(seed_data, "seed")
    part = {"seed_data": used(recipe.seed_data), "rubric": used(rubric), "seed": recipe.seed}
    inputs = {"seed": seed_data} | ({} if verdicts is None else {"verdicts": verdicts})
    step = Step("eft", out, part, inputs)
    if step.is_done():
        skipped(label)
        return step.manifest()
    with Progress(label, recipe.seed_data.eft, "EFT rows") as progress:
        if verdicts is None:
            ranked = read_rows(seeds, RankedSet, "eft")
            judged = [written_verdicts(s, rubric) for s in ranked]
        else:
            # Sorted by id, because the order of the files depends on how the pool formed blocks.
            judged = sorted(read_rows(finished_step(verdicts, "verdicts"), JudgedSet), key=lambda s: s.id)
        rows, dropped = choose_eft(judged, recipe.seed_data, rubric, recipe.seed)
        if not rows:
            raise UserError(
                f"{label}: no verdict on any of the {len(dropped)} replies can be used ({commonest(dropped)}); begin "
                "again with a better judge (seed_data.verdicts), more samples (seed_data.verdict_samples), or "
                "seed_data.eft=0"
            )
        step.write([row.example for row in rows], SftExample)
        step.write(dropped, Dropped, "dropped")
        progress.update(len(rows))
        scores = Counter(f"{row.score:g}" for row in rows)
        metrics = {
            "sets": len(judged),
            "sets_agreeing": len({row.set_id for row in rows}),
            "scores": dict(sorted(scores.items())),
        }
        return step.finish(offered=sum(len(s.ranked.replies) for s in judged), metrics=metrics)
