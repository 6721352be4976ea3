"""Prompts from a model by 8-shot prompting, round after round, until enough are kept (paper, section 2.2, step 1).

Which prompts come out depends on the proposals' texts and on `recipe.seed` alone: a round is filtered in the order
of its ids once all of it is answered, so neither the number of replicas nor their speed matters. Proposals stay on
storage; after an interruption only what was not answered is asked again.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from selfreward_ray.errors import UserError
from selfreward_ray.inference.pool import Block, Job
from selfreward_ray.inference.programs import propose_prompt
from selfreward_ray.inference.rounds import Rounds, open_rounds
from selfreward_ray.instructions.filters import TooSimilar, admit
from selfreward_ray.instructions.propose import demonstration_prompt, read_proposal
from selfreward_ray.recipe import Recipe
from selfreward_ray.records import Dropped, Prompt, Proposal, SftExample
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.run_store import Manifest, Step, read_files, read_rows
from selfreward_ray.storage import Folder


def proposer(recipe: Recipe) -> str:
    """The model that proposes: the recipe's, else M0."""
    return recipe.prompts.proposer or recipe.model


def propose_by_model(recipe: Recipe, step: Step, seed_data: str, iteration: int, progress: Progress) -> Manifest:
    """Write the prompts that are kept, and finish `step`. Raises `UserError` when the budget is spent before."""
    wanted = recipe.prompts
    seeds = [e.prompt for e in read_rows(Folder(seed_data), SftExample) if e.kind == "ift" and not e.history]
    similar = TooSimilar(seeds, wanted.max_rouge_l)
    kept: list[Prompt] = []
    dropped: list[Dropped] = []
    asked = 0
    with ExitStack() as pool:
        proposer = _Proposer(recipe, step.folder / "proposals", progress, pool)
        while len(kept) < wanted.count:
            if asked == proposer.budget:
                raise UserError(_spent(proposer.budget, len(kept), wanted.count, dropped))
            size = min(wanted.requests_per_round, proposer.budget - asked)
            rng = random.Random(f"propose {recipe.seed} {iteration} {asked}")
            shown = [_demonstrate(seeds, kept, recipe, rng) for _ in range(size)]
            requests = [Prompt(f"it{iteration}/q{asked + i:06d}", text) for i, text in enumerate(shown)]
            asked += size
            for proposal in proposer.ask(requests, len(kept)):
                reason = _refusal(proposal, similar, full=len(kept) == wanted.count)
                if reason is None and isinstance(proposal, Proposal):
                    similar.add(proposal.text)
                    kept.append(Prompt(f"it{iteration}/p{len(kept):06d}", proposal.text))
                else:
                    dropped.append(Dropped(proposal.id, "propose", str(reason)))
            progress.update(len(kept), proposer.tokens)
        tokens = proposer.tokens
    step.write(kept, Prompt)
    step.write(dropped, Dropped, "dropped")
    return step.finish(offered=asked, tokens=tokens)


class _Proposer:
    """Answers to requests: from storage where an earlier attempt left them, else from the pool."""

    def __init__(self, recipe: Recipe, folder: Folder, progress: Progress, pool: ExitStack) -> None:
        wanted = recipe.prompts
        self.budget = wanted.max_requests or 20 * wanted.count
        self.tokens = 0
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._answers: dict[str, Proposal | Dropped] = {}
        self._read: set[str] = set()
        self._stack = pool
        self._rounds: Rounds | None = None

    def ask(self, requests: list[Prompt], kept: int) -> list[Proposal | Dropped]:
        """What became of each request, in their order; `kept` is what progress shows meanwhile."""
        self._gather()
        open_requests = [r for r in requests if r.id not in self._answers]
        for block in self._blocks(open_requests):
            self.tokens += block.generated_tokens
            self._progress.note("")
            self._progress.update(kept, self.tokens)
        self._gather()
        return [self._answers[r.id] for r in requests]

    def _blocks(self, requests: list[Prompt]) -> Iterator[Block]:
        if not requests:
            return
        if self._rounds is None:
            self._progress.note("starting the engine")
            self._rounds = self._stack.enter_context(self._pool())
        yield from self._rounds.ask(requests)

    def _pool(self) -> AbstractContextManager[Rounds]:
        wanted, inference = self._recipe.prompts, self._recipe.inference
        program = partial(propose_prompt, sampling=wanted.sampling, read=read_proposal)
        job = Job("propose", program, Prompt, Proposal, self._folder.uri, self._recipe.seed)
        rounds = -(-self.budget // wanted.requests_per_round)
        blocks_a_round = -(-wanted.requests_per_round // inference.rows_per_block)
        return open_rounds(proposer(self._recipe), inference, job, rounds * blocks_a_round)

    def _gather(self) -> None:
        for path, answers in read_files(self._folder / "rows", Proposal, skip=self._read):
            self._read.add(path)
            self._answers.update({answer.id: answer for answer in answers})
        for path, failures in read_files(self._folder / "dropped", Dropped, skip=self._read):
            self._read.add(path)
            self._answers.update({failure.id: failure for failure in failures})


def _demonstrate(seeds: list[str], kept: list[Prompt], recipe: Recipe, rng: random.Random) -> str:
    shown_new = rng.sample([p.text for p in kept], min(len(kept), recipe.prompts.new_demonstrations))
    shown_seeds = rng.sample(seeds, min(len(seeds), recipe.prompts.seed_demonstrations))
    return demonstration_prompt(shown_seeds, shown_new, rng)


def _refusal(proposal: Proposal | Dropped, similar: TooSimilar, full: bool) -> str | None:
    if isinstance(proposal, Dropped):
        return proposal.reason
    reason = admit(proposal.text, proposal.finish_reason, similar)
    return "more prompts than were asked for" if reason is None and full else reason


def _spent(budget: int, kept: int, count: int, dropped: list[Dropped]) -> str:
    reasons = Counter(d.reason for d in dropped).most_common(3)
    most = "; ".join(f"{n} {reason}" for reason, n in reasons)
    return (
        f"prompts: {budget} proposals gave {kept} of {count} prompts (dropped: {most}); raise prompts.max_requests or "
        "prompts.max_rouge_l, lower prompts.count, or give more seeds"
    )
