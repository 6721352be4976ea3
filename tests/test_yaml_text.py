from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

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


SECRET_TEXTS = [
    "password: geheim7: x",
    "password: *geheim7",
    "password: !geheim7 x",
    "password: !e!geheim7 x",
    "a: &geheim7 1\nb: &geheim7 2",
    'password: "geheim7',
    "password: [geheim7",
    "password: @geheim7",
    "password: `geheim7`",
    "password: !!int geheim7",
    "password: !!float geheim7",
    "password: !!bool geheim7",
    "password: !!timestamp geheim7",
    "password: !!binary geheim7=",
    "password: 'geheim7'x",
    "geheim7",
    "%geheim7",
    "- a\npassword: geheim7",
    "? [geheim7]\n: 1",
    "password: {geheim7: 1, [geheim7]: 2",
]
"""Texts of which most are no YAML, each with a value that may be a secret."""


@pytest.mark.parametrize("text", SECRET_TEXTS)
@pytest.mark.parametrize("load", [load_yaml, load_documents])
def test_a_fault_is_told_without_the_text_around_it(text: str, load: Callable[[str], Any]):
    try:
        load(f"x: 1\n{text}\n")
    except yaml.YAMLError as error:
        assert "geheim7" not in str(error)  # noqa: PT017 - what is no fault is fine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", r"^while parsing a flow sequence in line 1, column 4, expected ',' or '\]', but got ':' in "),
        ("a: *b", "^found undefined alias in line 1, column 4$"),
        ("a: 0b_", "^invalid literal for int"),
        ("a: !!bool x", "^a value does not fit its tag$"),
        ("a: 2024-13-45", "^month must be in 1..12"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, message: str):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
