"""Finds the branches of the package that depend on what one machine without GPUs does not have.

Such a condition is one on GPUs, accelerator types, several nodes or ranks, an autoscaler, a joined cluster or an object
store. It is told by its names: one that `_EVERYWHERE` or `_IN` matches, or a variable that the same function assigned
from such a thing. In the files of `_WHOLE` every condition is one.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_EVERYWHERE = (
    "gpu|cuda|nccl|gloo|flash|spans|liger|device|accelerator"  # GPUs and their kernels
    "|nodes_per|cluster|autoscal|preempt|RayActorError|TrainingFailedError"  # nodes, which come and go
    "|://|LocalFileSystem"  # object stores
)
_IN = {"inference/": r"\bnodes?\b", "training/": "(^|_)(ranks?|world_size|owners?|workers)(_|$)"}
"""What means nodes and ranks in these folders: in seed data a reply has a rank, and a tree of messages has nodes."""
_WHOLE = (
    "cluster/",
    "inference/placement.py",
    "inference/reaper.py",
    "models/fetch.py",
    "store/folder.py",
    "store/object_store.py",
)
_IN_PART = "cluster/rehearsal/"
"""It declares a cluster on this machine and never runs on another: of it, conditions count that name such things."""

_TRANSPARENT = {
    "all",
    "any",
    "bool",
    "enumerate",
    "getattr",
    "int",
    "isinstance",
    "len",
    "max",
    "min",
    "sorted",
    "sum",
    "zip",
}
_PREDICATES = {"on_gpus", "has_flash_attention"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Branch:
    """A condition in the source."""

    function: str
    """``Pool._counts``; empty at the top of a module."""
    condition: str
    """Its text, as `ast.unparse` writes it; the second of the same text in a function ends in ``  # 2``."""
    line: int


def branches(source: str, path: str) -> list[Branch]:
    """The branches of that kind in the file `path` of the package, in the order of their lines."""
    pattern = "|".join([_EVERYWHERE, *(more for folder, more in _IN.items() if path.startswith(folder))])
    return list(
        _in_scope(
            ast.parse(source),
            "",
            re.compile(pattern, re.IGNORECASE),
            path.startswith(_WHOLE) and not path.startswith(_IN_PART),
        )
    )


def _in_scope(scope: ast.AST, name: str, pattern: re.Pattern[str], whole: bool) -> Iterator[Branch]:
    nodes = list(_own(scope))
    names = _Names(pattern)
    names.follow(nodes)
    counts: Counter[str] = Counter()
    found = [c for c in _conditions(nodes) if whole or names.match(c)]
    for condition in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        text = ast.unparse(condition)
        counts[text] += 1
        again = f"  # {counts[text]}" if counts[text] > 1 else ""
        yield Branch(name, text + again, condition.lineno)
    for inner in nodes:
        if isinstance(inner, _Function):
            yield from _in_scope(inner, f"{name}.{inner.name}".lstrip("."), pattern, whole)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes inside `scope`, without those inside its functions and classes; lambdas are its own."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, _Function):
            yield from _own(node)


def _conditions(nodes: list[ast.AST]) -> list[ast.expr]:
    """Expressions by which the program, or a value, goes one way or another."""
    found: list[ast.expr] = []
    for node in nodes:
        match node:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                found.append(test)
            case ast.comprehension(ifs=tests):
                found += tests
            case ast.Match(subject=subject):
                found.append(subject)
            case ast.ExceptHandler(type=ast.expr() as kind):
                found.append(kind)
            case ast.Subscript(slice=ast.Name() | ast.Attribute() as key) if "device" in ast.unparse(key):
                found.append(node)
    asserted = [node.test for node in nodes if isinstance(node, ast.Assert)]
    inside = {id(part) for test in found + asserted for part in ast.walk(test)}
    for node in nodes:  # outer ones first
        if isinstance(node, ast.expr) and id(node) not in inside and _is_truth(node):
            found.append(node)
            inside |= {id(part) for part in ast.walk(node)}
    # Neither `while True` nor how a module is run.
    return [test for test in found if not (isinstance(test, ast.Constant) or "__name__" in ast.unparse(test))]


def _is_truth(node: ast.expr) -> bool:
    """Whether the value itself says which way: ``use_gpu=gpus > 0``, ``fetched or local``."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name in _PREDICATES
        case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            return True
    return False


@dataclass
class _Names:
    """What a function's expressions depend on."""

    pattern: re.Pattern[str]
    assigned: set[str] = field(default_factory=set)
    """Variables that have their value from something that matches."""

    def follow(self, nodes: list[ast.AST]) -> None:
        """Note the variables that `nodes` assign, until there are no more."""
        known = -1
        while known < len(self.assigned):
            known = len(self.assigned)
            for node in nodes:
                match node:
                    case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                        for name, value in zip(names, values, strict=True):
                            self._assign(name, value)
                    case ast.Assign(targets=targets, value=value):
                        for target in targets:
                            self._assign(target, value)
                    case (
                        ast.AnnAssign(target=target, value=ast.expr() as value)
                        | ast.AugAssign(target=target, value=value)
                        | ast.NamedExpr(target=target, value=value)
                        | ast.For(target=target, iter=value)
                        | ast.comprehension(target=target, iter=value)
                    ):
                        self._assign(target, value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if self.match(value):
            self.assigned |= {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}

    def match(self, node: ast.AST) -> bool:
        """Whether the value of `node` depends on it; what a function makes of its arguments is not followed."""
        match node:
            case ast.Name(id=name):
                return name in self.assigned or self._named(name)
            case ast.Attribute(value=value, attr=name):
                return self._named(name) or self.match(value)
            case ast.Constant(value=str() as text):
                return self._named(text)
            case ast.Call(func=ast.Name(id=name)) if name not in _TRANSPARENT:
                return self._named(name)
            case ast.Call(func=ast.Attribute() as function, args=arguments):
                literals = [argument for argument in arguments if isinstance(argument, ast.Constant)]
                return self.match(function) or any(map(self.match, literals))
        return any(self.match(child) for child in ast.iter_child_nodes(node))

    def _named(self, text: str) -> bool:
        return bool(self.pattern.search(text))


def package_branches(package: Path) -> dict[str, list[Branch]]:
    """All of them by the path of their file in the package."""
    files = {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*.py"))}
    found = {name: branches(path.read_text(encoding="utf-8"), name) for name, path in files.items()}
    return {name: listed for name, listed in found.items() if listed}
