"""Rows with the same prompt: one ranking where they agree, none where they contradict each other."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.records import Dropped
from selfreward_ray.seed.readers import merging
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken
from selfreward_ray.seed.readers.merging import CONTRADICTS, NOT_COMPARED, merged
from selfreward_ray.seed.readers.reading import LeftOut

ASK = (Spoken("user", "p"),)


def pair(better: str, worse: str, tie: bool = False) -> Exchange:
    return Exchange(ASK, (Given(better, 0), Given(worse, 0 if tie else 1)))


def ranks(*pairs: str) -> dict[str, int | None]:
    """Of pairs like ``a>b`` and ``a=b``."""
    exchanges = [pair(one[0], one[2], tie=one[1] == "=") for one in pairs]
    return {reply.text: reply.rank for reply in merged(exchanges, "pairs").replies}


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["a>b"], {"a": 0, "b": 1}),
        (["a>b", "a>b"], {"a": 0, "b": 1}),
        (["a>b", "a>c", "b>c"], {"a": 0, "b": 1, "c": 2}),
        (["b>c", "a>b"], {"b": 1, "c": 2, "a": 0}),
        (["a>b", "a>c"], {"a": 0, "b": 1, "c": 1}),  # nothing is known of b and c, and nothing is said
        (["a>c", "b>c"], {"a": 0, "c": 1, "b": 0}),
        (["a=b", "b>c"], {"a": 0, "b": 0, "c": 1}),
        (["a=b", "b=c"], {"a": 0, "b": 0, "c": 0}),
        (["a>b", "c>d"], {"a": 0, "b": 1, "c": None, "d": None}),
        (["a>b", "b>c", "a>d"], {"a": 0, "b": 1, "c": 2, "d": None}),
        (["a>b", "c=d"], {"a": 0, "b": 1, "c": None, "d": None}),
    ],
)
def test_pairs_that_agree_are_one_ranking(pairs, expected):
    assert ranks(*pairs) == expected


@pytest.mark.parametrize("pairs", [["a>b", "b>a"], ["a>b", "b>c", "c>a"], ["a>b", "a=b"], ["a=b", "b=c", "a>c"]])
def test_pairs_that_contradict_each_other_are_none(pairs):
    with pytest.raises(LeftOut, match=CONTRADICTS):
        ranks(*pairs)


def test_replies_without_a_place_say_why():
    replies = merged([pair("a", "b"), pair("c", "d")], "pairs").replies
    assert [reply.fault for reply in replies] == [None, None, NOT_COMPARED, NOT_COMPARED]


def test_two_bad_replies_stay_bad():
    bad = Exchange(ASK, (Given("a", 1), Given("b", 1)))
    assert [reply.rank for reply in merged([bad], "pairs").replies] == [1, 1]
    assert [reply.rank for reply in merged([bad, bad], "pairs").replies] == [1, 1]


names = st.sampled_from("abcdef")


def known(told: list[tuple[str, str, str]]) -> set[tuple[str, str]]:
    """Who is better than whom, by a pair or by a chain of pairs."""
    chains = {(a, b): sign == ">" for a, sign, b in told}
    chains |= {(b, a): False for a, sign, b in told if sign == "="}
    for middle in "abcdef":
        for a, b in [(a, b) for a, to in chains if to == middle for start, b in chains if start == middle]:
            strict = chains[a, middle] or chains[middle, b]
            chains[a, b] = chains.get((a, b), False) or strict
    return {both for both, strict in chains.items() if strict}


@given(
    st.lists(
        st.tuples(names, st.sampled_from(">="), names).filter(lambda one: one[0] != one[2]), min_size=1, max_size=9
    )
)
def test_no_order_is_made_up(told):
    """Of every two replies with different ranks, pairs say which is better, by themselves or through others; of two
    with the same rank they do not; and what a pair says is kept if both of its replies are."""
    try:
        found = ranks(*("".join(one) for one in told))
    except LeftOut:
        return
    better = known(told)
    placed = {text: rank for text, rank in found.items() if rank is not None}
    for one, other in combinations(placed, 2):
        if placed[one] == placed[other]:
            assert (one, other) not in better
            assert (other, one) not in better
        else:
            first, second = sorted((one, other), key=placed.__getitem__)
            assert (first, second) in better


def kto(reply: str, label: bool, prompt: str = "p") -> dict[str, Any]:
    return {"prompt": prompt, "completion": reply, "label": label}


def test_pairs_of_a_file_are_merged_by_their_whole_prompt(read):
    """Also where rows of other prompts stand between them; the first row names the set."""
    rows = [
        {"prompt": "p", "chosen": "best", "rejected": "mid", "id": "one"},
        {"prompt": "q", "chosen": "x", "rejected": "y"},
        {"prompt": "p", "chosen": "best", "rejected": "worst", "score_chosen": 5, "score_rejected": 1, "id": "two"},
        {"prompt": "p", "system": "s", "chosen": "mid", "rejected": "best"},
        {"prompt": "p", "chosen": "mid", "rejected": "worst"},
    ]
    first, second, third = read(*rows)
    assert (first.id, [(one.id, one.text, one.rank) for one in first.replies]) == (
        "one", [("one/r0", "best", 0), ("one/r1", "mid", 1), ("one/r2", "worst", 2)],
    )  # fmt: skip
    assert (second.id, third.id) == ("seed/000001", "seed/000003")
    assert [one.text for one in third.replies] == ["mid", "best"]


def test_a_contradiction_drops_the_set_under_the_place_of_its_first_row(read):
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "b", "rejected": "a"}]
    assert read(*rows) == [Dropped("seed.jsonl:1", "seed", CONTRADICTS)]


def test_a_reply_that_was_not_compared_is_dropped_from_its_set(read):
    rows = [{"prompt": "p", "chosen": a, "rejected": b} for a, b in ("ab", "bc", "ad")]
    dropped, kept = read(*rows)
    assert dropped == Dropped("seed/000000/r3", "seed", f"reply {NOT_COMPARED}")
    assert [one.text for one in kept.replies] == ["a", "b", "c"]


def test_a_score_that_only_one_of_the_rows_of_a_reply_has_is_kept(read):
    plain = {"prompt": "p", "chosen": "a", "rejected": "b"}
    scored = {"prompt": "p", "chosen": "a", "rejected": "c", "score_chosen": 5, "score_rejected": 1}
    for rows in ([plain, scored], [scored, plain]):
        (found,) = read(*rows)
        assert {one.text: one.score for one in found.replies} == {"a": 5, "b": None, "c": 1}


def test_liked_and_disliked_replies_are_one_ranking(read):
    found, alone = read(kto("a", False), kto("b", True), kto("c", True), kto("d", False, "q"))
    assert [(one.text, one.rank) for one in found.replies] == [("a", 1), ("b", 0), ("c", 0)]
    assert [one.rank for one in alone.replies] == [1]  # nobody liked it, so nothing is learned from it
    assert read(kto("a", True), kto("a", False)) == [Dropped("seed.jsonl:1", "seed", CONTRADICTS)]


def test_scores_of_rows_are_one_scale(read):
    rows = [
        {"prompt": "p", "response": reply, "score": score} for reply, score in (("a", 2), ("b", 5), ("c", 2), ("b", 4))
    ]
    (found,) = read(*rows)
    assert [(one.text, one.rank, one.score) for one in found.replies] == [("a", 1, 2), ("b", 0, 4.5), ("c", 1, 2)]


@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [
        ("a", "c", {"a": 1, "b": 1, "c": 2}),
        ("c", "a", {"a": 1, "b": 1, "c": 0}),
    ],
)
def test_no_other_row_makes_bad_replies_good(better: str, worse: str, expected: dict[str, int]):
    """Both of the first row are bad, however they do against others."""
    bad = Exchange(ASK, (Given("a", 1), Given("b", 1)))
    assert {r.text: r.rank for r in merged([bad, pair(better, worse)], "pairs").replies} == expected
    assert {r.text: r.rank for r in merged([pair(better, worse), bad], "pairs").replies} == expected
    tied = merged([bad, pair("a", "b", tie=True)], "pairs").replies
    assert [reply.rank for reply in tied] == [1, 1]


def test_of_many_pairs_that_were_never_compared_one_is_kept(monkeypatch: pytest.MonkeyPatch):
    """The work is that of the largest part, not of all together."""
    asked = 0
    compared = merging._compared

    def counted(*arguments: Any) -> bool:
        nonlocal asked
        asked += 1
        return compared(*arguments)

    monkeypatch.setattr(merging, "_compared", counted)
    pairs = [pair(f"better {n}", f"worse {n}") for n in range(300)]
    found = merged(pairs, "pairs").replies
    assert [reply.text for reply in found if reply.fault is None] == ["better 0", "worse 0"]
    assert asked < 10
