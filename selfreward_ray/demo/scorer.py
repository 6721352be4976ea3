"""The demo world's verifier as a scorer: `demo` in ``evaluation.scorer``."""

from selfreward_ray.demo.verifier import MAX_TRUE_SCORE, is_demo_instruction, true_score
from selfreward_ray.extensions import Score


def demo_scorer(prompt: str, reply: str) -> Score | None:
    """The true score of `reply`; None for a prompt that is not the demo world's."""
    return Score(true_score(prompt, reply), MAX_TRUE_SCORE) if is_demo_instruction(prompt) else None
