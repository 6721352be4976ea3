"""The address of an endpoint, and the section `endpoint` of a recipe."""

import subprocess

import pytest
import yaml

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import Address, address_of, is_endpoint
from selfreward_ray.recipe.text import RecipeError, dump_recipe, load_recipe, parse_recipe


@pytest.mark.parametrize(
    ("name", "base_url", "model"),
    [
        ("https://api.openai.com/v1#gpt-4.1", "https://api.openai.com/v1", "gpt-4.1"),
        ("http://Host:8000/v1/#org/Model-7B", "http://host:8000/v1", "org/Model-7B"),
        ("HTTP://10.0.0.1:8000#/models/m3", "http://10.0.0.1:8000", "/models/m3"),
        ("http://[::1]:8000/v1#m", "http://[::1]:8000/v1", "m"),
        ("https://h/v1#ft:gpt-4o:me@2?x#y", "https://h/v1", "ft:gpt-4o:me@2?x#y"),
    ],
)
def test_an_address_is_a_url_and_a_model(name: str, base_url: str, model: str):
    assert is_endpoint(name)
    address = address_of(name)
    assert address == Address(base_url, model)
    assert address_of(str(address)) == address


@pytest.mark.parametrize("name", ["m0", "/models/http:/m", "owner/name", "s3://bucket/m#1", "file:///m", ""])
def test_other_names_are_no_endpoints(name: str):
    assert not is_endpoint(name)


def test_an_address_needs_no_quotes_in_a_shell_and_none_in_yaml():
    name = "http://host:8000/v1#org/Model-7B"
    assert subprocess.run(["sh", "-c", f"printf %s {name}"], capture_output=True, text=True).stdout == name
    assert yaml.safe_load(f"seed_data:\n  verdicts: {name}\n") == {"seed_data": {"verdicts": name}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http://host/v1", "'http://host/v1' is not the address of an endpoint's model; write the base URL, # and"),
        ("http://host/v1#", "write the base URL, # and the model's name: https://HOST/v1#MODEL"),
        ("http:///v1#m", "is not the address of an endpoint's model"),
        ("http://host/v1#a b", "is not the address of an endpoint's model"),
        ("http://host:99999/v1#m", "an endpoint's address is no URL"),
        ("http://[host/v1#m", "an endpoint's address is no URL"),
    ],
)
def test_a_malformed_address_is_named(name: str, message: str):
    with pytest.raises(UserError) as raised:
        address_of(name)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "https://me:sk-geheim@host/v1#m",
        "https://sk-geheim@host/v1#m",
        "https://host/v1?api_key=sk-geheim#m",
        "https://host/v1?sk-geheim#",
    ],
)
def test_a_key_in_the_address_is_refused_and_not_shown(name: str):
    with pytest.raises(UserError, match="a user, a password or a query, .*endpoint.api_key_env") as raised:
        address_of(name)
    assert "geheim" not in str(raised.value)


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_shown():
    for key in ("sk-geheim", "hf_geheim", "Bearer geheim", ""):
        with pytest.raises(RecipeError, match="recipe field 'endpoint': api_key_env must be the name of") as raised:
            parse_recipe({"model": "m0", "endpoint": {"api_key_env": key}})
        assert "geheim" not in str(raised.value)


def test_the_section_is_read_overridden_and_written(tmp_path):
    (tmp_path / "r.yaml").write_text("model: m0\nendpoint: {max_calls: 5}\n")
    recipe = load_recipe(tmp_path / "r.yaml", ["endpoint.requests_per_minute=60", "endpoint.timeout_s=10"])
    assert (recipe.endpoint.max_calls, recipe.endpoint.requests_per_minute, recipe.endpoint.timeout_s) == (5, 60, 10)
    assert parse_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe
    with pytest.raises(
        RecipeError, match=r"unknown recipe field 'endpoint.max_call'; did you mean 'endpoint.max_calls'"
    ):
        parse_recipe({"model": "m0", "endpoint": {"max_call": 5}})
