"""The seed prompts that a proposal request shows, and whether there are such as the recipe wants."""

from collections import Counter
from collections.abc import Sequence

from selfreward_ray.errors import UserError
from selfreward_ray.prompts.filters import FILTER_OF, LENGTHS, first_refusal, length
from selfreward_ray.recipe.schema import Prompts
from selfreward_ray.records import SftExample


def demonstrations(examples: Sequence[SftExample], wanted: Prompts, source: str) -> list[str]:
    """IFT prompts for use as demonstrations: of the length of new prompts, preceded at most by a system message, and
    without tools.

    Raises `UserError`, which names their `source`, if there are fewer than a request shows, or if the filters would
    refuse nearly all of them.
    """
    opening = [e.prompt for e in examples if e.tool_use is None and all(turn.role == "system" for turn in e.history)]
    seeds = [prompt for prompt in opening if length(prompt) is None]
    if len(seeds) < wanted.seed_demonstrations:
        raise UserError(
            f"prompts: {source} has {len(seeds)} IFT prompts of {LENGTHS} that open a conversation, "
            f"fewer than prompts.seed_demonstrations = {wanted.seed_demonstrations}; give more seeds, or lower it"
        )
    _check_filters(wanted, seeds)
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
