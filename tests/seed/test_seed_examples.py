import re

import pytest

from selfreward_ray.records import Dropped, RankedReply, RankedSet, SftExample
from selfreward_ray.seed.examples import agreeing, eft_examples, ift_example


class Marks:
    """A rubric small enough to read."""

    def render(self, prompt: str, reply: str) -> str:
        return f"Judge <{reply}> for <{prompt}>"

    def read_score(self, text: str) -> float | None:
        found = re.search(r"Score: (\d)", text)
        return float(found[1]) if found else None


def ranked(*replies: tuple[int, str | None]) -> RankedSet:
    """A set of replies of the given ranks and verdicts."""
    made = [RankedReply(f"s/r{i}", f"text {i}", rank, None, verdict) for i, (rank, verdict) in enumerate(replies)]
    return RankedSet("s", "Why?", tuple(made))


def test_ift_takes_the_best_ranked_reply():
    assert ift_example(ranked((2, None), (0, None), (1, None))) == SftExample("s/r1/ift", "ift", "Why?", "text 1")


def test_ift_takes_the_first_of_equally_good_replies():
    assert ift_example(ranked((1, None), (0, None), (0, None))).target == "text 1"


@pytest.mark.parametrize(
    ("ranks", "scores", "expected"),
    [
        ((0, 1), (4, 2), True),
        ((0, 1), (2, 4), False),
        ((0, 1), (3, 3), False),  # better ranked, but not better scored
        ((1, 0), (2, 4), True),
        ((0, 0), (4, 2), False),  # people saw no difference: nothing to agree on
        ((0, 0, 1), (4, 2, 1), True),  # equal ranks may score anything
        ((0, 0, 1), (4, 1, 1), False),
        ((0, 1, 2), (5, 3, 1), True),
        ((0, 1, 2), (5, 1, 3), False),
        ((0, 1, 2), (5, None, 1), True),  # no score: passed over
        ((0, 1, 2), (1, None, 5), False),
        ((0, 1), (5, None), False),
        ((0, 1), (None, None), False),
        ((0,), (5,), False),
    ],
)
def test_agreement(ranks, scores, expected):
    ranked_set = ranked(*((rank, None) for rank in ranks))
    given_scores = {f"s/r{i}": score for i, score in enumerate(scores) if score is not None}
    assert agreeing(ranked_set, given_scores) is expected


def test_eft_asks_the_judge_prompt_and_answers_with_the_verdict():
    assert eft_examples(ranked((1, "Poor. Score: 1"), (0, "Good. Score: 4")), Marks()) == [
        SftExample("s/r0/eft", "eft", "Judge <text 0> for <Why?>", "Poor. Score: 1"),
        SftExample("s/r1/eft", "eft", "Judge <text 1> for <Why?>", "Good. Score: 4"),
    ]


def test_eft_passes_over_replies_without_a_verdict():
    rows = eft_examples(ranked((0, "Score: 4"), (1, None), (2, "Score: 1")), Marks())
    assert isinstance(rows, list)
    assert [row.id for row in rows] == ["s/r0/eft", "s/r2/eft"]


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([(0, "Score: 1"), (1, "Score: 4")], "the verdicts' scores do not agree with the ranking"),
        ([(0, "Score: 4"), (1, "Score: 1"), (2, "Poor.")], "no score can be read from the verdict of s/r2"),
        ([(0, None), (1, None)], "no reply has a written verdict"),
    ],
)
def test_a_set_that_does_not_serve_is_dropped_whole(replies, reason):
    assert eft_examples(ranked(*replies), Marks()) == Dropped("s", "seed", reason)
