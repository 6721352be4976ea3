"""Pair policies: which candidates of a judged prompt become training rows (paper, section 2.3).

To add a policy, write its function, add a line to `POLICIES` and its name to `recipe.schema.Pairs.policy`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from selfreward_ray.preferences.all_pairs import all_pairs
from selfreward_ray.preferences.best_worst import best_worst
from selfreward_ray.preferences.candidate_set import CandidateSet
from selfreward_ray.preferences.length_controlled import length_controlled
from selfreward_ray.preferences.positive_only import positive_only
from selfreward_ray.preferences.preference_strength import preference_strength
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Dropped, Pair, Positive

R = TypeVar("R")


@dataclass(frozen=True)
class PairPolicy(Generic[R]):
    """A policy, the type of row that it makes, and the training step that uses such rows."""

    choose: Callable[[CandidateSet, Pairs], list[R] | Dropped]
    """Returns at least one row, or a `Dropped` row with the reason."""
    record: type[R]
    trained_by: Literal["dpo", "sft"]
    """DPO continues from the model that wrote the replies. SFT starts again from M0 and includes the seed examples."""


POLICIES: dict[str, PairPolicy[Pair] | PairPolicy[Positive]] = {
    "best-worst": PairPolicy(best_worst, Pair, "dpo"),
    "positive-only": PairPolicy(positive_only, Positive, "sft"),
    "length-controlled": PairPolicy(length_controlled, Pair, "dpo"),
    "all-pairs": PairPolicy(all_pairs, Pair, "dpo"),
    "preference-strength": PairPolicy(preference_strength, Pair, "dpo"),
}
