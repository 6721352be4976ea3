"""Tables that only a proof makes, each in the form that an ordinary step reads."""

import random
from collections.abc import Sequence
from dataclasses import replace

from selfreward_ray.demo.verifier import true_score
from selfreward_ray.demo.world import demo_prompts
from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import (
    Candidate,
    EvaluatedSet,
    JudgedPrompt,
    Pair,
    Prompt,
    RankedSet,
    SftExample,
    Verdict,
)
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

OWN_PROMPTS = 100
"""Prompts on whose answers the last model of a seed is asked to judge itself."""


def prompts_alone(seed_data: Folder, out: Folder) -> Manifest:
    """The prompts of a seed step's held-out sets, as a propose step."""
    step = Step("propose", out.uri, {"prompts": "held out"}, {"seed": seed_data.uri})
    if step.is_done():
        return step.manifest()
    prompts = [Prompt(s.id, s.prompt) for s in read_rows(seed_data, RankedSet, "held_out")]
    step.write(prompts, Prompt)
    return step.finish(offered=len(prompts))


def next_prompts(recipe: Recipe, out: Folder) -> Manifest:
    """`OWN_PROMPTS` of the prompts that one more iteration would have, as a propose step."""
    following = recipe.iterations + 1
    part = {"prompts": recipe.prompts.count, "first": OWN_PROMPTS, "seed": recipe.seed, "iteration": following}
    step = Step("propose", out.uri, part, {})
    if step.is_done():
        return step.manifest()
    prompts = demo_prompts(recipe.prompts.count, recipe.seed, following)[:OWN_PROMPTS]
    step.write(prompts, Prompt)
    return step.finish(offered=len(prompts))


def side_by_side(recipe: Recipe, run: RunLayout, out: Folder) -> Manifest:
    """Each held-out prompt with the answers of M1, M2, … in this order, as a sample step."""
    evaluations = [run.evaluation(t) for t in range(1, recipe.iterations + 2)]
    step = Step("sample", out.uri, {}, {f"M{t}": folder.uri for t, folder in enumerate(evaluations, start=1)})
    if step.is_done():
        return step.manifest()
    of_each = [{s.id: s for s in read_rows(folder, EvaluatedSet)} for folder in evaluations]
    prompts = sorted(of_each[0])
    step.write([_answered([sets[prompt] for sets in of_each]) for prompt in prompts], JudgedPrompt)
    return step.finish(offered=len(prompts))


def _answered(sets: Sequence[EvaluatedSet]) -> JudgedPrompt:
    """One prompt of several models, the first of which is M1."""
    candidates = (Candidate(f"{s.id}/M{t}", s.answer.text, (), s.answer.finished) for t, s in enumerate(sets, start=1))
    return JudgedPrompt(sets[0].id, sets[0].answer.prompt, (), tuple(candidates))


def random_pairs(recipe: Recipe, pairs: Folder, out: Folder) -> Manifest:
    """The same pairs, each turned round or not by a coin that `recipe.seed` and its id decide."""
    step = Step("pair", out.uri, {"orientation": "random", "seed": recipe.seed}, {"pair": pairs.uri})
    if step.is_done():
        return step.manifest()
    rows = read_rows(pairs, Pair)
    step.write([_by_coin(pair, recipe.seed) for pair in rows], Pair)
    return step.finish(offered=len(rows))


def _by_coin(pair: Pair, seed: int) -> Pair:
    turned = random.Random(f"orientation {seed} {pair.id}").random() < 0.5
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen) if turned else pair


def judged_by_truth(recipe: Recipe, judged: Folder, out: Folder) -> Manifest:
    """The same candidates with the verifier's verdicts in place of the model's, as a judge step."""
    count = recipe.judge.verdicts
    step = Step("judge", out.uri, {"judge": "verifier", "verdicts": count}, {"judged": judged.uri})
    if step.is_done():
        return step.manifest()
    rows = read_rows(judged, JudgedPrompt)
    step.write([_by_truth(row, count) for row in rows], JudgedPrompt)
    return step.finish(offered=len(rows))


def _by_truth(row: JudgedPrompt, count: int) -> JudgedPrompt:
    def verified(candidate: Candidate) -> Candidate:
        score = true_score(row.text, candidate.text)
        # As many as a model gives, all the same: pair policies count them.
        verdicts = (Verdict(f"{candidate.id}/v{k}", f"Score: {score}", float(score), 1) for k in range(count))
        return with_verdicts(candidate, tuple(verdicts))

    return replace(row, candidates=tuple(map(verified, row.candidates)))


def further_examples(recipe: Recipe, seed_data: Folder, eft: Folder | None, rows: range, out: Folder) -> Manifest:
    """The examples that M1 was trained on, in an order that `recipe.seed` decides and round and round: those at the
    places `rows`, as a seed step."""
    inputs = {"seed": seed_data.uri} | ({"eft": eft.uri} if eft else {})
    step = Step("seed", out.uri, {"rows": [rows.start, rows.stop], "seed": recipe.seed}, inputs)
    if step.is_done():
        return step.manifest()
    known = [*read_rows(seed_data, SftExample), *(read_rows(eft, SftExample) if eft else ())]
    order = random.Random(f"further {recipe.seed}").sample(known, len(known))
    step.write([order[place % len(order)] for place in rows], SftExample)
    return step.finish(offered=len(rows))
