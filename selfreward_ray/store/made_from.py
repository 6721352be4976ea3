"""What a step is made from, as its manifest records it, and whether two such records mean the same.

A record holds the ``recipe``'s values that the step uses where they are no defaults, the ``defaults`` that were in
force for the others, by their dotted names, what identifies each of its ``inputs``, and the ``schema``, the version of
what the step does with them.

Two records mean the same if the versions and the inputs are equal, and each field has the same value. A field that only
one of them has was added or removed by a release in between. It is passed over if that one has it at its default: a
release gives a new field a default that changes nothing, or raises the step's version, and nobody has used a field at
its default. So a release invalidates nothing by a field that it adds or removes. A default that it changes is another
value, unless the recipe names the value.

The records of earlier versions have all values in ``recipe``, and no ``defaults``: a field that is no longer there
counts as changed. They have no settings of the engine, which are not compared then.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from selfreward_ray.recipe.section import Used
from selfreward_ray.recipe.text import flatten
from selfreward_ray.store.identity import same_identity, without_commit

SCHEMAS: dict[str, int] = {}
"""Versions of the steps, 1 where none is named. Raise a step's when it is changed to make other rows of the same recipe
and inputs: what it made before is then out of date."""

ENGINE = "inference"
"""The name in the recipe's part of a step that asks an engine."""


def record(step: str, part: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """The record of a step, as JSON holds it. `part` is what it uses of the recipe: plain values, which have no
    defaults, and `Used` ones, at any depth. `inputs` are identities."""
    values, differing = flatten(_picked(part, differing=False)), _picked(part, differing=True)
    named = flatten(differing)
    found = {
        "recipe": differing,
        "defaults": {name: value for name, value in values.items() if name not in named},
        "inputs": dict(inputs),
        "schema": SCHEMAS.get(step, 1),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))  # with lists for tuples
    return plain


def fingerprint(step: str, part: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A name for the step, which is another one for whatever means something else. Releases may give other names to the
    same, so that whether two steps are the same is asked of their records."""
    known: dict[str, Any] = {"step": step, "recipe": _picked(part, differing=False), "inputs": dict(inputs)}
    if step in SCHEMAS:
        known["schema"] = SCHEMAS[step]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def earlier_fingerprint(step: str, part: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The name that versions before records of engines and commits gave to a step, which is all that an unfinished one
    of theirs has."""
    before = {name: value for name, value in part.items() if name != ENGINE}
    return fingerprint(step, before, {name: without_commit(identity) for name, identity in inputs.items()})


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two records differ, by the module's rule; empty if they mean the same."""
    found = _changed_fields(before, now)
    known = before.get("inputs", {})
    for name, identity in now["inputs"].items():
        if name not in known or not same_identity(known[name], identity):
            found.append(f"another {name}{_commits(known.get(name, ''), identity)}")
    found += [f"no {name}" for name in known if name not in now["inputs"]]
    if before.get("schema", 1) != now["schema"]:
        found.append("this version makes other rows of the same")
    return found


def _commits(before: str, now: str) -> str:
    """Which commits two identities are of, where nothing else differs."""
    if without_commit(before) != without_commit(now):
        return ""
    return f": commit {before[-40:][:12]} → {now[-40:][:12]} of {without_commit(now)}"


def _changed_fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    recipe, defaults = before.get("recipe", {}), before.get("defaults", {})
    old, new = flatten(recipe) | defaults, flatten(now["recipe"]) | now["defaults"]
    passed_over = {name for name in old if name not in new and name in defaults}
    passed_over |= {name for name in new if name not in old and name in now["defaults"]}
    if "defaults" not in before and ENGINE not in recipe:
        passed_over |= {name for name in new if name.startswith(f"{ENGINE}.")}
    return [
        f"{name}: {old.get(name)} → {new.get(name)}"
        for name in {**old, **new}
        if name not in passed_over and not (name in old and name in new and old[name] == new[name])
    ]


def _picked(part: Mapping[str, Any], *, differing: bool) -> dict[str, Any]:
    """`part` with all values of each `Used`, or with those that are no defaults, where there are any."""
    found: dict[str, Any] = {}
    for name, value in part.items():
        if isinstance(value, Mapping):
            inside = _picked(value, differing=differing)
            if inside or not value:
                found[name] = inside
        elif not isinstance(value, Used):
            found[name] = value
        elif not differing:
            found[name] = value.values
        elif value.differing != {}:
            found[name] = value.differing
    return found
