"""Steps: SFT (M0 → M1) and DPO (M(t) → M(t+1)). Both are the same worker loop with another objective."""

from collections.abc import Callable
from typing import Any

from selfreward_ray.chat import ChatCodec
from selfreward_ray.errors import UserError
from selfreward_ray.models import local_model, portable
from selfreward_ray.recipe import Optimization, Recipe
from selfreward_ray.records import Dropped, Pair, SftExample
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step, read_rows
from selfreward_ray.storage import Folder
from selfreward_ray.training.examples import fitting, pair_tokens, sft_tokens
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective, Objective, SftObjective
from selfreward_ray.training.trainer import fit


def sft(recipe: Recipe, *, model: str, examples: str, out: str, label: str = "SFT") -> Manifest:
    """`examples` (a seed step) and M0 → M1, a Hugging Face folder in `out` (paper, section 2.1)."""

    def encode() -> Callable[[SftExample], Any]:
        codec = ChatCodec(local_model(model))
        return lambda example: sft_tokens(example, codec)

    return _train(recipe, "sft", recipe.sft, SftObjective(), SftExample, encode, model, examples, out, label)


def dpo(recipe: Recipe, *, model: str, pairs: str, out: str, label: str = "DPO") -> Manifest:
    """`pairs` (a pair step) and M(t) → M(t+1) in `out`; the reference is M(t) (paper, section 2.3)."""
    objective = DpoObjective(recipe.dpo)
    return _train(recipe, "dpo", recipe.dpo, objective, Pair, lambda: pair_tokens, model, pairs, out, label)


def _train(
    recipe: Recipe,
    name: str,
    optimization: Optimization,
    objective: Objective,
    record: type[Any],
    encoder: Callable[[], Callable[[Any], Any]],
    model: str,
    source: str,
    out: str,
    label: str,
) -> Manifest:
    part = {name: optimization.model_dump(), "dtype": recipe.training.dtype, "seed": recipe.seed}
    model = portable(model)
    step = Step(name, out, part, {"model": model, "examples": source})
    if step.is_done():
        skipped(label)
        return step.manifest()
    rows = read_rows(Folder(source), record)
    kept, dropped = fitting(rows, encoder(), optimization.max_tokens, name)
    if len(kept) < optimization.batch_size:
        raise UserError(
            f"{label}: {len(kept)} examples in {source} can be trained on ({len(dropped)} dropped), fewer than one "
            f"batch of {optimization.batch_size}; offer more rows, or lower {name}.batch_size"
        )
    step.write(dropped, Dropped, "dropped")
    step.write(kept, objective.record)
    steps = optimization.epochs * -(-len(kept) // optimization.batch_size)
    with Progress(label, steps, "steps") as progress:
        fit(
            TrainJob(label, model, step.folder.uri, objective, optimization, recipe.training, recipe.seed, None),
            progress,
        )
        summary = step.folder.read_json("summary.json")
        return step.finish(offered=len(rows), tokens=summary["tokens"], metrics=summary)
