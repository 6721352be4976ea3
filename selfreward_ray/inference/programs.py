"""Programs: what a replica does with a row. Each is an async function of a record and a language model.

A program awaits its completions one by one. So the verdicts on a candidate start as soon as it is finished, while the
same engine still samples for other rows. Tests run the same programs with a scripted `LanguageModel`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence, Sized
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.judging.head_to_head import decide
from selfreward_ray.judging.rubric import Rubric
from selfreward_ray.recipe.schema import ENDING_TOKENS, Judge, Respond, Sampling
from selfreward_ray.records import (
    Answer,
    AnsweredQuestion,
    Candidate,
    Comparison,
    Completion,
    Contender,
    Dropped,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    JudgedSet,
    Prompt,
    Proposal,
    Question,
    RankedReply,
    RankedSet,
    ReplyPair,
    ReplyVerdicts,
    Turn,
    Verdict,
)
from selfreward_ray.thought import part_thought, without_thoughts

UNFINISHED_THOUGHT = "unfinished thought"
"""Finish reason of a completion that ends inside its thought: it holds no reply."""


class ContextOverflow(ValueError):
    """A request that does not fit into the model's context."""


P = TypeVar("P", bound=Sized)
"""An encoded prompt, whose length is in tokens. Programs that only judge do not look into it."""


class LanguageModel(Protocol[P]):
    """A model as programs see it. The prompt of a replica's engine is ``list[int]``, the token ids."""

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> P:
        """The prompt of `history` and the user's `text`, up to where the assistant's turn begins. `thinking` turns
        thinking on or off; None leaves the default of the model's chat template."""

    async def generate(self, prompt: P, sampling: Sampling, request_id: str, pattern: str | None = None) -> Completion:
        """One completion. `request_id` encodes the row's lineage; `pattern` is a regular expression that the whole text
        must match. A model that knows its marks parts the thought from the text; programs do it for the others. Raises
        `ContextOverflow`."""


Program = Callable[[Any, Any], Awaitable[Any]]
"""Takes a record and a model, a `LanguageModel` or a `ScoringModel`, and returns a record or `Dropped`. An exception
drops the row too; its message is the reason."""


def request_seed(seed: int, request_id: str) -> int:
    """The sampling seed of a request in a run with `seed`: 32 bits, equal in every attempt."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{request_id}".encode()).digest()[:4])


async def propose_prompt(
    request: Prompt,
    model: LanguageModel[Any],
    sampling: Sampling,
    read: Callable[[str], str],
    thinking: bool | None = None,
) -> Proposal:
    """A new prompt: the model continues a list of demonstrations, and `read` extracts the prompt from its text."""
    encoded = model.encode(request.text, thinking=thinking)
    completion = parted(await model.generate(encoded, sampling, request.id))
    text = read(completion.text)
    # If the model continued with another task, this one is complete even if the length limit was reached.
    continued = not completion.text.rstrip().endswith(text)
    return Proposal(request.id, text, "stop" if continued else completion.finish_reason)


async def sample(prompt: Prompt, model: LanguageModel[list[int]], respond: Respond) -> JudgedPrompt:
    """N candidates without verdicts (paper, section 2.2, step 2)."""

    async def unjudged(candidate: Candidate) -> Candidate:
        return candidate

    return await _sampled(prompt, model, respond, unjudged)


async def respond_and_judge(
    prompt: Prompt, model: LanguageModel[list[int]], respond: Respond, judge: Judge, rubric: Rubric
) -> JudgedPrompt:
    """N candidates, each judged k times as soon as it is finished (paper, section 2.2)."""

    async def judged(candidate: Candidate) -> Candidate:
        return await judge_candidate(prompt.question, candidate, model, judge, rubric)

    return await _sampled(prompt, model, respond, judged)


async def judge_replies(
    answered: JudgedPrompt, model: LanguageModel[Any], judge: Judge, rubric: Rubric
) -> JudgedPrompt:
    """The same candidates with k new verdicts each, which replace earlier ones (paper, section 2.2, step 3)."""
    judged = [judge_candidate(answered.question, candidate, model, judge, rubric) for candidate in answered.candidates]
    return replace(answered, candidates=await gather_or_cancel(judged))


async def judge_candidate(
    prompt: str, candidate: Candidate, model: LanguageModel[Any], judge: Judge, rubric: Rubric
) -> Candidate:
    """`candidate` with k verdicts and their aggregate. `prompt` is the text that the judge is shown."""
    question = rubric.render(prompt, candidate.text)
    return with_verdicts(candidate, await verdicts(question, candidate.id, judge.verdicts, model, judge, rubric))


async def compare(pair: ReplyPair, model: LanguageModel[Any], judge: Judge, rubric: Rubric) -> Comparison | Dropped:
    """Which of two replies is better: k verdicts in each of the two orders of presentation (paper, section 3.1)."""

    async def in_order(name: str, first: Contender, second: Contender) -> tuple[Verdict, ...]:
        question = rubric.render(pair.prompt, first.text, second.text)
        return await verdicts(question, f"{pair.id}/{name}", judge.verdicts, model, judge, rubric)

    left_first, right_first = await gather_or_cancel(
        [in_order("left-first", pair.left, pair.right), in_order("right-first", pair.right, pair.left)]
    )
    return decide(pair, left_first, right_first, judge.min_valid)


async def verdicts(
    question: str, row: str, count: int, model: LanguageModel[Any], judge: Judge, rubric: Rubric
) -> tuple[Verdict, ...]:
    """`count` verdicts, with ids ``{row}/v0`` and so on, on a `question` rendered by `rubric`."""
    encoded = model.encode(question, thinking=judge.thinking)
    return await gather_or_cancel(verdict(encoded, f"{row}/v{k}", model, judge, rubric) for k in range(count))


async def verdict(encoded: P, row: str, model: LanguageModel[P], judge: Judge, rubric: Rubric) -> Verdict:
    """One verdict on a question, retried up to ``judge.retries`` times while no score can be read."""
    pattern = rubric.constrained_pattern(judge.sampling.max_tokens - ENDING_TOKENS) if judge.constrained else None
    text = thought = ""
    for attempt in range(judge.retries + 1):
        try:
            completion = parted(await model.generate(encoded, judge.sampling, f"{row}/a{attempt}", pattern))
        except ContextOverflow as error:
            return Verdict(row, f"not asked: {error}", None, attempt)
        text, thought = completion.text, completion.thought
        # A truncated verdict may end in an intermediate score from its reasoning, and a thought may hold one too.
        score = rubric.read_score(without_thoughts(text)) if completion.finish_reason == "stop" else None
        if score is not None:
            return Verdict(row, text, score, attempt + 1, thought)
    return Verdict(row, text, None, judge.retries + 1, thought)


async def judge_set(
    ranked: RankedSet, model: LanguageModel[Any], samples: int, judge: Judge, rubric: Rubric
) -> JudgedSet:
    """`samples` verdicts on each ranked reply, for the choice of EFT rows (paper, section 3.1.1) or for the agreement
    with the ranking (section 3.1.3)."""

    async def judged(reply: RankedReply) -> ReplyVerdicts:
        question = rubric.render(ranked.question, reply.text)
        return ReplyVerdicts(reply.id, await verdicts(question, reply.id, samples, model, judge, rubric))

    return JudgedSet(ranked.id, ranked, await gather_or_cancel(map(judged, ranked.replies)))


async def evaluate_set(
    ranked: RankedSet, model: LanguageModel[Any], respond: Respond, samples: int, judge: Judge, rubric: Rubric
) -> EvaluatedSet:
    """The model's greedy answer to a held-out prompt, and `samples` verdicts on each reply that an annotator ranked.

    The answer is not scored here: no scorer runs in the process of the model.
    """
    greedy = respond.sampling.model_copy(update={"temperature": 0.0})

    async def answer() -> EvaluatedReply:
        row = f"{ranked.id}/answer"
        encoded = model.encode(ranked.prompt, ranked.history, respond.thinking)
        said = parted(await model.generate(encoded, greedy, row))
        return EvaluatedReply(row, ranked.question, said.text, said.finish_reason == "stop", said.thought)

    own, judged = await gather_or_cancel([answer(), judge_set(ranked, model, samples, judge, rubric)])
    return EvaluatedSet(ranked.id, own, judged.replies(), ranked.group)


async def answer_question(
    question: Question, model: LanguageModel[Any], sampling: Sampling, thinking: bool | None = None
) -> AnsweredQuestion:
    """One answer to each turn of `question`; a later turn is asked after the earlier turns and their answers, without
    the thoughts before these."""
    history = list(question.history)
    answers: list[Answer] = []
    for number, text in enumerate(question.turns):
        row = f"{question.id}/t{number}"
        completion = parted(await model.generate(model.encode(text, history, thinking), sampling, row))
        answers.append(Answer(row, completion.text, completion.finish_reason == "stop", completion.thought))
        history += [Turn("user", text), Turn("assistant", completion.text)]
    return AnsweredQuestion(question.id, question, tuple(answers))


async def _sampled(
    prompt: Prompt,
    model: LanguageModel[list[int]],
    respond: Respond,
    then: Callable[[Candidate], Awaitable[Candidate]],
) -> JudgedPrompt:
    """`prompt` with its candidates; each is passed to `then` as soon as it is finished."""
    prompt_ids = model.encode(prompt.text, prompt.history, respond.thinking)

    async def candidate(index: int) -> Candidate:
        row = f"{prompt.id}/r{index}"
        said = parted(await model.generate(prompt_ids, respond.sampling, row))
        return await then(
            Candidate(
                row,
                said.text,
                said.token_ids,
                said.finish_reason == "stop",
                thought=said.thought,
                thought_tokens=said.thought_tokens,
            )
        )

    candidates = await gather_or_cancel(map(candidate, range(respond.candidates)))
    return JudgedPrompt(prompt.id, prompt.text, tuple(prompt_ids), candidates, prompt.history)


def parted(completion: Completion) -> Completion:
    """`completion` with its thought apart from its text, unless the model has parted them."""
    if completion.thought or completion.thought_tokens:
        return completion
    found = part_thought(completion.text)
    finish_reason = completion.finish_reason
    if not found.finished and finish_reason == "stop":
        finish_reason = UNFINISHED_THOUGHT
    return replace(completion, text=found.reply, thought=found.thought, finish_reason=finish_reason)


async def gather_or_cancel(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> tuple[Any, ...]:
    """The results of all `coroutines`, in order.

    When one raises, the others are cancelled: a dropped row must not keep the engine busy.
    """
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
