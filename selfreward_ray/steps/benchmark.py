"""Step: a model's figures on tasks of lm-eval, whose requests the pool answers."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.tasks import LoadedTasks, figures, load_tasks
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.scoring import answer_task_request
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.pretrained import pretrained_tokenizer
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import TaskAnswer, TaskRequest
from selfreward_ray.reporting.progress import skipped
from selfreward_ray.steps.asked_model import asked_part, check_endpoint
from selfreward_ray.steps.given import write_offered
from selfreward_ray.steps.pooled import PooledStep, run_pooled
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_files

RESULTS = "results.json"


def benchmark(
    recipe: Recipe,
    *,
    model: str,
    tasks: list[str],
    out: str,
    tasks_dir: str | None = None,
    limit: int | None = None,
    few_shot: int | None = None,
    chat_template: bool = False,
    run: Callable[[PooledStep], list[Manifest]] = run_pooled,
) -> Manifest:
    """The figures of `model` on `tasks`, in the manifest's metrics, and in ``results.json`` as lm-eval writes them.

    `tasks_dir` has further tasks. `limit` is the number of documents of each task, `few_shot` the number of
    examples in the prompts of tasks that do not fix it; None is all documents, and the number of the task. Of the
    recipe, `inference` and `seed` are used. Requests and answers are a step of their own in ``out/requests``, which a
    repeated command continues. `run` runs it. Raises `UserError` as `load_tasks` does, and if a request has no answer.
    """
    check_endpoint(model, recipe, only_judges=False)
    part = {
        "tasks": tasks,
        "tasks_dir": None if tasks_dir is None else _content(tasks_dir),
        "limit": limit,
        "few_shot": few_shot,
        "chat_template": chat_template,
        "seed": recipe.seed,
        **asked_part(recipe, model),
    }
    step = Step("benchmark", out, part, {"model": model})
    if step.is_done():
        skipped("benchmark")
        return step.manifest()
    loaded = load_tasks(tasks, tasks_dir)
    counts: list[Manifest] = []

    def answer_all(requests: list[TaskRequest]) -> dict[str, TaskAnswer]:
        pooled = _requests(recipe, model, step, part, requests)
        counts.extend(run(pooled))
        _check_all_answered(pooled.step, counts[0])
        return {row.id: row for _, rows in read_files(pooled.step.folder / "rows", TaskAnswer) for row in rows}

    results = _evaluated(loaded, model, answer_all, limit, few_shot, chat_template)
    step.folder.write_bytes(RESULTS, _as_json(results))
    answered = counts[0].rows["rows"]
    metrics = {"model": model, "figures": figures(results), "lm_eval": results["lm_eval_version"]}
    return step.finish(offered=answered, kept=answered, tokens=counts[0].tokens, metrics=metrics)


def _requests(
    recipe: Recipe, model: str, parent: Step, part: dict[str, Any], requests: list[TaskRequest]
) -> PooledStep:
    """`requests` → `TaskAnswer` rows. Other requests, as of changed data, are another step."""
    asked = hashlib.sha256("\n".join(request.id for request in requests).encode()).hexdigest()
    step = Step("benchmark-requests", (parent.folder / "requests").uri, part | {"asked": asked}, {"model": model})
    rows = write_offered(step, requests, TaskRequest).rows
    tokens = sum(len(one.prompt_ids) + len(one.target_ids) + one.max_tokens for one in requests)
    row_tokens = tokens // len(requests)  # the mean: rows differ much, and for the smallest the pool would be too small
    job = Job(step.name, answer_task_request, TaskRequest, TaskAnswer, step.folder.uri, row_tokens)
    return PooledStep(step, job, recipe, model, rows, unit="requests", label="benchmark")


def _check_all_answered(step: Step, counts: Manifest) -> None:
    """Raise `UserError` if a request was dropped: a figure over the others would be another one."""
    if counts.dropped:
        reason, rows = next(iter(counts.dropped.items()))
        raise UserError(
            f"benchmark: {sum(counts.dropped.values())} requests have no answer, {rows} of them because: {reason}; "
            "raise inference.engine.max_model_len if the context is too short, and remove "
            f"{step.folder.uri} to ask again"
        )


def _evaluated(
    loaded: LoadedTasks,
    model: str,
    answer_all: Callable[[list[TaskRequest]], dict[str, TaskAnswer]],
    limit: int | None,
    few_shot: int | None,
    chat_template: bool,
) -> dict[str, Any]:
    """lm-eval's results. Its seeds stay as they are, so that the prompts are those of its own command."""
    from lm_eval.evaluator import simple_evaluate

    from selfreward_ray.evaluation.task_model import TaskModel

    folder = without_weights(model, adapters=True).folder
    lm = TaskModel(model, pretrained_tokenizer(folder), loaded.tasks, answer_all)
    results: dict[str, Any] = simple_evaluate(
        lm,
        tasks=loaded.asked,
        task_manager=loaded.manager,
        limit=limit,
        num_fewshot=few_shot,
        apply_chat_template=chat_template,
        log_samples=False,
    )
    return results


def _as_json(results: dict[str, Any]) -> bytes:
    """`results` as lm-eval's own command writes them."""
    from lm_eval.utils import handle_non_serializable

    return json.dumps(results, indent=2, ensure_ascii=False, default=handle_non_serializable).encode()


def _content(folder: str) -> str:
    """A hash of all files in `folder`: definitions of tasks, and data beside them. Raises `UserError` without one."""
    if not Path(folder).is_dir():
        raise UserError(f"--tasks-dir: there is no folder {folder!r}; give a local one")
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
