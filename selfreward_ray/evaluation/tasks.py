"""The tasks of lm-eval: finding them by name, and their figures. Needs the extra ``lm-eval``."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from selfreward_ray.errors import UserError

NAMED = {
    "paper": (
        "arc_easy", "arc_challenge", "hellaswag", "social_iqa", "piqa", "gsm8k", "mmlu", "openbookqa", "nq_open",
    ),
}  # fmt: skip
"""Lists of tasks by the name that `--tasks` may have: the nine of the paper (section 3.2, NLP benchmarks), by lm-eval's
names."""
DATA_REMEDY = (
    "check the network, set HF_HOME to a cache that has the data or HF_ENDPOINT to a mirror of the hub, or define the "
    "task on local files (--tasks-dir)"
)


class LoadedTasks(NamedTuple):
    """The tasks and groups of a command, as lm-eval's objects."""

    manager: Any
    asked: list[Any]
    """What was asked for, in its order: tasks and groups."""
    tasks: list[Any]
    """All tasks, those of groups included."""


def task_names(given: str) -> list[str]:
    """The names in `given`, which are separated by commas, without repetitions; names of `NAMED` are replaced.

    Raises `UserError` if there is none.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise UserError("--tasks: name at least one task, for example --tasks arc_easy,gsm8k or --tasks paper")
    return list(dict.fromkeys(task for name in names for task in NAMED.get(name, (name,))))


def load_tasks(names: Iterable[str], folder: str | None) -> LoadedTasks:
    """The tasks `names` with their data, of lm-eval or defined in `folder`.

    Raises `UserError` for an unknown name, for data that cannot be read, for a task that runs code which the model
    wrote, for one that shows images or sounds, and if the extra is not installed.
    """
    manager_class = _task_manager()
    manager = manager_class(include_path=folder)
    for name in names:
        if name not in manager.task_index:
            raise UserError(_unknown(name, manager.all_tasks))
    asked: list[Any] = []
    for name in names:
        asked += _load(manager, name)
    try:
        tasks = list(manager.load(asked)["tasks"].values())
    except ValueError as error:
        raise UserError(f"--tasks: {error}; name each task once, by itself or by a group") from None
    for task in tasks:
        _check(task)
    return LoadedTasks(manager, asked, tasks)


def figures(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """lm-eval's results as rows of task, metric, filter, value, standard error, few-shot examples and documents.

    ``group`` names the group that a task, or a group, is part of. A number is None if lm-eval gives no finite one.
    """
    groups = {child: group for group, children in results["group_subtasks"].items() for child in children}
    rows = []
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, separator, name = key.partition(",")
            if not separator or metric.endswith("_stderr"):
                continue
            rows.append(
                {
                    "task": task,
                    "group": groups.get(task),
                    "metric": metric,
                    "filter": name,
                    "value": _finite(value),
                    "standard_error": _finite(values.get(f"{metric}_stderr,{name}")),
                    "few_shot": results["n-shot"].get(task),
                    "documents": values.get("sample_len"),
                }
            )
    return rows


def _finite(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _task_manager() -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError("selfreward benchmark needs an extra: pip install 'selfreward-ray[lm-eval]'") from None
    return TaskManager


def _load(manager: Any, name: str) -> list[Any]:
    """The task or group `name`, or the tasks of a tag."""
    try:
        loaded = manager.load(name)
    except (OSError, ValueError, LookupError, ImportError) as error:
        # What is missing differs: the hub, a file, a package that this task needs, a split that the data lack.
        raise UserError(f"--tasks: {name} cannot be loaded: {type(error).__name__}: {error}; {DATA_REMEDY}") from error
    group = loaded["groups"].get(name)
    return list(loaded["tasks"].values()) if group is None else [group]


def _check(task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(
            f"--tasks: {task.task_name} runs code that the model writes, on this machine; leave it out, or run it with "
            "lm-eval itself in a sandbox"
        )
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f"--tasks: {task.task_name} shows images or sounds, which the pool cannot; leave it out")


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, [*NAMED, *known], n=3)
    return (
        f"--tasks: there is no task {name!r}"
        + (f"; near names: {', '.join(near)}" if near else "")
        + "; lm-eval ls tasks lists all of them, and --tasks-dir adds your own"
    )
