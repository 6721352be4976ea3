"""Step: ranked conversations → IFT and EFT rows, and the held-out sets."""

from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe import Recipe
from selfreward_ray.records import Dropped, RankedSet, SftExample
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step
from selfreward_ray.seed.demo.annotator import demo_seed_sets
from selfreward_ray.seed.readers import read_seed
from selfreward_ray.seed.split import SeedSets, divide, split_seed


def seed(recipe: Recipe, *, out: str, label: str = "seed") -> Manifest:
    """Tables `rows` (`SftExample`) and `held_out` (`RankedSet`) in `out` (paper, section 2.1)."""
    sizes = recipe.seed_data
    rubric = load_rubric(recipe.judge.rubric)
    part = {"seed_data": sizes.model_dump(), "rubric": rubric.model_dump(), "seed": recipe.seed}
    step = Step("seed", out, part, {} if sizes.source == "demo" else {"source": sizes.source})
    if step.is_done():
        skipped(label)
        return step.manifest()
    with Progress(label, sizes.ift + sizes.eft, "examples") as progress:
        split = split_seed(_sets(recipe), sizes, rubric)
        step.write(split.examples, SftExample)
        step.write(split.held_out, RankedSet, "held_out")
        step.write(split.dropped, Dropped, "dropped")
        progress.update(len(split.examples))
        kinds = {kind: sum(e.kind == kind for e in split.examples) for kind in ("ift", "eft")}
        made = {**kinds, "held_out": len(split.held_out)}
        short = [f"{n} of {asked} {kind}" for kind, n in made.items() if n < (asked := getattr(sizes, kind))]
        if short:
            progress.say(f"seed_data.source gave less than was asked for: {', '.join(short)}")
        return step.finish(offered=len(split.examples) + len(split.dropped), metrics=kinds)


def _sets(recipe: Recipe) -> SeedSets:
    if recipe.seed_data.source == "demo":
        return demo_seed_sets(recipe.seed_data, recipe.seed)
    sets = [found for found in read_seed(recipe.seed_data) if isinstance(found, RankedSet)]
    return divide(sets, recipe.seed_data, recipe.seed)
