"""YAML that people write: recipes, rubrics and cluster files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

_REPEATED = re.compile(r"(alias|anchor|tag|tag handle) (['\"]).*?\2|(?<=base 10): .*|(?<=to float): .*")
"""What PyYAML's and Python's messages repeat of the text."""

_MERGE = "tag:yaml.org,2002:merge"


class RepeatedKey(yaml.YAMLError):
    """A key that occurs twice in one mapping, which YAML forbids."""


def load_yaml(text: str) -> Any:
    """The value of a text of one document.

    Raises `yaml.YAMLError` for invalid text, and `RepeatedKey`, where PyYAML would keep the last value silently.
    """
    with _faults_told():
        _check_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)


def load_documents(text: str) -> list[Any]:
    """The values of a text of several documents. Raises as `load_yaml` does."""
    with _faults_told():
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            _check_keys(document)
        return list(yaml.safe_load_all(text))


@contextmanager
def _faults_told() -> Iterator[None]:
    """Turn what is wrong with the text into a `yaml.YAMLError` that says where, and repeats none of it.

    PyYAML shows the line of a fault, in which there may be a secret.
    """
    try:
        yield
    except RepeatedKey:
        raise
    except RecursionError:  # Python's message speaks of calls, of which a reader of the text knows nothing
        raise yaml.YAMLError("it is nested too deeply; write fewer brackets or levels") from None
    except yaml.MarkedYAMLError as error:
        parts = (error.context, error.context_mark), (error.problem, error.problem_mark)
        said = ", ".join(f"{what}{_where(mark)}" for what, mark in parts if what)
        raise yaml.YAMLError(_REPEATED.sub(r"\1", said)) from None
    except (LookupError, AttributeError):
        raise yaml.YAMLError("a value does not fit its tag") from None
    except ValueError as error:
        raise yaml.YAMLError(_REPEATED.sub(r"\1", str(error))) from None


def _where(mark: yaml.Mark | None) -> str:
    return f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _check_keys(document: yaml.Node | None) -> None:
    pending, seen = [document], set()
    while pending:
        node = pending.pop()
        if node is None or id(node) in seen:  # a node occurs again where the text refers to it by an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                pending += [key, value]
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    name, line = (key.tag, key.value), key.start_mark.line + 1
                    if name in lines:
                        where = f"in lines {lines[name]} and {line}" if lines[name] < line else f"in line {line}"
                        raise RepeatedKey(f"{key.value!r} occurs twice, {where}; keep one of them")
                    lines[name] = line
