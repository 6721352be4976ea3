"""Pair policies: which two candidates of a judged prompt become a preference. A new policy is a line here."""

from collections.abc import Callable

from selfreward_ray.preferences.best_worst import best_worst
from selfreward_ray.recipe import Judge
from selfreward_ray.records import Dropped, JudgedPrompt, Pair

PairPolicy = Callable[[JudgedPrompt, Judge], list[Pair] | Dropped]
"""Pairs of a judged prompt (at least one), or the reason why it gives none."""

POLICIES: dict[str, PairPolicy] = {"best-worst": best_worst}
