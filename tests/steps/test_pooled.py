"""What pooled steps pass to the pool, and the metrics in their manifests."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import BlockCounts, Job
from selfreward_ray.inference.health import GIVEN_UP
from selfreward_ray.inference.pool import Workload
from selfreward_ray.recipe.schema import Recipe, Sampling
from selfreward_ray.records import Candidate, Completion, JudgedPrompt, Prompt, RankedReply, RankedSet, SftExample, Turn
from selfreward_ray.steps.compare import compare
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pooled import faults_in_words, figures, run_pooled
from selfreward_ray.steps.proposal_rounds import Proposer
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.sample import sample
from selfreward_ray.steps.verdicts import verdicts
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step

RECIPE = Recipe.model_validate(
    {
        "model": "m0",
        "seed_data": {"verdict_samples": 5},
        "prompts": {"seed_demonstrations": 1, "new_demonstrations": 0, "sampling": {"max_tokens": 7}},
        "respond": {"candidates": 3, "sampling": {"max_tokens": 100}},
        "judge": {"verdicts": 4, "min_valid": 1, "sampling": {"max_tokens": 10}},
    }
)


class Looked(Exception):
    """The step started its pool; has the job and the first record."""


class Refusing:
    """A pool that runs nothing."""

    def __enter__(self) -> "Refusing":
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, workloads: Sequence[Workload]) -> None:
        ((job, rows, _),) = workloads
        path = next(Path(rows.uri).glob("*.parquet"))
        raise Looked(job, from_table(pq.read_table(path), job.record)[0])

    def ask(self, job: Job, records: list[Any]) -> None:
        raise Looked(job, records[0])


REFUSING = Proposer(RECIPE, open_rounds=lambda *_, **__: Refusing())


class Silent:
    """A language model that never answers; `tokens` is the sum of the requested tokens."""

    def __init__(self) -> None:
        self.tokens = 0

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        return [0]

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        self.tokens += sampling.max_tokens
        return await asyncio.Future()


def asked_at_once(record: Any, job: Job) -> int:
    model = Silent()

    async def begin() -> None:
        row = asyncio.ensure_future(job.program(record, model))
        for _ in range(20):
            await asyncio.sleep(0)
        assert row.cancel()

    asyncio.run(begin())
    return model.tokens


def step(folder: Path, name: str, **tables: list[Any]) -> str:
    made = Step(name, str(folder), {}, {})
    made.is_done()
    for table, rows in tables.items():
        made.write(rows, type(rows[0]), table)
    made.finish(offered=1)
    return str(folder)


@pytest.fixture
def inputs(tmp_path: Path) -> SimpleNamespace:
    """Steps of one row each, with the minimum number of replies."""
    ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0), RankedReply("s/r1", "No.", 1)))
    answered = JudgedPrompt("p", "Why?", (), (Candidate("p/r0", "So.", (), True),))
    seed = {"rows": [SftExample("s/ift", "ift", "Why is the sky blue?", "So.")], "eft": [ranked], "held_out": [ranked]}
    return SimpleNamespace(
        seed=step(tmp_path / "seed", "seed", **seed),
        prompts=step(tmp_path / "prompts", "propose", rows=[Prompt("p", "Why?")]),
        replies=step(tmp_path / "replies", "sample", rows=[answered]),
        others=step(tmp_path / "others", "sample", rows=[answered]),
        out=str(tmp_path / "out"),
    )


@pytest.mark.parametrize(
    ("run", "tokens"),
    [
        (lambda i: propose(RECIPE, seed_data=i.seed, iteration=1, out=i.out, proposer=REFUSING), 7),
        (lambda i: sample(RECIPE, model="m1", prompts=i.prompts, out=i.out), 3 * 100),
        (lambda i: respond(RECIPE, model="m1", prompts=i.prompts, out=i.out), 3 * 100),
        (lambda i: judge(RECIPE, model="m1", replies=i.replies, out=i.out), 4 * 10),
        (lambda i: compare(RECIPE, model="m1", left=i.replies, right=i.others, out=i.out), 2 * 4 * 10),
        (lambda i: verdicts(RECIPE, model="m1", seed_data=i.seed, out=i.out), 2 * 5 * 10),
        (lambda i: evaluate(RECIPE, model="m1", seed_data=i.seed, out=i.out), 100 + 2 * 4 * 10),
    ],
    ids=["propose", "sample", "respond", "judge", "compare", "verdicts", "evaluate"],
)
def test_row_tokens_are_the_tokens_that_a_row_requests_at_once(
    inputs: SimpleNamespace, run: Callable[[SimpleNamespace], Any], tokens: int
):
    """For the smallest possible row. With a larger number, the pool would take too few rows to fill its engines."""
    with pytest.raises(Looked) as looked:
        run_pooled(run(inputs), open_pool=lambda *_: Refusing())
    job, record = looked.value.args
    assert (job.row_tokens, asked_at_once(record, job)) == (tokens, tokens)


def test_a_manifest_has_every_count_but_the_rows_and_the_prefix_caches_hit_rate():
    counted = BlockCounts(
        9, 1, prompt_tokens=300, cached_tokens=100, generated_tokens=50, verdicts=4, invalid_verdicts=2
    )
    assert figures(counted) == {
        "prompt_tokens": 300,
        "cached_tokens": 100,
        "generated_tokens": 50,
        "verdicts": 4,
        "invalid_verdicts": 2,
        "verdicts_asked_again": 0,
        "scores": {},
        "prefix_hit_rate": 0.3333,
    }


def test_without_prompts_there_is_no_hit_rate():
    assert figures(BlockCounts())["prefix_hit_rate"] is None
    assert figures(BlockCounts(prompt_tokens=5))["prefix_hit_rate"] == 0.0


def test_thinking_is_refused_before_the_engine_for_a_template_without_a_switch(tmp_path: Path, tiny_model: Path):
    """By the names of the fields that ask for it, and only for those that the step uses."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Why?"}')
    asked = RECIPE.model_copy(
        update={
            "respond": RECIPE.respond.model_copy(update={"thinking": False}),
            "judge": RECIPE.judge.model_copy(update={"thinking": True}),
        }
    )

    def run(step: Any, recipe: Recipe, name: str) -> None:
        pooled = step(recipe, model=str(tiny_model), prompts=str(prompts), out=str(tmp_path / name))
        run_pooled(pooled, open_pool=lambda *_: Refusing())

    reason = f"model '{tiny_model}' has no switch for thinking: the template has no variable"
    with pytest.raises(UserError, match=f"respond.thinking and judge.thinking: {reason}"):
        run(respond, asked, "both")
    with pytest.raises(UserError, match=f"respond.thinking: {reason}"):
        run(sample, asked, "one")
    judge_only = RECIPE.model_copy(update={"judge": asked.judge})
    with pytest.raises(Looked):
        run(sample, judge_only, "none")


@pytest.mark.parametrize(
    ("metrics", "dropped", "said"),
    [
        ({}, {"too long": 3}, ""),
        ({"engine_restarts": 0, "replicas_lost": 0}, {}, ""),
        (
            {"engine_restarts": 3, "replicas_lost": 0},
            {GIVEN_UP: 1},
            "3 replicas restarted, 1 row dropped that ended replicas",
        ),
        ({"engine_restarts": 1, "replicas_lost": 2}, {}, "1 replica restarted, 2 replicas lost with a node"),
    ],
)
def test_what_died_is_said_by_kind(metrics: dict[str, int], dropped: dict[str, int], said: str):
    assert faults_in_words(Manifest("judge", "f", {}, dropped, 0, 0.0, metrics)) == said
