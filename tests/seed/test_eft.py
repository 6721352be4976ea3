"""EFT: which verdicts are kept, and why the others are not."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import JudgedSet, RankedReply, RankedSet, ReplyVerdicts, SftExample, Turn, Verdict
from selfreward_ray.seed.eft import (
    BEYOND,
    DISAGREES,
    NO_VERDICT,
    THINNED,
    UNREADABLE,
    EftRow,
    agreeing,
    agreeing_draw,
    choose_eft,
    eft_rows,
    thin,
    written_verdicts,
)
from selfreward_ray.seed.split import ift_example


class Marks:
    """A rubric small enough to read."""

    def render(self, prompt: str, reply: str) -> str:
        return f"Judge <{reply}> for <{prompt}>"

    def read_score(self, text: str) -> float | None:
        found = re.search(r"Score: (\d)", text)
        return float(found[1]) if found else None


def ranked(*ranks: int, name: str = "s", history: tuple[Turn, ...] = ()) -> RankedSet:
    return RankedSet(
        name, "Why?", tuple(RankedReply(f"{name}/r{i}", f"text {i}", r) for i, r in enumerate(ranks)), history
    )


def judged(ranks: tuple[int, ...], *draws: tuple[float | None, ...], name: str = "s") -> JudgedSet:
    """A set judged in `draws`: the j-th holds a score for each reply."""
    replies = tuple(
        ReplyVerdicts(
            f"{name}/r{i}",
            tuple(Verdict(f"{name}/r{i}/v{j}", f"draw {j}", draw[i], 1) for j, draw in enumerate(draws)),
        )
        for i in range(len(ranks))
    )
    return JudgedSet(name, ranked(*ranks, name=name), replies)


def row(name: str, score: float) -> EftRow:
    return EftRow(name, name.split("/")[0], SftExample(f"{name}/eft", "eft", "q", "v"), score)


def test_ift_takes_the_best_ranked_reply_and_of_equally_good_ones_the_first():
    assert ift_example(ranked(2, 0, 1)) == SftExample("s/r1/ift", "ift", "Why?", "text 1")
    assert ift_example(ranked(1, 0, 0)).target == "text 1"


def test_ift_keeps_what_was_said_before():
    before = (Turn("user", "Hi."), Turn("assistant", "Hello."))
    assert ift_example(ranked(0, history=before)).history == before


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
        ((0, 2, 7), (5, 3, 1), True),  # gaps, where replies were left out
        ((0, 1), (5, None), False),
        ((0, 1), (None, None), False),
        ((0,), (5,), False),
    ],
)
def test_agreement(ranks, scores, expected):
    given_scores = {f"s/r{i}": score for i, score in enumerate(scores) if score is not None}
    assert agreeing(ranked(*ranks), given_scores) is expected


@pytest.mark.parametrize(
    ("ranks", "draws", "chosen"),
    [
        ((0, 1), [(4, 2)], {0: 0, 1: 0}),
        ((0, 1), [(2, 4), (3, 3), (4, 2)], {0: 2, 1: 2}),
        ((0, 1), [(5, 4), (4, 2)], {0: 0, 1: 0}),  # of several the first
        ((0, 1, 2), [(5, 3, None), (5, 3, 1)], {0: 1, 1: 1, 2: 1}),  # but the most readable before the first
        ((0, 1, 2), [(5, 3, None), (1, 3, 5)], {0: 0, 1: 0}),
        ((0, 1), [(2, 4), (3, 3)], None),
        ((0, 1), [(5, None), (None, 1)], None),  # draws are not combined, though 5 and 1 would agree
        ((0, 1), [], None),
    ],
)
def test_one_draw_that_agrees_is_taken_whole(ranks, draws, chosen):
    found = agreeing_draw(judged(ranks, *draws))
    expected = None if chosen is None else {f"s/r{i}": f"s/r{i}/v{j}" for i, j in chosen.items()}
    assert (None if found is None else {reply: verdict.id for reply, verdict in found.items()}) == expected


def test_a_row_asks_the_judge_prompt_and_answers_with_the_verdict():
    rows, dropped = eft_rows(judged((0, 1, 2), (4, None, 1)), Marks())
    assert [(r.id, r.set_id, r.score) for r in rows] == [("s/r0", "s", 4), ("s/r2", "s", 1)]
    assert rows[0].example == SftExample("s/r0/eft", "eft", "Judge <text 0> for <Why?>", "draw 0")
    assert [(d.id, d.reason) for d in dropped] == [("s/r1", UNREADABLE)]


def test_the_judge_is_shown_what_was_said_before():
    sets = ranked(0, 1, history=(Turn("user", "Hi."), Turn("assistant", "Hello.")))
    rows, _ = eft_rows(JudgedSet("s", sets, judged((0, 1), (4, 2)).judged), Marks())
    assert rows[0].example.prompt == "Judge <text 0> for <User: Hi.\n\nAssistant: Hello.\n\nUser: Why?>"


@pytest.mark.parametrize(("draw", "reason"), [((2, 4), DISAGREES), ((None, None), NO_VERDICT), ((None, 4), DISAGREES)])
def test_a_set_that_does_not_agree_gives_up_each_reply_with_the_reason(draw, reason):
    rows, dropped = eft_rows(judged((0, 1), draw), Marks())
    assert (rows, [(d.id, d.reason) for d in dropped]) == ([], [("s/r0", reason), ("s/r1", reason)])


def test_written_verdicts_are_one_draw_and_one_that_can_not_be_read_is_passed_over():
    said = ["Good. Score: 5", "Hm.", None, "Score: 1"]
    replies = tuple(RankedReply(f"s/r{i}", f"text {i}", i, None, text) for i, text in enumerate(said))
    rows, dropped = eft_rows(written_verdicts(RankedSet("s", "Why?", replies), Marks()), Marks())
    assert [(r.id, r.example.target) for r in rows] == [("s/r0", "Good. Score: 5"), ("s/r3", "Score: 1")]
    assert [(d.id, d.reason) for d in dropped] == [("s/r1", UNREADABLE), ("s/r2", UNREADABLE)]


@pytest.mark.parametrize(
    ("counts", "share", "left"),
    [
        ({4: 10, 2: 2, 1: 2}, 0.5, {4: 4, 2: 2, 1: 2}),
        ({4: 10, 2: 3, 1: 3}, 0.4, {4: 4, 2: 3, 1: 3}),
        ({4: 10, 2: 6}, 0.25, {4: 6, 2: 6}),  # never below the second commonest
        ({4: 3, 2: 3}, 0.5, {4: 3, 2: 3}),
        ({4: 10, 2: 3}, 0.7, {4: 7, 2: 3}),  # in floats 0.7 · 3 / (1 − 0.7) is below 7
        ({4: 2, 2: 1, 1: 1}, 0.9, {4: 2, 2: 1, 1: 1}),  # already below
        ({4: 5}, 0.5, {4: 5}),  # nothing beside it: there is no share to reach
        ({}, 0.5, {}),
    ],
)
def test_the_commonest_score_is_thinned_to_its_share(counts, share, left):
    rows = [row(f"s{score}-{i}/r0", score) for score, count in counts.items() for i in range(count)]
    kept, dropped = thin(rows, share, rng_seed=1)
    assert Counter(r.score for r in kept) == left
    assert {d.reason for d in dropped} <= {THINNED}
    assert sorted([r.id for r in kept] + [d.id for d in dropped]) == sorted(r.id for r in rows)


def test_the_rng_seed_fixes_which_are_thinned():
    rows = [row(f"s{i}/r0", 4 if i < 50 else 1) for i in range(60)]
    assert thin(rows, 0.5, 1) == thin(rows, 0.5, 1)
    assert thin(rows, 0.5, 1) != thin(rows, 0.5, 2)


def test_sets_are_taken_until_enough_is_left_after_thinning_and_the_rest_is_beyond():
    """Twelve sets with the scores 4 and 1, and four of the scores 4, 4 and 1: 20 fours to 16 ones, share a half."""
    sets = [judged((0, 1), (4, 1), name=f"a{i}") for i in range(12)]
    sets += [judged((0, 0, 1), (4, 4, 1), name=f"b{i}") for i in range(4)]
    rows, dropped = choose_eft(sets, SeedData(eft=10, commonest_share=0.5), Marks(), rng_seed=0)
    assert 10 <= len(rows) <= 12
    counts = Counter(r.score for r in rows)
    assert counts[4] <= counts[1]
    reasons = Counter(d.reason for d in dropped)
    assert set(reasons) <= {THINNED, BEYOND}
    assert reasons[BEYOND] >= 20
    every, _ = choose_eft(sets, SeedData(eft=99, commonest_share=0.5), Marks(), rng_seed=0)
    assert Counter(r.score for r in every) == {4: 16, 1: 16}
    assert [r.id for r in choose_eft(sets, SeedData(eft=10), Marks(), 1)[0]] != [r.id for r in rows]


scores = st.none() | st.integers(0, 5)


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.data()), max_size=6),
    st.integers(0, 9),
    st.floats(0.1, 0.9),
)
def test_every_reply_becomes_a_row_or_is_dropped_once(sets, wanted, share):
    made = [
        judged(tuple(ranks), *[tuple(data.draw(scores) for _ in ranks) for _ in range(2)], name=f"s{i}")
        for i, (ranks, data) in enumerate(sets)
    ]
    rows, dropped = choose_eft(made, SeedData(eft=wanted, commonest_share=share), Marks(), rng_seed=0)
    offered = [reply.id for s in made for reply in s.ranked.replies]
    assert sorted([r.id for r in rows] + [d.id for d in dropped]) == sorted(offered)
    for s in made:
        kept = {r.id: r.score for r in rows if r.set_id == s.id}
        ranks = {reply.id: reply.rank for reply in s.ranked.replies}
        assert all(kept[a] > kept[b] for a in kept for b in kept if ranks[a] < ranks[b])


def test_a_written_verdicts_thought_is_no_part_of_it_but_stays_with_it():
    said = [
        "<think>Score: 1</think>\nScore: 5",
        "<think>Score: 5</think>",
        "<think>Score: 5",
        "Score: 1",
        "Well.\n<think>Score: 5</think>",
    ]
    replies = tuple(RankedReply(f"s/r{i}", f"text {i}", i, None, text) for i, text in enumerate(said))
    rows, dropped = eft_rows(written_verdicts(RankedSet("s", "Why?", replies), Marks()), Marks())
    assert [(r.id, r.example.target, r.example.thought) for r in rows] == [
        ("s/r0", "Score: 5", "Score: 1"),
        ("s/r3", "Score: 1", ""),
    ]
    assert [(d.id, d.reason) for d in dropped] == [(f"s/r{i}", UNREADABLE) for i in (1, 2, 4)]


def test_a_ranked_replys_thought_goes_into_its_instruction_row():
    best = RankedReply("s/r0", "So.", 0, thought="Hm.")
    assert ift_example(RankedSet("s", "Why?", (best, RankedReply("s/r1", "No.", 1)))).thought == "Hm."
