"""Build steps of the manual: pages that include a file of the repository, the reference of the recipe, the matrix of
architectures.

mkdocs calls `on_page_markdown` for each page. Nothing that it makes is stored in the repository.
"""

import importlib.util
import posixpath
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[2]

_INCLUDE = re.compile(r"\A<!-- include (\S+) -->")
_REFERENCE = "<!-- recipe reference -->"
_ARCHITECTURES = "<!-- architectures -->"
_LINK = re.compile(r"(\]\()([^)#\s]+)([^)\s]*\))")
_IMAGE = re.compile(r'((?:src|href)=")([^"#:]+)(")')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page: an included file in place of the whole page, what is generated in place of its mark."""
    if found := _INCLUDE.match(markdown):
        return included(found[1], page.file.src_uri)
    for mark, generate in ((_REFERENCE, recipe_reference), (_ARCHITECTURES, architecture_tables)):
        if mark in markdown:
            return markdown.replace(mark, generate())
    return markdown


def included(name: str, page: str) -> str:
    """The file `name` of the repository, its relative links rewritten for the place of `page` in docs/."""
    homes = {_included_by(text): uri for uri, text in _pages() if _included_by(text)}

    def rewritten(target: str) -> str:
        if ":" in target:
            return target
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        inside = homes.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is None:
            raise ValueError(f"{name} links to {target}, which has no page in the manual")
        return posixpath.relpath(inside, posixpath.dirname(page) or ".")

    text = (ROOT / name).read_text(encoding="utf-8")
    text = _LINK.sub(lambda m: m[1] + rewritten(m[2]) + m[3], text)
    return _IMAGE.sub(lambda m: m[1] + rewritten(m[2]) + m[3], text)


def _pages() -> Iterator[tuple[str, str]]:
    docs = ROOT / "docs"
    for path in sorted(docs.rglob("*.md")):
        yield path.relative_to(docs).as_posix(), path.read_text(encoding="utf-8")


def _included_by(text: str) -> str | None:
    found = _INCLUDE.match(text)
    return found[1] if found else None


@dataclass(frozen=True)
class RecipeField:
    """A field of the recipe as the reference shows it."""

    name: str
    type: str
    default: str
    bounds: str
    description: str


@dataclass(frozen=True)
class RecipeSection:
    """A section of the recipe; `name` is its dotted name, empty for the recipe itself."""

    name: str
    description: str
    fields: tuple[RecipeField, ...]


def recipe_sections() -> list[RecipeSection]:
    """Every section of the recipe, each with its own fields; a section within a section follows it."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from selfreward_ray.recipe.schema import Recipe

    return list(_sections(Recipe, "", None))


def _sections(model: type[BaseModel], name: str, default: BaseModel | None) -> Iterator[RecipeSection]:
    from selfreward_ray.recipe.documentation import field_docstring

    fields, below = [], []
    for field, info in model.model_fields.items():
        value = info.default if default is None else getattr(default, field)
        if isinstance(value, BaseModel):
            below.append((field, type(value), value))
            continue
        fields.append(
            RecipeField(
                name=f"{name}.{field}".removeprefix("."),
                type=_type(info.annotation),
                default="required" if value is PydanticUndefined else _shown(value),
                bounds=", ".join(filter(None, map(_bound, info.metadata))),
                description=field_docstring(model, field),
            )
        )
    yield RecipeSection(name, " ".join((model.__doc__ or "").split()), tuple(fields))
    for field, section, value in below:
        yield from _sections(section, f"{name}.{field}".removeprefix("."), value)


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


def _shown(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{value:g}`".replace("e-0", "e-")
    return f"`{value}`" if value != "" else "empty"


def recipe_reference() -> str:
    """The reference in Markdown: a heading and a definition list for each section."""
    parts = []
    for section in recipe_sections():
        parts.append(f"## {f'`{section.name}`' if section.name else 'The recipe'}")
        parts.append(_markdown(section.description))
        for field in section.fields:
            kind = f"{field.type} {field.bounds}".strip()
            head = f"`{field.name}`\n:   *{kind}, default {field.default}*" if field.default != "required" else (
                f"`{field.name}`\n:   *{kind}, required*"
            )  # fmt: skip
            paragraphs = [_markdown(" ".join(part.split())) for part in field.description.split("\n\n")]
            parts.append("\n\n".join([head, *(f"    {text}" for text in paragraphs)]))
    return "\n\n".join(parts)


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def architecture_tables() -> str:
    """The matrix that `tests/training/test_matrix.py` holds, as two tables in Markdown."""
    name = "manual_architectures"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "training" / "architectures.py")
    assert spec is not None
    assert spec.loader is not None
    matrix = sys.modules[name] = importlib.util.module_from_spec(spec)  # its dataclasses look it up by name
    spec.loader.exec_module(matrix)
    trained = [
        f"| {a.models} | `{a.type}` | yes | {'yes' if a.balances else '–'} | yes | "
        f"{f'no: {a.unread_by_vllm}' if a.unread_by_vllm else 'yes'} |"
        for a in matrix.TRAINED
    ]
    rejected = [f"| {a.models} | `{a.type}` | `{a.rejected}` |" for a in matrix.ARCHITECTURES if a.rejected]
    return "\n".join(
        [
            "## Trained", "",
            "| models | `model_type` | all weights, adapters | router loss | read by transformers | by vLLM on CPUs |",
            "|---|---|---|---|---|---|", *trained, "",
            "## Rejected", "",
            "Before anything is trained, with the message; its numbers are those of the tiny model.", "",
            "| models | `model_type` | message |", "|---|---|---|", *rejected,
        ]
    )  # fmt: skip
