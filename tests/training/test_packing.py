from collections import Counter
from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.packing import Segment, lay_out, longest_sequence, pack, packed_length
from selfreward_ray.training.policy import by_sequence

SFT = SftTokens("s", (1, 2), (3, 4, 5))
PAIR = PairTokens("p", (6, 7, 8), (9, 10), (11,))


def test_an_example_and_a_pair_by_hand():
    """A prompt of two with a target of three, then a prompt of three with branches of two and one."""
    packed = pack((SFT, PAIR))
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 3]
    assert packed.segments == (
        Segment(slice(0, 5)),
        Segment(slice(5, 10)),
        Segment(slice(10, 11), (slice(5, 8),)),
    )
    assert packed.predictors.tolist() == [1, 2, 3, 7, 8, 7]  # 7, the prompt's last, predicts the first of both
    assert packed.target_ids.tolist() == [3, 4, 5, 9, 10, 11]
    assert [s.id for s in packed.sequences] == ["s/target", "p/chosen", "p/rejected"]
    assert [segment.keys for segment in packed.segments] == [5, 5, 4]


def test_lengths_by_hand():
    """A pair's row holds the prompt once, 3 + 2 + 1; its longest sequence is 3 + 2."""
    assert (packed_length([SFT]), packed_length([PAIR]), packed_length([SFT, PAIR])) == (5, 6, 11)
    assert (longest_sequence(SFT), longest_sequence(PAIR)) == (5, 5)
    assert longest_sequence(PairTokens("p", (1, 2, 3), (4,), (4, 5))) == 5


def test_a_pair_that_carries_a_judging_row_is_the_two_beside_each_other():
    """The judging row has another prompt: nothing of it sees the pair, and the pair sees nothing of it."""
    carrying = replace(PAIR, eft=SFT)
    apart, together = pack((PAIR, SFT)), pack((carrying,))
    assert (together.sequences, together.segments) == (apart.sequences, apart.segments)
    for name in ("token_ids", "position_ids", "predictors", "target_ids"):
        assert getattr(together, name).tolist() == getattr(apart, name).tolist()
    assert (packed_length([carrying]), longest_sequence(carrying)) == (6 + 5, 5)


def test_what_is_only_read_stands_in_the_row_and_gives_no_targets():
    """Of the chosen reply two of three tokens are a thought: the token before the last one predicts the only target."""
    packed = pack((PairTokens("p", (1, 2), (3, 4, 5), (6, 7), chosen_context=2),))
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert packed.predictors.tolist() == [3, 1, 5]
    assert packed.target_ids.tolist() == [5, 6, 7]
    parts = by_sequence(packed, torch.tensor([0.5, 0.25, 0.125]))
    assert {name: part.tolist() for name, part in parts.items()} == {"p/chosen": [0.5], "p/rejected": [0.25, 0.125]}
    assert longest_sequence(PairTokens("p", (1, 2), (3, 4, 5), (6,), chosen_context=2)) == 5


def test_beginnings_of_beginnings_by_hand():
    """Two rows begin with three tokens, a third with two of them; a fourth has nothing of them. What `deep` says after
    its prompt of four is, up to its second token, what `twin` reads as its prompt."""
    deep = SftTokens("deep", (1, 2, 3, 4), (5, 6))
    twin = SftTokens("twin", (1, 2, 3, 4, 5), (7, 8))
    other = SftTokens("other", (1, 2, 3, 9), (9,))
    near = SftTokens("near", (1, 2, 9), (9,))
    packed = pack((other, SftTokens("far", (7,), (1, 2)), near, twin, deep))
    assert [s.id.removesuffix("/target") for s in packed.sequences] == ["deep", "twin", "other", "near", "far"]
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 7, 1, 2]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 5, 6, 3, 4, 2, 3, 0, 1, 2]
    assert packed.segments == (
        Segment(slice(0, 6)),
        Segment(slice(6, 8), (slice(0, 5),)),
        Segment(slice(8, 10), (slice(0, 3),)),
        Segment(slice(10, 12), (slice(0, 2),)),
        Segment(slice(12, 15)),
    )
    assert packed.predictors.tolist() == [3, 4, 4, 6, 8, 10, 12, 13]
    assert packed.target_ids.tolist() == [5, 6, 7, 8, 9, 9, 1, 2]


def test_a_beginning_may_stand_in_several_places():
    """The last sequence begins with two tokens of the first, and with two of the second's own."""
    packed = pack(
        [SftTokens("a", (1, 2, 3), (4,)), SftTokens("b", (1, 2, 5), (6, 7)), SftTokens("c", (1, 2, 5), (6, 8))]
    )
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert packed.segments[2] == Segment(slice(7, 8), (slice(0, 2), slice(4, 6)))
    assert (packed.segments[2].places(), packed.segments[2].keys) == ([0, 1, 4, 5, 7], 5)
    assert packed.predictors.tolist() == [2, 4, 5, 4, 5]


def test_of_equal_sequences_each_has_a_token_of_its_own():
    packed = pack([SftTokens(name, (1, 2), (3, 4)) for name in "abc"])
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 4, 4]
    assert [segment.places() for segment in packed.segments] == [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5]]


IDS = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
SFT_ROWS = st.builds(lambda prompt, target, read: (prompt, target, min(read, len(target))), IDS, IDS, st.integers(0, 6))
PAIR_ROWS = st.tuples(IDS, IDS, IDS)
EXAMPLES = st.builds(
    lambda rows, pairs: [
        *(SftTokens(f"s{i}", *row) for i, row in enumerate(rows)),
        *(PairTokens(f"p{i}", *pair, eft=SftTokens(f"e{i}", pair[2], pair[1])) for i, pair in enumerate(pairs)),
    ],
    st.lists(SFT_ROWS, min_size=1, max_size=8),
    st.lists(PAIR_ROWS, max_size=3),
)


@given(EXAMPLES)
def test_a_row_has_each_beginning_once_and_every_sequence_whole(examples: list[SftTokens | PairTokens]):
    packed = pack(examples)
    sequences = [s for e in examples for s in e.sequences()]
    assert Counter(packed.sequences) == Counter(sequences)
    whole = Counter(s.prompt_ids + s.target_ids for s in sequences)
    beginnings = {ids[: end + 1] for ids in whole for end in range(len(ids))}
    again = sum(count - 1 for count in whole.values())
    assert packed_length(examples) == len(packed.token_ids) == len(beginnings) + again
    first, counts = 0, [len(s.scored_ids) for s in packed.sequences]
    for sequence, segment, predictors in zip(
        packed.sequences, packed.segments, packed.predictors.split(counts), strict=True
    ):
        assert (segment.queries.start, segment.queries.stop > first) == (first, True)
        first = segment.queries.stop
        places, ids = segment.places(), sequence.prompt_ids + sequence.target_ids
        assert packed.token_ids[places].tolist() == list(ids)
        assert packed.position_ids[places].tolist() == list(range(len(ids)))
        assert segment.keys == len(ids)
        assert predictors.tolist() == places[len(ids) - len(sequence.scored_ids) - 1 : -1]
    assert first == len(packed.token_ids)
    assert packed.target_ids.tolist() == [i for s in packed.sequences for i in s.scored_ids]


@given(EXAMPLES, st.randoms())
def test_the_row_does_not_depend_on_the_order_of_its_examples(examples: list[SftTokens | PairTokens], random: object):
    shuffled = random.sample(examples, len(examples))  # type: ignore[attr-defined]
    before, after = lay_out(examples), lay_out(shuffled)
    assert [segment for _, segment in before] == [segment for _, segment in after]
    assert [s.prompt_ids + s.target_ids for s, _ in before] == [s.prompt_ids + s.target_ids for s, _ in after]
