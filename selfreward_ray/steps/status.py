"""The status of a run: who works on it, or how that ended; finished steps with counts, and the next step."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from selfreward_ray.alarms.check import alarms_of
from selfreward_ray.alarms.reactions import Reactions
from selfreward_ray.plan import POOLED, TRAINING_STEPS, PlannedStep, plan
from selfreward_ray.reporting.formatting import amount, counted, number, visible
from selfreward_ray.reporting.terminal import alarm_lines
from selfreward_ray.store.attempt import Attempt, read_attempt
from selfreward_ray.store.blocks import PROPOSALS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.owner import owner_of
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.so_far import read_sums
from selfreward_ray.store.step import is_step, missing_rows
from selfreward_ray.store.tables import count_rows, recorded_rows
from selfreward_ray.tracking.json_lines import newest_step

_ASKED = {
    "respond": ("prompts", "rows"),
    "verdicts": ("seed_data", "eft"),
    "evaluate": ("seed_data", "held_out"),
    "judge": ("replies", "rows"),
}
"""By the name of a step, the input and the table whose rows it works through."""


def print_status(run: str, console: Console | None = None) -> None:
    """Print whether the run is at work, by which process and where it is, or how its last attempt ended; one line per
    step: finished with counts, started with its rows so far, next, or pending; then the alarms that fired, and the
    rejected models, or the damage that keeps the alarms from being measured."""
    console = console or Console()
    layout = RunLayout(run).current()
    recipe = layout.recipe()
    console.print(heading(layout))
    steps = plan(recipe, layout)
    lines = list(status_lines(steps))
    following = next((step for step, _ in lines if step), None)
    owner, attempt = owner_of(layout.root), read_attempt(layout.root)
    unfinished = following is not None or (attempt is not None and attempt.how != "ended")
    if owner or unfinished:
        at = f"; at {following.label}{progress_of(following, layout)}" if owner and following else ""
        console.print(_state(owner, at, attempt), soft_wrap=True, highlight=False)
    for _, line in lines:
        console.print(line)
    damage = list(_damage(steps))
    for text in damage:
        console.print(Text(visible(text), style="yellow"), soft_wrap=True)
    if damage:
        return  # alarms are measured of these rows, and the run goes on when they are there again
    alarms = alarms_of(steps, recipe, layout)
    for line in alarm_lines(alarms, layout.rejections, recipe.iterations + 1):
        console.print(line, soft_wrap=True)
    if stopped := Reactions(steps, recipe, layout).stopped(alarms):
        if owner or attempt is None or attempt.error != stopped:
            console.print(Text(visible(stopped), style="yellow"), soft_wrap=True)
    elif unfinished and not owner:
        console.print(
            f"the command that started it continues it, or selfreward iterate --run-dir {run}", soft_wrap=True
        )
    elif not unfinished:
        console.print(f"complete; the report is {run.rstrip('/')}/report.html")


def _state(owner: str | None, at: str, attempt: Attempt | None) -> Text:
    """Who works on the run, and where that is; else how the last attempt at it ended."""
    if owner:
        return Text(visible(f"running: {owner}{at}"), style="green")
    if attempt is None:
        return Text("not at work", style="yellow")
    if attempt.how == "at work":
        said = f"stopped without a record (it was killed, or its machine was lost): {attempt.process}"
    elif attempt.how == "failed":
        said = f"failed at {attempt.at}: {attempt.process}\n{attempt.error}"
    else:
        why = attempt.error or ("interrupted" if attempt.how == "stopped" else "its command had finished")
        said = f"stopped at {attempt.at}: {attempt.process}; {why}"
    return Text(visible(said), style="red" if attempt.how == "failed" else "yellow")


def progress_of(step: PlannedStep, layout: RunLayout) -> str:
    """How far an unfinished step is, for the end of a sentence; empty if that is not known."""
    if not is_step(step.folder):
        return ""
    if step.name in TRAINING_STEPS:
        recipe = layout.recipe()
        optimization = recipe.dpo if step.name == "dpo" else recipe.sft
        done = newest_step(layout.uri, f"{step.model}/{step.short}")
        steps = optimization.epochs * -(-count_rows(step.folder / "rows") // optimization.batch_size)
        return "" if done is None else f", optimizer step {number(done)} of {number(steps)}"
    if step.name == "propose":
        return f", {amount(_done(step.folder, step.folder / PROPOSALS), 'proposal')} so far"
    if step.name not in _ASKED:
        return ""
    given, table = _ASKED[step.name]
    asked = recorded_rows(Folder(step.inputs[given]) / table)
    return f", row {number(_done(step.folder, step.folder))} of {number(asked)}"


def _done(step: Folder, place: Folder) -> int:
    """Rows that an unfinished step has kept or dropped: as it wrote some seconds ago, or by its tables in `place`."""
    sums = read_sums(step)
    return sums.done if sums else count_rows(place / "rows") + count_rows(place / "dropped")


def _damage(steps: list[PlannedStep]) -> Iterator[str]:
    """A message for each table of a finished step that is damaged or has lost rows."""
    for step in steps:
        manifest = read_manifest(step.folder)
        for fault in missing_rows(step.folder, manifest) if manifest else ():
            yield f"{step.label}: {fault}"


def heading(layout: RunLayout) -> Text:
    """The name of the run, its base model and its last model."""
    recipe = layout.recipe()
    return Text(f"{recipe.name}: {recipe.model} → M{recipe.iterations + 1}", style="bold")


def status_lines(steps: list[PlannedStep]) -> Iterator[tuple[PlannedStep | None, Text]]:
    """A line for each step, and the step itself unless it is finished."""
    next_shown = False
    width = max((len(step.short) for step in steps), default=0)
    for step in steps:
        manifest = read_manifest(step.folder)
        if manifest is not None:
            dropped = sum(manifest.dropped.values())
            text = f"{amount(manifest.rows.get('rows', 0), 'row')}, {dropped} dropped, {manifest.seconds:.0f} s"
            if selected := manifest.metrics.get("selected"):
                text += f", model of step {selected['step']} (compared: {', '.join(map(str, selected['of']))})"
            if flagged := manifest.metrics.get("flagged"):
                text += f", {sum(flagged.values())} replies flagged ({counted(flagged)})"
            mark, style = "✓", "green"
        else:
            # A training step's rows are its encoded examples, which are written before training starts.
            pooled = not next_shown and step.name in POOLED
            written = _done(step.folder, step.folder) if pooled else 0
            text = "" if next_shown else "begun" if is_step(step.folder) else "next"
            text += f", {amount(written, 'row')} so far" if written else ""
            mark, style = ("→", "yellow") if not next_shown else ("·", "dim")
            next_shown = True
        line = Text.assemble((mark, style), f" {step.model} {step.short:<{width}}  ", text)
        yield (None if manifest else step), line
