"""The reduced recipe of a rehearsal."""

from pathlib import Path

import pytest
import yaml

from selfreward_ray.cluster.rehearsal.reduce import StandIns, reduced, reductions
from selfreward_ray.cluster.rehearsal.rehearse import rejections
from selfreward_ray.cluster.rehearsal.shape import shape_of_file, shape_of_recipe
from selfreward_ray.cluster.requests import replica_request
from selfreward_ray.errors import UserError
from selfreward_ray.judging import rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import load_recipe, parse_recipe

ROOT = Path(__file__).parents[2]
AWS = ROOT / "cluster" / "aws-autoscaling.yaml"
STAND_INS = StandIns("/made/model", "/made/proposer", "/made/rankings.jsonl", "/made/prompts.jsonl")


def paper() -> Recipe:
    return load_recipe("llama2-70b")


def test_workers_that_need_several_nodes_have_one_each():
    recipe, shape = paper(), shape_of_file(str(AWS))
    training = reduced(recipe, shape, STAND_INS).training
    assert (training.workers, training.cpus_per_worker) == (2, 192)
    assert (training.gpus_per_worker, training.accelerator_type) == (1, recipe.training.accelerator_type)


def test_workers_that_fit_on_one_node_stay_there():
    recipe = load_recipe("llama3.1-8b-8gpu")
    training = reduced(recipe, shape_of_recipe(recipe), STAND_INS).training
    assert training.workers == 2
    assert training.cpus_per_worker == recipe.training.cpus_per_worker


def test_what_decides_the_method_and_the_place_of_a_replica_stays():
    recipe = paper()
    rehearsed = reduced(recipe, shape_of_file(str(AWS)), STAND_INS)
    assert replica_request(rehearsed.inference).bundles == replica_request(recipe.inference).bundles
    assert rehearsed.pairs.policy == recipe.pairs.policy
    assert rehearsed.dpo.loss == recipe.dpo.loss
    assert rehearsed.judge.rubric == recipe.judge.rubric
    assert rehearsed.seed_data.verdicts == recipe.seed_data.verdicts == "baseline"
    assert (rehearsed.model, rehearsed.prompts.proposer) == ("/made/model", "/made/proposer")
    assert rehearsed.seed_data.source == "/made/rankings.jsonl"


@pytest.mark.parametrize("judge", [None, "another/judge", "https://host/v1#m"])
def test_another_judge_of_the_head_to_head_is_replaced(judge: str | None):
    values = load_recipe("quickstart").model_dump() | {"evaluation": {"judge": judge}}
    recipe = Recipe.model_validate(values)
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS)
    assert rehearsed.evaluation.judge == (judge and "/made/model")


def test_a_pool_in_stages_has_one_replica():
    inference = {"gpus_per_replica": 8, "min_replicas": 3, "max_replicas": 3}
    for nodes, replicas in ((1, 2), (2, 1)):
        recipe = parse_recipe(
            {"model": "none", "seed_data": {"source": "demo"}, "inference": inference | {"nodes_per_replica": nodes}}
        )
        rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS).inference
        assert (rehearsed.max_replicas, rehearsed.nodes_per_replica) == (replicas, nodes)


@pytest.mark.parametrize(("select", "every", "validation"), [("judged", 2, 4), ("last", 200, 253)])
def test_a_choice_among_snapshots_is_rehearsed_with_fewer_steps_and_prompts(select: str, every: int, validation: int):
    recipe = Recipe.model_validate(load_recipe("quickstart").model_dump() | {"training": {"select": select}})
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS)
    assert (rehearsed.training.select, rehearsed.training.select_every) == (select, every)
    assert rehearsed.seed_data.validation == validation


def test_each_reduction_is_told():
    recipe = paper()
    told = reductions(recipe, reduced(recipe, shape_of_file(str(AWS)), STAND_INS))
    assert f"training.workers: {recipe.training.workers} → 2" in told
    assert "prompts.count: 5000 → 10" in told
    assert "judge.constrained: False → True" in told


def test_a_rubric_that_can_not_constrain_a_verdict_is_replaced(tmp_path: Path):
    packaged = Path(rubric.__file__).parent / "rubrics" / "additive.yaml"
    own = yaml.safe_load(packaged.read_text()) | {"endings": []}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own))
    recipe = parse_recipe({"model": "none", "seed_data": {"source": "demo"}, "judge": {"rubric": str(file)}})
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS)
    assert f"judge.rubric: {file} → additive" in reductions(recipe, rehearsed)
    file.write_text(packaged.read_text())
    assert reduced(recipe, shape_of_recipe(recipe), STAND_INS).judge.rubric == str(file)


def test_prompts_of_ones_own_are_read_in_the_rehearsal_too(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    recipe = parse_recipe({"model": "none", "seed_data": {"source": str(rows)}, "prompts": {"source": str(rows)}})
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS)
    assert rehearsed.seed_data.source == "/made/rankings.jsonl"
    assert rehearsed.prompts.source == str(rows)


@pytest.mark.parametrize("workers", [33, 64])
def test_the_real_numbers_are_held_against_the_nodes(workers: int):
    """The file has 4 × 8 GPUs of the type that the recipe trains on; 32 workers are the recipe's own."""
    recipe, shape = paper(), shape_of_file(str(AWS))
    assert rejections(recipe, shape) == []
    training = recipe.training.model_copy(update={"workers": workers})
    (line,) = rejections(recipe.model_copy(update={"training": training}), shape)
    assert f"training.workers = {workers} asks for {workers} × (" in line
    assert "the cluster can never hold more than 32 of these" in line


@pytest.mark.parametrize(("least", "rehearsed"), [(None, None), (1, 1), (24, 2)])
def test_a_rehearsal_is_as_elastic_as_the_recipe(least: int | None, rehearsed: int | None):
    recipe, shape = paper(), shape_of_file(str(AWS))
    training = recipe.training.model_copy(update={"workers": 64, "min_workers": least})
    elastic = recipe.model_copy(update={"training": training})
    assert reduced(elastic, shape, STAND_INS).training.min_workers == rehearsed
    assert bool(rejections(elastic, shape)) == (least is None), "32 workers fit"


def test_a_worker_that_no_node_holds_is_refused_in_words():
    recipe = paper()
    training = recipe.training.model_copy(update={"cpus_per_worker": 500})
    with pytest.raises(UserError, match=r"no node of the cluster holds .* 500 CPU, 1 GPU, H100; lower what a worker"):
        reduced(recipe.model_copy(update={"training": training}), shape_of_file(str(AWS)), STAND_INS)


@pytest.mark.parametrize(("capability", "dtype"), [("AVX2", "float32"), ("AVX512", "bfloat16")])
def test_a_cpu_that_is_slow_in_bfloat16_computes_in_float32(
    capability: str, dtype: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    recipe = load_recipe("quickstart")
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS)
    assert (rehearsed.training.dtype, rehearsed.inference.engine["dtype"]) == (dtype, dtype)


def test_deepspeeds_settings_are_for_the_real_workers():
    """The defaults of a small model on CPUs are others."""
    recipe = load_recipe("llama3.1-8b-8gpu", ["training.deepspeed.zero_optimization.overlap_comm=true"])
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS)
    assert (rehearsed.training.workers, rehearsed.training.deepspeed) == (2, {})


def test_made_up_rows_are_not_read_as_the_recipes_own(tmp_path: Path):
    """They have a format of their own, and no columns to rename."""
    data = {
        "source": str(tmp_path / "rows.jsonl"),
        "format": "sharegpt",
        "columns": {"conversations": "c"},
        "ignore": ["x"],
    }
    recipe = parse_recipe({"model": "none", "seed_data": data})
    rehearsed = reduced(recipe, shape_of_recipe(recipe), STAND_INS).seed_data
    assert (rehearsed.format, rehearsed.columns, rehearsed.ignore) == (None, {}, ())
