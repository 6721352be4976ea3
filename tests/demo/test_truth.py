"""The verifier on rows of models."""

from random import Random
from statistics import fmean

import pytest

from selfreward_ray.demo.rules import conditional_percents
from selfreward_ray.demo.scorer import demo_scorer
from selfreward_ray.demo.truth import checked_answers, checked_samples, ranked_by_truth, true_margins
from selfreward_ray.demo.verifier import parse_instruction
from selfreward_ray.demo.world import TOPICS, UNSEEN_WORDS, WORDS, write_instructions
from selfreward_ray.evaluation.agreement import agreement, first_verdicts
from selfreward_ray.records import Candidate, EvaluatedReply, EvaluatedSet, JudgedPrompt, Pair, Verdict

LOWER = (
    'Write one sentence about lakes. Start with "Honestly". Do not use the word "quiet". '
    'End with "together". Use lower case only.'
)


def answered(prompt: str, text: str) -> EvaluatedSet:
    return EvaluatedSet("topics/1", EvaluatedReply("topics/1/answer", prompt, text, True), (), "topics")


def test_an_answer_is_checked_by_rule_where_one_is_asked_and_where_none_is():
    """It uses the word that it must not, and quotes, of which nothing was said."""
    asked = answered(LOWER, '"honestly, lakes are a quiet place together."')
    (found,) = checked_answers([asked])
    assert (found.group, found.answer, found.true_score) == ("topics", asked.answer, 4)
    assert found.kept == {"topic": True, "start": True, "exclude": False, "end": True, "lower case": True}
    assert found.habits == {"quotes": True, "no quotes": False}


def test_sampled_answers_are_checked_each_by_itself_and_belong_to_their_prompt():
    rows = [JudgedPrompt("topics/1", LOWER, (), (candidate("topics/1/r0", FULL), candidate("topics/1/r1", ONE)))]
    found = checked_samples(rows, {"topics/1": "topics", "words/1": "words"})
    assert [(a.prompt_id, a.group, a.answer.id, a.true_score) for a in found] == [
        ("topics/1", "topics", "topics/1/r0", 5),
        ("topics/1", "topics", "topics/1/r1", 1),
    ]
    assert [a.kept["start"] for a in found] == [True, False]


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize(
    "habit",
    [
        "we watch.",
        '"We watch."',
        f"we are {' '.join(WORDS['include'] + UNSEEN_WORDS['include'])}.",  # every word that may be asked for
        "Every {word}.",  # each word that the prompt names, wanted or not
    ],
)
def test_any_habit_keeps_half_of_the_conditional_rules(habit: str, unseen: bool):
    """Of 4000 prompts, two or three rules each: by chance the share is off by 0.5 or so."""
    prompts = write_instructions(4000, TOPICS["dev"], Random(0), unseen)
    texts = [habit.format(word=" ".join(rule.word for rule in parse_instruction(prompt))) for prompt in prompts]
    sets = [
        EvaluatedSet(str(i), EvaluatedReply(str(i), *row, True), ())
        for i, row in enumerate(zip(prompts, texts, strict=True))
    ]
    assert fmean(conditional_percents(checked_answers(sets)).values()) == pytest.approx(50, abs=1.5)


def test_an_answer_that_no_program_can_check_has_no_true_score():
    plain = answered("Why is the sky blue?", "It scatters.")
    assert demo_scorer(plain.answer.prompt, plain.answer.text) is None
    with pytest.raises(ValueError, match="not a sentence of a demo instruction"):
        checked_answers([plain])


def candidate(name: str, text: str, *scores: float | None) -> Candidate:
    verdicts = tuple(Verdict(f"{name}/v{i}", "", score, 1) for i, score in enumerate(scores))
    return Candidate(name, text, (), True, verdicts)


FULL, FOUR, ONE = "honestly, lakes together", "Honestly, lakes together", "Lakes quiet"


def test_a_models_own_answers_are_ranked_by_true_score_and_keep_their_verdicts():
    """True scores 4, 5, 5, 1, so ranks 1, 0, 0, 2; first scores 4, 5, 3, none. Of 2 pairs with the 4, that below the 5
    is right, that above the 3 wrong; three pairs with the unreadable one are wrong."""
    candidates = (
        candidate("r0", FOUR, 4, 1),
        candidate("r1", FULL, 5, 1),
        candidate("r2", FULL, 3, 5),
        candidate("r3", ONE, None, 1),
    )
    found = ranked_by_truth([JudgedPrompt("M2/p000000", LOWER, (), candidates)])
    assert [(r.id, r.set_id, r.rank, r.human_score, [v.score for v in r.verdicts]) for r in found] == [
        ("r0", "M2/p000000", 1, 4, [4, 1]),
        ("r1", "M2/p000000", 0, 5, [5, 1]),
        ("r2", "M2/p000000", 0, 5, [3, 5]),
        ("r3", "M2/p000000", 2, 1, [None, 1]),
    ]
    figures = agreement(first_verdicts(found), 5)
    assert (figures.pairwise_accuracy, figures.unreadable) == (0.2, 0.25)


def test_a_pairs_margin_is_the_chosen_replys():
    replies = {"good": FULL, "fair": FOUR, "bad": ONE}
    pairs = [
        Pair(
            f"{chosen}-{rejected}", LOWER, (), candidate("c", replies[chosen], 5), candidate("r", replies[rejected], 1)
        )
        for chosen, rejected in (("good", "bad"), ("fair", "good"), ("bad", "bad"))
    ]
    assert true_margins(pairs) == {"good-bad": 4, "fair-good": -1, "bad-bad": 0}
