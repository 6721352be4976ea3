"""Step: the prompts of one iteration, from a model by 8-shot prompting, from a file, or from an installed source."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice

from selfreward_ray.errors import UserError
from selfreward_ray.extensions import given_prompts, is_source
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Prompt, prompt_id
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.steps.proposal_rounds import Proposer, propose_by_model, proposer_of
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.user_files import Fields, Filled, parse, read_user_rows


class _PromptRow(Fields):
    prompt: Filled


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
    part = {"prompts": recipe.prompts.model_dump(exclude={"max_requests"}), "seed": recipe.seed, "iteration": iteration}
    source = recipe.prompts.source
    installed = is_source(source)
    inputs = {"seed": seed_data}
    if source == "model":
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
        count = recipe.prompts.count
        prompts = given_prompts(recipe, iteration) if installed else _from_file(source, count, iteration)
        step.write(prompts, Prompt)
        progress.update(len(prompts))
        return step.finish(offered=len(prompts))


def _from_file(source: str, count: int, iteration: int) -> list[Prompt]:
    """The iteration's own stretch of the prompts in `source`."""
    first = count * (iteration - 1)
    rows = list(islice(read_user_rows(source, "train", "prompts.source"), first + count))
    if len(rows) < first + count:
        raise UserError(
            f"prompts.source: {source} has {len(rows)} prompts; iteration {iteration} needs rows {first + 1} to "
            f"{first + count}: give a longer file, or lower prompts.count in a new run"
        )
    texts = [parse(_PromptRow, row.fields, row.where).prompt for row in rows[first:]]
    return [Prompt(prompt_id(iteration, i), text) for i, text in enumerate(texts)]
