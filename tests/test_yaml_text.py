from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.cluster.cluster_file import read_cluster_file
from selfreward_ray.errors import UserError
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.yaml_text import RepeatedKey, load_documents, load_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "'a' occurs twice, in lines 1 and 3"),
        ("a: {b: 1}\nc:\n  - d: 1\n    d: 2", "'d' occurs twice, in lines 3 and 4"),
        ("{a: 1, a: 1}", "'a' occurs twice, in line 1"),
        ("? {a: 1, a: 2}\n: 3", "'a' occurs twice"),
        ("a: 1\n'a': 2", "'a' occurs twice"),
    ],
)
def test_a_key_that_occurs_twice_is_refused(text: str, message: str):
    with pytest.raises(RepeatedKey, match=message):
        load_yaml(text)
    with pytest.raises(RepeatedKey, match="'[ad]' occurs twice"):
        load_documents(f"x: 1\n---\n{text}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: {a: 1}\nb: {a: 2}", {"a": {"a": 1}, "b": {"a": 2}}),
        ("1: x\n'1': y", {1: "x", "1": "y"}),
        ("a: &a {b: 1}\nd: {<<: *a, b: 3}\ne: *a", {"a": {"b": 1}, "d": {"b": 3}, "e": {"b": 1}}),
    ],
)
def test_other_keys_are_read_as_yaml_reads_them(text: str, value: Any):
    assert load_yaml(text) == value


@pytest.mark.parametrize("load", [load_recipe, load_rubric, read_cluster_file])
def test_what_people_write_is_refused_with_its_name(load: Callable[[str], Any], tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("training: {workers: 8}\nmodel: m\ntraining: {workers: 2}\n")
    with pytest.raises(
        UserError, match=r"mine.yaml.* is not YAML: 'training' occurs twice, in lines 1 and 3; keep one"
    ):
        load(str(file))
