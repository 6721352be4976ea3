"""The demo world's verifier as the scorer `demo` (``evaluation.scorer``)."""

from selfreward_ray.demo.verifier import MAX_TRUE_SCORE, is_demo_instruction, true_score
from selfreward_ray.extensions import Score


def demo_scorer(prompt: str, reply: str) -> Score | None:
    """The true score of `reply`; None if the prompt is not from the demo world."""
    return Score(true_score(prompt, reply), MAX_TRUE_SCORE) if is_demo_instruction(prompt) else None
