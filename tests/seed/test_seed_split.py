import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import RankedReply, RankedSet, ToolUse, Turn
from selfreward_ray.seed.split import BEYOND, ELSEWHERE, RANKED_TOO_LOW, SAME_PROMPT, divide


def sizes(**given: int | str) -> SeedData:
    """Without validation, unless it is given."""
    return SeedData.model_validate({"validation": 0} | given)


def ranked(number: int, prompt: str | None = None, ranks: tuple[int, ...] = (0, 1), **more) -> RankedSet:
    """A set of two replies, the first ranked best."""
    replies = tuple(RankedReply(f"s{number}/r{i}", f"text {i}", rank) for i, rank in enumerate(ranks))
    return RankedSet(f"s{number}", prompt or f"prompt {number}", replies, **more)


def alone(number: int) -> RankedSet:
    """A set of one reply: nothing to learn judging from."""
    return ranked(number, ranks=(0,))


@pytest.mark.parametrize(
    ("rankable", "single", "asked", "expected"),
    [
        (100, 0, (40, 20, 10), (40, 20, 10)),  # enough: EFT has a set for each row
        (100, 0, (85, 20, 10), (80, 10, 10)),  # EFT keeps one set for two rows
        (10, 0, (40, 20, 10), (4, 4, 2)),  # too few: a fifth is held out, then half and half
        (0, 20, (40, 20, 4), (20, 0, 0)),  # nothing to measure or teach judging with: all for IFT
        (0, 20, (10, 20, 4), (10, 0, 0)),
        (10, 0, (40, 0, 0), (10, 0, 0)),
        (4, 0, (4, 4, 4), (2, 2, 0)),
        (1, 0, (4, 4, 4), (1, 0, 0)),
    ],
)
def test_the_deal(rankable, single, asked, expected):
    sets = [ranked(i) for i in range(rankable)] + [alone(rankable + i) for i in range(single)]
    ift, eft, held_out = asked
    parts = divide(sets, sizes(ift=ift, eft=eft, held_out=held_out), rng_seed=0)
    assert (len(parts.ift), len(parts.eft), len(parts.held_out)) == expected
    assert len(parts.dropped) == len(sets) - sum(expected)
    assert {d.reason for d in parts.dropped} <= {BEYOND}


@pytest.mark.parametrize(("sets", "asked", "taken"), [(200, 15, 15), (200, 253, 20), (9, 5, 0), (200, 0, 0)])
def test_validation_takes_at_most_a_tenth_of_the_conversations(sets: int, asked: int, taken: int):
    given = [ranked(i) for i in range(sets)]
    without, parts = (divide(given, sizes(ift=40, eft=20, held_out=10, validation=n), rng_seed=0) for n in (0, asked))
    assert len(parts.validation) == taken
    assert parts.held_out == without.held_out, "the evaluation is the same with and without"
    ids = [s.id for part in (parts.ift, parts.eft, parts.held_out, parts.validation) for s in part]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(parts.dropped) == sets


def test_conversations_with_tools_serve_ift_alone():
    """All replies to one prompt too: to the question, and to what a tool returned."""
    since = (Turn("assistant", "", ()), Turn("tool", "dry"))
    called = [
        RankedSet(f"c{i}/t0", f"prompt {i}", alone(i).replies, (), f"c{i}", tool_use=ToolUse()) for i in range(20)
    ]
    said = [
        RankedSet(f"c{i}/t1", f"prompt {i}", alone(i).replies, (), f"c{i}", tool_use=ToolUse("", since))
        for i in range(20)
    ]
    again = [RankedSet("d/t0", "prompt 0", alone(0).replies, (), "d", tool_use=ToolUse())]
    parts = divide([*called, *said, *again], sizes(ift=99, eft=9, held_out=9, validation=9), rng_seed=0)
    assert (len(parts.ift), parts.eft, parts.held_out, parts.validation) == (40, [], [], [])
    assert [(item.id, item.reason) for item in parts.dropped] == [("d/t0", SAME_PROMPT)]


def test_validation_takes_what_opens_a_conversation_and_no_other_set_of_it():
    later = [ranked(i, history=(Turn("user", "Hi."),), conversation=f"c{i // 2}") for i in range(1, 40, 2)]
    opening = [ranked(i, conversation=f"c{i // 2}") for i in range(0, 40, 2)]
    parts = divide([*opening, *later], sizes(ift=99, eft=0, held_out=0, validation=9), rng_seed=0)
    assert [s.history for s in parts.validation] == [(), ()]
    taken = {s.conversation for s in parts.validation}
    assert taken & {s.conversation for s in parts.ift} == set()
    assert {d.reason for d in parts.dropped} == {ELSEWHERE}


def test_sets_that_can_not_teach_judging_serve_ift_before_others_do():
    parts = divide(
        [alone(i) if i < 30 else ranked(i) for i in range(60)], sizes(ift=40, eft=20, held_out=0), rng_seed=0
    )
    assert {s.id for s in parts.ift} >= {f"s{i}" for i in range(30)}
    assert (len(parts.ift), len(parts.eft)) == (40, 20)


def test_where_verdicts_are_written_only_sets_with_one_can_teach_judging():
    written = RankedSet("w", "w?", (RankedReply("w/r0", "a", 0, None, "Score: 5"), RankedReply("w/r1", "b", 1)))
    sets = [written, *(ranked(i) for i in range(5))]
    parts = divide(sets, sizes(ift=9, eft=2, held_out=0, verdicts="written"), rng_seed=0)
    assert [s.id for s in parts.eft] == []
    parts = divide(sets, sizes(ift=5, eft=2, held_out=0, verdicts="written"), rng_seed=0)
    assert [s.id for s in parts.eft] == ["w"]


@pytest.mark.parametrize(("minimum", "ift"), [(0, {"s0"}), (1, {"s0", "s1"}), (2, {"s0", "s1", "s2"})])
def test_ift_takes_what_is_ranked_well_enough(minimum, ift):
    sets = [ranked(i, ranks=(i,)) for i in range(3)]
    parts = divide(sets, sizes(ift=9, eft=0, held_out=0, minimum_rank=minimum), rng_seed=0)
    assert {s.id for s in parts.ift} == ift
    assert {d.id: d.reason for d in parts.dropped} == {f"s{i}": RANKED_TOO_LOW for i in range(minimum + 1, 3)}


def test_held_out_sets_can_measure_a_judge():
    tied = [ranked(i, ranks=(0, 0)) for i in range(15)]
    parts = divide([*tied, *(ranked(15 + i) for i in range(5))], sizes(ift=20, eft=0, held_out=4), rng_seed=0)
    assert len(parts.held_out) == 4
    assert all(int(s.id[1:]) >= 15 for s in parts.held_out)


def test_a_conversation_serves_one_end():
    """Ten conversations of three sets: two are held out, of the rest EFT is left one in two."""
    sets = [ranked(3 * c + i, conversation=f"c{c}") for c in range(10) for i in range(3)]
    parts = divide(sets, sizes(ift=99, eft=20, held_out=99), rng_seed=0)
    ends = [{s.conversation for s in end} for end in (parts.ift, parts.eft, parts.held_out)]
    assert [len(end) for end in ends] == [4, 4, 2]
    assert not ends[0] & ends[1] | ends[0] & ends[2] | ends[1] & ends[2]
    assert parts.dropped == []


def test_sets_left_out_for_their_conversation_say_so():
    """One conversation of two rankable sets and a tied one: the whole of it is held out or teaches judging."""
    sets = [ranked(i, conversation="c") for i in range(2)] + [ranked(2, ranks=(0, 0), conversation="c"), alone(3)]
    parts = divide(sets, sizes(ift=9, eft=9, held_out=0), rng_seed=0)
    assert [{s.id for s in end} for end in (parts.ift, parts.eft)] == [{"s3"}, {"s0", "s1"}]
    assert [(d.id, d.reason) for d in parts.dropped] == [("s2", ELSEWHERE)]


def test_one_conversation_alone_serves_ift():
    sets = [ranked(i, conversation="c") for i in range(2)]
    parts = divide(sets, sizes(ift=9, eft=9, held_out=9), rng_seed=0)
    assert [len(end) for end in (parts.ift, parts.eft, parts.held_out)] == [2, 0, 0]


def test_a_repeated_prompt_is_dropped():
    parts = divide([ranked(0, "same"), ranked(1, "same")], sizes(ift=2, eft=0, held_out=0), rng_seed=0)
    assert [s.id for s in parts.ift] == ["s0"]
    assert [(d.id, d.reason) for d in parts.dropped] == [("s1", SAME_PROMPT)]


def test_the_rng_seed_fixes_the_deal():
    sets, asked = [ranked(i) for i in range(50)], sizes(ift=10, eft=10, held_out=10)
    assert divide(sets, asked, 7) == divide(sets, asked, 7)
    assert divide(sets, asked, 7).held_out != divide(sets, asked, 8).held_out


@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from("abcdefghijklmnop"), st.sampled_from([(0,), (1,), (0, 0), (0, 1)]), st.integers(0, 9)
        ),
        max_size=40,
    ),
    counts=st.tuples(*[st.integers(0, 12)] * 3),
    rng_seed=st.integers(0, 99),
)
def test_parts_share_no_prompt_and_no_conversation_and_nothing_is_lost(drawn, counts, rng_seed):
    sets = [ranked(i, prompt, ranks, conversation=f"c{c}") for i, (prompt, ranks, c) in enumerate(drawn)]
    parts = divide(sets, sizes(ift=counts[0], eft=counts[1], held_out=counts[2]), rng_seed)
    dealt = [*parts.ift, *parts.eft, *parts.held_out]
    assert sorted([s.id for s in dealt] + [d.id for d in parts.dropped]) == sorted(s.id for s in sets)
    assert len({s.prompt for s in dealt}) == len(dealt)
    ends = [{s.conversation for s in end} for end in (parts.ift, parts.eft, parts.held_out)]
    assert sum(map(len, ends)) == len(set.union(*ends))
    assert len(parts.ift) <= counts[0]
    assert len(parts.held_out) <= counts[2]
    assert len(ends[2]) <= len({s.conversation for s in sets}) // 5
