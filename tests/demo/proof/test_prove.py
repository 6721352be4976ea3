"""A whole proof, loop and controls, with a scripted model in place of the engines and a stub of the trainer."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of

from selfreward_ray.demo.proof.layout import all_judged, control_run, further_rows, sampled_answers, seed_run
from selfreward_ray.demo.proof.prove import prove
from selfreward_ray.demo.truth import true_margins
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, JudgedPrompt, Pair, PairTokens, SftExample, SftTokens
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pooled import PooledStep
from selfreward_ray.steps.train import dpo, sft
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.owner import owned
from selfreward_ray.store.tables import read_blocks, read_rows, write_part
from selfreward_ray.training.job import TrainJob

VALUES: dict[str, Any] = {
    "name": "small",
    "seed_data": {
        "source": "demo", "ift": 4, "eft": 6,
        "held_out": 3, "held_out_groups": ["topics", "words"], "verdicts": "written",
    },
    "prompts": {"source": "demo", "count": 6},
    "respond": {"candidates": 4},
    "judge": {"rubric": "checklist", "verdicts": 2, "min_valid": 1},
    "sft": {"batch_size": 2},
    "dpo": {"batch_size": 2, "epochs": 2, "max_tokens": 4096, "eft_weight": 0.5},
    "alarms": {"judge_at_chance": {"reaction": "warn"}},
}  # fmt: skip


def answer(text: str, row: str) -> str:
    """Words of the prompt in some order, and verdicts by the row's id."""
    rng = random.Random(row)
    if "<reply>" in text:
        return f"Score: {rng.randrange(6)}"
    return " ".join(rng.sample(text.split(), 6))


class Stand:
    """In the trainer's place: notes each job, and writes the model that it was given as the trained one."""

    def __init__(self) -> None:
        self.jobs: list[TrainJob] = []

    def __call__(self, job: TrainJob, progress: Any) -> None:
        self.jobs.append(job)
        shutil.copytree(job.model, job.folders.model.uri)
        steps = len(read_rows(job.folders.training, job.objective.record)) * job.optimization.epochs // 2
        job.folders.training.write_json("summary.json", {"steps": steps, "tokens": 1})


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    def stream(table: Any, function: Any, columns: list[str] | None = None) -> Iterator[Any]:
        """What `pair` has Ray Data's tasks do, here."""
        for task in table._tasks:
            for block in read_blocks(table._folder, task["paths"], 1024, columns):
                yield from function(block).to_pylist()

    trainer = Stand()
    monkeypatch.setattr("selfreward_ray.steps.pair._Table.stream", stream)
    monkeypatch.setattr("selfreward_ray.inference.pool.open_pool", pool_of(ScriptedModel(answer)))
    for step in (sft, dpo):  # whoever calls them
        monkeypatch.setitem(step.__kwdefaults__, "trainer", trainer)
    monkeypatch.setattr("selfreward_ray.loop.check_capacity", lambda request: None)
    return trainer


def recipe(model: Path, **changed: Any) -> Recipe:
    return Recipe.model_validate(VALUES | {"model": str(model)} | changed)


def test_a_proof_from_end_to_end(tmp_path: Path, tiny_model: Path, stand: Stand, monkeypatch: pytest.MonkeyPatch):
    judges: set[tuple[str, float]] = set()

    def noting(recipe: Recipe, *, model: str, **rest: Any) -> PooledStep:
        judges.add((model, recipe.judge.sampling.temperature))
        return judge(recipe, model=model, **rest)

    monkeypatch.setattr("selfreward_ray.demo.proof.prove.judge", noting)
    wanted = recipe(tiny_model)
    claims = prove(wanted, str(tmp_path), seeds=2, with_controls=True)
    assert len(claims) == 26
    found = json.loads((tmp_path / "proof.json").read_text())
    assert (found["seeds"], set(found["true_score"])) == (2, {"topics", "words"})
    assert "seeds: 0, 1. " in (tmp_path / "proof.md").read_text()
    assert set(found["control"]["random"]["topics"]) == {"M2", "M3"}
    assert set(found["control"]["no_eft"]["topics"]) == {"M1", "M2", "M3"}
    for number in range(2):
        run = seed_run(str(tmp_path), number)
        assert run.recipe().seed == number
        for of in (run, control_run(run, "random")):
            sampled = read_rows(sampled_answers(of, 2), JudgedPrompt)
            assert [len(row.candidates) for row in sampled] == 6 * [4]  # held-out prompts, as many as the loop samples
        scored = read_rows(all_judged(run), JudgedPrompt)
        assert [len(candidate.verdicts) for row in scored for candidate in row.candidates] == 6 * 3 * [1]
        assert (run.root / "controls").folders() == ["ceiling", "more_sft", "no_eft", "random"]
    assert judges == {(seed_run(str(tmp_path), number).model(1).uri, 0.0) for number in range(2)}
    # The same again does nothing, and without the controls it only leaves them out.
    trained = len(stand.jobs)
    assert prove(wanted, str(tmp_path), seeds=2, with_controls=True) == claims
    assert len(prove(wanted, str(tmp_path), seeds=1, with_controls=False)) == 18
    assert len(stand.jobs) == trained == 2 * (3 + 2 + 2 + 2 + 3)


def test_where_each_control_starts_and_what_it_is_trained_on(tmp_path: Path, tiny_model: Path, stand: Stand):
    prove(recipe(tiny_model), str(tmp_path), seeds=1, with_controls=True)
    run = seed_run(str(tmp_path), 0)
    started = {Path(job.folders.model.uri).relative_to(run.uri).as_posix(): job for job in stand.jobs}

    def origin(name: str) -> str:
        model = Path(started[name].model)
        return model.relative_to(run.uri).as_posix() if model.is_relative_to(run.uri) else "M0"

    assert {name: origin(name) for name in started} == {
        "M1/model": "M0",
        "M2/model": "M1/model",
        "M3/model": "M2/model",
        "controls/random/M2/model": "M1/model",
        "controls/random/M3/model": "M2/model",
        "controls/ceiling/M2/model": "M1/model",
        "controls/ceiling/M3/model": "M2/model",
        "controls/more_sft/M2/model": "M1/model",
        "controls/more_sft/M3/model": "controls/more_sft/M2/model",
        "controls/no_eft/M1/model": "M0",
        "controls/no_eft/M2/model": "controls/no_eft/M1/model",
        "controls/no_eft/M3/model": "controls/no_eft/M2/model",
    }
    assert {p.id for p in read_rows(control_run(run, "random").pairs(2), Pair)} == {
        p.id for p in read_rows(run.pairs(2), Pair)
    }
    # As many steps of two examples as DPO had.
    steps = run.training(2).read_json("summary.json")["steps"]
    further = read_rows(control_run(run, "more_sft").training(2), SftTokens)
    optimization = started["controls/more_sft/M2/model"].optimization
    assert (len(further), optimization.epochs) == (2 * steps, 1)
    ended = started["M1/model"].optimization.final_learning_rate
    assert (optimization.learning_rate, optimization.final_learning_rate) == (ended, ended)
    control, known = control_run(run, "more_sft"), len(read_rows(run.training(1), SftTokens))
    trained = [row.id for t in (2, 3) for row in read_rows(further_rows(control, t), SftExample)]
    assert len(set(trained[:known])) == known < len(trained)
    assert trained[known:] == trained[:-known]  # round and round, the second where the first ended
    # The verifier agrees with all of its own pairs.
    for t in (2, 3):
        margins = true_margins(read_rows(control_run(run, "ceiling").pairs(t), Pair))
        assert margins
        assert min(margins.values()) > 0
    # The judging rows that the recipe mixes into DPO are in each control's too, but in that of a model without any.
    carried = {
        name: {row.eft is not None for row in read_rows(control_run(run, name).training(2), PairTokens)}
        for name in ("random", "ceiling", "no_eft")
    }
    assert carried == {"random": {True}, "ceiling": {True}, "no_eft": {False}}
    untaught = {row.id for row in read_rows(control_run(run, "no_eft").training(1), SftTokens)}
    assert untaught == {row.id for row in read_rows(run.training(1), SftTokens) if row.id.endswith("/ift")}


def test_a_judge_that_tells_nothing_apart_ends_its_control_and_not_the_proof(
    tmp_path: Path, tiny_model: Path, stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    def alike(text: str, row: str) -> str:
        """The untaught model's verdicts are known by the form that they are held to."""
        return "Score: 3" if "<reply>" in text and model.patterns[row] else answer(text, row)

    model = ScriptedModel(alike)
    monkeypatch.setattr("selfreward_ray.inference.pool.open_pool", pool_of(model))
    prove(recipe(tiny_model), str(tmp_path), seeds=1, with_controls=True)
    found = json.loads((tmp_path / "proof.json").read_text())
    assert list(found["control"]["no_eft"]["topics"]) == ["M1"]
    assert read_manifest(control_run(seed_run(str(tmp_path), 0), "no_eft").pairs(2)).rows.get("rows", 0) == 0


def test_an_evaluation_that_left_prompts_out_ends_the_proof_and_says_which(
    tmp_path: Path, tiny_model: Path, stand: Stand
):
    run = seed_run(str(tmp_path), 0)
    prove(recipe(tiny_model), str(tmp_path), seeds=1, with_controls=False)
    manifest = json.loads((tmp_path / "seed0/M2/evaluation/manifest.json").read_text())
    run.evaluation(2).write_json("manifest.json", manifest | {"dropped": {"failed": 2}})
    write_part(
        run.evaluation(2), "dropped", [Dropped(f"d{i}", "evaluate", "failed") for i in (0, 1)], Dropped, "part-0"
    )
    with pytest.raises(UserError, match=r"M2/evaluation: .*have no answer \(2 failed\).*remove that folder"):
        prove(recipe(tiny_model), str(tmp_path), seeds=1, with_controls=False)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed_data": {**VALUES["seed_data"], "source": "people.jsonl"}},
        {"seed_data": {**VALUES["seed_data"], "held_out": 0}},
        {"prompts": {"source": "people.jsonl"}},
        {"pairs": {"policy": "positive-only"}},
        {"iterations": 0},
        {"seed_data": {**VALUES["seed_data"], "held_out_groups": []}},
    ],
)
def test_what_can_not_be_proved_is_refused_at_once(tmp_path: Path, changed: dict[str, Any]):
    with pytest.raises(UserError, match="a proof"):
        prove(recipe(tmp_path / "m0", **changed), str(tmp_path), seeds=1, with_controls=False)
    assert list(tmp_path.iterdir()) == []


def test_a_second_proof_is_refused(tmp_path: Path):
    with owned(Folder(str(tmp_path))), pytest.raises(UserError, match=f"{tmp_path} is at work by process"):
        prove(recipe(tmp_path / "m0"), str(tmp_path), seeds=1, with_controls=False)
