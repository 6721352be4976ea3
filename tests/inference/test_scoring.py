"""The programs of benchmarks, with a model whose log-probabilities are known."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_model import ScriptedModel, block_of, completion

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.programs import ContextOverflow
from selfreward_ray.inference.scoring import Score, answer_task_request, rolling_windows
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import Completion, Dropped, TaskAnswer, TaskRequest
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows


class Scorer(ScriptedModel):
    """A token's log-probability is its negative id; a target is greedy if no token is above 50."""

    def __init__(self, context: int = 12, says: str = ""):
        super().__init__(lambda text, row: "")
        self.context = context
        self.says = says
        self.scored: list[tuple[list[int], list[int], str]] = []
        self.completed: list[tuple[list[int], Sampling, tuple[str, ...]]] = []

    async def score(self, prompt: list[int], target: list[int], request_id: str) -> Score:
        assert prompt
        assert target
        assert len(prompt) + len(target) < self.context
        self.scored.append((prompt, target, request_id))
        return Score(-float(sum(target)), max(target) <= 50)

    async def complete(self, prompt: list[int], sampling: Sampling, until: Any, request_id: str) -> Completion:
        self.completed.append((prompt, sampling, tuple(until)))
        return completion(self.says)


def answered(request: TaskRequest, model: Scorer) -> TaskAnswer:
    return asyncio.run(answer_task_request(request, model))


def test_the_answer_is_the_score_of_the_target():
    model = Scorer()
    request = TaskRequest("x", "loglikelihood", (1, 2, 3), (10, 60))
    assert answered(request, model) == TaskAnswer("x", -70.0, False)
    assert answered(TaskRequest("y", "loglikelihood", (1,), (10, 50)), model) == TaskAnswer("y", -60.0, True)
    assert model.scored == [([1, 2, 3], [10, 60], "x/w0"), ([1], [10, 50], "y/w0")]


def test_a_prompt_that_is_too_long_loses_its_beginning():
    model = Scorer(context=8)
    for length in (4, 5, 6, 20):
        answered(TaskRequest("x", "loglikelihood", tuple(range(length)), (1, 2)), model)
    assert [prompt for prompt, _, _ in model.scored] == [
        [0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [15, 16, 17, 18, 19],
    ]  # fmt: skip


def test_a_target_that_leaves_no_room_for_a_prompt_is_not_scored_in_part():
    assert answered(TaskRequest("x", "loglikelihood", (1,), tuple(range(6))), Scorer(context=8)).logprob == -15
    with pytest.raises(ContextOverflow, match="the 7 tokens to score exceed the context of 8"):
        answered(TaskRequest("x", "loglikelihood", (1,), tuple(range(7))), Scorer(context=8))


def test_nothing_to_score_is_certain():
    assert answered(TaskRequest("x", "loglikelihood", (1,)), Scorer()) == TaskAnswer("x", 0.0, True)


def test_a_long_text_is_scored_in_windows():
    """By hand: eleven tokens, of which seven fit into a request with the one before them or, at the end, with more."""
    model = Scorer(context=6)
    request = TaskRequest("x", "loglikelihood_rolling", (99,), tuple(range(11)))
    assert answered(request, model) == TaskAnswer("x", -55.0, True)
    assert [(prompt, target) for prompt, target, _ in model.scored] == [
        ([99], [0, 1, 2, 3]), ([3], [4, 5, 6, 7]), ([6, 7], [8, 9, 10]),
    ]  # fmt: skip


@given(tokens=st.lists(st.integers(0, 9), max_size=40), room=st.integers(2, 12))
def test_windows_score_every_token_once_after_the_tokens_before_it(tokens: list[int], room: int):
    whole = [99, *tokens]
    place = 1
    for prompt, target in rolling_windows([99], tokens, room):
        assert whole[place - len(prompt) : place] == prompt != []
        assert whole[place : place + len(target)] == target != []
        assert len(prompt) + len(target) == min(room, place + len(target))
        place += len(target)
    assert place == len(whole)


def test_a_text_ends_before_the_first_of_the_given_texts():
    model = Scorer(context=100, says="one. Two\n\nthree")
    request = TaskRequest("x", "generate_until", (1, 2), (), ("\n\n", "."), 9)
    assert answered(request, model) == TaskAnswer("x", text="one")
    (_, sampling, until) = model.completed[0]
    assert (sampling.temperature, sampling.max_tokens, sampling.seeded) == (0.0, 9, False)
    assert until == ("\n\n", ".")
    model.says = "to the end"
    assert answered(request, model).text == "to the end"


def test_a_sampled_text_is_seeded_so_that_the_figures_can_be_repeated():
    model = Scorer()
    answered(TaskRequest("x", "generate_until", (1,), max_tokens=2, temperature=0.6, top_p=0.9), model)
    (_, sampling, _) = model.completed[0]
    assert (sampling.temperature, sampling.top_p, sampling.seeded) == (0.6, 0.9, True)


def test_a_prompt_leaves_room_for_what_is_generated():
    model = Scorer(context=8)
    answered(TaskRequest("x", "generate_until", tuple(range(20)), max_tokens=5), model)
    assert model.completed[0][0] == [17, 18, 19]
    with pytest.raises(ContextOverflow, match="the 8 tokens to generate exceed the context of 8"):
        answered(TaskRequest("x", "generate_until", (1,), max_tokens=8), model)


def test_a_block_counts_the_tokens_and_drops_what_does_not_fit(tmp_path: Path):
    requests = [
        TaskRequest("a", "loglikelihood", (1, 2), (3,)),
        TaskRequest("b", "generate_until", (1, 2), max_tokens=4),
        TaskRequest("c", "generate_until", (1, 2), max_tokens=99),
    ]
    job = Job("benchmark", answer_task_request, TaskRequest, TaskAnswer, str(tmp_path), 3)
    counts = block_of(requests, Scorer(says="yes"), job)
    assert (counts.rows, counts.dropped, counts.prompt_tokens, counts.generated_tokens) == (3, 1, 5, 3)
    assert read_rows(Folder(str(tmp_path)), TaskAnswer) == [TaskAnswer("a", -3.0, True), TaskAnswer("b", text="yes")]
    assert [row.id for row in read_rows(Folder(str(tmp_path)), Dropped, "dropped")] == ["c"]
