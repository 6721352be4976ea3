"""What the verifier of the demo world says of models' rows."""

from collections.abc import Iterable, Mapping

from selfreward_ray.demo.rules import CheckedAnswer
from selfreward_ray.demo.verifier import habits, kept_rules, true_score
from selfreward_ray.records import EvaluatedReply, EvaluatedSet, JudgedPrompt, JudgedReply, Pair


def checked_answers(sets: Iterable[EvaluatedSet]) -> list[CheckedAnswer]:
    """The answers of an evaluate step, checked. Raises `ValueError` for a prompt that is not the demo world's."""
    return [_checked(s.id, s.group, s.answer) for s in sets]


def checked_samples(prompts: Iterable[JudgedPrompt], groups: Mapping[str, str]) -> list[CheckedAnswer]:
    """The candidates of a sample step, checked; `groups` are the held-out sets by prompt. Raises `ValueError` for a
    prompt that is not the demo world's."""
    return [
        _checked(p.id, groups[p.id], EvaluatedReply(c.id, p.text, c.text, c.finished))
        for p in prompts
        for c in p.candidates
    ]


def _checked(prompt_id: str, group: str, answer: EvaluatedReply) -> CheckedAnswer:
    row = answer.prompt, answer.text
    return CheckedAnswer(prompt_id, group, answer, true_score(*row), kept_rules(*row), habits(*row))


def ranked_by_truth(prompts: Iterable[JudgedPrompt]) -> list[JudgedReply]:
    """Judged candidates as if a person had ranked them by true score, with the first verdict on each.

    One verdict, as on the replies that annotators ranked, so that the agreement on both can be compared.
    """
    return [reply for prompt in prompts for reply in _ranked(prompt)]


def _ranked(prompt: JudgedPrompt) -> list[JudgedReply]:
    scores = [true_score(prompt.text, candidate.text) for candidate in prompt.candidates]
    best_first = sorted(set(scores), reverse=True)
    return [
        JudgedReply(candidate.id, prompt.id, best_first.index(score), score, candidate.verdicts[0])
        for candidate, score in zip(prompt.candidates, scores, strict=True)
    ]


def true_margins(pairs: Iterable[Pair]) -> dict[str, int]:
    """By the pair's id, the true score of the chosen reply less that of the rejected one: above 0 is a right pair."""
    return {
        pair.id: true_score(pair.prompt, pair.chosen.text) - true_score(pair.prompt, pair.rejected.text)
        for pair in pairs
    }
