"""Tables that only a proof needs, each written as the output of an ordinary step."""

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
"""Number of prompts on which the last model of a seed judges its own answers."""


def prompts_alone(seed_data: Folder, out: Folder) -> Manifest:
    """Write the prompts of a seed step's held-out sets as a propose step."""
    step = Step("propose", out.uri, {"prompts": "held out"}, {"seed": seed_data.uri})
    if step.is_done():
        return step.manifest()
    prompts = [Prompt(s.id, s.prompt, s.history) for s in read_rows(seed_data, RankedSet, "held_out")]
    step.write(prompts, Prompt)
    return step.finish(offered=len(prompts))


def next_prompts(recipe: Recipe, out: Folder) -> Manifest:
    """Write the first `OWN_PROMPTS` prompts of one further iteration as a propose step."""
    following = recipe.iterations + 1
    part = {"prompts": recipe.prompts.count, "first": OWN_PROMPTS, "seed": recipe.seed, "iteration": following}
    step = Step("propose", out.uri, part, {})
    if step.is_done():
        return step.manifest()
    prompts = demo_prompts(recipe.prompts.count, recipe.seed, following)[:OWN_PROMPTS]
    step.write(prompts, Prompt)
    return step.finish(offered=len(prompts))


def side_by_side(recipe: Recipe, run: RunLayout, out: Folder) -> Manifest:
    """Write each held-out prompt with the answers of M1, M2, … in this order as a sample step."""
    evaluations = [run.evaluation(t) for t in range(1, recipe.iterations + 2)]
    step = Step("sample", out.uri, {}, {f"M{t}": folder.uri for t, folder in enumerate(evaluations, start=1)})
    if step.is_done():
        return step.manifest()
    of_each = [{s.id: s for s in read_rows(folder, EvaluatedSet)} for folder in evaluations]
    prompts = sorted(of_each[0])
    step.write([_answered([sets[prompt] for sets in of_each]) for prompt in prompts], JudgedPrompt)
    return step.finish(offered=len(prompts))


def _answered(sets: Sequence[EvaluatedSet]) -> JudgedPrompt:
    """One prompt with the answers of M1, M2, …"""
    candidates = (Candidate(f"{s.id}/M{t}", s.answer.text, (), s.answer.finished) for t, s in enumerate(sets, start=1))
    return JudgedPrompt(sets[0].id, sets[0].answer.prompt, (), tuple(candidates))


def random_pairs(recipe: Recipe, pairs: Folder, out: Folder) -> Manifest:
    """Write the same pairs with labels flipped at random as a pair step. `recipe.seed` and the pair's id decide."""
    step = Step("pair", out.uri, {"orientation": "random", "seed": recipe.seed}, {"pair": pairs.uri})
    if step.is_done():
        return step.manifest()
    rows = read_rows(pairs, Pair)
    step.write([_flipped_at_random(pair, recipe.seed) for pair in rows], Pair)
    return step.finish(offered=len(rows))


def _flipped_at_random(pair: Pair, seed: int) -> Pair:
    flip = random.Random(f"orientation {seed} {pair.id}").random() < 0.5
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen) if flip else pair


def judged_by_truth(recipe: Recipe, judged: Folder, out: Folder) -> Manifest:
    """Write the same candidates with the verifier's verdicts instead of the model's as a judge step."""
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
        # As many equal verdicts as a model gives, because pair policies count them.
        verdicts = (Verdict(f"{candidate.id}/v{k}", f"Score: {score}", float(score), 1) for k in range(count))
        return with_verdicts(candidate, tuple(verdicts))

    return replace(row, candidates=tuple(map(verified, row.candidates)))


def further_examples(recipe: Recipe, seed_data: Folder, eft: Folder | None, rows: range, out: Folder) -> Manifest:
    """Write a part of the examples that M1 was trained on as a seed step.

    The examples are shuffled by `recipe.seed` and repeated without end; `rows` are the positions in this sequence.
    """
    inputs = {"seed": seed_data.uri} | ({"eft": eft.uri} if eft else {})
    step = Step("seed", out.uri, {"rows": [rows.start, rows.stop], "seed": recipe.seed}, inputs)
    if step.is_done():
        return step.manifest()
    known = [*read_rows(seed_data, SftExample), *(read_rows(eft, SftExample) if eft else ())]
    order = random.Random(f"further {recipe.seed}").sample(known, len(known))
    step.write([order[place % len(order)] for place in rows], SftExample)
    return step.finish(offered=len(rows))
