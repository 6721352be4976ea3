"""The docstrings of the recipe's fields, which Python does not keep: they are read from the source of the schema."""

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel

from selfreward_ray.recipe import schema


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
