"""Prompts from a model by 8-shot prompting, round after round, until enough are kept (paper, section 2.2, step 1).

Which prompts come out depends on the proposals' texts and on `recipe.seed` alone: a round is filtered in the order
of its ids once all of it is answered, so neither the number of replicas nor their speed matters. Proposals stay on
storage; after an interruption only what was not answered is asked again.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import Block, Job
from selfreward_ray.inference.programs import propose_prompt
from selfreward_ray.inference.rounds import Rounds, open_rounds
from selfreward_ray.prompts.few_shot import OPENING, demonstration_prompt, read_proposal
from selfreward_ray.prompts.filters import TooSimilar, admit, length
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, Prompt, Proposal, RankedSet, SftExample
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.reporting.wording import commonest
from selfreward_ray.steps.pooled import figures
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_files, read_rows


def proposer_of(recipe: Recipe) -> str:
    """The model that proposes: the recipe's, else M0."""
    return recipe.prompts.proposer or recipe.model


def propose_by_model(
    recipe: Recipe, step: Step, seed_data: Folder, iteration: int, earlier: Sequence[Folder], progress: Progress
) -> Manifest:
    """Write the prompts that are kept, and finish `step`. Raises `UserError` when the budget is spent before."""
    wanted = recipe.prompts
    examples = read_rows(seed_data, SftExample)
    seeds = _demonstrable(examples)
    if len(seeds) < wanted.seed_demonstrations:
        raise UserError(
            f"prompts: {seed_data.uri} has {len(seeds)} IFT prompts of 4 to 150 words that open a conversation, fewer "
            f"than prompts.seed_demonstrations = {wanted.seed_demonstrations}; give more seeds, or lower it"
        )
    similar = TooSimilar([OPENING, *_known(examples, seed_data, earlier)], wanted.max_rouge_l)
    kept: list[Prompt] = []
    dropped: list[Dropped] = []
    asked = 0
    with ExitStack() as engines:
        proposer = _Proposer(recipe, step.folder / "proposals", progress, engines)
        while len(kept) < wanted.count:
            if asked == proposer.budget:
                raise UserError(_spent(proposer.budget, len(kept), wanted.count, dropped))
            size = wanted.requests_per_round
            rng = random.Random(f"propose {recipe.seed} {iteration} {asked}")
            shown = [_demonstrate(seeds, kept, recipe, rng) for _ in range(size)]
            requests = [Prompt(f"M{iteration + 1}/q{asked + i:06d}", text) for i, text in enumerate(shown)]
            asked += size
            for proposal in proposer.ask(requests, len(kept)):
                prompt = _admitted(proposal, similar, full=len(kept) == wanted.count)
                if isinstance(prompt, Dropped):
                    dropped.append(prompt)
                else:
                    similar.add(prompt.text)
                    kept.append(prompt)
            progress.update(len(kept), proposer.counted.generated_tokens)
        metrics = proposer.metrics()
    step.write(kept, Prompt)
    step.write(dropped, Dropped, "dropped")
    return step.finish(offered=asked, tokens=metrics["generated_tokens"], metrics=metrics)


class _Proposer:
    """Answers to requests: from storage where an earlier attempt left them, else from the pool."""

    def __init__(self, recipe: Recipe, folder: Folder, progress: Progress, engines: ExitStack) -> None:
        wanted = recipe.prompts
        # In whole rounds: what a round holds must not depend on the budget, which may be raised.
        self._rounds_at_most = -(-(wanted.max_requests or 20 * wanted.count) // wanted.requests_per_round)
        self.budget = self._rounds_at_most * wanted.requests_per_round
        self.counted = Block()
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._answers: dict[str, Proposal | Dropped] = {}
        self._read: set[str] = set()
        self._engines = engines
        self._rounds: Rounds | None = None

    def ask(self, requests: list[Prompt], kept: int) -> list[Proposal | Dropped]:
        """What became of each request, in their order; `kept` is what progress shows meanwhile."""
        self._gather()
        open_requests = [r for r in requests if r.id not in self._answers]
        for block in self._blocks(open_requests):
            self.counted += block
            self._progress.note("")
            self._progress.update(kept, self.counted.generated_tokens)
        self._gather()
        return [self._answers[r.id] for r in requests]

    def metrics(self) -> dict[str, Any]:
        """For the manifest: of the proposals that were asked for since an interruption."""
        return figures(self.counted) | (self._rounds.summary() if self._rounds else {})

    def _blocks(self, requests: list[Prompt]) -> Iterator[Block]:
        if not requests:
            return
        if self._rounds is None:
            self._progress.note("starting the engine")
            self._rounds = self._engines.enter_context(self._pool())
        yield from self._rounds.ask(requests)

    def _pool(self) -> AbstractContextManager[Rounds]:
        wanted, inference = self._recipe.prompts, self._recipe.inference
        program = partial(propose_prompt, sampling=wanted.sampling, read=read_proposal)
        row_tokens = wanted.sampling.max_tokens
        job = Job("propose", program, Prompt, Proposal, self._folder.uri, self._recipe.seed, row_tokens)
        round_rows, max_rounds, note = wanted.requests_per_round, self._rounds_at_most, self._progress.note
        return open_rounds(proposer_of(self._recipe), inference, job, round_rows, max_rounds, note)

    def _gather(self) -> None:
        for path, answers in read_files(self._folder / "rows", Proposal, skip=self._read):
            self._read.add(path)
            self._answers.update({answer.id: answer for answer in answers})
        for path, failures in read_files(self._folder / "dropped", Dropped, skip=self._read):
            self._read.add(path)
            self._answers.update({failure.id: failure for failure in failures})


def _demonstrate(seeds: list[str], kept: list[Prompt], recipe: Recipe, rng: random.Random) -> str:
    shown_new = [p.text for p in rng.sample(kept, min(len(kept), recipe.prompts.new_demonstrations))]
    shown_seeds = rng.sample(seeds, min(len(seeds), recipe.prompts.seed_demonstrations))
    return demonstration_prompt(shown_seeds, shown_new, rng)


def _admitted(proposal: Proposal | Dropped, similar: TooSimilar, full: bool) -> Prompt | Dropped:
    """The proposal as a prompt of the same id, or the reason against it."""
    if isinstance(proposal, Dropped):
        return proposal
    reason = admit(proposal.text, proposal.finish_reason, similar)
    if reason is None and full:
        reason = "more prompts than were asked for"
    return Prompt(proposal.id, proposal.text) if reason is None else Dropped(proposal.id, "propose", reason)


def _demonstrable(examples: list[SftExample]) -> list[str]:
    """IFT prompts as new ones are wanted: of that length, and after nothing but the system's message."""
    opening = [e.prompt for e in examples if all(turn.role == "system" for turn in e.history)]
    return [prompt for prompt in opening if length(prompt) is None]


def _known(examples: list[SftExample], seed_data: Folder, earlier: Sequence[Folder]) -> Iterator[str]:
    """What a new prompt must not repeat: every prompt of the seed, held-out ones too, and of earlier iterations."""
    yield from (example.prompt for example in examples)
    for table in ("eft", "held_out"):
        yield from (ranked.prompt for ranked in read_rows(seed_data, RankedSet, table))
    for folder in earlier:
        yield from (prompt.text for prompt in read_rows(folder, Prompt))


def _spent(budget: int, kept: int, count: int, dropped: list[Dropped]) -> str:
    return (
        f"prompts: {budget} proposals gave {kept} of {count} prompts (dropped: {commonest(dropped)}); raise "
        "prompts.max_requests or prompts.max_rouge_l, lower prompts.count, or give more seeds"
    )
