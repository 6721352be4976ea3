"""No module that the loop learns with can reach the demo world's verifier, by whatever chain of imports.

Read from the sources and not from the linter's list, so that a new package or step is held to it without being named.
An import inside a function counts, and so does a text that is a module's name: `importlib` takes such.
"""

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERIFIER = "selfreward_ray.demo.verifier"
LEARNING = ("inference", "prompts", "judging", "preferences", "training", "steps")


def modules(root: Path) -> dict[str, Path]:
    found = {path.relative_to(root).with_suffix("").parts: path for path in (root / "selfreward_ray").rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for parts, path in found.items()}


@cache
def named(path: Path) -> frozenset[str]:
    return frozenset(_named(path))


def _named(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import, which this test does not follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield str(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def parents(name: str) -> list[str]:
    """The module and its packages: importing it runs them all."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


def chain(start: str, sources: dict[str, Path]) -> list[str] | None:
    """The modules from `start` to the verifier, each named in the one before it; None where there is no such chain."""
    waiting, met = [[start]], {start}
    while waiting:
        path = waiting.pop(0)
        if path[-1] == VERIFIER:
            return path
        new = {package for name in named(sources[path[-1]]) if name in sources for package in parents(name)} - met
        met |= new
        waiting += [[*path, name] for name in sorted(new)]
    return None


def learning(sources: dict[str, Path]) -> list[str]:
    return sorted(
        name for name in sources if name.startswith(tuple(f"selfreward_ray.{package}" for package in LEARNING))
    )


SOURCES = modules(ROOT)


@pytest.mark.parametrize("module", learning(SOURCES))
def test_the_verifier_can_not_be_reached(module: str):
    assert chain(module, SOURCES) is None


def test_the_evaluate_step_alone_asks_a_scorer():
    """By its name in the recipe. No step reads what `evaluate` wrote but `compare` and `report`."""
    asking = {name for name, path in SOURCES.items() if "selfreward_ray.extensions.scorer_named" in named(path)}
    assert asking == {"selfreward_ray.steps.evaluate"}


def test_the_rooms_are_there():
    assert {name.split(".")[1] for name in learning(SOURCES)} == set(LEARNING)


@pytest.mark.parametrize(
    "line",
    [
        "    from selfreward_ray.demo import verifier",
        "    import selfreward_ray.demo.annotator",
        "    from selfreward_ray.demo.truth import true_margins",
        "    importlib.import_module('selfreward_ray.demo.verifier')",
    ],
)
def test_a_way_to_it_would_be_noticed(tmp_path: Path, line: str):
    """Four imports away from the replica, and inside a function."""
    package = shutil.copytree(ROOT / "selfreward_ray", tmp_path / "selfreward_ray")
    with (package / "judging" / "aggregate.py").open("a") as file:
        file.write(f"\ndef peep():\n{line}\n")
    found = chain("selfreward_ray.inference.replica", modules(tmp_path))
    assert found is not None
    assert found[0] == "selfreward_ray.inference.replica"
    assert "selfreward_ray.judging.aggregate" in found
