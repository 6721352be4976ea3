"""DPO of a tiny model on Ray Train with DeepSpeed, whose checkpoint is chosen by scripted answers and verdicts."""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import scripted_model
import training_runs
from finished_step import finished_step
from ray import cloudpickle
from scripted_model import ScriptedModel, ScriptedPool
from training_runs import OPTIMIZATION, PAIRS, STEPS, losses, weights

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Pair, RankedReply, RankedSet
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.steps.train import dpo
from selfreward_ray.store.manifest import Manifest

pytestmark = [pytest.mark.engines, pytest.mark.cluster]

for module in (scripted_model, training_runs, __import__(__name__)):
    cloudpickle.register_pickle_by_value(module)  # other processes do not have this folder on their path

MIDDLE = {2: 1, 4: 3, 6: 2, 8: 4}
"""Marks by snapshot. That of step 4 wins against that of step 2, and that of step 6 loses against it."""
LAST = {2: 1, 4: 2, 6: 3, 8: 4}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def answer(marks: dict[int, int], model: str, text: str, row: str) -> str:
    """A snapshot says its mark, and the judge gives it."""
    if "/v" in row:
        return f"Score: {text.partition('mark=')[2][0]}"
    return f"mark={marks[int(Path(model).parent.name)]}"


def digest(model: Path) -> str:
    (weights,) = model.glob("*.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def opened(marks: dict[int, int], seen: str, model: str, inference: Any, seed: int, note: Any) -> ScriptedPool:
    """In the place of a pool. A line of the file `seen` has each snapshot that answers, and the hash of its weights."""
    if "/snapshots/" in model:
        with Path(seen).open("a") as lines:
            lines.write(json.dumps([int(Path(model).parent.name), digest(Path(model))]) + "\n")
    return ScriptedPool(ScriptedModel(partial(answer, marks, model)), None, model, inference, seed, note)


def pooled(*steps: Any, marks: dict[int, int], seen: str) -> list[Manifest]:
    return run_pooled(*steps, open_pool=partial(opened, marks, seen))


def said(name: str, ids: tuple[int, ...]) -> Candidate:
    return Candidate(name, name, ids, True)


def trained(
    folder: Path, tiny_model: Path, marks: dict[int, int], cpus_per_replica: int = 1, select: str = "judged"
) -> Manifest:
    folder.mkdir()
    pairs = [Pair(p.id, "Why?", p.prompt_ids, said("c", p.chosen_ids), said("r", p.rejected_ids)) for p in PAIRS]
    sets = [RankedSet(f"s{i}", f"Prompt {i}?", (RankedReply(f"s{i}/r0", "So.", 0),)) for i in range(3)]
    recipe = Recipe.model_validate(
        {
            "model": "m0",
            "dpo": OPTIMIZATION.model_dump(),
            "judge": {"rubric": "checklist", "verdicts": 1, "min_valid": 1, "retries": 0},
            "training": {"dtype": "float32", "checkpoint_every": 0, "select": select, "select_every": 2},
            "inference": {"cpus_per_replica": cpus_per_replica},
        }
    )
    return dpo(
        recipe,
        model=str(tiny_model),
        pairs=finished_step(folder, "pair", pairs),
        validation=finished_step(folder, "seed", sets, "validation"),
        judge="judge",
        out=str(folder / "M2"),
        label="M2 · DPO",
        run=partial(pooled, marks=marks, seen=str(folder / "seen")),
    )


def seen(folder: Path) -> dict[int, str]:
    lines = [json.loads(line) for line in (folder / "seen").read_text().splitlines()]
    assert len(lines) == len(dict(lines)), "no snapshot answers twice"
    return dict(lines)


def test_the_snapshot_that_is_chosen_becomes_the_model_however_it_was_judged(tmp_path: Path, tiny_model: Path):
    """Beside the workers, and after them where a replica has no place. The weights are those of step 4, bit for bit."""
    beside, after = tmp_path / "beside", tmp_path / "after"
    manifests = [trained(beside, tiny_model, MIDDLE), trained(after, tiny_model, MIDDLE, cpus_per_replica=3)]
    selected = [manifest.metrics["selected"] for manifest in manifests]
    assert selected[0] == selected[1]
    assert (selected[0]["step"], selected[0]["of"]) == (4, [2, 4, 6])
    assert seen(beside) == seen(after)
    assert set(seen(after)) == {2, 4, 6}
    assert digest(beside / "M2/model") == digest(after / "M2/model") == seen(after)[4]
    assert len(set(seen(after).values())) == 3
    assert [manifest.metrics["steps"] for manifest in manifests] == [4, 4]
    assert len(losses(after / "M2")) == STEPS
    for folder in (beside, after):
        assert not (folder / "M2/training/snapshots").exists()
        assert (folder / "M2/model/tokenizer.json").exists()


@pytest.mark.release
def test_snapshots_do_not_change_the_training(tmp_path: Path, tiny_model: Path):
    """A training whose last snapshot is chosen has the losses and the weights of one without snapshots."""
    judged, last = tmp_path / "judged", tmp_path / "last"
    assert trained(judged, tiny_model, LAST, cpus_per_replica=3).metrics["selected"]["step"] == STEPS
    assert "selected" not in trained(last, tiny_model, LAST, select="last").metrics
    assert losses(judged / "M2") == losses(last / "M2")
    one, other = weights(judged / "M2"), weights(last / "M2")
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)
