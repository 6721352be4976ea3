"""What a report reads from a run's folder: manifests, tables and logs. Tables of models' texts are streamed."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import groupby
from operator import itemgetter
from typing import Any

from selfreward_ray.alarms.measures import position_bias
from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.agreement import first_verdicts, pair_counts, spearmans
from selfreward_ray.evaluation.course import read_log
from selfreward_ray.evaluation.outcomes import Outcomes
from selfreward_ray.judging.rubric import RubricError, load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedSet, ScoredReply, Turn, conversation_text
from selfreward_ray.reporting.findings import AddedComparison, Evaluated
from selfreward_ray.reporting.formatting import number, percent, thoughts_left_out
from selfreward_ray.reporting.judged import (
    BOTH,
    CHOSEN,
    NOT_YET,
    PAIRED,
    POSITIVE,
    REJECTED,
    TRAINED_ON,
    ShownPrompt,
    ShownReply,
)
from selfreward_ray.reporting.progress import warn
from selfreward_ray.reporting.prompt_outcomes import PromptOutcome, PromptOutcomes, read_dropped, read_outcomes
from selfreward_ray.reporting.summary import ModelSummary, SharedReply, Training
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.manifest import read_figures, read_manifest
from selfreward_ray.store.run import ModelLayout, RunLayout
from selfreward_ray.store.step import finished_step, is_step
from selfreward_ray.store.tables import read_columns, read_files, read_rows
from selfreward_ray.tracking.json_lines import MetricsReader, add_line

_OUTCOMES = tuple(field.name for field in fields(Outcomes))
_CANDIDATE = "candidates.list.element."
_VERDICT = f"{_CANDIDATE}verdicts.list.element."
_JUDGED_COLUMNS = [
    "id", "text", "history",
    *(f"{_CANDIDATE}{name}" for name in ("id", "text", "finished", "mean", "thought", "thought_tokens")),
    *(f"{_VERDICT}{name}" for name in ("text", "score", "thought")),
]  # fmt: skip
"""All but the token ids, most of a row."""


def read_model(layout: RunLayout, t: int) -> ModelSummary | None:
    """The metrics of M(t); None if it is not evaluated."""
    replies = read_figures(layout.evaluation(t), "replies", "score", "score_margin", "mean_words", "count")
    agreement = read_figures(layout.evaluation(t), "agreement")
    if replies is None or agreement is None:
        return None
    pairs = read_manifest(layout.pairs(t)) if t > 1 else None
    score, margin = replies["score"], replies["score_margin"]
    return ModelSummary(
        model=f"M{t}",
        score=score,
        score_low=None if margin is None else score - margin,
        score_high=None if margin is None else score + margin,
        mean_words=replies["mean_words"],
        pairs=pairs.rows.get("rows", 0) if pairs else None,
        evaluated_prompts=replies["count"],
        **{
            name: agreement.get(name)
            for name in (
                "pairwise_accuracy",
                "five_best",
                "exact_match",
                "spearman",
                "kendall",
                "unreadable",
                "verdicts",
            )
        },
        intervals=agreement.get("intervals", {}),
        against=_against(layout, t),
        **{name: replies.get(name) for name in ("unfinished", "repetitive", "distinct_1", "distinct_2")},
    )


def read_evaluated(layout: RunLayout, t: int) -> Evaluated | None:
    """What was measured on each held-out prompt of M(t); None if it is not evaluated. Answers are not kept."""
    folder = layout.evaluation(t)
    if read_manifest(folder) is None:
        return None
    judged = first_verdicts(r for _, rows in read_files(folder / "rows", EvaluatedSet) for s in rows for r in s.judged)
    scores = read_rows(folder, ScoredReply, "scores")
    percents = {reply.id: 100 * reply.score / reply.maximum for reply in scores}
    parent = f"M{layout.parent(t)}" if t > 1 else None
    return Evaluated(f"M{t}", percents, spearmans(judged), pair_counts(judged), _against(layout, t), parent)


def _against(layout: RunLayout, t: int) -> dict[str, dict[str, Any]]:
    """The outcomes of M(t) against earlier models, by their names. M(t) is the left side."""
    found = {f"M{other}": read_figures(layout.against(t, other), "outcomes", *_OUTCOMES) for other in range(1, t)}
    return {model: outcomes for model, outcomes in found.items() if outcomes is not None}


def read_comparisons(layout: RunLayout, bias: float) -> Iterator[AddedComparison]:
    """The finished comparisons that users added to the run, in the order of their names. One with a position bias
    above `bias` has a caution.

    What is none is left out with a warning: the report of the run does not depend on it.
    """
    for name in layout.comparisons.folders():
        try:
            added = _read_comparison(layout.comparisons / name, layout, bias)
        except UserError as error:
            warn(f"not in the report: {error}; move it out of {layout.comparisons.uri}")
        else:
            yield from added


def _read_comparison(folder: Folder, layout: RunLayout, bias: float) -> list[AddedComparison]:
    """The comparison in `folder`; none if it is not finished. Raises `UserError` for another step."""
    manifest = read_manifest(folder)
    if manifest is None:
        return []
    outcomes = read_figures(finished_step(folder.uri, "compare"), "outcomes", *_OUTCOMES) or {}
    left, right, judge = (str(manifest.metrics.get(key, "?")) for key in ("left", "right", "model"))
    name = folder.uri.rpartition("/")[2]
    left_title, right_title = (_title(side, layout, "evaluation") for side in (left, right))
    judge_title, caution = _title(judge, layout, "model"), _caution(outcomes, bias)
    return [AddedComparison(name, left_title, right_title, left, right, judge, outcomes, judge_title, caution)]


def _title(place: str, layout: RunLayout, of_model: str) -> str:
    """``M2`` for the folder `of_model` of M2 of this run; of another place the end of its path."""
    in_run = same_place(place).removeprefix(f"{same_place(layout.uri)}/").split("/")
    if len(in_run) == 2 and in_run[1] == of_model:
        return in_run[0]
    return "/".join(place.rstrip("/").split("/")[-2:])


def _caution(outcomes: Mapping[str, Any], bias: float) -> str:
    share = position_bias(outcomes)
    if share is None or share <= bias:
        return ""
    return (
        f"This says little: the order of presentation decided {percent(share)} % of the comparisons, which count as "
        f"ties (alarms.position_bias expects at most {percent(bias)} %)."
    )


def read_training(title: str, series: str, made: ModelLayout, run: str) -> Training | None:
    """The log of a training; None if it is not begun or has taken no step.

    That of one under way is its live `series` in the metrics of the `run`.
    """
    folder = made.training
    if folder.is_file("steps.jsonl"):
        rows = {row["step"] + 1: row for row in read_log(folder)}
    elif is_step(folder):
        rows = _live_rows(series, run)
    else:
        rows = {}
    curves: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, row in rows.items():
        for name, value in row.items():
            if name not in ("step", "skipped") and isinstance(value, float | int) and math.isfinite(value):
                curves[name].append((step, float(value)))
    skipped = tuple(step for step, row in rows.items() if row.get("skipped"))
    points = {name: tuple(found) for name, found in curves.items()}
    manifest = read_manifest(folder)
    metrics = manifest.metrics if manifest else {}
    selected = metrics.get("selected")
    choice = f"The model is that of step {selected['step']}: {selected['why']}." if selected else ""
    left_out = " ".join(f"{sentence}." for sentence in thoughts_left_out(metrics.get("left_out_thoughts", {})))
    if not rows:
        return None
    workers = _workers(rows)
    return Training(title, manifest is not None, max(rows), skipped, points, choice, left_out, workers)


def _workers(rows: Mapping[int, Mapping[str, Any]]) -> str:
    """``Trained by 3 workers; from step 9 on 2; from step 14 on 3.`` Empty if none were lost and none came back."""
    counts = [(step, int(row["workers"])) for step, row in rows.items() if "workers" in row]
    changes = [next(same) for _, same in groupby(counts, itemgetter(1))]
    if len(changes) < 2:
        return ""
    later = [f"from step {number(step)} on {number(workers)}" for step, workers in changes[1:]]
    return "; ".join([f"Trained by {number(changes[0][1])} workers", *later]) + "."


def _live_rows(series: str, run: str) -> dict[int, dict[str, Any]]:
    """The metrics of `series` by step."""
    lines: dict[int, dict[str, Any]] = {}
    for line in MetricsReader(run).new():
        if line["series"] == series:
            add_line(lines, line)
    return {step: line["values"] for step, line in lines.items()}


def rubric_scale(recipe: Recipe) -> tuple[float, float] | None:
    """The range of the rubric's scores; None if the rubric is a file that this machine does not have."""
    try:
        rubric = load_rubric(recipe.judge.rubric)
    except RubricError:
        return None
    return rubric.min_score, rubric.max_score


def read_iteration(layout: RunLayout, recipe: Recipe, t: int) -> Iterator[ShownPrompt]:
    """The prompts that M(t) is trained on, with their lineage, a few at a time.

    Nothing if they are not judged yet. Prompts that were dropped before they were judged come last.
    """
    judged = layout.judged(t)
    if read_manifest(judged) is None:
        return
    outcomes = read_outcomes(layout.pairs(t), recipe)
    for row in read_columns(judged / "rows", _JUDGED_COLUMNS):
        yield _shown(row, outcomes)
    yield from _never_judged(layout, t)


def read_shared(layout: RunLayout, t: int) -> tuple[SharedReply, ...]:
    """The replies that many of the prompts of M(t) share, as the pair step found them."""
    manifest = read_manifest(layout.pairs(t))
    found = manifest.metrics.get("shared_texts", []) if manifest else []
    return tuple(SharedReply(one["text"], one["prompts"], one["is_answer"]) for one in found)


def _shown(row: dict[str, Any], outcomes: PromptOutcomes) -> ShownPrompt:
    found = outcomes.of(row["id"])
    roles = _roles(row, found)
    replies = tuple(
        ShownReply(
            id=c["id"],
            text=c["text"],
            mean=c["mean"],
            finished=c["finished"],
            role=roles.get(c["id"], ""),
            flag=found.flagged.get(c["id"]),
            verdicts=tuple((v["score"], v["text"], v.get("thought", "")) for v in c["verdicts"]),
            thought=c.get("thought", ""),
            thought_tokens=c.get("thought_tokens", 0),
        )
        for c in row["candidates"]
    )
    by_id = {reply.id: reply for reply in replies}
    known = [
        (by_id[chosen], by_id[rejected]) for chosen, rejected in found.pairs if chosen in by_id and rejected in by_id
    ]
    best, worst = max(known, key=_difference) if known else (None, None)
    outcome = _outcome(roles, found) if outcomes.made else NOT_YET
    return ShownPrompt(row["id"], _question(row), outcome, replies, best, worst)


def _question(row: dict[str, Any]) -> str:
    """The prompt with the messages before it, which tables of earlier versions do not have."""
    return conversation_text(tuple(Turn(**turn) for turn in row.get("history") or ()), row["text"])


def _difference(pair: tuple[ShownReply, ShownReply]) -> float:
    chosen, rejected = pair
    return (chosen.mean or 0.0) - (rejected.mean or 0.0)


def _roles(row: dict[str, Any], found: PromptOutcome) -> dict[str, str]:
    roles = {c["id"]: POSITIVE for c in row["candidates"] if c["id"] in found.positive}
    chosen, rejected = {c for c, _ in found.pairs}, {r for _, r in found.pairs}
    roles |= dict.fromkeys(chosen, CHOSEN) | dict.fromkeys(rejected, REJECTED) | dict.fromkeys(chosen & rejected, BOTH)
    return roles


def _outcome(roles: dict[str, str], found: PromptOutcome) -> str:
    if roles:
        return TRAINED_ON if POSITIVE in roles.values() else PAIRED
    return found.dropped or "no pair, for no stated reason"


def _never_judged(layout: RunLayout, t: int) -> Iterator[ShownPrompt]:
    """Prompts that the respond step dropped, with its reasons."""
    dropped = read_dropped(layout.judged(t))
    if dropped:
        for row in read_columns(layout.prompts(t) / "rows", ["id", "text", "history"]):
            if reason := dropped.of(row["id"]).dropped:
                yield ShownPrompt(row["id"], _question(row), reason, ())
