"""M0 → M1 → M2 → … : the whole self-rewarding training. Open this file first.

    seed                 ranked human replies → IFT (instruction, best reply)
    propose              new prompts for every iteration
    baseline, verdicts   M0 + IFT → a baseline, which judges ranked replies
    EFT                  judge prompts with the verdicts that agree with the human ranking
    SFT                  M0 + IFT + EFT → M1
    for each iteration   the model improves itself:
      evaluate             on held-out prompts and rankings
      respond and judge    N candidates a prompt, each judged k times by the same model
      head to head         its answers against those of the model before it and of M1
      pair                 best against worst
      DPO                  M(t) + pairs → M(t+1), reference M(t); or SFT, if only positive replies are used
    evaluate             the last model, head to head too
    report               one table, one page, which is also written after each group of steps

`selfreward_ray.plan` defines the order. Every step is a function of folders: it reads the folders of its inputs and
writes its own. A step whose manifest exists is skipped, so the same call after an interruption continues where it
stopped.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import dropwhile, groupby
from typing import Any

from selfreward_ray.alarms.reactions import Reactions, RolledBack, StoppedByAlarm, say_unmeasured
from selfreward_ray.cluster.capacity import check_capacity
from selfreward_ray.cluster.devices import slow_in_bfloat16
from selfreward_ray.cluster.requests import least_workers, replica_request
from selfreward_ray.plan import LOOP_TRAININGS, POOLED, TRAINING_STEPS, PlannedStep, plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.progress import warn
from selfreward_ray.reporting.silence import doing
from selfreward_ray.steps.compare import compare
from selfreward_ray.steps.eft import eft
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.head_to_head import head_to_head
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pair import pair
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.steps.proposal_rounds import Proposer
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.report import report, update_report
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.seed import seed
from selfreward_ray.steps.train import dpo, sft
from selfreward_ray.steps.verdicts import verdicts
from selfreward_ray.store.attempt import recorded
from selfreward_ray.store.folder import same_place
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.owner import owned
from selfreward_ray.store.rejection import RECORD
from selfreward_ray.store.run import ModelLayout, RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Stale, forget, is_step
from selfreward_ray.tracking.run import tracked

STEPS: dict[str, Callable[..., Any]] = {
    "seed": seed,
    "baseline": sft,
    "verdicts": verdicts,
    "eft": eft,
    "sft": sft,
    "propose": propose,
    "respond": respond,
    "pair": pair,
    "dpo": dpo,
    "evaluate": evaluate,
    "judge": judge,
    "compare": compare,
    "head_to_head": head_to_head,
}
"""The function of each step in a plan."""


def run(recipe: Recipe, run_dir: str, iterations: int | None = None, remake: bool = False) -> None:
    """Run `recipe` to completion, or its first `iterations`, in `run_dir`, a local folder or an object-store URI.

    If `remake` is set, finished steps whose recipe or inputs have changed are made again; models that are out of date
    are deleted and trained again. The problems that `check.check_run` finds are not looked for here: the caller does
    that before it starts a cluster. Raises `UserError` if another process works on the run.
    """
    layout = RunLayout(run_dir)
    part = recipe if iterations is None else recipe.model_copy(update={"iterations": iterations})
    check_cluster(part, layout)
    with owned(layout.root) as is_owner:
        claim_run(layout.root, recipe)
        with recorded(layout.root, is_owner, stops=(StoppedByAlarm,)):
            advise(recipe)
            run_plan(part, layout, remake)
            with doing("writing the report"):
                report(layout.uri)


def run_plan(recipe: Recipe, layout: RunLayout, remake: bool = False) -> None:
    """Run all steps. When a model is rejected, the remaining ones are planned again, from the model before it; so are
    all when a step is to be made again."""
    while True:
        layout = layout.current()
        steps = plan(recipe, layout)
        if remake and _drop_models(_from_first_untrained(steps), layout):
            continue
        try:
            with tracked(recipe, layout, steps):
                run_steps(steps, recipe, layout)
            return
        except RolledBack:
            continue
        except Stale as stale:
            if not remake:
                raise
            _make_again(steps, stale, layout)


def _from_first_untrained(steps: list[PlannedStep]) -> Iterator[PlannedStep]:
    """`steps` from the first training of the loop's models that is not finished."""
    return dropwhile(lambda step: step.name not in LOOP_TRAININGS or read_manifest(step.folder) is not None, steps)


def _make_again(steps: list[PlannedStep], stale: Stale, layout: RunLayout) -> None:
    """Let the step be made anew, and, if it trains a model, the models after it."""
    place = next(n for n, step in enumerate(steps) if same_place(step.folder.uri) == same_place(stale.folder.uri))
    step = steps[place]
    warn(f"{step.label}: made again, because its recipe or its inputs are others now{stale.differing}")
    if step.name in LOOP_TRAININGS:
        _drop_models(steps[place:], layout)
        return
    if step.name in TRAINING_STEPS:
        ModelLayout(step.out).model.delete()
    forget(step.folder)


def _drop_models(steps: Iterable[PlannedStep], layout: RunLayout) -> bool:
    """Delete the loop's models that `steps` have trained, with the records of their rejection; a training that was
    interrupted keeps what it goes on from. Returns whether anything was deleted.

    The last model comes first: after an interruption the next call finds the earlier ones as before.
    """
    dropped = False
    for step in reversed([step for step in steps if step.name in LOOP_TRAININGS]):
        finished = read_manifest(step.folder) is not None
        model = ModelLayout(step.out).model
        if finished or (not is_step(step.folder) and model.files()):
            model.delete()
            (layout.root / step.model).remove(RECORD)
            if finished:
                forget(step.folder)
            dropped = True
    return dropped


def run_steps(steps: Iterable[PlannedStep], recipe: Recipe, layout: RunLayout | None = None) -> None:
    """Run `steps` in order. Finished steps are skipped, and adjacent steps on the same model share its engines.

    If they are those of the run in `layout`, its alarms are looked at after each step, and its report is written after
    each group of steps that did something, but for the last one: the caller also prints it. Raises `StoppedByAlarm` or
    `RolledBack`, with the report written, and `Stale` for a step that is finished with another recipe or other inputs.
    """
    steps = list(steps)
    reactions = None if layout is None else Reactions(steps, recipe, layout)
    groups = [list(grouped) for _, grouped in groupby(steps, key=_engines_of)]
    for group in groups:
        unfinished = [step for step in group if read_manifest(step.folder) is None]

        def then(place: int, group: list[PlannedStep] = group, unfinished: list[PlannedStep] = unfinished) -> None:
            if reactions is not None:
                reactions.after(group[place], fresh=group[place] in unfinished)

        try:
            _run_group(group, recipe, then)
        except (StoppedByAlarm, RolledBack):
            if layout is not None:
                _report_so_far(layout)
            raise
        if layout is not None and unfinished and group is not groups[-1]:
            _report_so_far(layout)


def _report_so_far(layout: RunLayout) -> None:
    with doing("writing the report"):
        update_report(layout)


def _run_group(group: list[PlannedStep], recipe: Recipe, then: Callable[[int], None]) -> None:
    """Run adjacent steps that share engines, and call `then` with the place of each finished one."""

    def call(step: PlannedStep, **more: Any) -> Any:
        with doing(f"{step.label}: preparing"):
            return STEPS[step.name](recipe, **step.inputs, out=step.out, label=step.label, **more)

    kind, _ = _engines_of(group[0])
    if kind == "pooled":
        run_pooled(*map(call, group), then=then)
        return
    proposing: AbstractContextManager[Any] = Proposer(recipe, recipe.iterations) if kind == "propose" else nullcontext()
    with proposing as proposer:
        for place, step in enumerate(group):
            call(step, **({"proposer": proposer} if kind == "propose" else {}))
            then(place)


def _engines_of(step: PlannedStep) -> tuple[str, str | None]:
    """Adjacent steps with the same key share engines."""
    return ("pooled", step.inputs["model"]) if step.name in POOLED else (step.name, None)


def advise(recipe: Recipe) -> None:
    """Print settings that would make `recipe` faster on this machine, and what it cannot measure."""
    if not recipe.seed_data.held_out:
        say_unmeasured(recipe, "seed_data.held_out is 0")
    dtypes = {
        "training.dtype": (recipe.training.dtype, recipe.training.gpus_per_worker),
        "inference.engine.dtype": (recipe.inference.engine.get("dtype"), recipe.inference.gpus_per_replica),
    }
    slow = [field for field, (dtype, gpus) in dtypes.items() if dtype == "bfloat16" and slow_in_bfloat16(gpus)]
    if slow:
        warn(
            "This CPU has no AVX-512, and computes several times faster in float32 than in bfloat16: in a new run set "
            + " ".join(f"{field}=float32" for field in slow)
        )


def check_cluster(recipe: Recipe, layout: RunLayout) -> None:
    """Raise `UserError`, before any step runs, if the cluster can never hold one of the remaining steps."""
    if read_manifest(layout.training(recipe.iterations + 1)) is None:
        check_capacity(least_workers(recipe.training))
        check_capacity(replica_request(recipe.inference))
