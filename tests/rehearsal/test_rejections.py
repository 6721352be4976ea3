"""Reasons to refuse the real run, other than nodes that are too small."""

import dataclasses
from typing import Any

import pytest

from selfreward_ray.cluster.rehearsal.rehearse import rejections
from selfreward_ray.cluster.rehearsal.shape import shape_of_recipe
from selfreward_ray.inference.engine_arguments import engine_arguments, unknown_arguments
from selfreward_ray.recipe.text import parse_recipe


def rejected(**sections: Any) -> list[str]:
    recipe = parse_recipe({"model": "none"} | sections)
    return rejections(recipe, shape_of_recipe(recipe))


def test_a_misspelt_argument_of_the_engine_is_rejected():
    assert rejected(inference={"engine": {"max_num_seqs": 8, "enforce_eager": True, "max_model_length": 4096}}) == [
        "inference.engine.max_model_length: the vLLM that is installed here has no such argument; did you mean "
        "'max_model_len'?"
    ]
    assert unknown_arguments({"zzz": 1}) == [
        "inference.engine.zzz: the vLLM that is installed here has no such argument; leave it out"
    ]


@pytest.mark.engines
def test_arguments_are_the_fields_of_vllms_dataclass():
    from vllm import AsyncEngineArgs

    assert engine_arguments() == {field.name for field in dataclasses.fields(AsyncEngineArgs)}
