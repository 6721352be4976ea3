"""The recipe that a run's folder is bound to."""

from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import Endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.training import Dpo, Training
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run, next_iteration
from selfreward_ray.store.step import Step

BEGUN = Recipe(model="m0", iterations=1)


def begun(folder: Path, recipe: Recipe = BEGUN) -> Folder:
    """A run whose first step is finished."""
    layout = RunLayout(str(folder))
    claim_run(layout.root, recipe)
    seed = Step("seed", layout.seed().uri, {}, {})
    seed.is_done()
    seed.finish(offered=0)
    return layout.root


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_run_is_claimed_once_and_may_be_asked_for_more_iterations(tmp_path: Path, iterations: int):
    claim_run(begun(tmp_path), BEGUN.model_copy(update={"iterations": iterations}))
    assert f"iterations: {iterations}" in (tmp_path / "recipe.yaml").read_text()


def test_a_run_refuses_another_recipe_naming_the_field(tmp_path: Path):
    run = begun(tmp_path)
    before = sorted(tmp_path.rglob("*")), (tmp_path / "recipe.yaml").read_text()
    changed = BEGUN.model_copy(update={"dpo": Dpo(beta=0.2), "iterations": 2})
    with pytest.raises(UserError) as error:
        claim_run(run, changed)
    assert "\n  dpo.beta: 0.1 → 0.2\n" in str(error.value)
    assert "iterations" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before[0]
    assert (tmp_path / "recipe.yaml").read_text() == before[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "float32"}, "training.dtype: bfloat16 → float32"),
        ({"dropout": 0.1}, "training.dropout: None → 0.1"),
        ({"lora": {"rank": 8}}, "training.lora.rank: 0 → 8"),
        ({"thoughts": "read"}, "training.thoughts: train → read"),
    ],
)
def test_another_cluster_may_go_on_with_a_run_but_not_to_other_models(
    tmp_path: Path, changed: dict[str, Any], message: str
):
    run = begun(tmp_path)
    settings = {"zero_optimization": {"overlap_comm": False}}
    workers = Training(workers=16, gpus_per_worker=1, deepspeed=settings)
    other = {"training": workers, "dpo": Dpo(micro_batch_tokens=1024)}
    claim_run(run, BEGUN.model_copy(update=other))
    with pytest.raises(UserError, match=message):
        claim_run(run, BEGUN.model_copy(update={"training": Training.model_validate(changed)}))


def test_the_engine_may_be_run_in_another_way_but_not_sample_in_another(tmp_path: Path):
    def engine(**settings: Any) -> Recipe:
        return Recipe.model_validate({"model": "m0", "iterations": 1, "inference": {"engine": settings}})

    run = begun(tmp_path, engine(dtype="float32", max_num_seqs=64))
    other = engine(dtype="float32", gpu_memory_utilization=0.5)
    claim_run(run, other)
    assert RunLayout(run.uri).recipe().inference == other.inference
    with pytest.raises(UserError, match="inference.engine.dtype: float32 → bfloat16\n"):
        claim_run(run, engine(dtype="bfloat16"))
    with pytest.raises(UserError, match="inference.engine.max_model_len: None → 64\n"):
        claim_run(run, engine(dtype="float32", max_model_len=64))


def test_a_spent_budget_of_proposals_may_be_raised_but_nothing_else_of_prompts(tmp_path: Path):
    run = begun(tmp_path)
    claim_run(run, BEGUN.model_copy(update={"prompts": BEGUN.prompts.model_copy(update={"max_requests": 10**6})}))
    claim_run(run, BEGUN.model_copy(update={"judge": BEGUN.judge.model_copy(update={"pairwise_rubric": "mine.yaml"})}))
    with pytest.raises(UserError, match=r"prompts.max_rouge_l: 0.7 → 0.9"):
        claim_run(run, BEGUN.model_copy(update={"prompts": BEGUN.prompts.model_copy(update={"max_rouge_l": 0.9})}))


def test_the_limits_of_an_endpoint_may_change(tmp_path: Path):
    claim_run(begun(tmp_path), BEGUN.model_copy(update={"endpoint": Endpoint(max_calls=7)}))
    assert "max_calls: 7" in (tmp_path / "recipe.yaml").read_text()


def test_fewer_iterations_leave_those_that_the_run_has(tmp_path: Path):
    claim_run(begun(tmp_path, BEGUN.model_copy(update={"iterations": 3})), BEGUN)
    assert "iterations: 3" in (tmp_path / "recipe.yaml").read_text()


def test_a_recipe_may_be_corrected_until_the_seed_data_is_there(tmp_path: Path):
    """Else the remedy that a failed seed step names could not be followed."""
    layout = RunLayout(str(tmp_path))
    claim_run(layout.root, BEGUN)
    corrected = BEGUN.model_copy(update={"seed_data": BEGUN.seed_data.model_copy(update={"minimum_rank": 1})})
    claim_run(layout.root, corrected)
    assert layout.recipe() == corrected


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"", b"foo: 1"])
def test_a_damaged_recipe_of_a_run_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}/recipe.yaml is damaged \(.*\); put back what the run wrote"):
        RunLayout(str(tmp_path)).recipe()


def test_while_no_step_has_finished_another_recipe_is_accepted_as_it_is(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    claim_run(layout.root, BEGUN.model_copy(update={"iterations": 3}))
    other = Recipe(model="m1", iterations=1, dpo=Dpo(beta=0.2))
    claim_run(layout.root, other)
    assert layout.recipe() == other


def test_a_run_goes_on_with_overrides_of_what_may_change(tmp_path: Path):
    layout = RunLayout(begun(tmp_path).uri)
    assert next_iteration(layout, []) == (BEGUN, 1)
    changed, _ = next_iteration(layout, ["inference.max_replicas=4", "training.workers=1"])
    assert (changed.inference.max_replicas, changed.training.workers) == (4, 1)
    with pytest.raises(UserError, match=r"was begun with another recipe:\n  dpo\.beta: 0\.1 → 0\.2\n"):
        next_iteration(layout, ["dpo.beta=0.2"])
    with pytest.raises(UserError, match="did you mean 'dpo.beta'"):
        next_iteration(layout, ["dpo.betta=0.2"])
    assert layout.recipe() == BEGUN
