"""Step: ranked conversations → IFT rows, the sets that EFT verdicts are wanted for, and the held-out sets."""

from collections import Counter

from selfreward_ray.recipe import Recipe
from selfreward_ray.records import Dropped, RankedSet, SftExample
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step
from selfreward_ray.seed.demo.annotator import demo_seed_sets
from selfreward_ray.seed.errors import SeedError
from selfreward_ray.seed.examples import ift_example
from selfreward_ray.seed.readers import read_seed
from selfreward_ray.seed.split import SeedSets, divide


def seed(recipe: Recipe, *, out: str, label: str = "seed") -> Manifest:
    """Tables `rows` (IFT, `SftExample`), `eft` and `held_out` (`RankedSet`) in `out` (paper, section 3.1.1)."""
    sizes = recipe.seed_data
    part = {"seed_data": sizes.model_dump(), "seed": recipe.seed}
    step = Step("seed", out, part, {} if sizes.source == "demo" else {"source": sizes.source})
    if step.is_done():
        skipped(label)
        return step.manifest()
    with Progress(label, sizes.ift, "IFT rows") as progress:
        sets, offered = _demo(recipe) if sizes.source == "demo" else _from_source(recipe)
        _check(sets, recipe)
        step.write([ift_example(s) for s in sets.ift], SftExample)
        step.write(sets.eft, RankedSet, "eft")
        step.write(sets.held_out, RankedSet, "held_out")
        step.write(sets.dropped, Dropped, "dropped")
        progress.update(len(sets.ift))
        kept = {"ift": len(sets.ift), "eft": len(sets.eft), "held_out": len(sets.held_out)}
        wanted = {"ift": sizes.ift, "held_out": sizes.held_out}
        short = [f"{kept[end]} of {asked} {end}" for end, asked in wanted.items() if kept[end] < asked]
        if short:
            progress.say(f"seed_data.source gave fewer sets than were asked for: {', '.join(short)}")
        return step.finish(offered=offered, kept=sum(kept.values()), metrics=kept)


def _demo(recipe: Recipe) -> tuple[SeedSets, int]:
    sets = demo_seed_sets(recipe.seed_data, recipe.seed)
    return sets, len(sets.ift) + len(sets.eft) + len(sets.held_out)


def _from_source(recipe: Recipe) -> tuple[SeedSets, int]:
    """The source's sets by purpose, and how many sets and lone replies it offered."""
    found = list(read_seed(recipe.seed_data))
    refused = [item for item in found if isinstance(item, Dropped)]
    sets = divide([item for item in found if not isinstance(item, Dropped)], recipe.seed_data, recipe.seed)
    return SeedSets(sets.ift, sets.eft, sets.held_out, refused + sets.dropped), len(found)


def _check(sets: SeedSets, recipe: Recipe) -> None:
    source = recipe.seed_data.source
    if not sets.ift:
        reason, count = Counter(d.reason for d in sets.dropped).most_common(1)[0] if sets.dropped else ("no set", 0)
        raise SeedError(
            f"{source} gives no IFT row (most often: {count} times {reason}); ranks begin at 0, the best, and "
            "seed_data.minimum_rank says which are taken: give more ranked sets, or raise it or seed_data.ift"
        )
    if recipe.seed_data.eft and not sets.eft:
        written = " and a written verdict" if recipe.seed_data.verdicts == "written" else ""
        raise SeedError(
            f"{source} has no set left to teach judging with: it needs sets of two or more replies with different "
            f"ranks{written}; give such sets, or set seed_data.eft to 0"
        )
