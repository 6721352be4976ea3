from dataclasses import dataclass

import pytest

from selfreward_ray.records import PairTokens, SftTokens, TokenSequence
from selfreward_ray.training.packing import Segment, longest_sequence, pack, packed_length

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


@dataclass(frozen=True)
class TwoPrompts:
    id: str = "odd"

    def sequences(self) -> tuple[TokenSequence, ...]:
        return TokenSequence("a", (1,), (2,)), TokenSequence("b", (3,), (2,))


def test_branches_of_different_prompts_are_refused():
    with pytest.raises(ValueError, match="'odd' have different prompts"):
        pack((TwoPrompts(),))
