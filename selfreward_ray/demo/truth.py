"""Apply the demo world's verifier to the rows of models."""

from collections.abc import Iterable, Mapping

from selfreward_ray.demo.rules import CheckedAnswer
from selfreward_ray.demo.verifier import habits, kept_rules, true_score
from selfreward_ray.records import EvaluatedReply, EvaluatedSet, JudgedPrompt, JudgedReply, Pair


def checked_answers(sets: Iterable[EvaluatedSet]) -> list[CheckedAnswer]:
    """Check the answers of an evaluate step. Raises `ValueError` if a prompt is not from the demo world."""
    return [_checked(s.id, s.group, s.answer) for s in sets]


def checked_samples(prompts: Iterable[JudgedPrompt], groups: Mapping[str, str]) -> list[CheckedAnswer]:
    """Check the candidates of a sample step. `groups` maps prompt ids to names of held-out sets.

    Raises `ValueError` if a prompt is not from the demo world.
    """
    return [
        _checked(p.id, groups[p.id], EvaluatedReply(c.id, p.text, c.text, c.finished))
        for p in prompts
        for c in p.candidates
    ]


def _checked(prompt_id: str, group: str, answer: EvaluatedReply) -> CheckedAnswer:
    row = answer.prompt, answer.text
    return CheckedAnswer(prompt_id, group, answer, true_score(*row), kept_rules(*row), habits(*row))


def ranked_by_truth(prompts: Iterable[JudgedPrompt]) -> list[JudgedReply]:
    """Rank judged candidates by true score in place of human ranks, with the verdicts on each."""
    return [reply for prompt in prompts for reply in _ranked(prompt)]


def _ranked(prompt: JudgedPrompt) -> list[JudgedReply]:
    scores = [true_score(prompt.text, candidate.text) for candidate in prompt.candidates]
    best_first = sorted(set(scores), reverse=True)
    return [
        JudgedReply(candidate.id, prompt.id, best_first.index(score), score, candidate.verdicts)
        for candidate, score in zip(prompt.candidates, scores, strict=True)
    ]


def true_margins(pairs: Iterable[Pair]) -> dict[str, int]:
    """By pair id, the true score of the chosen reply minus that of the rejected one. Above 0 the label is right."""
    return {
        pair.id: true_score(pair.prompt, pair.chosen.text) - true_score(pair.prompt, pair.rejected.text)
        for pair in pairs
    }
