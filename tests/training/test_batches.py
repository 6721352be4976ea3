from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.recipe import Optimization
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.batches import TARGETS_PER_CHUNK, accumulation_steps, length_of, plan_batches


def optimization(batch: int, micro: int = 1, epochs: int = 1) -> Optimization:
    return Optimization(
        learning_rate=1.0, final_learning_rate=0.1, batch_size=batch, micro_batch_size=micro, epochs=epochs
    )


def examples(lengths: list[int]) -> list[SftTokens]:
    return [SftTokens(f"e{i}", (1,), (2,) * length) for i, length in enumerate(lengths)]


LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)
SEEDS = st.integers(0, 99)


@given(LENGTHS, st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), SEEDS)
def test_each_example_is_in_each_epoch_once(lengths: list[int], batch: int, micro: int, epochs: int, seed: int):
    rows = examples(lengths)
    plan = plan_batches(rows, optimization(batch, micro, epochs), 2, seed)
    steps = -(-len(rows) // batch)
    assert len(plan) == epochs * steps
    for epoch in range(epochs):
        seen = [e for step in plan[epoch * steps : (epoch + 1) * steps] for e in step.examples()]
        assert Counter(e.id for e in seen) == Counter(e.id for e in rows)


@given(LENGTHS, st.integers(1, 8), st.integers(1, 3), SEEDS)
def test_a_steps_examples_are_the_same_for_any_number_of_ranks(lengths: list[int], batch: int, micro: int, seed: int):
    plans = [plan_batches(examples(lengths), optimization(batch, micro), ranks, seed) for ranks in (1, 2, 4)]
    one, two, four = [[{e.id for e in step.examples()} for step in plan] for plan in plans]
    assert one == two == four


@given(LENGTHS, st.integers(1, 8), st.integers(1, 3), st.integers(1, 4), SEEDS)
def test_every_rank_has_as_many_forward_passes_and_none_is_too_big(
    lengths: list[int], batch: int, micro: int, ranks: int, seed: int
):
    wanted = optimization(batch, micro)
    for step in plan_batches(examples(lengths), wanted, ranks, seed):
        assert [len(rank) for rank in step.ranks] == [accumulation_steps(wanted, ranks)] * ranks
        for pass_ in (p for rank in step.ranks for p in rank):
            assert 1 <= len(pass_.examples) <= micro


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.integers(1, 4), st.integers(2, 4), SEEDS)
def test_ranks_apply_the_head_equally_often(lengths: list[int], micro: int, ranks: int, seed: int):
    """ZeRO-3 gathers the head for each part: a rank with one part more would wait for the others for ever."""
    for step in plan_batches(examples(lengths), optimization(8, micro), ranks, seed):
        for beside in zip(*step.ranks, strict=True):
            assert len({p.head_chunks for p in beside}) == 1
            most = max(sum(len(e.target_ids) for e in p.examples) for p in beside)
            assert (beside[0].head_chunks - 1) * TARGETS_PER_CHUNK < most <= beside[0].head_chunks * TARGETS_PER_CHUNK


@pytest.mark.parametrize(
    ("batch", "micro", "ranks", "passes"), [(16, 1, 2, 8), (16, 8, 2, 1), (16, 3, 2, 3), (5, 1, 4, 2), (1, 8, 4, 1)]
)
def test_accumulation_rounds_up(batch: int, micro: int, ranks: int, passes: int):
    """⌈batch / (ranks · micro)⌉: 16/2, 16/16, 16/6 = 2.7, 5/4 = 1.25, 1/32."""
    assert accumulation_steps(optimization(batch, micro), ranks) == passes


def test_a_short_last_batch_is_filled_with_blanks_that_no_one_counts():
    """Three examples, batches of two on two ranks: one step has an example on one rank and a blank on the other."""
    plan = plan_batches(examples([3, 3, 3]), optimization(2), 2, seed=0)
    blanks = [[p.blank for rank in step.ranks for p in rank] for step in plan]
    assert sorted(map(sum, blanks)) == [0, 1]
    short = plan[[sum(b) for b in blanks].index(1)]
    assert len(short.examples()) == 1
    [blank] = [p for rank in short.ranks for p in rank if p.blank]
    assert blank.examples == tuple(short.examples())


def test_the_seed_decides_and_epochs_differ():
    rows = examples(list(range(1, 33)))

    def ids(seed: int) -> list[list[str]]:
        return [[e.id for e in step.examples()] for step in plan_batches(rows, optimization(4, epochs=2), 2, seed)]

    assert ids(1) == ids(1) != ids(2)
    assert ids(1)[:8] != ids(1)[8:]


def test_a_batch_holds_examples_of_similar_length():
    """Eight batches of four out of lengths 1 … 32 are one window: sorted, each batch spans 3."""
    for step in plan_batches(examples(list(range(1, 33))), optimization(4), 1, seed=3):
        lengths = [len(e.target_ids) for e in step.examples()]
        assert max(lengths) - min(lengths) == 3


def test_long_and_short_batches_are_mixed():
    """The steps are shuffled after sorting: a run does not go from short to long."""
    plan = plan_batches(examples(list(range(1, 33))), optimization(4), 1, seed=3)
    longest = [max(len(e.target_ids) for e in step.examples()) for step in plan]
    assert longest != sorted(longest)


def test_a_pair_is_as_long_as_the_longer_of_its_two():
    assert length_of(PairTokens("p", (1, 2, 3), (4,), (4, 5))) == 5
