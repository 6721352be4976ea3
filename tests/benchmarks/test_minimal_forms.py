"""Every benchmark has a test that runs its minimal form by its command line."""

import ast
from pathlib import Path

from benchmark_runs import BENCHMARKS

STARTED_BY = {"dpo_sides": "dpo", "inference_sides": "inference"}
"""Files whose `main` is run as a process by another benchmark."""


def runnable() -> set[str]:
    """Names of the files of `benchmarks/` that have a function `main`."""
    return {path.stem for path in BENCHMARKS.glob("*.py") if any(_functions(path, "main"))}


def run_by_tests() -> set[str]:
    """Names that the tests of this folder pass to `run_benchmark`."""
    return {
        call.args[0].value
        for path in Path(__file__).parent.glob("test_*.py")
        for test in _functions(path, "test_")
        for call in ast.walk(test)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "run_benchmark"
        and isinstance(call.args[0], ast.Constant)
    }


def _functions(path: Path, name: str) -> list[ast.FunctionDef]:
    """The top-level functions of a file whose names start with `name`."""
    top = ast.parse(path.read_text()).body
    return [node for node in top if isinstance(node, ast.FunctionDef) and node.name.startswith(name)]


def test_every_benchmark_is_run_by_a_test():
    without = runnable() - run_by_tests() - set(STARTED_BY)
    assert not without, f"no test in tests/benchmarks runs {sorted(without)} by run_benchmark"


def test_what_a_benchmark_starts_is_named_in_it():
    assert set(STARTED_BY) <= runnable()
    for part, benchmark in STARTED_BY.items():
        assert f"{part}.py" in (BENCHMARKS / f"{benchmark}.py").read_text()
