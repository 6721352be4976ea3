import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.recipe.training import Optimization
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.batches import plan_batches
from selfreward_ray.training.packing import pack, packed_length


def optimization(batch: int, tokens: int = 10**6, epochs: int = 1) -> Optimization:
    return Optimization(
        learning_rate=1.0, final_learning_rate=0.1, batch_size=batch, micro_batch_tokens=tokens, epochs=epochs
    )


def examples(lengths: list[int]) -> list[SftTokens]:
    """Examples that are so many tokens long, a prompt of one among them."""
    return [SftTokens(f"e{i}", (1,), (2,) * (length - 1)) for i, length in enumerate(lengths)]


def pairs(count: int, seed: int) -> list[PairTokens]:
    """Replies of log-normal length around 120 tokens, prompts of 60 to 200."""
    rng = random.Random(seed)

    def reply() -> tuple[int, ...]:
        return (3,) * max(1, round(rng.lognormvariate(4.8, 0.7)))

    return [PairTokens(f"p{i}", (1,) * rng.randint(60, 200), reply(), reply()) for i in range(count)]


def tokens(pass_: tuple[SftTokens, ...]) -> int:
    return sum(map(packed_length, pass_))


LENGTHS = st.lists(st.integers(2, 50), min_size=1, max_size=60)
BATCHES = st.integers(1, 12)
BUDGETS = st.integers(1, 120)
RANKS = st.integers(1, 4)
SEEDS = st.integers(0, 99)


@given(LENGTHS, BATCHES, BUDGETS, RANKS, st.integers(1, 3), SEEDS)
def test_each_example_is_in_each_epoch_once(
    lengths: list[int], batch: int, budget: int, ranks: int, epochs: int, seed: int
):
    rows = examples(lengths)
    plan = plan_batches(rows, optimization(batch, budget, epochs), ranks, seed)
    steps = -(-len(rows) // batch)
    assert len(plan) == epochs * steps
    for epoch in range(epochs):
        seen = [e for step in plan[epoch * steps : (epoch + 1) * steps] for e in step.examples()]
        assert Counter(e.id for e in seen) == Counter(e.id for e in rows)


@given(LENGTHS, BATCHES, BUDGETS, SEEDS)
def test_a_steps_examples_are_the_same_for_any_number_of_ranks(lengths: list[int], batch: int, budget: int, seed: int):
    plans = [plan_batches(examples(lengths), optimization(batch, budget), ranks, seed) for ranks in (1, 2, 4)]
    one, two, four = [[{e.id for e in step.examples()} for step in plan] for plan in plans]
    assert one == two == four


@given(LENGTHS, BATCHES, BUDGETS, RANKS, SEEDS)
def test_every_rank_has_as_many_forward_passes_and_none_is_too_big(
    lengths: list[int], batch: int, budget: int, ranks: int, seed: int
):
    for step in plan_batches(examples(lengths), optimization(batch, budget), ranks, seed):
        passes = {len(rank) for rank in step.ranks}
        assert (len(step.ranks), len(passes)) == (ranks, 1)
        for micro in (m for rank in step.ranks for m in rank):
            assert len(micro.examples) == 1 or tokens(micro.examples) <= budget


@given(LENGTHS, BATCHES, BUDGETS, RANKS, SEEDS)
def test_blank_passes_only_fill_up_the_ranks(lengths: list[int], batch: int, budget: int, ranks: int, seed: int):
    for step in plan_batches(examples(lengths), optimization(batch, budget), ranks, seed):
        blanks = sum(micro.blank for rank in step.ranks for micro in rank)
        assert blanks == 0 or (blanks < ranks and all(len(m.examples) == 1 for rank in step.ranks for m in rank))


@given(LENGTHS, BATCHES, BUDGETS, RANKS, SEEDS)
def test_the_passes_of_a_step_differ_by_at_most_its_longest_example(
    lengths: list[int], batch: int, budget: int, ranks: int, seed: int
):
    """The bound of dealing longest first; passes that run beside each other are neighbours in length on top of it."""
    for step in plan_batches(examples(lengths), optimization(batch, budget), ranks, seed):
        loads = [[tokens(m.examples) for m in beside if not m.blank] for beside in zip(*step.ranks, strict=True)]
        flat = [load for beside in loads for load in beside]
        assert max(flat) - min(flat) <= max(map(packed_length, step.examples()))
        assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize(
    ("lengths", "budget", "ranks", "passes"),
    [
        ([5, 4, 3, 3, 3], 18, 1, [[18]]),  # all of it fits one pass
        ([5, 4, 3, 3, 3], 18, 2, [[10], [8]]),  # 5 + 3, 4 + 3, and the last 3 to the lesser
        ([5, 4, 3, 3, 3], 17, 1, [[10, 8]]),
        ([5, 4, 3, 3, 3], 9, 1, [[7, 6, 5]]),  # two passes would need 10 tokens: 5 / 4 + 3 / 3 + 3
        ([5, 4, 3, 3, 3], 9, 2, [[6, 4], [5, 3]]),  # four passes: 6 beside 5, then 4 beside 3
        ([40, 4, 3], 9, 1, [[40, 7]]),  # too long for the budget: a pass of its own
        ([3, 2], 9, 4, [[3], [2], [2], [2]]),  # two ranks stand by with the shortest example
        ([3, 2], 1, 1, [[3, 2]]),
    ],
)
def test_dealing_by_hand(lengths: list[int], budget: int, ranks: int, passes: list[list[int]]):
    [step] = plan_batches(examples(lengths), optimization(len(lengths), budget), ranks, seed=0)
    assert [[tokens(m.examples) for m in rank] for rank in step.ranks] == passes


def test_a_short_last_batch_is_filled_with_blanks_that_no_one_counts():
    """Three examples, batches of two on two ranks: one step has an example on one rank and a blank on the other."""
    [_, short] = plan_batches(examples([3, 3, 3]), optimization(2), 2, seed=0)
    assert [[m.blank for m in rank] for rank in short.ranks] == [[False], [True]]
    assert short.ranks[1][0].examples == tuple(short.examples())
    assert len(short.examples()) == 1


def test_the_seed_decides_and_epochs_differ():
    rows = examples(list(range(2, 34)))

    def ids(seed: int) -> list[list[str]]:
        return [[e.id for e in step.examples()] for step in plan_batches(rows, optimization(4, epochs=2), 2, seed)]

    assert ids(1) == ids(1) != ids(2)
    assert ids(1)[:8] != ids(1)[8:]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_nothing_is_padded_and_ranks_wait_little(ranks: int):
    """Replies of log-normal length: the rows hold what is needed and no more, and were all ranks to wait for the
    longest pass beside theirs, they would idle for less than a tenth of the time."""
    rows = pairs(256, seed=5)
    plan = plan_batches(rows, optimization(32, tokens=2048), ranks, seed=1)
    needed = sum(len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in rows)
    rounds = [[pack(m.examples) for m in beside] for step in plan for beside in zip(*step.ranks, strict=True)]
    computed = [[len(p.token_ids) for p in beside] for beside in rounds]
    assert sum(map(sum, computed)) == needed
    assert sum(len(beside) * max(beside) for beside in computed) < 1.1 * needed
    assert max(map(max, computed)) <= 2048
