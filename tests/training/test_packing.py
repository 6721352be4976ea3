from dataclasses import replace

import torch

from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.packing import Segment, longest_sequence, pack, packed_length
from selfreward_ray.training.policy import by_sequence

SFT = SftTokens("s", (1, 2), (3, 4, 5))
PAIR = PairTokens("p", (6, 7, 8), (9, 10), (11,))


def test_an_example_and_a_pair_by_hand():
    """A prompt of two with a target of three, then a prompt of three with branches of two and one."""
    packed = pack((SFT, PAIR))
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 3]
    assert packed.segments == (
        Segment(slice(0, 5), slice(0, 0)),
        Segment(slice(5, 10), slice(5, 5)),
        Segment(slice(10, 11), slice(5, 8)),
    )
    assert packed.predictors.tolist() == [1, 2, 3, 7, 8, 7]  # 7, the prompt's last, predicts the first of both
    assert packed.target_ids.tolist() == [3, 4, 5, 9, 10, 11]
    assert [s.id for s in packed.sequences] == ["s/target", "p/chosen", "p/rejected"]
    assert [segment.keys for segment in packed.segments] == [5, 5, 4]


def test_lengths_by_hand():
    """A pair's row holds the prompt once, 3 + 2 + 1; its longest sequence is 3 + 2."""
    assert (packed_length(SFT), packed_length(PAIR)) == (5, 6)
    assert (longest_sequence(SFT), longest_sequence(PAIR)) == (5, 5)
    assert longest_sequence(PairTokens("p", (1, 2, 3), (4,), (4, 5))) == 5


def test_a_pair_that_carries_a_judging_row_is_the_two_beside_each_other():
    """The judging row has another prompt: nothing of it sees the pair, and the pair sees nothing of it."""
    carrying = replace(PAIR, eft=SFT)
    apart, together = pack((PAIR, SFT)), pack((carrying,))
    assert (together.sequences, together.segments) == (apart.sequences, apart.segments)
    for name in ("token_ids", "position_ids", "predictors", "target_ids"):
        assert getattr(together, name).tolist() == getattr(apart, name).tolist()
    assert (packed_length(carrying), longest_sequence(carrying)) == (6 + 5, 5)


def test_what_is_only_read_stands_in_the_row_and_gives_no_targets():
    """Of the chosen reply two of three tokens are a thought: the token before the last one predicts the only target."""
    packed = pack((PairTokens("p", (1, 2), (3, 4, 5), (6, 7), chosen_context=2),))
    assert packed.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert packed.predictors.tolist() == [3, 1, 5]
    assert packed.target_ids.tolist() == [5, 6, 7]
    parts = by_sequence(packed, torch.tensor([0.5, 0.25, 0.125]))
    assert {name: part.tolist() for name, part in parts.items()} == {"p/chosen": [0.5], "p/rejected": [0.25, 0.125]}
    assert longest_sequence(PairTokens("p", (1, 2), (3, 4, 5), (6,), chosen_context=2)) == 5
