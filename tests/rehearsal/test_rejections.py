"""What a rehearsal rejects beside what the nodes can not hold."""

import dataclasses
from typing import Any

import pytest

from selfreward_ray.cluster.rehearsal.engine_arguments import engine_arguments, unknown_arguments
from selfreward_ray.cluster.rehearsal.rehearse import rejections
from selfreward_ray.cluster.rehearsal.shape import shape_of_recipe
from selfreward_ray.recipe_text import parse_recipe


def rejected(**sections: Any) -> list[str]:
    recipe = parse_recipe({"model": "none"} | sections)
    return rejections(recipe, shape_of_recipe(recipe))


def test_a_batch_of_fewer_examples_than_workers_is_rejected():
    """As the trainer would, after the run has begun."""
    training = {"workers": 32}
    assert rejected(training=training, sft={"batch_size": 32}, dpo={"batch_size": 32}) == []
    assert rejected(training=training, sft={"batch_size": 16}, dpo={"batch_size": 8}) == [
        "sft: batch_size 16 is smaller than training.workers 32; some workers would never have an example",
        "dpo: batch_size 8 is smaller than training.workers 32; some workers would never have an example",
    ]


@pytest.mark.parametrize("without", [{"iterations": 0}, {"pairs": {"policy": "positive-only"}}])
def test_a_training_that_the_recipe_does_not_have_is_not_checked(without: dict[str, Any]):
    assert rejected(training={"workers": 4}, dpo={"batch_size": 2}, **without) == []


def test_a_misspelt_argument_of_the_engine_is_rejected():
    assert rejected(inference={"engine": {"max_num_seqs": 8, "enforce_eager": True, "max_model_length": 4096}}) == [
        "inference.engine.max_model_length: the vLLM that is installed here has no such argument; did you mean "
        "'max_model_len'?"
    ]
    assert unknown_arguments({"zzz": 1}) == [
        "inference.engine.zzz: the vLLM that is installed here has no such argument"
    ]


@pytest.mark.engines
def test_arguments_are_the_fields_of_vllms_dataclass():
    from vllm import AsyncEngineArgs

    assert engine_arguments() == {field.name for field in dataclasses.fields(AsyncEngineArgs)}
