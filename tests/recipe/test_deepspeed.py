"""What `training.deepspeed` may hold, told when the recipe is read."""

from typing import Any

import pytest

from selfreward_ray.recipe.deepspeed import PASSED, REFUSED
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import RecipeError, dump_recipe, load_recipe, parse_recipe
from selfreward_ray.recipe.training import MODEL_FIELDS


def recipe(deepspeed: Any, **training: Any) -> Recipe:
    return parse_recipe({"model": "m0", "training": {"deepspeed": deepspeed} | training})


def told(deepspeed: Any, **training: Any) -> list[str]:
    with pytest.raises(RecipeError) as error:
        recipe(deepspeed, **training)
    return str(error.value).replace("recipe field 'training.deepspeed.", "'").splitlines()


def zero(**settings: Any) -> dict[str, Any]:
    return {"zero_optimization": settings}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            zero(reduce_bucket_sise=5),
            "'zero_optimization.reduce_bucket_sise': unknown setting of DeepSpeed; did you mean 'reduce_bucket_size'? "
            "(got 5)",
        ),
        (
            zero(prefetch_bucket_size=5),  # DeepSpeed's own field, of which the documented name is an alias
            "'zero_optimization.prefetch_bucket_size': unknown setting of DeepSpeed; did you mean "
            "'stage3_prefetch_bucket_size'? (got 5)",
        ),
        (
            {"reduce_bucket_size": 5},
            "'reduce_bucket_size': unknown setting of DeepSpeed; did you mean zero_optimization: "
            "{reduce_bucket_size: …}? (got 5)",
        ),
        (
            {"zero_optimization.reduce_bucket_size": 5},
            "'zero_optimization.reduce_bucket_size': unknown setting of DeepSpeed; did you mean zero_optimization: "
            "{reduce_bucket_size: …}? (got 5)",
        ),
        (
            {"timers": {"qqq": 5}},
            "'timers.qqq': unknown setting of DeepSpeed; known: throughput (got 5)",
        ),
        (zero(reduce_bucket_size="5e8"), "'zero_optimization.reduce_bucket_size': must be a whole number (got '5e8')"),
        (zero(sub_group_size=0), "'zero_optimization.sub_group_size': must be greater than 0 (got 0)"),
        (
            zero(stage3_max_live_parameters=True),
            "'zero_optimization.stage3_max_live_parameters': must be a whole number (got True)",
        ),
        (zero(overlap_comm=3), "'zero_optimization.overlap_comm': must be true or false (got 3)"),
        (
            zero(overlap_comm="auto"),
            "'zero_optimization.overlap_comm': leave it out: it then has its default (got 'auto')",
        ),
        (zero(stage=2), "'zero_optimization.stage': must be 3 (got 2)"),
        (zero(leaf_module={"names": ["a", 1]}), "'zero_optimization.leaf_module.names.1': must be a text"),
        ({"zero_optimization": True}, "'zero_optimization': must be a mapping such as {name: value} (got True)"),
        ({"communication_data_type": "fp16"}, "'communication_data_type': must be 'fp32' (got 'fp16')"),
        (
            {"gradient_clipping": 1.0},
            "'gradient_clipping': set sft.gradient_clipping and dpo.gradient_clipping (got 1.0)",
        ),
        ({"bf16": {"enabled": True}}, "'bf16': set training.dtype; gradients are summed in float32"),
        (zero(offload_param={"device": "cpu"}), "'zero_optimization.offload_param': set training.offload_parameters"),
        (
            zero(zero_quantized_gradients=True),
            "'zero_optimization.zero_quantized_gradients': leave it out: its kernel takes all gradients for float16",
        ),
    ],
)
def test_a_setting_that_is_not_passed_on_has_one_line_with_the_remedy(settings: dict[str, Any], message: str):
    (line,) = told(settings)
    assert line.startswith(message)


def test_a_pasted_configuration_is_told_line_by_line():
    pasted = {"train_batch_size": "auto", "optimizer": {"type": "AdamW"}, "fp16": {}} | zero(stage=1, offload_param={})
    assert [line.partition(": ")[0] for line in told(pasted)] == [
        "'train_batch_size'", "'optimizer'", "'fp16'", "'zero_optimization.stage'", "'zero_optimization.offload_param'",
    ]  # fmt: skip


def test_settings_are_passed_on_in_their_types_and_read_back(tmp_path: Any):
    settings = zero(reduce_bucket_size=5.0e8, overlap_comm=True) | {"wall_clock_breakdown": True}
    found = recipe(settings)
    passed = found.training.deepspeed["zero_optimization"]
    assert (passed["reduce_bucket_size"], type(passed["reduce_bucket_size"])) == (500_000_000, int)
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(found))
    assert load_recipe(file) == found
    setting = "training.deepspeed.zero_optimization.reduce_bucket_size"
    assert load_recipe(file, [f"{setting}=7"]).training.deepspeed["zero_optimization"] == passed | {
        "reduce_bucket_size": 7
    }


def test_they_are_no_part_of_what_a_model_is_made_from():
    """Like where the workers are: a training may go on with others."""
    assert "deepspeed" not in MODEL_FIELDS
    assert not PASSED.keys() & REFUSED.keys()


@pytest.mark.engines
def test_the_names_are_those_of_the_installed_deepspeed():
    """Each that DeepSpeed asks its configuration for is passed on or refused by name; no other is passed on."""
    from deepspeed.comm.config import CommsLoggerConfig
    from deepspeed.runtime import config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.leaf_module_config import DeepSpeedZeroLeafModuleConfig
    from deepspeed.utils.config import DeepSpeedThroughputTimerConfig

    asked: set[str] = set()

    class Recording(dict[str, Any]):
        def __contains__(self, name: object) -> bool:
            asked.add(str(name))
            return super().__contains__(name)

        def __getitem__(self, name: str) -> Any:
            asked.add(name)
            return super().__getitem__(name)

        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return super().get(name, default)

        def keys(self) -> Any:
            return self

    config.DeepSpeedConfig(Recording(train_batch_size=1))
    for section, model in {
        "zero_optimization": DeepSpeedZeroConfig,
        "zero_optimization.leaf_module": DeepSpeedZeroLeafModuleConfig,
        "comms_logger": CommsLoggerConfig,
        "timers.throughput": DeepSpeedThroughputTimerConfig,
    }.items():
        asked |= {f"{section}.{field.alias or name}" for name, field in model.model_fields.items()}
    asked |= config._REMOVED_TOP_LEVEL_CONFIG_KEYS.keys()
    asked |= {f"zero_optimization.{name}" for name in config._REMOVED_ZERO_CONFIG_KEYS}
    asked.add("sequence_parallel_size")  # where ranks are connected
    known = PASSED.keys() | REFUSED.keys()
    sections = {name.rsplit(".", deep)[0] for name in PASSED for deep in range(1, name.count(".") + 1)}
    assert (known - asked, asked - known - sections) == (set(), set())
