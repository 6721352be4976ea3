"""The demo world as the source `demo` (``seed_data.source``, ``prompts.source``)."""

from selfreward_ray.demo.annotator import demo_seed_sets
from selfreward_ray.demo.world import demo_prompts
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Prompt
from selfreward_ray.seed.split import SeedSets


class DemoSource:
    """Ranked sets of the demo world's annotator, and new prompts; see `selfreward_ray.extensions.Source`."""

    def seed_sets(self, wanted: SeedData, seed: int) -> SeedSets:
        return demo_seed_sets(wanted, seed)

    def prompts(self, count: int, seed: int, iteration: int) -> list[Prompt]:
        return demo_prompts(count, seed, iteration)
