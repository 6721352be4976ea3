"""Everything about a run, or about one step, that can be known before it begins."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from selfreward_ray.check.data import check_prompts, check_seed_data
from selfreward_ray.check.findings import Check, Finding, examine
from selfreward_ray.check.inputs import input_checks
from selfreward_ray.check.machine import check_cluster_file, check_machine
from selfreward_ray.check.models import model_checks
from selfreward_ray.check.places import check_room, check_writable, late, late_model, weight_bytes
from selfreward_ray.check.settings import check_settings, check_trackers, check_trained
from selfreward_ray.errors import UserError
from selfreward_ray.plan import TRAINING_STEPS, PlannedStep, own_folder, plan
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import FILES_AT_A_TIME, same_place
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.owner import check_free
from selfreward_ray.store.run import RunLayout, check_layout
from selfreward_ray.store.run_recipe import claimable

_TOO_LONG = "not looked at whole: it takes too long"


def check_run(recipe: Recipe, run_dir: str | None, cluster: str | None = None) -> list[Finding]:
    """What is found about a run of `recipe` in `run_dir`, or anywhere if that is None, on the cluster of the file
    `cluster`, or, if that is None, on the one that this process would join or on this machine.

    Finished steps need nothing. If the storage does not answer, all steps count as unfinished.
    """
    layout = RunLayout(run_dir or "RUN")
    place, reached = _check_place(run_dir)
    checks, steps = [Check("recipe", partial(check_trackers, recipe))], []
    about = "recipe"
    try:
        steps = plan(recipe, layout.current() if reached else layout)
        about = "run folder"
        steps = _unfinished(steps) if reached else steps
    except UserError as error:
        checks.append(Check(about, partial(iter, [error])))
    if reached:
        checks.append(Check("run folder", partial(_check_bound, recipe, layout), late(layout.uri)))
        checks.append(Check("room", partial(_check_room, recipe, layout.uri, steps), late_model(recipe.model)))
    where = partial(check_machine if cluster is None else partial(check_cluster_file, cluster), recipe, steps)
    checks += [*_checks_of(recipe, steps), Check("machine" if cluster is None else "cluster", where)]
    return place + examine(checks)


def check_step(recipe: Recipe, name: str, out: str | None, inputs: dict[str, Any]) -> list[Finding]:
    """What is found about the step `name` with its `inputs`, which writes to `out`: nothing if that is finished."""
    step = PlannedStep(name, "", name, own_folder(name, out or "OUT"), inputs)
    place, reached = _check_place(out)
    if reached and read_manifest(step.folder) is not None:
        return place
    return place + examine([*_checks_of(recipe, [step]), Check("machine", partial(check_machine, recipe, [step]))])


def require(findings: Iterable[Finding]) -> None:
    """Raise `UserError` with all problems."""
    problems = [finding.text for finding in findings if finding.problem]
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise UserError("\n  ".join([f"{len(problems)} problems, and nothing was started:", *problems]))


def _unfinished(steps: Sequence[PlannedStep]) -> list[PlannedStep]:
    """Those of a run's steps that are not finished. Raises `UserError` for a damaged manifest."""
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        manifests = pool.map(read_manifest, [step.folder for step in steps])
    return [step for step, manifest in zip(steps, manifests, strict=True) if manifest is None]


def _check_place(uri: str | None) -> tuple[list[Finding], bool]:
    """What is found about the folder of a run or a step, if one is given, and whether it can be written."""
    if uri is None:
        return [], False
    found = examine([Check("folder", partial(check_writable, uri), late(uri))])
    return found, not any(finding.problem for finding in found)


def _check_room(recipe: Recipe, run_dir: str, steps: Sequence[PlannedStep]) -> None:
    """Raise `UserError` if the run's disk has no room for the models that are not trained yet."""
    if is_endpoint(recipe.model):
        return
    try:
        size = weight_bytes(recipe.model)
    except (UserError, OSError):  # the check of the model says why
        return
    check_room(run_dir, sum(step.name in TRAINING_STEPS for step in steps), size)


def _check_bound(recipe: Recipe, layout: RunLayout) -> None:
    """Raise `UserError` if the run's folder may not go on with `recipe`, or is that of its model."""
    if same_place(layout.uri) == same_place(recipe.model):
        raise UserError(f"{layout.uri} is the folder of the model itself; choose another --run-dir")
    check_layout(layout.root)
    check_free(layout.root)
    claimable(layout.root, recipe)


def _checks_of(recipe: Recipe, steps: Sequence[PlannedStep]) -> list[Check]:
    checks = [
        Check("recipe", partial(check_settings, recipe, steps)),
        Check("recipe", partial(check_trained, recipe, steps), late_model(recipe.model)),
    ]
    iterations = [step.inputs["iteration"] for step in steps if step.name == "propose"]
    if any(step.name == "seed" for step in steps):
        proposes = bool(iterations) and recipe.prompts.source == "model"
        trained = any(step.name == "sft" for step in steps)
        read = partial(check_seed_data, recipe, trained=trained, proposes=proposes)
        checks.append(Check("seed data", read, _TOO_LONG))
    if iterations:
        checks.append(Check("prompts", partial(check_prompts, recipe, max(iterations)), _TOO_LONG))
    return checks + model_checks(recipe, steps) + input_checks(recipe, steps)
