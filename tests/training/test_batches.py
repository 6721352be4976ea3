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
    """Examples that are so many tokens long, a prompt of one among them, and begin with a token of their own."""
    return [SftTokens(f"e{i}", (i,), (2,) * (length - 1)) for i, length in enumerate(lengths)]


def pairs(count: int, seed: int) -> list[PairTokens]:
    """Replies of log-normal length around 120 tokens, prompts of 60 to 200, which begin with tokens of their own."""
    rng = random.Random(seed)

    def reply(first: int) -> tuple[int, ...]:
        return (first,) * max(1, round(rng.lognormvariate(4.8, 0.7)))

    return [PairTokens(f"p{i}", (i,) * rng.randint(60, 200), reply(-1), reply(-2)) for i in range(count)]


def sharing(rows: list[tuple[int, int, int]]) -> list[SftTokens]:
    """Of each, the beginning it takes from, how many tokens of it, and how many tokens of its own follow."""
    return [SftTokens(f"e{i}", (-1 - family,) * shared, (i,) * own) for i, (family, shared, own) in enumerate(rows)]


ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=60).map(
    sharing
)
BATCHES = st.integers(1, 12)
BUDGETS = st.integers(1, 120)
RANKS = st.integers(1, 4)
SEEDS = st.integers(0, 99)


@given(ROWS, BATCHES, BUDGETS, RANKS, st.integers(1, 3), SEEDS)
def test_each_example_is_in_each_epoch_once(
    rows: list[SftTokens], batch: int, budget: int, ranks: int, epochs: int, seed: int
):
    plan = plan_batches(rows, optimization(batch, budget, epochs), ranks, seed)
    steps = -(-len(rows) // batch)
    assert len(plan) == epochs * steps
    for epoch in range(epochs):
        seen = [e for step in plan[epoch * steps : (epoch + 1) * steps] for e in step.examples()]
        assert Counter(e.id for e in seen) == Counter(e.id for e in rows)


@given(ROWS, BATCHES, BUDGETS, SEEDS)
def test_a_steps_examples_are_the_same_for_any_number_of_ranks(
    rows: list[SftTokens], batch: int, budget: int, seed: int
):
    plans = [plan_batches(rows, optimization(batch, budget), ranks, seed) for ranks in (1, 2, 4)]
    one, two, four = [[{e.id for e in step.examples()} for step in plan] for plan in plans]
    assert one == two == four


@given(ROWS, BATCHES, BUDGETS, RANKS, SEEDS)
def test_every_rank_has_as_many_forward_passes_and_none_is_too_big(
    rows: list[SftTokens], batch: int, budget: int, ranks: int, seed: int
):
    for step in plan_batches(rows, optimization(batch, budget), ranks, seed):
        passes = {len(rank) for rank in step.ranks}
        assert (len(step.ranks), len(passes)) == (ranks, 1)
        for micro in (m for rank in step.ranks for m in rank):
            assert len(micro.examples) == 1 or packed_length(micro.examples) <= budget


@given(ROWS, BATCHES, BUDGETS, RANKS, SEEDS)
def test_blank_passes_only_fill_up_the_ranks(rows: list[SftTokens], batch: int, budget: int, ranks: int, seed: int):
    for step in plan_batches(rows, optimization(batch, budget), ranks, seed):
        blanks = sum(micro.blank for rank in step.ranks for micro in rank)
        assert blanks < ranks


@given(ROWS, BATCHES, BUDGETS, RANKS, SEEDS)
def test_the_passes_of_a_step_differ_by_at_most_its_longest_example(
    rows: list[SftTokens], batch: int, budget: int, ranks: int, seed: int
):
    """The bound of dealing longest first; passes that run beside each other are neighbours in length on top of it."""
    for step in plan_batches(rows, optimization(batch, budget), ranks, seed):
        loads = [[packed_length(m.examples) for m in beside if not m.blank] for beside in zip(*step.ranks, strict=True)]
        flat = [load for beside in loads for load in beside]
        assert max(flat) - min(flat) <= max(packed_length([e]) for e in step.examples())
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
    assert [[packed_length(m.examples) for m in rank] for rank in step.ranks] == passes


@pytest.mark.parametrize(
    ("budget", "ranks", "passes"),
    [
        (100, 2, ["aaaab", "bbb"]),  # an even share is 17 tokens: the 14 of those that share, then one more
        (34, 1, ["aaaabbbb"]),
        (19, 1, ["aaaab", "bbb"]),
    ],
)
def test_what_begins_alike_goes_together(budget: int, ranks: int, passes: list[str]):
    """Four examples of eight tokens begin with the same six, and four of five share nothing: 34 tokens in all."""
    rows = [SftTokens(f"a{i}", (1,) * 6, (10 + i,) * 2) for i in range(4)]
    rows += [SftTokens(f"b{i}", (20 + i,), (2,) * 4) for i in range(4)]
    [step] = plan_batches(rows, optimization(8, budget), ranks, seed=0)
    beside = [micro.examples for beside in zip(*step.ranks, strict=True) for micro in beside]
    assert ["".join(e.id[0] for e in micro) for micro in beside] == passes
    assert sum(map(packed_length, beside)) == 34


@given(ROWS, BUDGETS, RANKS)
def test_sharing_costs_no_pass(rows: list[SftTokens], budget: int, ranks: int):
    """There are no more passes than of examples of the same lengths that share nothing."""
    apart = examples([packed_length([row]) for row in rows])
    [shared], [unshared] = (plan_batches(r, optimization(len(rows), budget), ranks, seed=0) for r in (rows, apart))
    assert len(shared.ranks[0]) <= len(unshared.ranks[0])


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
