"""Step: ranked conversations → IFT rows, the sets that EFT verdicts are wanted for, and the held-out sets."""

from collections.abc import Callable
from dataclasses import replace

from selfreward_ray.errors import UserError
from selfreward_ray.extensions import given_sets, is_source
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.template import NO_TOOLS
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import Used, used
from selfreward_ray.records import Dropped, RankedSet, SftExample
from selfreward_ray.reporting.formatting import commonest
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.seed.readers import Reading, read_seed
from selfreward_ray.seed.readers.drafts import NOT_FIRST
from selfreward_ray.seed.split import SeedSets, best_reply, divide, ift_example
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step

_ASKED = "tools_for"
"""The figure of the manifest that names the model whose chat template was asked whether it renders tools."""


def seed(recipe: Recipe, *, out: str, label: str = "seed") -> Manifest:
    """Tables `rows` (IFT, `SftExample`), `eft` and `held_out` (`RankedSet`) in `out` (paper, section 3.1.1).

    With ``training.select=judged`` there is a table `validation` (`RankedSet`) too.
    """
    judged = recipe.training.select == "judged"
    sizes = recipe.seed_sizes()
    seed_data = used(sizes, exclude={"validation"})
    if judged:  # others have no such table, which is more than a field at its default
        chosen = {"validation": sizes.validation}
        seed_data = Used(seed_data.values | chosen, seed_data.differing | chosen)
    part = {"seed_data": seed_data, "seed": recipe.seed}
    installed = is_source(sizes.named())
    step = Step("seed", out, part, {} if installed else {"source": sizes.named()})
    if step.is_done():
        skipped(label)
        _check_asked(step, recipe)
        return step.manifest()
    with Progress(label, sizes.ift, "IFT rows") as progress:
        reading = Reading(recipe.seed_data)
        sets, offered = _given(recipe) if installed else read_sets(recipe, reading, progress.say)
        for note in reading.notes():
            progress.say(note)
        check_sets(sets, recipe)
        step.write([ift_example(s) for s in sets.ift], SftExample)
        step.write(sets.eft, RankedSet, "eft")
        step.write(sets.held_out, RankedSet, "held_out")
        if sizes.validation:
            step.write(sets.validation, RankedSet, "validation")
        step.write(sets.dropped, Dropped, "dropped")
        progress.update(len(sets.ift))
        kept = {"ift": len(sets.ift), "eft": len(sets.eft), "held_out": len(sets.held_out)}
        if sizes.validation:
            kept["validation"] = len(sets.validation)
        if short := short_of(sets, recipe):
            progress.say(f"seed_data.source gave fewer sets than were asked for: {', '.join(short)}")
        metrics = kept | reading.figures()
        if any(row.tool_use for row in sets.ift) or any(item.reason == NO_TOOLS for item in sets.dropped):
            metrics[_ASKED] = recipe.model
        return step.finish(offered=offered, kept=sum(kept.values()), metrics=metrics)


def _given(recipe: Recipe) -> tuple[SeedSets, int]:
    """The sets of an installed source, and how many there are."""
    sets = given_sets(recipe)
    return sets, len([*sets.ift, *sets.eft, *sets.held_out, *sets.validation]) + len(sets.dropped)


def short_of(sets: SeedSets, recipe: Recipe) -> list[str]:
    """What there are fewer sets of than were asked for: ``7 of 49 ift``."""
    sizes = recipe.seed_sizes()
    return [
        f"{kept} of {asked} {end}"
        for end in ("ift", "held_out", "validation")
        if (kept := len(getattr(sets, end))) < (asked := getattr(sizes, end))
    ]


def read_sets(
    recipe: Recipe, reading: Reading, say: Callable[[str], None], most: int | None = None
) -> tuple[SeedSets, int]:
    """The sets of files or a hub data set by purpose, and how many sets and lone replies were offered.

    `most` is the number of rows after which reading stops.
    """
    found = list(read_seed(recipe.seed_data, reading, most))
    if any(isinstance(item, RankedSet) and item.tool_use for item in found) and not _renders_tools(recipe, say):
        found = [
            Dropped(item.id, "seed", NO_TOOLS) if isinstance(item, RankedSet) and item.tool_use else item
            for item in found
        ]
    refused = [item for item in found if isinstance(item, Dropped)]
    sets = divide([item for item in found if not isinstance(item, Dropped)], recipe.seed_sizes(), recipe.seed)
    return replace(sets, dropped=refused + sets.dropped), len(found)


def _renders_tools(recipe: Recipe, say: Callable[[str], None]) -> bool:
    """Whether the base model's chat template renders tools; True if the model cannot be opened here, because SFT asks
    the template again."""
    try:
        return ChatCodec(without_weights(recipe.model).folder).renders_tools
    except UserError as error:
        say(
            f"the source has conversations with tools; they are kept, and SFT drops them if the chat template of "
            f"{recipe.model} renders no tools, which cannot be seen here: {error}"
        )
        return True


def _check_asked(step: Step, recipe: Recipe) -> None:
    """Raise `UserError` if another model decided whether conversations with tools are kept."""
    asked = step.manifest().metrics.get(_ASKED, recipe.model)
    if asked != recipe.model:
        raise UserError(
            f"{step.folder.uri} holds a finished 'seed' step whose conversations with tools were chosen for the chat "
            f"template of {asked}; choose another folder, or remove this one to make it again"
        )


def check_sets(sets: SeedSets, recipe: Recipe) -> None:
    """Raise `UserError` where the sets of a whole source lack what the recipe cannot do without."""
    wanted = recipe.seed_data
    if recipe.training.select == "judged" and not sets.validation:
        remedy = (
            "its SeedSets.validation must have some"
            if is_source(wanted.named())
            else "at least ten conversations are needed, of which a tenth is taken; give more of them"
        )
        raise UserError(
            f"{wanted.source} gives no prompt to choose a checkpoint by (seed_data.validation = {wanted.validation}): "
            f"{remedy}, raise seed_data.validation above 0, or set training.select=last"
        )
    left_out = f" (left out: {commonest(sets.dropped)})" if sets.dropped else ""
    if not sets.ift:
        low = [best_reply(s).rank for s in [*sets.eft, *sets.held_out] if best_reply(s).rank > wanted.minimum_rank]
        if low:
            raise UserError(
                f"{wanted.source} gives no IFT row: the best replies of its sets have rank {min(low)} or worse; 0 is "
                f"the best rank: write them so, or set seed_data.minimum_rank={min(low)}"
            )
        remedy = "give other sets, or change what leaves them out" if wanted.ift else "raise seed_data.ift above 0"
        if any(item.reason == NOT_FIRST for item in sets.dropped):
            remedy = "set seed_data.turns=any to take prompts with the messages before them"
        raise UserError(f"{wanted.source} gives no IFT row{left_out}; {remedy}")
    if wanted.eft and not sets.eft:
        written = wanted.verdicts == "written"
        needed = ", and with seed_data.verdicts=written a verdict on a reply" if written else ""
        remedy = ", or seed_data.verdicts=baseline, so that M0 learns to write them" if written else ""
        raise UserError(
            f"{wanted.source} has no set to teach judging with beside those for IFT{left_out}: that takes two replies "
            f"with different ranks{needed}; give such sets, or set seed_data.eft=0{remedy}"
        )
