from dataclasses import replace
from pathlib import Path

import pytest

from selfreward_ray.chat import ChatCodec, TurnsRefused
from selfreward_ray.records import Candidate, Dropped, Pair, PairTokens, SftExample
from selfreward_ray.training.examples import fitting, pair_tokens, sft_tokens


def pair(chosen: int, rejected: int) -> Pair:
    """A prompt of two tokens and replies of the given numbers of tokens."""
    return Pair(
        f"p{chosen}-{rejected}",
        "Hm?",
        (8, 9),
        Candidate("c", "not these words", (5,) * chosen, True),
        Candidate("r", "nor these", (6,) * rejected, False),
    )


def test_a_pair_is_trained_on_the_ids_that_the_engine_read_and_wrote():
    assert pair_tokens(pair(2, 1)) == PairTokens("p2-1", (8, 9), (5, 5), (6,))


def test_a_softened_pair_stays_softened():
    assert pair_tokens(replace(pair(2, 1), label_smoothing=0.25)).label_smoothing == 0.25


def test_an_example_is_encoded_by_the_chat_template(tiny_model: Path):
    codec = ChatCodec(tiny_model)
    row = sft_tokens(SftExample("e", "ift", "Name a sea.", "The North Sea."), codec)
    assert row.prompt_ids == tuple(codec.prompt_ids("Name a sea."))
    assert row.target_ids[-1] == codec.end_id
    assert codec.decode(list(row.target_ids)) == "The North Sea."


@pytest.mark.parametrize(
    ("max_tokens", "kept"),
    [(2, []), (4, ["p2-1"]), (5, ["p2-1", "p1-3"]), (6, ["p2-1", "p1-3", "p4-1"])],
)
def test_what_does_not_fit_whole_is_dropped_with_a_reason(max_tokens: int, kept: list[str]):
    """With their prompt the pairs' longer halves have 4, 5 and 6 tokens."""
    rows = [pair(2, 1), pair(1, 3), pair(4, 1)]
    fit, dropped = fitting(rows, pair_tokens, max_tokens, "dpo")
    assert [e.id for e in fit] == kept
    reason = f"longer than max_tokens = {max_tokens}"
    assert dropped == [Dropped(r.id, "dpo", reason) for r in rows if r.id not in kept]


def test_a_conversation_that_the_template_refuses_is_dropped_with_a_reason():
    def encode(given: Pair) -> PairTokens:
        if given.id == "p1-1":
            raise TurnsRefused("no system, please")
        return pair_tokens(given)

    fit, dropped = fitting([pair(2, 1), pair(1, 1)], encode, 9, "sft")
    assert [e.id for e in fit] == ["p2-1"]
    assert dropped == [Dropped("p1-1", "sft", "the model's chat template refuses its turns")]
