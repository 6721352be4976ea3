"""The arguments of vLLM's engine, read from its source, because an import takes ten seconds."""

import ast
import difflib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def unknown_arguments(engine: Mapping[str, Any]) -> list[str]:
    """One line for each name in the recipe's ``inference.engine`` that is not a field of vLLM's `AsyncEngineArgs`.

    Raises `ModuleNotFoundError` if vLLM is not installed.
    """
    known = engine_arguments()
    lines = []
    for name in engine:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; leave it out"
            lines.append(f"inference.engine.{name}: the vLLM that is installed here has no such argument{hint}")
    return lines


@cache
def engine_arguments() -> frozenset[str]:
    """Names of the fields of `AsyncEngineArgs` and its base class `EngineArgs`."""
    package = find_spec("vllm")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("vllm")
    source = Path(package.origin).parent / "engine" / "arg_utils.py"
    classes = [one for one in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(one, ast.ClassDef)]
    return frozenset(
        field.target.id
        for one in classes
        if one.name in ("EngineArgs", "AsyncEngineArgs")
        for field in one.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    )
