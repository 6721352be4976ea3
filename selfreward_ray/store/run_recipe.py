"""The recipe that a run's folder is bound to: a run that goes on with another one is refused."""

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.engine import sampling_settings
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import differing_fields, dump_recipe, overridden
from selfreward_ray.recipe.training import MODEL_FIELDS, PASS_FIELDS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import RunLayout

S = TypeVar("S", bound=BaseModel)


def _with_fields(section: S, fields: Iterable[str], other: S) -> S:
    """`section` of a recipe with `fields` as `other` has them."""
    return section.model_copy(update={field: getattr(other, field) for field in fields})


def _engine(before: Recipe, recipe: Recipe) -> dict[str, Any]:
    """The engine's settings of `recipe`, but as `before` those that may change what is sampled."""
    given = recipe.inference.engine
    free = given.keys() - sampling_settings(given).keys()
    return sampling_settings(before.inference.engine) | {name: given[name] for name in given if name in free}


def claim_run(run: Folder, recipe: Recipe) -> None:
    """Write the run's recipe. Raises `UserError` as `claimable` does."""
    run.write_bytes("recipe.yaml", dump_recipe(claimable(run, recipe)).encode())


def next_iteration(run: RunLayout, overrides: list[str]) -> tuple[Recipe, int]:
    """The recipe of a run that goes on by one iteration, and the number of that: the first one whose model is not
    trained, which may be one more than the recipe had.

    ``key=value`` overrides change those fields that `claimable` lets change. Raises `UserError` as `claimable` does,
    for an override that is none, and for no run's folder.
    """
    recipe = run.recipe()
    if overrides:
        recipe = claimable(run.root, overridden(recipe, overrides))
    t = 1
    while read_manifest(run.training(t + 1)) is not None:
        t += 1
    return recipe.model_copy(update={"iterations": max(t, recipe.iterations)}), t


def claimable(run: Folder, recipe: Recipe) -> Recipe:
    """The recipe of the run if it goes on, or begins, with `recipe`.

    More iterations may be asked for later (fewer leave those that are there), and a spent budget of proposals may be
    raised. Another cluster may go on with the run, so all of `inference` but the engine's settings that may change what
    is sampled, all of `training` but what the models depend on, and how much a forward pass holds may change. So may
    `endpoint`, `tracking` and `alarms`, `judge.pairwise_rubric` and `training.select_every` where no step of the loop
    reads them, and all fields while the seed step, the first, is not finished. Any other difference raises `UserError`
    naming the fields. So does a run of an earlier version.
    """
    # A run whose first step is not finished has nothing that another recipe could contradict.
    if run.is_file("recipe.yaml") and read_manifest(RunLayout(run.uri).seed()) is not None:
        before = RunLayout(run.uri).recipe()
        models = MODEL_FIELDS if before.training.select == "judged" else MODEL_FIELDS - {"select_every"}
        unread = [] if recipe.evaluation.head_to_head == "pairwise" else ["pairwise_rubric"]
        free = {
            "iterations": recipe.iterations,
            "inference": recipe.inference.with_engine(_engine(before, recipe)),
            "tracking": recipe.tracking,
            "endpoint": recipe.endpoint,
            "alarms": recipe.alarms,
            "training": _with_fields(recipe.training, models, before.training),
            "prompts": _with_fields(before.prompts, ["max_requests"], recipe.prompts),
            "judge": _with_fields(before.judge, unread, recipe.judge),
            "sft": _with_fields(before.sft, PASS_FIELDS, recipe.sft),
            "dpo": _with_fields(before.dpo, PASS_FIELDS, recipe.dpo),
        }
        changed = differing_fields(before.model_copy(update=free), recipe)
        if changed:
            raise UserError(
                f"{run.uri} was begun with another recipe:\n  " + "\n  ".join(changed) + "\n"
                "undo the change, or choose another --run-dir"
            )
        recipe = recipe.model_copy(update={"iterations": max(before.iterations, recipe.iterations)})
    return recipe
