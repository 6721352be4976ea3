"""The manifest counts all attempts at a step, and status knows how far the last one is without opening blocks."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_model import ScriptedModel, ScriptedPool, run_on

from selfreward_ray.errors import UserError
from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Prompt
from selfreward_ray.steps import so_far
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.so_far import SoFar
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.so_far import SO_FAR, read_sums
from selfreward_ray.store.step import Step

PROMPTS = [Prompt(f"M2/p{i:06d}", f"Prompt {i}?") for i in range(6)]
RECIPE = Recipe.model_validate(
    {
        "model": "m0",
        "respond": {"candidates": 2},
        "judge": {"rubric": "checklist", "verdicts": 1, "min_valid": 1, "retries": 0},
        "inference": {"rows_per_block": 2},
    }
)
TOKENS = 2 * (7 + 8)
"""Of a row: two replies and two verdicts, a token is a byte."""


class Faulty(ScriptedPool):
    """A replica dies in each attempt, which is told once."""

    told = False

    def summary(self) -> dict[str, Any]:
        restarts, self.told = 0 if self.told else 1, True
        return {"engine_restarts": restarts, "rows_retried": 2 * restarts, "engine_start_seconds": 1.5 * restarts}


class Clock:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manifest]:
    monkeypatch.setattr("selfreward_ray.store.step.time", SimpleNamespace(monotonic=Clock()))
    monkeypatch.setattr(so_far, "SECONDS_BETWEEN", 0.0)
    offered = Step("propose", str(tmp_path / "prompts"), {}, {})
    offered.is_done()
    offered.write(PROMPTS, Prompt)
    offered.finish(offered=6)

    def step(out: str, stop_after: int | None = None) -> Manifest:
        model = ScriptedModel(lambda text, row: "Score: 4" if "/v" in row else f"reply {row[-1]}")
        given = respond(RECIPE, model="m1", prompts=str(tmp_path / "prompts"), out=str(tmp_path / out))
        return run_on(lambda *arguments: Faulty(model, stop_after, *arguments), given)

    return step


def test_the_manifest_of_a_step_that_was_interrupted_twice_counts_three_attempts(run: Any, tmp_path: Path):
    whole = run("whole")
    seconds = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run("out", stop_after=1)
        sums = read_sums(Folder(str(tmp_path / "out")))
        assert sums is not None
        seconds.append(sums.seconds)
    assert (sums.done, sums.counts["rows"], sums.counts["generated_tokens"]) == (4, 4, 4 * TOKENS)
    manifest = run("out")
    assert manifest.tokens == whole.tokens == 6 * TOKENS
    for name in ("generated_tokens", "prompt_tokens", "verdicts", "scores"):
        assert manifest.metrics[name] == whole.metrics[name]
    faults = ("engine_restarts", "rows_retried", "engine_start_seconds")
    assert [manifest.metrics[name] for name in faults] == [3, 6, 4.5]
    assert 0 < seconds[0] < seconds[1] < manifest.seconds


def test_an_attempt_that_is_killed_counts_as_of_its_last_beat(run: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(SoFar, "write_after_error", lambda *_: None)  # nothing is written by a killed process
    with pytest.raises(KeyboardInterrupt):
        run("out", stop_after=2)
    assert run("out").tokens == 6 * TOKENS


def test_sums_are_written_every_few_seconds(tmp_path: Path):
    clock = SimpleNamespace(now=0.0)
    step = Step("respond", str(tmp_path), {}, {})
    step.is_done()
    sums = SoFar(step, clock=lambda: float(clock.now))
    clock.now = 9.9
    sums.beat(3, dict)
    assert read_sums(step.folder) is None
    clock.now = 10.0
    sums.counted += BlockCounts(rows=4, generated_tokens=9)
    sums.beat(4, lambda: {"engine_restarts": 1})
    clock.now = 15.0
    sums.beat(5, dict)
    found = read_sums(step.folder)
    assert found is not None
    assert (found.done, found.counts["generated_tokens"], found.faults) == (4, 9, {"engine_restarts": 1})


@pytest.mark.parametrize("content", ["", "{}x", '{"done": "many"}', "[]", "null"])
def test_damaged_sums_are_told(tmp_path: Path, content: str):
    (tmp_path / SO_FAR).write_text(content)
    with pytest.raises(UserError, match=f"{tmp_path}/{SO_FAR} is damaged; remove it: what earlier attempts cost"):
        read_sums(Folder(str(tmp_path)))
