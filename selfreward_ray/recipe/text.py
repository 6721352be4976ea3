"""Recipes as text: read a YAML file with ``key=value`` overrides (``dpo.beta=0.2``), and write one.

An unknown field or a value out of range raises `RecipeError`, which names the field and the remedy.
"""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import CREDENTIAL, Recipe
from selfreward_ray.recipe.shipped import shipped_names, shipped_text
from selfreward_ray.yaml_text import RepeatedKey, load_yaml

_KINDS: dict[tuple[str, ...], str] = {
    ("list_", "tuple_", "set_", "frozen_set_"): "a list such as [a, b]",
    ("dict_", "mapping_", "model_"): "a mapping such as {name: value}",
    ("bool_",): "true or false",
    ("int_",): "a whole number",
    ("float_",): "a number",
    ("string_type", "string_unicode"): "a text (quote what YAML reads as something else, such as '1' and 'yes')",
    ("none_",): "null",
}
"""What a value of the wrong type must be, by the beginnings of the names of pydantic's errors."""


_DATA = re.compile(r"\.(jsonl|ndjson|csv|tsv|parquet|arrow)(\.\w+)?$", re.IGNORECASE)
"""Endings of files of rows, packed or not. A recipe may be JSON, which is YAML too."""
_LONGEST_SHOWN = 100
"""Characters of a wrong value that a message shows."""


class RecipeError(UserError):
    """A recipe that cannot be used. The message names the field."""


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Validate plain values as a recipe. Raises `RecipeError` with one line for each wrong field."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        raise RecipeError("\n".join(lines)) from None


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read the recipe of a YAML file, or of a shipped recipe's name, and apply ``key=value`` overrides to it.

    Values of overrides are YAML, so ``judge.constrained=true`` sets a boolean. Raises `RecipeError` if the recipe
    cannot be read, and for an unknown field, a wrong value or a malformed override.
    """
    if _DATA.search(str(path)):
        raise RecipeError(
            f"{path} is data, not a recipe: give it to a recipe (seed_data.source={path}), or let `selfreward init` "
            "write one for it"
        )
    text = recipe_text(path)
    try:
        values = load_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must be a mapping of recipe fields, for example model: path/to/model")
    return _overridden(values, overrides or [])


def overridden(recipe: Recipe, overrides: list[str]) -> Recipe:
    """`recipe` with ``key=value`` overrides. Raises `RecipeError` as `load_recipe` does."""
    return _overridden(recipe.model_dump(mode="json"), overrides)


def reading_fields(overrides: list[str]) -> dict[str, Any]:
    """The fields of ``seed_data`` in ``key=value`` overrides, which may name no others. Raises `RecipeError`."""
    values: dict[str, Any] = {"model": "", "seed_data": {}}
    for override in overrides:
        if not override.startswith("seed_data."):
            raise RecipeError(f"override {override!r}: only how data are read can be given here (seed_data.columns=…)")
        _apply(values, override)
    parse_recipe(values)
    return dict(values["seed_data"])


def recipe_text(path: str | Path) -> str:
    """The text of the file `path`, or of the shipped recipe of that name where there is no such file.

    A folder is passed over: a run's folder may have its recipe's name.
    """
    shipped = shipped_text(str(path))
    if shipped is not None and not Path(path).is_file():
        return shipped
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(str(path), shipped_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"shipped: {', '.join(shipped_names())}"
        raise RecipeError(
            f"cannot read recipe {path}: there is no such file, and no shipped recipe has that name; {hint}"
        ) from None
    except OSError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path} is not UTF-8 text: {error}") from None
    except ValueError as error:  # of a path with a NUL
        raise RecipeError(f"cannot read recipe {str(path)!r}: {error}") from None


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def differing_fields(left: Recipe, right: Recipe) -> list[str]:
    """The fields whose values differ, with both values: ``dpo.beta: 0.1 → 0.2``."""
    return changed_values(left.model_dump(mode="json"), right.model_dump(mode="json"))


def changed_values(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """As `differing_fields`, of plain values."""
    a, b = flatten(left), flatten(right)
    return [f"{name}: {a.get(name)} → {b.get(name)}" for name in {**a, **b} if a.get(name) != b.get(name)]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted names; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value})
    return flat


def _overridden(values: dict[str, Any], overrides: list[str]) -> Recipe:
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values)


def _apply(values: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise RecipeError(f"override {override!r} is not of the form key=value, for example dpo.beta=0.2")
    *parents, leaf = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RecipeError(f"override {override!r}: {parent!r} is a value, not a section")
    try:
        values[leaf] = load_yaml(text)
    except RepeatedKey as error:
        raise RecipeError(f"override {override!r}: {error}") from None
    except yaml.YAMLError:
        raise RecipeError(f"override {_shown(override)}: {_shown(text)} is not a YAML value") from None


def _explain(detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location) or "recipe"
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        known = _fields_at(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        meant = [".".join([*location[:-1], near[0]])] if near else _fields_named(location[-1])
        hint = f"did you mean {' or '.join(map(repr, meant))}?" if meant else f"known: {', '.join(known)}"
        return f"unknown recipe field {name!r}; {hint}"
    if detail["type"] == "missing":
        return f"recipe field {name!r} is missing"
    if detail["type"] == CREDENTIAL:
        return f"recipe field {name!r}: {detail['msg']}"
    if detail["type"] == "literal_error":
        return f"recipe field {name!r}: {_allowed(detail)} (got {detail['input']!r})"
    kind = next((kind for types, kind in _KINDS.items() if detail["type"].startswith(types)), None)
    if kind is not None:
        message = f"must be {kind}{' or null' if _may_be_null(detail['loc']) else ''}"
    else:
        message = re.sub("^(Value error, |Input should )", lambda at: "must " * at[0].startswith("I"), detail["msg"])
    # The values of a section are not shown: there may be many, and some may be secret.
    got = "" if isinstance(detail["input"], dict) else f" (got {_shown(detail['input'])})"
    return f"recipe field {name!r}: {message[0].lower()}{message[1:]}{got}"


def _shown(value: object) -> str:
    """A wrong value in a message, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _allowed(detail: Any) -> str:
    """Which of a field's names is meant, or all of them."""
    expected = detail["ctx"]["expected"]
    names = re.findall(r"'([^']+)'", expected)
    near = difflib.get_close_matches(str(detail["input"]).lower(), names, n=1, cutoff=0.75)
    return f"did you mean {near[0]!r}?" if near else f"must be {expected}"


def _may_be_null(location: tuple[Any, ...]) -> bool:
    """Whether null is a value of the field, where that is known: not within lists and mappings."""
    model: Any = Recipe
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return False
        model = field.annotation
    return type(None) in get_args(model)


def _fields_at(location: list[str]) -> list[str]:
    model: Any = Recipe
    for part in location:
        model = model.model_fields[part].annotation
    return sorted(model.model_fields)


def _fields_named(leaf: str) -> list[str]:
    """The fields of all sections that have the name `leaf`, for a user who left out the section."""
    return [name for name in flatten(Recipe(model="").model_dump()) if name.endswith(f".{leaf}")]
