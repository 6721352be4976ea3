"""What is known of each field of the recipe: type, bounds, default, unit, the paper's value, and its docstring.

Python does not keep docstrings of fields: they are read from the source of the schema.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from selfreward_ray.recipe import schema
from selfreward_ray.recipe.paper import GIVEN, paper_values
from selfreward_ray.recipe.units import unit_of


def field_docstring(section: type[BaseModel], field: str) -> str:
    """The docstring of a field of `section`, or of the class from which it is inherited; empty if there is none."""
    for parent in section.__mro__:
        ours = parent.__module__.startswith(f"{__package__}.")
        if ours and (text := _docstrings(parent.__module__)[parent.__name__].get(field)):
            return text
    return ""


def docstring_of(name: str) -> str:
    """The docstring of a field by its dotted name. What a user put into a mapping has that of the mapping."""
    section: type[BaseModel] = schema.Recipe
    for part in name.split("."):
        info = section.model_fields[part]
        if not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
            return field_docstring(section, part)
        section = info.annotation
    return " ".join((section.__doc__ or "").split())


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """By class and field, the string that stands under the field in `module`."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = found.setdefault(node.name, {})
        for statement, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                fields[statement.target.id] = after.value.value.strip()
    return found


@dataclass(frozen=True)
class RecipeField:
    """A field of the recipe as the reference shows it."""

    name: str
    type: str
    default: str
    bounds: str
    unit: str
    """Empty for a field without one."""
    paper: str | None
    """The paper's value; None where the paper gives none."""
    description: str


@dataclass(frozen=True)
class RecipeSection:
    """A section of the recipe; `name` is its dotted name, empty for the recipe itself."""

    name: str
    description: str
    fields: tuple[RecipeField, ...]


def recipe_sections() -> list[RecipeSection]:
    """Every section of the recipe, each with its own fields; a section within a section follows it."""
    return list(_sections(schema.Recipe, "", None))


def _sections(model: type[BaseModel], name: str, default: BaseModel | None) -> Iterator[RecipeSection]:
    from selfreward_ray.recipe.documentation import field_docstring

    fields, below = [], []
    for field, info in model.model_fields.items():
        value = info.default if default is None else getattr(default, field)
        if isinstance(value, BaseModel):
            below.append((field, type(value), value))
            continue
        dotted, kind = f"{name}.{field}".removeprefix("."), _type(info.annotation)
        fields.append(
            RecipeField(
                name=dotted,
                type=kind,
                default="required" if value is PydanticUndefined else _shown(value),
                bounds=", ".join(filter(None, map(_bound, info.metadata))),
                unit=unit_of(dotted) if _is_number(value, kind) else "",
                paper=_shown(_papers()[dotted]) if dotted in GIVEN else None,
                description=field_docstring(model, field),
            )
        )
    yield RecipeSection(name, " ".join((model.__doc__ or "").split()), tuple(fields))
    for field, section, value in below:
        yield from _sections(section, f"{name}.{field}".removeprefix("."), value)


def _is_number(default: Any, kind: str) -> bool:
    return (isinstance(default, int | float) and not isinstance(default, bool)) or "number" in kind


def _type(annotation: Any) -> str:
    if arguments := get_args(annotation):
        origin = get_origin(annotation)
        if origin is Literal:
            return " or ".join(f"`{one}`" for one in arguments)
        if origin is Annotated:
            return _type(arguments[0])
        if origin is tuple:
            return f"list of {_type(arguments[0])}"
        if origin is dict:
            return "mapping"
        named = [_type(one) for one in arguments if one is not type(None)]
        return " or ".join([*named, *(["null"] if type(None) in arguments else [])])
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}[annotation.__name__]


def _bound(metadata: Any) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return ", ".join(f"{sign} {getattr(metadata, name):g}" for name, sign in signs.items() if hasattr(metadata, name))


@cache
def _papers() -> dict[str, Any]:
    return paper_values()


def _shown(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{value:g}`".replace("e-0", "e-")
    return f"`{value}`" if value != "" else "empty"
