"""Pair policies: what of a judged prompt is trained on. A new policy is a line here, and its name in the recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from selfreward_ray.preferences.all_pairs import all_pairs
from selfreward_ray.preferences.best_worst import best_worst
from selfreward_ray.preferences.candidate_set import CandidateSet
from selfreward_ray.preferences.length_controlled import length_controlled
from selfreward_ray.preferences.positive_only import positive_only
from selfreward_ray.preferences.preference_strength import preference_strength
from selfreward_ray.recipe.schema import Pairs
from selfreward_ray.records import Dropped, Pair, Positive

R = TypeVar("R")


@dataclass(frozen=True)
class PairPolicy(Generic[R]):
    """A policy, the kind of row it makes, and how such rows are trained on."""

    choose: Callable[[CandidateSet, Pairs], list[R] | Dropped]
    """Rows of a judged prompt (at least one), or the reason why it gives none."""
    record: type[R]
    trained_by: Literal["dpo", "sft"]
    """DPO goes on from the model that gave the replies; SFT starts from M0 again, with the seed's examples too."""


POLICIES: dict[str, PairPolicy[Pair] | PairPolicy[Positive]] = {
    "best-worst": PairPolicy(best_worst, Pair, "dpo"),
    "positive-only": PairPolicy(positive_only, Positive, "sft"),
    "length-controlled": PairPolicy(length_controlled, Pair, "dpo"),
    "all-pairs": PairPolicy(all_pairs, Pair, "dpo"),
    "preference-strength": PairPolicy(preference_strength, Pair, "dpo"),
}
