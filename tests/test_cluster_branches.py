"""Each branch that depends on GPUs, nodes, ranks or an object store is in `cluster_branches.yaml`, with its tests."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from cluster_branches import branches, package_branches

import selfreward_ray

PACKAGE = Path(selfreward_ray.__file__).parent
REPOSITORY = Path(__file__).parents[1]
LIST = "tests/cluster_branches.yaml"


@dataclass(frozen=True)
class Entry:
    tests: list[str]
    needs_cuda: str | None = None
    """What is left to a GPU, and what stands for it here."""


@cache
def listed() -> dict[tuple[str, str, str], Entry]:
    """By file, function and condition."""
    found = {}
    for file, functions in yaml.safe_load((REPOSITORY / LIST).read_text(encoding="utf-8")).items():
        for function, conditions in functions.items():
            for condition, value in conditions.items():
                found[file, function, condition] = Entry(value) if isinstance(value, list) else Entry(**value)
    return found


@cache
def there() -> dict[tuple[str, str, str], int]:
    """Lines of the branches in the source, by file, function and condition."""
    return {(file, b.function, b.condition): b.line for file, found in package_branches(PACKAGE).items() for b in found}


@cache
def declared_in(file: str) -> frozenset[str]:
    """Names of a file's tests, ``Class::function`` for those in classes; none where there is no file."""
    path = REPOSITORY / file
    if not path.is_file():
        return frozenset()

    def names(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{node.name}::")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield prefix + node.name

    return frozenset(names(ast.parse(path.read_text(encoding="utf-8")).body))


def test_no_branch_is_without_a_test():
    new = {key: line for key, line in there().items() if key not in listed()}
    unlisted = [f"selfreward_ray/{file}:{line} {function}: {text}" for (file, function, text), line in new.items()]
    assert not unlisted, (
        f"These branches depend on GPUs, nodes, ranks or an object store, and {LIST} has no test of them:\n  "
        + "\n  ".join(sorted(unlisted))
        + "\nWrite tests that take both ways, pure ones or on raylets with declared resources, and list them there."
    )


def test_no_branch_is_listed_that_is_gone():
    gone = [f"{file}, {function}: {condition}" for file, function, condition in listed().keys() - there().keys()]
    assert not gone, f"Take out of {LIST} what the source no longer has:\n  " + "\n  ".join(sorted(gone))


def test_every_listed_test_exists():
    wanted = {test for entry in listed().values() for test in entry.tests}
    missing = [test for test in wanted if test.partition("::")[2] not in declared_in(test.partition("::")[0])]
    assert not missing, f"{LIST} names tests that do not exist:\n  " + "\n  ".join(sorted(missing))


def test_every_branch_has_a_test_though_it_may_lead_to_a_gpu():
    assert all(entry.tests for entry in listed().values())
    assert all(entry.needs_cuda is None or len(entry.needs_cuda) > 40 for entry in listed().values())


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("loop.py", "if training.gpus_per_worker: a()", ["training.gpus_per_worker"]),
        ("loop.py", "x = 1 if where.startswith('s3://') else 2", ["where.startswith('s3://')"]),
        ("loop.py", "many = nodes_per_replica > 1\nwhile many: a()", ["nodes_per_replica > 1", "many"]),
        ("loop.py", "few, gpus = 1, on_gpus(1)\nif few or gpus: a()", ["on_gpus(1)", "few or gpus"]),
        ("loop.py", "a(use_gpu=b.gpus > 0)", ["b.gpus > 0"]),
        ("loop.py", "a = [b for b in c if b.accelerator_type]", ["b.accelerator_type"]),
        ("loop.py", "match device.type:\n  case 'cuda': a()", ["device.type"]),
        ("loop.py", "a = SIZES[weight.device.type]", ["SIZES[weight.device.type]"]),
        ("loop.py", "try: a()\nexcept RayActorError: b()", ["RayActorError"]),
        ("loop.py", "if gpus: a()\nif gpus: b()", ["gpus", "gpus  # 2"]),
        ("training/step.py", "if dist.get_rank() == 0: a()", ["dist.get_rank() == 0"]),
        ("training/step.py", "a = whole_on_rank_0(b) or c", ["whole_on_rank_0(b) or c"]),
        ("seed/split.py", "if reply.rank == 0: a()", []),
        ("inference/pool.py", "if node is None: a()", ["node is None"]),
        ("seed/trees.py", "if node is None: a()", []),
        ("cluster/capacity.py", "if a: b()\nwhile True: c()\nassert d > 1\nif __name__ == '__main__': e()", ["a"]),
        ("cluster/rehearsal/shape.py", "if gpus: a()\nif b: c()", ["gpus"]),
        ("loop.py", "found = make(gpus)\nif found: a()", []),  # what a function makes of it is its own affair
        ("loop.py", "def f(gpus):\n  few = gpus\ndef g(few):\n  if few: a()", []),
    ],
)
def test_what_is_such_a_branch(path: str, source: str, found: list[str]):
    assert [branch.condition for branch in branches(source, path)] == found


def test_a_branch_is_named_by_its_function():
    source = "class Pool:\n    def run(self):\n        def inner():\n            if gpus: a()\n"
    (branch,) = branches(source, "loop.py")
    assert (branch.function, branch.line) == ("Pool.run.inner", 4)
