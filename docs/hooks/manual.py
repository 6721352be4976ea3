"""Build steps of the manual: pages that include a file of the repository, the reference of the recipe, the matrix of
architectures.

mkdocs calls `on_page_markdown` for each page. Nothing that it makes is stored in the repository.
"""

import importlib.util
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def recipe_reference() -> str:
    """The reference in Markdown: a heading and a definition list for each section."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from selfreward_ray.recipe.documentation import recipe_sections

    parts = []
    for section in recipe_sections():
        parts.append(f"## {f'`{section.name}`' if section.name else 'The recipe'}")
        parts.append(_markdown(section.description))
        for field in section.fields:
            default = field.default if field.default == "required" else f"default {field.default}"
            about = [field.type if not field.unit else f"{field.type} ({field.unit})", field.bounds]
            papers = "" if field.paper is None else f", the paper: {field.paper}"
            head = f"`{field.name}`\n:   *{' '.join(filter(None, about))}, {default}{papers}*"
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
