"""The folders and files that steps read and that no step before them makes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from selfreward_ray.check.data import check_given
from selfreward_ray.check.findings import Check, Sentence, faults
from selfreward_ray.check.places import late
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.step import finished_step, is_step

_STEPS_OF = {
    "seed_data": ("seed",),
    "validation": ("seed",),
    "eft": ("eft",),
    "verdicts": ("verdicts",),
    "positives": ("pair",),
    "pairs": ("pair",),
    "judged": ("respond", "judge"),
    "earlier": ("propose",),
    "prompts": ("propose",),
    "questions": ("propose",),
    **dict.fromkeys(("replies", "left", "right"), ("sample", "respond", "judge", "evaluate")),
    "data": (),
}
"""The steps whose folders are an input of that name."""
_GIVEN = {
    "prompts": "prompts",
    "questions": "questions",
    **dict.fromkeys(("replies", "left", "right"), "replies"),
    "data": "ranked",
}
"""Inputs that may be rows of a user instead, and what rows these are."""


def input_checks(recipe: Recipe, steps: Sequence[PlannedStep]) -> list[Check]:
    """A check of each input that is not the output of one of `steps`."""
    made = {same_place(step.folder.uri) for step in steps}
    wanted: dict[str, set[str]] = defaultdict(set)
    for step in steps:
        for name, value in step.inputs.items():
            wanted[name].update(_uris(name, value))  # each propose step names all before it
    checks = []
    for name, uris in wanted.items():
        for uri in sorted(uris):
            if same_place(uri) not in made:
                find = partial(_check_input, recipe, name, uri)
                checks.append(Check(name.replace("_", " "), find, late(uri)))
    return checks


def _uris(name: str, value: Any) -> Sequence[str]:
    if name not in _STEPS_OF or value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _check_input(recipe: Recipe, name: str, uri: str) -> Iterator[Sentence]:
    if name in _GIVEN and not (_STEPS_OF[name] and is_step(Folder(uri))):
        yield from faults(lambda: check_given(name, _GIVEN[name], uri, recipe))
        return
    finished_step(uri, *_STEPS_OF[name])
    yield uri
