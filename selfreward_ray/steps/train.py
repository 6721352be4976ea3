"""Steps: SFT (M0 → M1) and DPO (M(t) → M(t+1)). Both are the same worker loop with another objective."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import cycle
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.course import read_log
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.local import portable, without_weights
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.recipe.training import PASS_FIELDS, Optimization
from selfreward_ray.records import Dropped, Pair, PairTokens, Positive, SftExample, SftTokens
from selfreward_ray.reporting.formatting import thoughts_left_out
from selfreward_ray.reporting.progress import Progress, skipped, warn
from selfreward_ray.reporting.silence import doing
from selfreward_ray.steps.dpo_inputs import check_dpo_inputs
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.steps.select import RunPooled, Selection
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.folder import Folder, absolute
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.run import ModelLayout
from selfreward_ray.store.step import Step, finished_step, is_step
from selfreward_ray.store.tables import read_blocks, read_files, write_part
from selfreward_ray.training.examples import Encoding, fitting, pair_tokens, positive_tokens, sft_tokens
from selfreward_ray.training.history import History
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective, Objective, SftObjective
from selfreward_ray.training.trainer import fit

_ROWS_PER_BLOCK = 1024


class TooFewExamples(UserError):
    """Fewer examples than one batch are left to train on."""


Trainer = Callable[[TrainJob, Progress], None]
"""Runs a training job to its end."""

_Tables = dict[str, tuple[Folder, type[Any]]]
"""By the step that made it, a table and its record."""


@dataclass(frozen=True)
class _Written:
    """What was made of the rows that are to be trained on."""

    offered: int
    kept: int
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of thoughts that the kept rows lost, by the reason."""

    def figures(self) -> dict[str, Any]:
        """For the manifest's metrics."""
        return {"left_out_thoughts": dict(self.left_out)} if self.left_out else {}


def sft(
    recipe: Recipe,
    *,
    model: str,
    seed_data: str,
    eft: str | None = None,
    positives: str | None = None,
    out: str,
    label: str = "SFT",
    trainer: Trainer = fit,
) -> Manifest:
    """M0 → a Hugging Face folder, ``model`` in `out`, by the IFT rows of `seed_data` (a seed step) and what is given
    beside them; the step's own files are in ``training`` in `out`.

    `eft` (an EFT step) makes it M1, without it it is the baseline that writes EFT verdicts (paper, section 3.1.1);
    `positives` (a pair step of the policy positive-only) are replies of an earlier model (section 2.3). `trainer` runs
    the training job.
    """

    codec, encoding = _codec_of(model), _encoding(recipe)

    def encode(row: SftExample | Positive) -> SftTokens:
        if isinstance(row, Positive):
            return positive_tokens(row, codec, encoding)
        return sft_tokens(row, codec(), encoding)

    given = {"seed": (seed_data, SftExample), "eft": (eft, SftExample), "pair": (positives, Positive)}
    sources = {name: (uri, record) for name, (uri, record) in given.items() if uri is not None}
    write = partial(_encode, encode=encode, max_tokens=recipe.sft.max_tokens, record=SftTokens)
    return _train(recipe, "sft", recipe.sft, SftObjective(), sources, write, model, out, label, trainer)


def dpo(
    recipe: Recipe,
    *,
    model: str,
    pairs: str,
    eft: str | None = None,
    validation: str | None = None,
    judge: str | None = None,
    out: str,
    label: str = "DPO",
    trainer: Trainer = fit,
    run: RunPooled = run_pooled,
) -> Manifest:
    """`pairs` (a pair step) and M(t) → M(t+1) in `out`, as `sft` does; the reference is M(t) (paper, section 2.3).

    `eft` (an EFT step) is needed, and read, where ``dpo.eft_weight`` is above 0. With ``training.select=judged`` so are
    `validation`, a seed step, and the model `judge`, which choose M(t+1) among snapshots. `trainer` runs the training
    job, `run` the steps that judge snapshots.
    """
    check_dpo_inputs(recipe, eft, validation, judge, label)
    selection = None
    if validation is not None and judge is not None:
        judge = portable(judge, adapters=True)  # validation has another working directory
        selection = Selection(recipe, ModelLayout(absolute(out)), validation, judge, label, run)
    codec, encoding, max_tokens = _codec_of(model), _encoding(recipe), recipe.dpo.max_tokens
    sources: dict[str, tuple[str, type[Any]]] = {"pair": (pairs, Pair)}
    if eft is not None:
        sources["eft"] = (eft, SftExample)

    def write(step: Step, tables: _Tables) -> _Written:
        encode: Callable[[Pair], PairTokens] = partial(pair_tokens, codec=codec, encoding=encoding)
        if "eft" not in tables:
            return _encode(step, tables, encode, max_tokens, PairTokens)
        given = [row for _, rows in read_files(*tables.pop("eft")) for row in rows]
        judging, dropped = fitting(given, lambda row: sft_tokens(row, codec(), encoding), max_tokens, step.name)
        if not judging:
            raise UserError(f"{label}: no EFT row in {eft} has at most {max_tokens} tokens; raise dpo.max_tokens")
        write_part(step.folder, "dropped", dropped, Dropped, "eft")
        left_out = Counter(reason for row in judging for reason in row.left_out)
        carried = cycle(random.Random(recipe.seed).sample(judging, len(judging)))
        written = _encode(step, tables, lambda pair: replace(encode(pair), eft=next(carried)), max_tokens, PairTokens)
        return _Written(written.offered + len(dropped), written.kept, written.left_out + left_out)

    return _train(
        recipe, "dpo", recipe.dpo, DpoObjective(recipe.dpo), sources, write, model, out, label, trainer, selection
    )


def _codec_of(model: str) -> Callable[[], ChatCodec]:
    """Opens the model's codec when it is first called: pairs that an engine wrote do without."""
    return cache(lambda: ChatCodec(without_weights(model).folder))


def _encoding(recipe: Recipe) -> Encoding:
    return Encoding(recipe.training.thoughts, recipe.respond.thinking, recipe.judge.thinking)


def _train(
    recipe: Recipe,
    name: str,
    optimization: Optimization,
    objective: Objective,
    sources: dict[str, tuple[str, type[Any]]],
    write: Callable[[Step, _Tables], _Written],
    model: str,
    out: str,
    label: str,
    trainer: Trainer,
    selection: Selection | None = None,
) -> Manifest:
    part: dict[str, Any] = {name: used(optimization, exclude=PASS_FIELDS), "seed": recipe.seed}
    part["thinking"] = [recipe.respond.thinking, recipe.judge.thinking]
    part |= recipe.training.model_settings()
    inputs = {name: uri for name, (uri, _) in sources.items()}
    if selection is not None:
        part |= {"select": selection.part(), **recipe.inference.sampling()}
        inputs |= selection.inputs()
    model = portable(model)
    tables = {name: (finished_step(uri, name) / "rows", record) for name, (uri, record) in sources.items()}
    folders = ModelLayout(absolute(out))  # workers have another working directory
    step = Step(name, folders.training.uri, part, {"model": model} | inputs)
    if not is_step(step.folder):
        _check_empty(folders.model)
    if step.is_done():
        skipped(label)
        return step.manifest()
    for table in ("rows", "dropped"):
        (step.folder / table).delete()  # of an interrupted attempt, whose blocks may have other boundaries
    with doing(f"{label}: encoding the examples"):
        written = write(step, tables)
    if written.kept < optimization.batch_size:
        places = ", ".join(uri for uri, _ in sources.values())
        raise TooFewExamples(
            f"{label}: {written.kept} examples in {places} can be trained on ({written.offered - written.kept} "
            f"dropped), fewer than one batch of {optimization.batch_size}; offer more rows, or lower {name}.batch_size"
        )
    job = TrainJob(
        label=label,
        model=model,
        out=folders.uri,
        objective=objective,
        optimization=optimization,
        training=recipe.training,
        seed=recipe.seed,
        fingerprint=step.fingerprint,
        progress=None,
    )
    for sentence in thoughts_left_out(written.left_out):
        warn(f"{label}: {sentence}")
    steps = optimization.epochs * -(-written.kept // optimization.batch_size)
    if selection is not None:
        return _train_and_choose(step, job, steps, written, selection, trainer)
    with Progress(label, steps, "steps") as progress:
        trainer(job, progress)
        summary = _summary(step, progress.start_seconds) | written.figures()
        manifest = step.finish(offered=written.offered, tokens=summary["tokens"], metrics=summary)
    job.folders.checkpoints.delete()  # not before there is the manifest: a driver may be killed at any time
    return manifest


def _train_and_choose(
    step: Step, job: TrainJob, steps: int, written: _Written, selection: Selection, trainer: Trainer
) -> Manifest:
    """Train, unless that has been done, and make one of the snapshots the model."""
    start_seconds = None
    if not selection.is_trained():
        selection.begin()
        job = replace(job, snapshot_every=job.training.select_every, validation=selection.validation())
        with Progress(job.label, steps, "steps") as progress:
            trainer(job, progress)
        selection.trained()
        start_seconds = progress.start_seconds
    job.folders.checkpoints.delete()  # not before it is noted that the training has ended
    summary = _summary(step, start_seconds) | written.figures()
    chosen = selection.choose()
    # The alarms look at the steps of the model, however long the training went on after them.
    made = History(read_log(step.folder)[: chosen["step"]]).summary()
    summary |= {name: made[name] for name in ("steps", "skipped_steps", "last", "course")}
    with Progress(job.label, len(chosen["of"]), "snapshots") as progress:
        for compared in chosen["compared"]:
            if (rate := compared["left_win_rate"]) is not None:
                progress.record({"win_rate": rate}, at=compared["step"])
        progress.update(len(chosen["of"]))
        progress.say(f"{job.label}: the model of step {chosen['step']} is chosen: {chosen['why']}")
        return step.finish(offered=written.offered, tokens=summary["tokens"], metrics=summary | {"selected": chosen})


def _summary(step: Step, start_seconds: float | None) -> dict[str, Any]:
    """What the ranks have written of the training, with the seconds until it began, if they are known."""
    summary: dict[str, Any] = step.folder.read_json("summary.json")
    if start_seconds is not None:
        summary["engine_start_seconds"] = round(start_seconds, 1)
    return summary


def _check_empty(model: Folder) -> None:
    """A training that is begun writes its model to a folder that nobody else has written to."""
    if model.files() or model.folders():
        raise UserError(
            f"{model.uri} is not empty, and no training in {model.uri.rpartition('/')[0]} wrote it; choose another "
            "folder, or remove it"
        )


def _encode(
    step: Step,
    tables: _Tables,
    encode: Callable[[Any], Any],
    max_tokens: int,
    record: type[Any],
) -> _Written:
    """Write the token ids of what can be trained on, one block of rows of the `tables` after the other."""
    offered = kept = 0
    left_out: Counter[str] = Counter()
    for name, (table, source_record) in tables.items():
        for number, block in enumerate(read_blocks(table, table.files(".parquet"), _ROWS_PER_BLOCK)):
            rows = from_table(block, source_record, table.uri)
            examples, dropped = fitting(rows, encode, max_tokens, step.name)
            write_part(step.folder, "rows", examples, record, f"{name}-{number:06d}")
            write_part(step.folder, "dropped", dropped, Dropped, f"{name}-{number:06d}")
            offered += len(rows)
            kept += len(examples)
            left_out.update(reason for example in examples for reason in example.left_out)
    return _Written(offered, kept, left_out)
