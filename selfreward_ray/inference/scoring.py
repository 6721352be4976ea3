"""Programs of benchmarks: the log-probability of given tokens, and texts that end at given strings.

They need token ids and prompt log-probs, so only a replica's engine can run them, and no endpoint.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from selfreward_ray.inference.programs import ContextOverflow, LanguageModel, gather_or_cancel
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import Completion, TaskAnswer, TaskRequest


@dataclass(frozen=True)
class Score:
    """What a model says of given tokens."""

    logprob: float
    """Sum of the log-probabilities of the tokens, in nats."""
    greedy: bool
    """Whether greedy decoding gives these tokens: none of them has a more probable alternative."""


class ScoringModel(LanguageModel[list[int]], Protocol):
    """A language model of token ids that also scores given tokens."""

    @property
    def context(self) -> int:
        """Maximum number of tokens of a request, the generated ones included."""

    async def score(self, prompt: list[int], target: list[int], request_id: str) -> Score:
        """The score of `target` after `prompt`, neither of them empty. One token is generated beside it and thrown
        away, so both together must be shorter than `context`. Raises `ContextOverflow`."""

    async def complete(
        self, prompt: list[int], sampling: Sampling, until: Sequence[str], request_id: str
    ) -> Completion:
        """A completion that also ends before the first of the texts `until`. Control tokens that do not end it are part
        of its text. Raises `ContextOverflow`."""


async def answer_task_request(request: TaskRequest, model: ScoringModel) -> TaskAnswer:
    """The answer to a request of a benchmark's task.

    A prompt that is too long loses its beginning, as in lm-eval. Raises `ContextOverflow` if the tokens to score or to
    generate leave no room for a prompt.
    """
    if request.kind == "generate_until":
        return TaskAnswer(request.id, text=await _text(request, model))
    room = model.context - 1  # vLLM generates at least one token
    if request.kind == "loglikelihood":
        windows = [_last(request.prompt_ids, request.target_ids, room)] if request.target_ids else []
    else:
        windows = rolling_windows(request.prompt_ids, request.target_ids, room)
    scores: tuple[Score, ...] = await gather_or_cancel(
        model.score(prompt, target, f"{request.id}/w{number}") for number, (prompt, target) in enumerate(windows)
    )
    logprob = math.fsum(score.logprob for score in scores)
    return TaskAnswer(request.id, logprob=logprob, greedy=all(score.greedy for score in scores))


def rolling_windows(prompt: Sequence[int], target: Sequence[int], room: int) -> list[tuple[list[int], list[int]]]:
    """Cut a text that may be longer than the context into requests of at most `room` tokens, as lm-eval does.

    Every token of `target` is scored once. All windows but the first and the last have one token of context, the last
    one has as many as fit.
    """
    tokens = [*prompt, *target]
    begins = range(len(prompt), len(tokens), room - 1)
    windows = []
    for begin in begins:
        end = min(begin + room - 1, len(tokens))
        windows.append((tokens[max(0, end - room) : begin], tokens[begin:end]))
    return windows


def _last(prompt: Sequence[int], target: Sequence[int], room: int) -> tuple[list[int], list[int]]:
    """`prompt` and `target`, of which the prompt loses its first tokens if they have more than `room` together."""
    if len(target) >= room:
        raise ContextOverflow(f"the {len(target)} tokens to score exceed the context of {room + 1}")
    return list(prompt[-(room - len(target)) :]), list(target)


async def _text(request: TaskRequest, model: ScoringModel) -> str:
    room = model.context - request.max_tokens
    if room < 1:
        raise ContextOverflow(f"the {request.max_tokens} tokens to generate exceed the context of {model.context}")
    sampling = Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        seeded=request.temperature > 0,  # so that the same command gives the same figures
    )
    completion = await model.complete(list(request.prompt_ids[-room:]), sampling, request.until, request.id)
    ends = [end for text in request.until if (end := completion.text.find(text)) >= 0]
    return completion.text[: min(ends)] if ends else completion.text
