"""YAML that people write: recipes, rubrics and cluster files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

YAML_FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError)
"""Exceptions that PyYAML raises for invalid text: its own, and Python's for an invalid date, number or tag."""

_MERGE = "tag:yaml.org,2002:merge"


class RepeatedKey(yaml.YAMLError):
    """A key that occurs twice in one mapping, which YAML forbids."""


def load_yaml(text: str) -> Any:
    """The value of a text of one document.

    Raises one of `YAML_FAULTS` for invalid text, `RepeatedKey` among them: PyYAML would keep the last value silently.
    """
    with _nesting_named():
        _check_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)


def load_documents(text: str) -> list[Any]:
    """The values of a text of several documents. Raises as `load_yaml` does."""
    with _nesting_named():
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            _check_keys(document)
        return list(yaml.safe_load_all(text))


@contextmanager
def _nesting_named() -> Iterator[None]:
    """Python's own error speaks of calls, of which a reader of the text knows nothing."""
    try:
        yield
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply; write fewer brackets or levels") from None


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
