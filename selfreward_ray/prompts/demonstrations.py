"""The prompts that a proposal request shows, and whether there are such as the recipe wants."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import TypeVar

from selfreward_ray.errors import UserError
from selfreward_ray.prompts.filters import FILTER_OF, LENGTHS, first_refusal, length
from selfreward_ray.recipe.schema import Prompts, Recipe
from selfreward_ray.records import SftExample

T = TypeVar("T")


def shown_in_round(seeds: Sequence[T], kept: Sequence[T], recipe: Recipe, iteration: int, asked: int) -> list[list[T]]:
    """For each request of a round what it shows, in its order: of the `seeds`, and of the proposals that are `kept`.

    `asked` is the number of requests before the round. The draw depends on the recipe's seed and on how many there are
    of both alone, so that it can be made again.
    """
    wanted = recipe.prompts
    rng = Random(f"propose {recipe.seed} {iteration} {asked}")

    def shown() -> list[T]:
        new = rng.sample(kept, min(len(kept), wanted.new_demonstrations))
        tasks = [*rng.sample(seeds, min(len(seeds), wanted.seed_demonstrations)), *new]
        rng.shuffle(tasks)
        return tasks

    return [shown() for _ in range(wanted.requests_per_round)]


def seed_demonstrations(examples: Sequence[SftExample], wanted: Prompts, source: str) -> list[SftExample]:
    """IFT rows whose prompts are used as demonstrations: of the length of new prompts, preceded at most by a system
    message, and without tools.

    Raises `UserError`, which names their `source`, if there are fewer than a request shows, or if the filters would
    refuse nearly all of them.
    """
    opening = [e for e in examples if e.tool_use is None and all(turn.role == "system" for turn in e.history)]
    seeds = [example for example in opening if length(example.prompt) is None]
    if len(seeds) < wanted.seed_demonstrations:
        raise UserError(
            f"prompts: {source} has {len(seeds)} IFT prompts of {LENGTHS} that open a conversation, "
            f"fewer than prompts.seed_demonstrations = {wanted.seed_demonstrations}; give more seeds, or lower it"
        )
    _check_filters(wanted, [example.prompt for example in seeds])
    return seeds


def _check_filters(wanted: Prompts, seeds: list[str]) -> None:
    """Raise `UserError` if the filters would refuse nearly all seed prompts, before an engine is started."""
    refused = Counter(reason for seed in seeds if (reason := first_refusal(seed, wanted.filter_names)))
    if seeds and 10 * refused.total() >= 9 * len(seeds):
        (reason, count), *_ = refused.most_common(1)
        raise UserError(
            f"prompts: the filters of prompts.filters refuse {refused.total()} of the {len(seeds)} seed prompts "
            f"themselves, so they would refuse proposals like them: {count} {reason}, the filter {FILTER_OF[reason]}; "
            "set prompts.filters=minimal, which suits any language, or list other filters, or give prompts of your own "
            "with prompts.source=FILE"
        )
