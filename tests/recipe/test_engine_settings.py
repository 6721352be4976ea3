"""Settings that are passed on to vLLM's engine: what the program decides is refused, what samples is told apart."""

from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.inference.engine import _defaults
from selfreward_ray.inference.engine_arguments import engine_arguments
from selfreward_ray.models.local import Adapter
from selfreward_ray.recipe.engine import DECIDED, SPEED_ALONE, sampling_settings
from selfreward_ray.recipe.schema import Inference, Recipe
from selfreward_ray.recipe.text import RecipeError, overridden, parse_recipe

OVERRIDABLE = {
    "enable_prefix_caching", "disable_log_stats", "enable_chunked_prefill", "distributed_executor_backend",
}  # fmt: skip
"""Defaults of the program that decide speed alone, and that a recipe may set."""


@pytest.mark.parametrize("name", sorted(DECIDED))
def test_what_the_program_decides_is_refused_in_a_recipe_and_on_the_command_line(name: str):
    with pytest.raises(RecipeError, match=rf"^recipe field 'inference.engine': {name} is .*; leave it out"):
        parse_recipe({"model": "m0", "inference": {"engine": {"dtype": "float32", name: "x"}}})
    with pytest.raises(RecipeError, match=rf"'inference.engine': {name} is .*; leave it out"):
        overridden(Recipe(model="m0"), [f"inference.engine.{name}=1"])


def test_the_lists_name_arguments_of_vllm_and_no_name_is_in_both():
    assert DECIDED.keys() | SPEED_ALONE <= engine_arguments()
    assert not DECIDED.keys() & SPEED_ALONE
    data_parallel = {name for name in engine_arguments() if name.startswith("data_parallel")}
    assert data_parallel <= DECIDED.keys()


@pytest.mark.parametrize("inference", [{}, {"gpus_per_replica": 2, "nodes_per_replica": 2}])
def test_every_argument_that_the_engine_is_started_with_is_refused_or_decides_speed_alone(
    inference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("selfreward_ray.inference.engine.on_gpus", bool)
    arguments = _defaults(Path("/m"), Adapter(Path("/a"), 8), Inference.model_validate(inference), 1)
    assert arguments.keys() - DECIDED.keys() == arguments.keys() & OVERRIDABLE
    assert OVERRIDABLE <= SPEED_ALONE


def test_settings_that_are_not_known_to_decide_speed_alone_may_change_what_is_sampled():
    given = {"dtype": "float32", "quantization": "fp8", "max_model_len": 64, "of_another_release": 1}
    assert sampling_settings(given | {"max_num_seqs": 4, "gpu_memory_utilization": 0.5, "enforce_eager": True}) == given
