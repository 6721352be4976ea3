from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import RankedReply, RankedSet, ScoredReply, SftExample
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.store.folder import Folder
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


def test_answers_and_agreement_are_measured(tmp_path: Path):
    """Set 0: 5 over 1, as people. Set 1: 1 over 5, wrong. Set 2: one unreadable verdict, no pair.

    Pairwise: 1 of 2. Unreadable: 1 of 6. Five-best: of two 5s one was ranked first.
    The scorer's: of one answer that it can check 4 of 5. Words: 7, 1 and 1.
    """
    verdicts = {"s0/r0": "5", "s0/r1": "1", "s1/r0": "1", "s1/r1": "5", "s2/r0": "3", "s2/r1": "?"}
    answers = {"s0": "Honestly, lakes are a quiet place together."}

    def answer(text: str, row: str) -> Any:
        if row.endswith("/answer"):
            return answers.get(row[:2], "Because.")
        return f"Score: {verdicts[row[:5]]}"

    seed = Step("seed", str(tmp_path / "seed"), {}, {})
    seed.is_done()
    seed.write([SftExample("x", "ift", "p", "t")], SftExample)
    seed.write(SETS, RankedSet, "held_out")
    seed.finish(offered=1)
    step = evaluate(RECIPE, model="m1", seed_data=str(tmp_path / "seed"), out=str(tmp_path / "out"))
    manifest = run_on(pool_of(ScriptedModel(answer)), step)
    agreement, replies = manifest.metrics["agreement"], manifest.metrics["replies"]
    assert (agreement["pairwise_accuracy"], agreement["five_best"], agreement["verdicts"]) == (0.5, 0.5, 6)
    assert agreement["unreadable"] == pytest.approx(1 / 6)
    assert (replies["score"], replies["score_margin"], replies["mean_words"]) == (80.0, None, 3.0)
    assert manifest.rows == {"rows": 3, "scores": 1}
    assert read_rows(Folder(str(tmp_path / "out")), ScoredReply, "scores") == [ScoredReply("s0/answer", 4, 5)]
