"""What a step was made with, from its manifest, in one line each."""

from functools import cache
from typing import Any

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import flatten
from selfreward_ray.reporting.formatting import shortened
from selfreward_ray.store.manifest import Manifest

_SHOWN = 60
"""Characters of a value."""


def recipe_of(manifest: Manifest) -> str:
    """The values of the step's part of the recipe that are no defaults, and the seed."""
    part = manifest.made_from.get("recipe")
    if part is None:
        return "not recorded by the version that made it"
    # Earlier versions recorded all values in one.
    defaults = {} if "defaults" in manifest.made_from else _defaults()
    values = {
        name: value
        for name, value in flatten(part).items()
        if name == "seed" or name not in defaults or defaults[name] != value
    }
    shown = [f"{name}={shortened(' '.join(str(value).split()), _SHOWN)}" for name, value in values.items()]
    return f"{', '.join(shown)}; all else are defaults"


def versions_of(manifest: Manifest) -> str:
    """Packages with their versions."""
    return ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) or "not recorded"


@cache
def _defaults() -> dict[str, Any]:
    return flatten(Recipe.model_validate({"model": ""}).model_dump(mode="json"))
