"""Step: the prompts of one iteration, from a model by 8-shot prompting, from a file, or from an installed source."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import takewhile
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.extensions import given_prompts, is_source
from selfreward_ray.prompts.given import LATER_TURN, prompt_reading, read_prompts
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import Dropped, Prompt, prompt_id
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.steps.asked_model import asked_part, proposer_of
from selfreward_ray.steps.proposal_rounds import Proposer, propose_by_model
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.parts import writing_parts
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.user_files import read_user_rows


def propose(
    recipe: Recipe,
    *,
    seed_data: str,
    iteration: int,
    out: str,
    earlier: Sequence[str] = (),
    label: str = "prompts",
    proposer: Proposer | None = None,
) -> Manifest:
    """`Prompt` rows of `iteration` in `out` (paper, section 2.2, step 1).

    `seed_data` is a seed step, `earlier` are the propose steps of the iterations before, which a new prompt that a
    model writes must not repeat. `proposer` is one that is open; without it the step opens its own.
    """
    seeds = finished_step(seed_data, "seed")
    # Without the budget: what was proposed before it was spent is as good after it is raised.
    part = {"prompts": used(recipe.prompts, exclude={"max_requests"}), "seed": recipe.seed, "iteration": iteration}
    source = recipe.prompts.source
    installed = is_source(source)
    inputs = {"seed": seed_data}
    if source == "model":
        part |= asked_part(recipe, proposer_of(recipe))
        inputs |= {"source": proposer_of(recipe)} | {f"earlier {n}": uri for n, uri in enumerate(earlier)}
    elif not installed:
        inputs["source"] = source
    step = Step("propose", out, part, inputs)
    if step.is_done():
        skipped(label)
        return step.manifest()
    with Progress(label, recipe.prompts.count, "prompts") as progress:
        if source == "model":
            before = [finished_step(uri, "propose") for uri in earlier]
            with nullcontext(proposer) if proposer else Proposer(recipe) as opened:
                return propose_by_model(recipe, step, seeds, iteration, before, progress, opened)
        with (
            writing_parts(step.folder, "rows", Prompt) as keep,
            writing_parts(step.folder, "dropped", Dropped) as drop,
        ):
            if not installed:
                offered, figures = _from_file(recipe, iteration, progress, keep, drop)
            else:
                for prompt in (prompts := given_prompts(recipe, iteration)):
                    keep(prompt)
                offered, figures = len(prompts), {}
        progress.update(recipe.prompts.count)
        return step.finish(offered=offered, metrics=figures)


def _from_file(
    recipe: Recipe, iteration: int, progress: Progress, keep: Callable[[Prompt], None], drop: Callable[[Dropped], None]
) -> tuple[int, dict[str, Any]]:
    """Keep the iteration's own stretch of the prompts in ``prompts.source``, and drop what cannot be used in it.

    Returns the number of both, and how it was read.
    """
    wanted, source = recipe.prompts, recipe.prompts.source
    first = wanted.count * (iteration - 1)
    last = first + wanted.count
    reading = prompt_reading(wanted, "prompts.source", wanted.split)
    place = offered = 0
    rows = takewhile(lambda _: place < last, read_user_rows(source, wanted.split, "prompts.source"))
    for found in read_prompts(rows, reading):
        if first <= place < last:
            if isinstance(found, Dropped):
                drop(replace(found, step="propose"))
                offered += 1
            else:
                text, *later = found.turns
                keep(Prompt(prompt_id(iteration, place - first), text, found.history))
                for n in range(len(later)):
                    drop(Dropped(f"{found.where}/t{n + 1}", "propose", LATER_TURN))
                offered += 1 + len(later)
        place += not isinstance(found, Dropped)
    for note in reading.notes():
        progress.say(note)
    if place < last:
        raise UserError(
            f"prompts.source: {source} has {place} prompts; iteration {iteration} needs rows {first + 1} to {last}: "
            "give a longer file, or lower prompts.count in a new run"
        )
    return offered, reading.figures()
