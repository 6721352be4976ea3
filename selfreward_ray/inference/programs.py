"""What a replica does with a row: async functions of a record and a language model, nothing else.

A program awaits its completions, so the verdicts of a candidate start the moment it is finished, beside
other rows' sampling, in the same engine. Tests give the same programs a scripted `LanguageModel`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.judging.head_to_head import decide
from selfreward_ray.judging.rubric import Rubric
from selfreward_ray.recipe.schema import ENDING_TOKENS, Judge, Respond, Sampling
from selfreward_ray.records import (
    Candidate,
    Comparison,
    Completion,
    Contender,
    Dropped,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    JudgedReply,
    JudgedSet,
    Prompt,
    Proposal,
    RankedReply,
    RankedSet,
    ReplyPair,
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
"""A record and a model in, a record out, or the row as `Dropped`; an exception drops it too, its message the reason."""


async def propose_prompt(
    request: Prompt, model: LanguageModel, sampling: Sampling, read: Callable[[str], str]
) -> Proposal:
    """What the model adds to a list of demonstrations; `read` takes the new prompt out of its text."""
    completion = await model.generate(model.encode(request.text), sampling, request.id)
    text = read(completion.text)
    # A model that went on to the next task finished this one, even if the length limit ended it there.
    went_on = not completion.text.rstrip().endswith(text)
    return Proposal(request.id, text, "stop" if went_on else completion.finish_reason)


async def sample(prompt: Prompt, model: LanguageModel, respond: Respond) -> JudgedPrompt:
    """N candidates that nobody judged yet: their `verdicts` are empty (paper, section 2.2, step 2)."""

    async def unjudged(candidate: Candidate) -> Candidate:
        return candidate

    return await _sampled(prompt, model, respond, unjudged)


async def respond_and_judge(
    prompt: Prompt, model: LanguageModel, respond: Respond, judge: Judge, rubric: Rubric
) -> JudgedPrompt:
    """N candidates, each judged k times as soon as it is finished (paper, section 2.2)."""

    async def judged(candidate: Candidate) -> Candidate:
        return await judge_candidate(prompt.text, candidate, model, judge, rubric)

    return await _sampled(prompt, model, respond, judged)


async def judge_replies(answered: JudgedPrompt, model: LanguageModel, judge: Judge, rubric: Rubric) -> JudgedPrompt:
    """The same candidates with k verdicts each; verdicts that they had are replaced (paper, section 2.2, step 3)."""
    asked = [judge_candidate(answered.text, candidate, model, judge, rubric) for candidate in answered.candidates]
    return replace(answered, candidates=await gather_or_cancel(asked))


async def judge_candidate(
    prompt: str, candidate: Candidate, model: LanguageModel, judge: Judge, rubric: Rubric
) -> Candidate:
    """`candidate` with k verdicts and what they come to."""
    question = rubric.render(prompt, candidate.text)
    return with_verdicts(candidate, await verdicts(question, candidate.id, judge.verdicts, model, judge, rubric))


async def compare(pair: ReplyPair, model: LanguageModel, judge: Judge, rubric: Rubric) -> Comparison | Dropped:
    """k verdicts on which of two replies is better in each of the orders in which they can be shown (section 3.1)."""

    async def in_order(name: str, first: Contender, second: Contender) -> tuple[Verdict, ...]:
        question = rubric.render(pair.prompt, first.text, second.text)
        return await verdicts(question, f"{pair.id}/{name}", judge.verdicts, model, judge, rubric)

    left_first, right_first = await gather_or_cancel(
        [in_order("left-first", pair.left, pair.right), in_order("right-first", pair.right, pair.left)]
    )
    return decide(pair, left_first, right_first, judge.min_valid)


async def verdicts(
    question: str, row: str, count: int, model: LanguageModel, judge: Judge, rubric: Rubric
) -> tuple[Verdict, ...]:
    """`count` verdicts, ``{row}/v0`` and so on, on a `question` that `rubric` rendered."""
    judge_ids = model.encode(question)
    asked = [verdict(judge_ids, f"{row}/v{k}", model, judge, rubric) for k in range(count)]
    return await gather_or_cancel(asked)


async def verdict(judge_ids: list[int], row: str, model: LanguageModel, judge: Judge, rubric: Rubric) -> Verdict:
    """One verdict on a question, asked for again while no score can be read, at most ``judge.retries`` times."""
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
        question = rubric.render(ranked.question, reply.text)
        return ReplyVerdicts(reply.id, await verdicts(question, reply.id, samples, model, judge, rubric))

    return JudgedSet(ranked.id, ranked, await gather_or_cancel(map(judged, ranked.replies)))


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
        return EvaluatedReply(row, ranked.question, completion.text, completion.finish_reason == "stop")

    async def judged(reply: RankedReply) -> JudgedReply:
        question = rubric.render(ranked.question, reply.text)
        (given,) = await verdicts(question, reply.id, 1, model, judge, rubric)
        return JudgedReply(reply.id, ranked.id, reply.rank, reply.score, given)

    own, *replies = await gather_or_cancel([answer(), *map(judged, ranked.replies)])
    return EvaluatedSet(ranked.id, own, tuple(replies), ranked.group)


async def _sampled(
    prompt: Prompt,
    model: LanguageModel,
    respond: Respond,
    then: Callable[[Candidate], Awaitable[Candidate]],
) -> JudgedPrompt:
    """`prompt` with its candidates, each handed to `then` the moment it is finished."""
    prompt_ids = model.encode(prompt.text)

    async def candidate(index: int) -> Candidate:
        row = f"{prompt.id}/r{index}"
        completion = await model.generate(prompt_ids, respond.sampling, row)
        return await then(Candidate(row, completion.text, completion.token_ids, completion.finish_reason == "stop"))

    candidates = await gather_or_cancel(map(candidate, range(respond.candidates)))
    return JudgedPrompt(prompt.id, prompt.text, tuple(prompt_ids), candidates)


async def gather_or_cancel(asked: Iterable[Coroutine[Any, Any, Any]]) -> tuple[Any, ...]:
    """What all of `asked` come to, in order.

    Where one raises, the others are cancelled: a row that is given up asks its engine for nothing more.
    """
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
