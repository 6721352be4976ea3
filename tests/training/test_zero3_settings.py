"""DeepSpeed's settings by the size of a model and the kind of device, and a recipe's own in their place."""

from typing import Any

import pytest

from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.recipe.training import Dpo, Training
from selfreward_ray.training.zero3_settings import deepspeed_config, division

MILLION, BILLION = 10**6, 10**9


@pytest.fixture(autouse=True)
def on_real_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DECLARED_GPUS, raising=False)


def config(parameters: int = 135 * MILLION, **training: Any) -> dict[str, Any]:
    return deepspeed_config(Dpo(), Training.model_validate(training), 2, parameters)


@pytest.mark.parametrize(
    ("gpus", "parameters", "whole", "bucket", "prefetched", "updated"),
    [
        (0, 135 * MILLION, MILLION, 20 * MILLION, 50 * MILLION, 20 * MILLION),
        (0, 8 * BILLION, MILLION, 20 * MILLION, 50 * MILLION, 20 * MILLION),
        (1, 494 * MILLION, BILLION, 20 * MILLION, 50 * MILLION, 100 * MILLION),
        (1, 8 * BILLION, MILLION, 20 * MILLION, 50 * MILLION, 100 * MILLION),
        (1, 70 * BILLION, MILLION, 70 * MILLION, 70 * MILLION, 100 * MILLION),
        (1, 671 * BILLION, MILLION, 500 * MILLION, 500 * MILLION, 100 * MILLION),
    ],
)
def test_the_division_follows_the_model_and_the_device(
    gpus: int, parameters: int, whole: int, bucket: int, prefetched: int, updated: int
):
    assert division(parameters, Training(gpus_per_worker=gpus)) == {
        "overlap_comm": gpus > 0,
        "stage3_param_persistence_threshold": whole,
        "reduce_bucket_size": bucket,
        "stage3_prefetch_bucket_size": prefetched,
        "sub_group_size": updated,
    }


def test_declared_gpus_are_cpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DECLARED_GPUS, "1")
    assert division(BILLION, Training(gpus_per_worker=1)) == division(BILLION, Training())


def test_offloaded_parameters_do_not_stay_on_the_gpu():
    offloaded = division(MILLION, Training(gpus_per_worker=1, offload_parameters=True))
    assert offloaded["stage3_param_persistence_threshold"] == MILLION


def test_a_recipes_settings_replace_the_defaults_of_the_same_name_alone():
    settings = {"zero_optimization": {"sub_group_size": 5}, "timers": {"throughput": {"enabled": False}}}
    plain, own = config(), config(deepspeed=settings)
    assert own["zero_optimization"] == plain["zero_optimization"] | {"sub_group_size": 5}
    assert own["timers"] == {"throughput": {"enabled": False}}
    assert {name: own[name] for name in plain} == plain | {"zero_optimization": own["zero_optimization"]}
    assert config() == plain, "the defaults are as they were"


def test_fields_of_the_recipe_reach_deepspeed():
    found = config(dtype="float32", offload_optimizer=True, offload_parameters=True)
    assert not found["bf16"]["enabled"]
    assert {"offload_optimizer", "offload_param"} <= found["zero_optimization"].keys()
    assert config()["bf16"]["enabled"]
    assert config()["gradient_clipping"] == 1.0
