"""New prompts from a model by 8-shot prompting, in rounds until enough are kept (paper, section 2.2, step 1).

The result depends only on the proposals' texts and on `recipe.seed`. A round is filtered in the order of its ids after
all of its requests are answered, so the number and the speed of the replicas do not matter. Proposals are stored;
after an interruption only unanswered requests are sent again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import BlockCounts, Job
from selfreward_ray.inference.programs import propose_prompt
from selfreward_ray.inference.rounds import Rounds, open_rounds
from selfreward_ray.prompts.demonstrations import seed_demonstrations, shown_in_round
from selfreward_ray.prompts.few_shot import OPENING, demonstration_prompt, read_proposal
from selfreward_ray.prompts.filters import CUT_OFF, FILTER_OF, TooSimilar, admit
from selfreward_ray.recipe.schema import Prompts, Recipe
from selfreward_ray.records import Dropped, Prompt, Proposal, RankedSet, SftExample
from selfreward_ray.reporting.formatting import commonest
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.steps.asked_model import check_thinking, proposer_of
from selfreward_ray.steps.live import LiveMetrics
from selfreward_ray.steps.pooled import faults_in_words, figures
from selfreward_ray.steps.so_far import SoFar
from selfreward_ray.store.blocks import PROPOSALS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lease import TakenOver
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.parts import writing_parts
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_columns, read_files, read_rows


class Proposer:
    """The engines of the proposing model. They start with the first request and stay up between iterations.

    Supports at most `iterations` iterations of `recipe`. Use it as a context manager.
    """

    def __init__(self, recipe: Recipe, iterations: int = 1, open_rounds: Callable[..., Any] = open_rounds) -> None:
        self._recipe = recipe
        self._iterations = iterations
        self._open_rounds = open_rounds
        self._engines = ExitStack()
        self._rounds: Rounds | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engines.close()

    def ask(self, job: Job, requests: list[Prompt], note: Callable[[str], None]) -> Iterator[BlockCounts]:
        """Run `job` on the `requests` of a round, and yield the counts of each finished block."""
        if self._rounds is None:
            check_thinking(proposer_of(self._recipe), self._recipe, "propose")
            note("starting the engine")
            recipe = self._recipe
            opened = self._open_rounds(
                proposer_of(recipe), recipe.inference, recipe.seed,
                round_rows=recipe.prompts.requests_per_round, row_tokens=job.row_tokens,
                max_rounds=self._iterations * recipe.prompts.most_rounds, note=note,
            )  # fmt: skip
            self._rounds = self._engines.enter_context(opened)
        return self._rounds.ask(job, requests)

    def faults(self) -> dict[str, float]:
        return self._rounds.summary() if self._rounds else {}


def propose_by_model(
    recipe: Recipe,
    step: Step,
    seed_data: Folder,
    iteration: int,
    earlier: Sequence[Folder],
    progress: Progress,
    proposer: Proposer,
) -> Manifest:
    """Write the prompts that are kept, and finish `step`. Raises `UserError` if the budget is spent before."""
    wanted = recipe.prompts
    examples = read_rows(seed_data, SftExample)
    seeds = [example.prompt for example in seed_demonstrations(examples, wanted, seed_data.uri)]
    names = wanted.filter_names
    threshold = wanted.max_rouge_l if "similar" in names else None
    similar = TooSimilar([OPENING, *_known(examples, seed_data, earlier)], threshold)
    kept: list[str] = []
    reasons: Counter[str] = Counter()
    asked, budget = 0, wanted.budget
    answers = _Answers(recipe, step, progress, proposer)
    with (
        writing_parts(step.folder, "rows", Prompt) as keep,
        writing_parts(step.folder, "dropped", Dropped) as drop,
    ):
        while len(kept) < wanted.count:
            if asked == budget:
                raise UserError(_spent(wanted, budget, len(kept), reasons))
            size = wanted.requests_per_round
            shown = shown_in_round(seeds, kept, recipe, iteration, asked)
            requests = [
                Prompt(f"M{iteration + 1}/q{asked + i:06d}", demonstration_prompt(tasks))
                for i, tasks in enumerate(shown)
            ]
            asked += size
            for proposal in answers.to(requests, len(kept)):
                prompt = _admitted(proposal, similar, names, full=len(kept) == wanted.count)
                if isinstance(prompt, Dropped):
                    reasons[prompt.reason] += 1
                    drop(prompt)
                else:
                    similar.add(prompt.text)
                    kept.append(prompt.text)
                    keep(prompt)
            progress.update(len(kept), answers.so_far.counted.generated_tokens)
    metrics = figures(answers.so_far.total) | answers.so_far.faults(proposer.faults())
    manifest = step.finish(offered=asked, tokens=metrics["generated_tokens"], metrics=metrics)
    progress.aside(faults_in_words(manifest))
    return manifest


class _Answers:
    """Answers to requests: from storage if an earlier attempt wrote them, else from the proposer's engines."""

    def __init__(self, recipe: Recipe, step: Step, progress: Progress, proposer: Proposer) -> None:
        folder = step.folder / PROPOSALS
        sampling = recipe.prompts.sampling
        program = partial(propose_prompt, sampling=sampling, read=read_proposal, thinking=recipe.prompts.thinking)
        self._job = Job("propose", program, Prompt, Proposal, folder.uri, sampling.max_tokens)
        self.so_far = SoFar(step)
        self.so_far.begin()
        self._folder = folder
        self._progress = progress
        self._live = LiveMetrics(progress)
        self._wanted = recipe.prompts.count
        self._proposer = proposer
        self._done = 0
        """Proposals of earlier rounds."""
        self._first: dict[str, str] = {}
        """The first id in each file of answers. All of a file's are to requests of one round."""

    def to(self, requests: list[Prompt], kept: int) -> list[Proposal | Dropped]:
        """The proposal or `Dropped` for each request, in order. Progress shows `kept` in the meantime."""
        found = self._stored(requests)
        if unanswered := [r for r in requests if r.id not in found]:
            before, earlier = self._done + len(found), self.so_far.counted.rows
            try:
                for block in self._proposer.ask(self._job, unanswered, self._progress.note):
                    self.so_far.counted += block
                    self.so_far.beat(before + self.so_far.counted.rows - earlier, self._proposer.faults)
                    self._progress.note("")
                    self._progress.update(kept, self.so_far.counted.generated_tokens)
                    self._live.update(self.so_far.counted, kept, self._wanted)
            except TakenOver:
                raise
            except BaseException:
                self.so_far.write_after_error(before + self.so_far.counted.rows - earlier)
                raise
            found = self._stored(requests)
        self._done += len(requests)
        return [found[r.id] for r in requests]

    def _stored(self, requests: list[Prompt]) -> dict[str, Proposal | Dropped]:
        """The stored answers to the requests of a round, by their ids. Those to others are not in memory."""
        asked = {request.id for request in requests}
        others = {path for path, first in self._first.items() if first not in asked}
        found: dict[str, Proposal | Dropped] = {}
        tables: dict[str, type[Any]] = {"rows": Proposal, "dropped": Dropped}
        for table, record in tables.items():
            for path, answers in read_files(self._folder / table, record, skip=others):
                if answers:
                    self._first.setdefault(path, answers[0].id)
                found.update({answer.id: answer for answer in answers if answer.id in asked})
        return found


def _admitted(
    proposal: Proposal | Dropped, similar: TooSimilar, names: Collection[str], full: bool
) -> Prompt | Dropped:
    """The proposal as a prompt with the same id, or `Dropped` with the reason."""
    if isinstance(proposal, Dropped):
        return proposal
    reason = admit(proposal.text, proposal.finish_reason, similar, names)
    if reason is None and full:
        reason = "more prompts than were asked for"
    return Prompt(proposal.id, proposal.text) if reason is None else Dropped(proposal.id, "propose", reason)


def _known(examples: list[SftExample], seed_data: Folder, earlier: Sequence[Folder]) -> Iterator[str]:
    """Prompts that a new one must not repeat: all of the seed data, also held-out ones, and of earlier iterations."""
    yield from (example.prompt for example in examples)
    for table in ("eft", "held_out", "validation"):
        yield from (ranked.prompt for ranked in read_rows(seed_data, RankedSet, table))
    for folder in earlier:
        yield from (row["text"] for row in read_columns(folder / "rows", ["text"]))


def _spent(wanted: Prompts, budget: int, kept: int, dropped: Counter[str]) -> str:
    return (
        f"prompts: {budget} proposals gave {kept} of {wanted.count} prompts (dropped: {commonest(dropped)}); raise "
        f"prompts.max_requests{_remedy(dropped)}, lower prompts.count, give more seeds, or give prompts of your own "
        "with prompts.source=FILE"
    )


def _remedy(dropped: Counter[str]) -> str:
    """What helps against the most common reason; empty if nothing in the recipe does."""
    reasons = dropped.most_common(1)
    reason = reasons[0][0] if reasons else ""
    if name := FILTER_OF.get(reason):
        return f", list prompts.filters without {name} (prompts.filters=minimal suits any language)"
    if reason == CUT_OFF:
        return ", raise prompts.sampling.max_tokens"
    return " or prompts.max_rouge_l" if reason.startswith("ROUGE-L") else ""
