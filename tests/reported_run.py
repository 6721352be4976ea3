"""A run's folder as the loop leaves it, made without engines: two iterations, a scorer, logs of trainings."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfreward_ray.evaluation.agreement import agreement_metrics
from selfreward_ray.evaluation.replies import reply_figures
from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.preferences import POLICIES
from selfreward_ray.preferences.candidate_set import build_candidate_set
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import (
    Candidate,
    Dropped,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    JudgedReply,
    Prompt,
    ScoredReply,
    SftExample,
    Verdict,
)
from selfreward_ray.steps.head_to_head import head_to_head
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import ModelLayout, RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows, write_block

RECIPE = Recipe.model_validate(
    {
        "name": "toy",
        "model": "m0",
        "iterations": 2,
        "seed_data": {"source": "demo", "eft": 0, "held_out": 12},
        "evaluation": {"scorer": "demo"},
        "respond": {"candidates": 3},
        "judge": {"verdicts": 2},
        "dpo": {"learning_rate": 2e-6},
    }
)
WORDS = [
    "rivers", "tea", "bread", "snow", "clocks", "maps", "trains", "wool", "salt",
    "moss", "chairs", "lamps", "birds", "soup", "glass", "roads",
]  # fmt: skip


def finish(name: str, folder: Folder, rows: list[Any], record: type[Any], dropped: int = 0, **figures: Any) -> None:
    """Write a finished step with one file of rows."""
    step = Step(name, folder.uri, {}, {})
    step.is_done()
    step.write(rows, record)
    step.write([Dropped(f"d{i}", name, "too odd") for i in range(dropped)], Dropped, "dropped")
    step.finish(offered=len(rows) + dropped, **figures)


def write_run(
    folder: Path,
    recipe: Recipe = RECIPE,
    prompts: int = 40,
    until: int = 3,
    text: Callable[[str], str] = str,
    thought: str = "",
) -> RunLayout:
    """Write a run with the models M1 to M`until`; of later ones there are only prompts. `text` changes every text that
    a model wrote. Each candidate, and each verdict, has a `thought`, which `text` changes too."""
    layout, rng = RunLayout(str(folder)), random.Random(7)
    claim_run(layout.root, recipe)
    finish("seed", layout.seed(), [SftExample("s", "ift", "p", "t")], SftExample)
    for t in range(2, recipe.iterations + 2):
        asked = [Prompt(f"M{t}/p{i:06d}", text(f"Say something about {rng.choice(WORDS)}.")) for i in range(prompts)]
        finish("propose", layout.prompts(t), asked, Prompt)
    for t in range(1, until + 1):
        if t > 1:
            write_judged(layout, recipe, t, [judged_prompt(t, i, rng, recipe, text, thought) for i in range(prompts)])
            write_pairs(layout, recipe, t)
        write_training(layout.model_layout(t), dpo=t > 1)
        write_evaluation(layout, recipe, t, rng, text)
        if recipe.evaluation.head_to_head == "scores":
            write_comparison(layout, recipe, t)
    return layout


def judged_prompt(
    t: int, number: int, rng: random.Random, recipe: Recipe, text: Callable[[str], str], thought: str = ""
) -> JudgedPrompt:
    """A prompt with candidates of which later ones are longer and a little better."""
    name, topic = f"M{t}/p{number:06d}", rng.choice(WORDS)
    candidates = []
    for place in range(recipe.respond.candidates):
        said = " ".join(rng.choice(WORDS) for _ in range(6 + 4 * place))
        scores = [rng.choice([None, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0]) for _ in range(recipe.judge.verdicts)]
        verdicts = tuple(
            Verdict(f"{name}/r{place}/v{v}", text(f"It mentions {topic}. Score: {score}"), score, 1, text(thought))
            for v, score in enumerate(scores)
        )
        reply = Candidate(
            f"{name}/r{place}",
            text(f"About {topic}: {said}."),
            (1, 2),
            rng.random() < 0.95,
            thought=text(thought),
            thought_tokens=len(thought.split()),
        )
        candidates.append(with_verdicts(reply, verdicts))
    return JudgedPrompt(name, text(f"Say something about {topic}."), (1,), tuple(candidates))


def write_judged(layout: RunLayout, recipe: Recipe, t: int, judged: list[JudgedPrompt]) -> None:
    """A finished respond step. The last prompt is dropped by it."""
    step = Step("respond", layout.judged(t).uri, {}, {})
    step.is_done()
    *kept, last = judged
    for start in range(0, len(kept), 8):
        block = kept[start : start + 8]
        write_block(step.folder, [p.id for p in block], block, JudgedPrompt, [])
    write_block(step.folder, [last.id], [], JudgedPrompt, [Dropped(last.id, "respond", "the prompt is too long")])
    step.finish(offered=len(judged), tokens=1000, metrics={"verdicts": len(kept), "engine_start_seconds": 12.0})


def write_pairs(layout: RunLayout, recipe: Recipe, t: int) -> None:
    """A finished pair step of the recipe's policy."""
    step, policy = Step("pair", layout.pairs(t).uri, {}, {}), POLICIES[recipe.pairs.policy]
    step.is_done()
    sets = [build_candidate_set(row, recipe.judge, frozenset()) for row in read_rows(layout.judged(t), JudgedPrompt)]
    outcomes: list[Any] = [policy.choose(candidates, recipe.pairs) for candidates in sets]
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    rows = [row for outcome in outcomes if not isinstance(outcome, Dropped) for row in outcome]
    flagged = [flag for candidates in sets for flag in candidates.flagged]
    write_block(step.folder, [s.prompt.id for s in sets], rows, policy.record, dropped, flagged)
    step.finish(offered=len(sets), kept=len(sets) - len(dropped))


def write_training(made: ModelLayout, dpo: bool, steps: int = 20, **metrics: Any) -> None:
    """A finished training whose fourth step was skipped."""
    rows = []
    for number in range(steps):
        row: dict[str, Any] = {"step": number, "loss": 2.0 / (number + 1), "learning_rate": 1e-6, "seconds": 1.0}
        if dpo:
            row |= {"accuracy": 0.5 + number / 60, "chosen_reward": number / 40, "rejected_reward": -number / 30}
        row["skipped"] = number == 3
        if row["skipped"]:
            del row["loss"]
        rows.append(row)
    step = Step("dpo" if dpo else "sft", made.training.uri, {}, {})
    step.is_done()
    made.training.write_bytes("steps.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    step.finish(offered=0, tokens=2000, metrics=metrics)


def write_evaluation(layout: RunLayout, recipe: Recipe, t: int, rng: random.Random, text: Callable[[str], str]) -> None:
    """A finished evaluate step. Later models have higher scores and rank more replies as humans did."""
    sets, scores = [], []
    for number in range(recipe.seed_data.held_out):
        name = f"h{number}"
        replies = []
        for rank in range(3):
            score = float(3 - rank) if rng.random() < 0.5 + 0.15 * t else float(rng.randint(0, 5))
            verdict = Verdict(f"{name}/r{rank}/v0", f"Score: {score}", score, 1)
            replies.append(JudgedReply(f"{name}/r{rank}", name, rank, None, (verdict,)))
        answer = EvaluatedReply(f"{name}/answer", "Why?", text("Because " + "it is so " * t), True)
        sets.append(EvaluatedSet(name, answer, tuple(replies)))
        scores.append(ScoredReply(answer.id, min(10.0, 3.0 * t + rng.random()), 10.0))
    step = Step("evaluate", layout.evaluation(t).uri, {}, {})
    step.is_done()
    step.write(sets, EvaluatedSet)
    percents = {}
    if recipe.evaluation.scorer:
        step.write(scores, ScoredReply, "scores")
        percents = {reply.id: 100 * reply.score / reply.maximum for reply in scores}
    metrics = {
        **agreement_metrics([reply for s in sets for reply in s.judged], 5, 1),
        "replies": vars(reply_figures([s.answer for s in sets], percents)),
    }
    step.finish(offered=len(sets), metrics=metrics)


def write_comparison(layout: RunLayout, recipe: Recipe, t: int) -> None:
    """The judge's scores of M(t)'s answers, and M(t) against the earlier models. Later models have higher scores."""
    step = Step("judge", layout.scored(t).uri, {}, {})
    step.is_done()
    rows = []
    for number in range(recipe.seed_data.held_out):
        answer = f"h{number}/answer"
        given = tuple(Verdict(f"{answer}/v{v}", f"Score: {t}", float(t), 1) for v in range(recipe.judge.verdicts))
        reply = Candidate(answer, "Because " + "it is so " * (t + number % 3), (), True)
        rows.append(JudgedPrompt(f"h{number}", "Why?", (), (with_verdicts(reply, given),)))
    step.write(rows, JudgedPrompt)
    step.finish(offered=len(rows))
    for other in {1, t - 1} - {0, t}:
        left, right = layout.scored(t).uri, layout.scored(other).uri
        head_to_head(recipe, left=left, right=right, out=layout.against(t, other).uri)


def without_scorer(recipe: Recipe = RECIPE) -> Recipe:
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"scorer": None})})


def with_policy(policy: str, recipe: Recipe = RECIPE) -> Recipe:
    return recipe.model_copy(update={"pairs": recipe.pairs.model_copy(update={"policy": policy})})
