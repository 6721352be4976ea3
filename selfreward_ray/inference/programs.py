"""What a replica does with a row: async functions of a record and a language model, nothing else.

A program awaits its completions, so the verdicts of a candidate start the moment it is finished, beside
other rows' sampling, in the same engine. Tests give the same programs a scripted `LanguageModel`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.judging.rubric import Rubric
from selfreward_ray.recipe import ENDING_TOKENS, Judge, Respond, Sampling
from selfreward_ray.records import (
    Candidate,
    Completion,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    JudgedReply,
    JudgedSet,
    Prompt,
    Proposal,
    RankedReply,
    RankedSet,
    ReplyVerdicts,
    Turn,
    Verdict,
)


class ContextOverflow(ValueError):
    """A request that would not fit into the model's context."""


class LanguageModel(Protocol):
    """What a program may ask of a replica."""

    def encode(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """Ids of a conversation up to where the assistant begins: `history`, then the user's `text`."""

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        """One completion; `request_id` is the row's lineage, and `pattern` a regular expression that the whole text
        must match. Raises `ContextOverflow`."""


Program = Callable[[Any, LanguageModel], Awaitable[Any]]
"""A record and a model in, a record out; an exception drops the row with its message as the reason."""


async def propose_prompt(
    request: Prompt, model: LanguageModel, sampling: Sampling, read: Callable[[str], str]
) -> Proposal:
    """What the model adds to a list of demonstrations; `read` takes the new prompt out of its text."""
    completion = await model.generate(model.encode(request.text), sampling, request.id)
    text = read(completion.text)
    # A model that went on to the next task finished this one, even if the length limit ended it there.
    went_on = not completion.text.rstrip().endswith(text)
    return Proposal(request.id, text, "stop" if went_on else completion.finish_reason)


async def respond_and_judge(
    prompt: Prompt, model: LanguageModel, respond: Respond, judge: Judge, rubric: Rubric
) -> JudgedPrompt:
    """N candidates, each judged k times as soon as it is finished (paper, section 2.2)."""
    prompt_ids = model.encode(prompt.text)

    async def candidate(index: int) -> Candidate:
        row = f"{prompt.id}/r{index}"
        completion = await model.generate(prompt_ids, respond.sampling, row)
        reply = Candidate(row, completion.text, completion.token_ids, completion.finish_reason == "stop")
        asked = [verdict(prompt.text, reply.text, f"{row}/v{k}", model, judge, rubric) for k in range(judge.verdicts)]
        return with_verdicts(reply, tuple(await asyncio.gather(*asked)))

    candidates = await asyncio.gather(*map(candidate, range(respond.candidates)))
    return JudgedPrompt(prompt.id, prompt.text, tuple(prompt_ids), tuple(candidates))


async def verdict(prompt: str, reply: str, row: str, model: LanguageModel, judge: Judge, rubric: Rubric) -> Verdict:
    """One verdict on one reply, asked again while no score can be read, at most ``judge.retries`` times."""
    judge_ids = model.encode(rubric.render(prompt, reply))
    pattern = rubric.constrained_pattern(judge.sampling.max_tokens - ENDING_TOKENS) if judge.constrained else None
    text = ""
    for attempt in range(judge.retries + 1):
        try:
            completion = await model.generate(judge_ids, judge.sampling, f"{row}/a{attempt}", pattern)
        except ContextOverflow as error:
            return Verdict(row, f"not asked: {error}", None, attempt)
        text = completion.text
        # A verdict that was cut off may end in a score of the middle of its reasoning.
        score = rubric.read_score(text) if completion.finish_reason == "stop" else None
        if score is not None:
            return Verdict(row, text, score, attempt + 1)
    return Verdict(row, text, None, judge.retries + 1)


async def judge_set(ranked: RankedSet, model: LanguageModel, samples: int, judge: Judge, rubric: Rubric) -> JudgedSet:
    """`samples` verdicts on each ranked reply, from which EFT rows are chosen (paper, section 3.1.1)."""

    async def judged(reply: RankedReply) -> ReplyVerdicts:
        rows = [f"{reply.id}/v{k}" for k in range(samples)]
        asked = [verdict(ranked.question, reply.text, row, model, judge, rubric) for row in rows]
        return ReplyVerdicts(reply.id, tuple(await asyncio.gather(*asked)))

    return JudgedSet(ranked.id, ranked, tuple(await asyncio.gather(*map(judged, ranked.replies))))


async def evaluate_set(
    ranked: RankedSet, model: LanguageModel, respond: Respond, judge: Judge, rubric: Rubric
) -> EvaluatedSet:
    """The model's greedy answer to a held-out prompt, and one verdict on each reply that an annotator ranked.

    Scoring the answer is not the replica's business: nothing that knows the truth runs beside the model.
    """
    greedy = respond.sampling.model_copy(update={"temperature": 0.0})

    async def answer() -> EvaluatedReply:
        row = f"{ranked.id}/answer"
        completion = await model.generate(model.encode(ranked.prompt, ranked.history), greedy, row)
        return EvaluatedReply(row, ranked.prompt, completion.text, completion.finish_reason == "stop", None)

    async def judged(reply: RankedReply) -> JudgedReply:
        given = await verdict(ranked.question, reply.text, f"{reply.id}/v0", model, judge, rubric)
        return JudgedReply(reply.id, ranked.id, reply.rank, reply.score, given)

    own, replies = await asyncio.gather(answer(), asyncio.gather(*map(judged, ranked.replies)))
    return EvaluatedSet(ranked.id, own, tuple(replies))
