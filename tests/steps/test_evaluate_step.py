from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import RankedReply, RankedSet, ScoredReply, SftExample
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest, read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

DEMO = (
    'Write one sentence about lakes. Start with "Honestly". Include the word "quiet". '
    'End with "together". Use lower case only.'
)
SETS = [
    RankedSet(f"s{i}", prompt, (RankedReply(f"s{i}/r0", "good", 0, 5.0), RankedReply(f"s{i}/r1", "bad", 1, 1.0)))
    for i, prompt in enumerate([DEMO, "Why?", "How?"])
]
RECIPE = Recipe.model_validate(
    {"model": "m0", "judge": {"rubric": "checklist", "retries": 0}, "evaluation": {"scorer": "demo"}}
)


def evaluated(tmp_path: Path, **evaluation: Any) -> tuple[Manifest, ScriptedModel]:
    """The first verdicts are those below; later ones of a reply are 5 if people ranked it first, and 1 if not."""
    verdicts = {"s0/r0": "5", "s0/r1": "1", "s1/r0": "1", "s1/r1": "5", "s2/r0": "3", "s2/r1": "?"}
    answers = {"s0": "Honestly, lakes are a quiet place together."}

    def answer(text: str, row: str) -> Any:
        if row.endswith("/answer"):
            return answers.get(row[:2], "Because.")
        later = "5" if "/r0/" in row else "1"
        return f"Score: {verdicts[row[:5]] if '/v0/' in row else later}"

    seed = Step("seed", str(tmp_path / "seed"), {}, {})
    seed.is_done()
    seed.write([SftExample("x", "ift", "p", "t")], SftExample)
    seed.write(SETS, RankedSet, "held_out")
    seed.finish(offered=1)
    recipe = RECIPE.model_copy(update={"evaluation": RECIPE.evaluation.model_copy(update=evaluation)})
    model = ScriptedModel(answer)
    step = evaluate(recipe, model="m1", seed_data=str(tmp_path / "seed"), out=str(tmp_path / "out"))
    return run_on(pool_of(model), step), model


def test_answers_and_agreement_are_measured(tmp_path: Path):
    """Set 0: 5 over 1, as people. Set 1: 1 over 5, wrong. Set 2: one unreadable verdict, wrong.

    Pairwise: 1 of 3. Unreadable: 1 of 6. Five-best: of two 5s one was ranked first.
    The scorer's: of one answer that it can check 4 of 5. Words: 7, 1 and 1.
    """
    manifest, _ = evaluated(tmp_path)
    agreement, replies = manifest.metrics["agreement"], manifest.metrics["replies"]
    assert (agreement["five_best"], agreement["verdicts"], agreement["sets"]) == (0.5, 6, 3)
    assert agreement["pairwise_accuracy"] == pytest.approx(1 / 3)
    assert agreement["unreadable"] == pytest.approx(1 / 6)
    assert agreement["intervals"]["pairwise_accuracy"] == [0, 1]
    assert (replies["score"], replies["score_margin"], replies["mean_words"]) == (80.0, None, 3.0)
    assert manifest.rows == {"rows": 3, "scores": 1}
    assert read_rows(Folder(str(tmp_path / "out")), ScoredReply, "scores") == [ScoredReply("s0/answer", 4, 5)]
    assert read_manifest(Folder(str(tmp_path / "out"))) == manifest


def test_the_loops_own_verdicts_are_measured_beside_the_first(tmp_path: Path):
    """Means 5 and 1; 11/3 and 7/3; 13/3 and, of two valid verdicts, 1: all right."""
    means = evaluated(tmp_path)[0].metrics["agreement_of_means"]
    assert (means["pairwise_accuracy"], means["unreadable"], means["verdicts"]) == (1, 0, 18)


def test_a_recipe_may_ask_for_one_verdict_when_it_evaluates(tmp_path: Path):
    manifest, model = evaluated(tmp_path, verdicts=1)
    assert manifest.metrics["agreement"]["verdicts"] == len(model.asked) - 3 == 6
    assert manifest.metrics["agreement_of_means"] is None
