"""Every step that asks an engine depends on what the engine samples by, and no step that does not."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import selfreward_ray.steps
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import RankedReply, RankedSet, SftExample
from selfreward_ray.steps import asked_model
from selfreward_ray.steps.agreement import agreement
from selfreward_ray.steps.answer import answer
from selfreward_ray.steps.compare import compare
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.sample import sample
from selfreward_ray.steps.verdicts import verdicts
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step

Make = Callable[..., Any]
ENDPOINT = "http://localhost:1/v1#judge"


class Begun(Exception):
    """A step has begun."""


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    rows = {
        "prompts": [{"prompt": "Why?"}],
        "questions": [{"turns": ["Why?"]}],
        "replies": [{"prompt": "Why?", "replies": ["So."]}],
        "data": [{"prompt": "Why?", "responses": [{"text": "So.", "rank": 0}, {"text": "No.", "rank": 1}]}],
    }
    for name, found in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    seed = Step("seed", str(tmp_path / "seed"), {}, {})
    assert not seed.is_done()
    ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0), RankedReply("s/r1", "No.", 1)))
    seed.write([SftExample("x", "ift", "p", "t")], SftExample)
    seed.write([ranked], RankedSet, "held_out")
    seed.write([ranked], RankedSet, "eft")
    seed.finish(offered=1)
    files = {name: str(tmp_path / f"{name}.jsonl") for name in rows}
    sides = {"left": files["replies"], "right": files["replies"]}
    return files | sides | {"seed_data": seed.folder.uri, "iteration": 1}


INPUTS: dict[Make, tuple[str, ...]] = {
    agreement: ("model", "data"),
    answer: ("model", "questions"),
    compare: ("model", "left", "right"),
    evaluate: ("model", "seed_data"),
    judge: ("model", "replies"),
    propose: ("seed_data", "iteration"),
    respond: ("model", "prompts"),
    sample: ("model", "prompts"),
    verdicts: ("model", "seed_data"),
}


def made(make: Make, out: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch, **engine: Any) -> Any:
    """The step that is begun: its fingerprint and its versions."""
    recipe = Recipe.model_validate({"model": "m", "inference": {"engine": engine}})
    chosen = {name: given[name] for name in INPUTS[make]}
    found: list[Step] = []

    def begun(step: Step) -> bool:
        found.append(step)
        raise Begun

    with monkeypatch.context() as patch:
        patch.setattr(Step, "is_done", begun)
        with suppress(Begun):
            found.append(make(recipe, **chosen, out=str(out)).step)
    return found[0].fingerprint, "vllm" in found[0]._versions


def test_all_steps_that_ask_a_model_are_looked_at():
    looked_at = {make.__name__ for make in INPUTS} | {"benchmark", "benchmark-requests"}
    assert looked_at == asked_model._SECTIONS.keys()


@pytest.mark.parametrize("make", INPUTS)
def test_a_step_that_asks_an_engine_depends_on_what_it_samples_by(
    make: Make, tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def of(model: str = "m", **engine: Any) -> Any:
        return made(make, tmp_path / "out", given | {"model": model}, monkeypatch, **engine)

    plain, asks = of()
    assert asks
    assert of(max_num_seqs=7, gpu_memory_utilization=0.5)[0] == plain
    others = [of(dtype="float32"), of(quantization="fp8"), of(max_model_len=64), of(of_another_release=1)]
    assert len({plain, *(name for name, _ in others)}) == 5
    if make.__name__ in asked_model.JUDGING_STEPS:
        assert of(ENDPOINT)[0] != plain
        assert of(ENDPOINT, dtype="float32") == of(ENDPOINT) == (of(ENDPOINT)[0], False)


def test_the_benchmarks_steps_are_made_from_the_engines_settings_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from selfreward_ray.steps import benchmark

    names = set()
    for dtype in ("float32", "bfloat16"):
        recipe = Recipe.model_validate({"model": "m", "inference": {"engine": {"dtype": dtype}}})

        def loaded(*_: Any) -> None:
            raise Begun

        monkeypatch.setattr(benchmark, "load_tasks", loaded)
        with pytest.raises(Begun):
            benchmark.benchmark(recipe, model="m", tasks=["t"], out=str(tmp_path / dtype))
        names.add(Folder(str(tmp_path / dtype)).read_json("started.json")["fingerprint"])
    assert len(names) == 2


def test_no_section_of_the_recipe_is_recorded_without_its_defaults():
    """A field that a release adds would make another step of the same."""
    for file in Path(selfreward_ray.steps.__path__[0]).glob("*.py"):
        assert "model_dump(" not in file.read_text(), file.name
