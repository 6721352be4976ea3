"""Read the folders of a seed and check their rows with the verifier, for the figures of a proof."""

from selfreward_ray.demo.proof.controls import CONTROLS
from selfreward_ray.demo.proof.figures import PairCount, SeedRows
from selfreward_ray.demo.proof.layout import all_judged, control_run, own_answers, sampled_answers
from selfreward_ray.demo.rules import CheckedAnswer
from selfreward_ray.demo.truth import checked_answers, checked_samples, ranked_by_truth, true_margins
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedSet, JudgedPrompt, Pair, RankedSet
from selfreward_ray.reporting.summary import Sample
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import read_rows


def read_run(recipe: Recipe, run: RunLayout, with_controls: bool) -> SeedRows:
    """Read all measurements of the run of one seed."""
    made = range(1, recipe.iterations + 2)
    groups = {s.id: s.group for s in read_rows(run.seed(), RankedSet, "held_out")}
    evaluated = {f"M{t}": read_rows(run.evaluation(t), EvaluatedSet) for t in made}
    pairs = _pairs(recipe, run)
    return SeedRows(
        seed=recipe.seed,
        answers=_answers(recipe, run, groups),
        greedy={model: checked_answers(sets) for model, sets in evaluated.items()},
        judged={model: [r for s in sets for r in s.judged] for model, sets in evaluated.items()},
        own={f"M{t}": ranked_by_truth(read_rows(own_answers(recipe, run, t), JudgedPrompt)) for t in made},
        controls={n: _answers(recipe, control_run(run, n), groups) for n in (CONTROLS if with_controls else ())},
        pairs={f"M{t}": count_pairs(run.judged(t), pairs[f"M{t}"]) for t in made[1:]},
        shared_pairs=shared(pairs, _pairs(recipe, control_run(run, "ceiling"))) if with_controls else {},
        judge_scores=judge_scores(run, [f"M{t}" for t in made]),
        samples=tuple(_sample(model, rows[len(rows) // 2]) for model, rows in pairs.items() if rows),
        loop_seconds=sum(m.seconds for step in plan(recipe, run) if (m := read_manifest(step.folder))),
        seconds=_seconds(run.root),
    )


def judge_scores(run: RunLayout, models: list[str]) -> dict[str, dict[str, float]]:
    """M1's scores for the answers of `models`, by model and prompt id. Unreadable verdicts are left out."""
    found: dict[str, dict[str, float]] = {model: {} for model in models}
    for row in read_rows(all_judged(run), JudgedPrompt):
        for model, candidate in zip(models, row.candidates, strict=True):
            if candidate.mean is not None:
                found[model][row.id] = candidate.mean
    return found


def _answers(recipe: Recipe, run: RunLayout, groups: dict[str, str]) -> dict[str, list[CheckedAnswer]]:
    """The checked answers of the models that a run or a control has."""
    found = {f"M{t}": sampled_answers(run, t) for t in range(recipe.iterations + 2)}
    return {
        model: checked_samples(read_rows(folder, JudgedPrompt), groups)
        for model, folder in found.items()
        if read_manifest(folder) is not None
    }


def _pairs(recipe: Recipe, run: RunLayout) -> dict[str, list[Pair]]:
    return {f"M{t}": read_rows(run.pairs(t), Pair) for t in range(2, recipe.iterations + 2)}


def shared(own: dict[str, list[Pair]], other: dict[str, list[Pair]]) -> dict[str, int]:
    """By model, the number of pairs with the same chosen and rejected text in both."""

    def texts(pairs: list[Pair]) -> set[tuple[str, str, str]]:
        return {(pair.id, pair.chosen.text, pair.rejected.text) for pair in pairs}

    return {model: len(texts(pairs) & texts(other[model])) for model, pairs in own.items()}


def count_pairs(judged: Folder, pairs: list[Pair]) -> PairCount:
    """Compare `pairs`, made from the candidates of `judged`, with the verifier."""
    manifest = read_manifest(judged)
    margins = list(true_margins(pairs).values())
    return PairCount(
        prompts=manifest.rows.get("rows", 0) if manifest else 0,
        pairs=len(margins),
        agreed=sum(margin > 0 for margin in margins),
        tied=sum(margin == 0 for margin in margins),
    )


def _sample(model: str, pair: Pair) -> Sample:
    chosen, rejected = pair.chosen, pair.rejected
    return Sample(model, pair.prompt, chosen.text, chosen.mean or 0.0, rejected.text, rejected.mean or 0.0)


def _seconds(folder: Folder) -> float:
    """The total time of all steps in `folder` and its subfolders, in seconds."""
    manifest = read_manifest(folder)
    if manifest is not None:
        return manifest.seconds
    return sum(_seconds(folder / name) for name in folder.folders())
