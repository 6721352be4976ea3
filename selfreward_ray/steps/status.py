"""The status of a run: finished steps with counts, and the next step."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from selfreward_ray.alarms.check import alarms_of
from selfreward_ray.alarms.reactions import Reactions
from selfreward_ray.plan import POOLED, PlannedStep, plan
from selfreward_ray.reporting.formatting import amount, counted, visible
from selfreward_ray.reporting.terminal import alarm_lines
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import is_step, missing_rows
from selfreward_ray.store.tables import count_rows


def print_status(run: str, console: Console | None = None) -> None:
    """Print one line per step: finished with counts, started with its rows so far, next, or pending; then the alarms
    that fired, and the rejected models, or the damage that keeps the alarms from being measured."""
    console = console or Console()
    layout = RunLayout(run).current()
    recipe = layout.recipe()
    console.print(heading(layout))
    following = None
    steps = plan(recipe, layout)
    for step, line in status_lines(steps):
        console.print(line)
        following = following or step
    damage = list(_damage(steps))
    for text in damage:
        console.print(Text(visible(text), style="yellow"), soft_wrap=True)
    if damage:
        return  # alarms are measured of these rows, and the run goes on when they are there again
    alarms = alarms_of(steps, recipe, layout)
    for line in alarm_lines(alarms, layout.rejections, recipe.iterations + 1):
        console.print(line, soft_wrap=True)
    if stopped := Reactions(steps, recipe, layout).stopped(alarms):
        console.print(Text(visible(stopped), style="yellow"), soft_wrap=True)
    elif following:
        console.print(
            f"if it is not at work: the command that started it continues it, or selfreward iterate --run-dir {run}",
            soft_wrap=True,
        )
    else:
        console.print(f"complete; the report is {run.rstrip('/')}/report.html")


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
            written = count_rows(step.folder / "rows") if pooled else 0
            text = "" if next_shown else "begun" if is_step(step.folder) else "next"
            text += f", {amount(written, 'row')} so far" if written else ""
            mark, style = ("→", "yellow") if not next_shown else ("·", "dim")
            next_shown = True
        line = Text.assemble((mark, style), f" {step.model} {step.short:<{width}}  ", text)
        yield (None if manifest else step), line
