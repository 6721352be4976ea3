"""Who the report says compared the answers."""

from typing import Any

import pytest

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.reporting.instruments import instruments_of
from selfreward_ray.store.run import RunLayout

SCORES, PAIRWISE = {"head_to_head": "scores"}, {"head_to_head": "pairwise"}


@pytest.mark.parametrize(
    ("evaluation", "judge", "said", "related"),
    [
        (SCORES, {"rubric": "checklist", "verdicts": 1, "min_valid": 1},
         "M1, the judge of this run (rubric checklist, 1 verdict on each answer)", True),
        (PAIRWISE, {"pairwise_rubric": "/home/me/rubrics/mine.yaml", "verdicts": 3},
         "M1, the judge of this run (rubric mine, 3 verdicts in each of both orders)", True),
        (SCORES | {"judge": "hub/big-judge"}, {},
         "the model hub/big-judge, which evaluation.judge names (rubric additive, 3 verdicts on each answer)", False),
        (SCORES | {"judge": "/models/of/others/big"}, {}, "the model others/big, which evaluation.judge names", False),
        (SCORES | {"judge": "base/m0"}, {}, "the model base/m0, which evaluation.judge names", True),
        (SCORES | {"judge": "runs/mine/M2/model"}, {}, "M2 of this run, which evaluation.judge names", True),
        (SCORES | {"judge": "https://HOST/v1/#gpt"}, {},
         "gpt at the endpoint https://host/v1, which evaluation.judge names", False),
    ],
)  # fmt: skip
def test_the_judge_is_named_with_its_rubric_and_verdicts(
    evaluation: dict[str, Any], judge: dict[str, Any], said: str, related: bool
):
    recipe = Recipe.model_validate({"model": "base/m0", "evaluation": evaluation, "judge": judge})
    by = instruments_of(recipe, RunLayout("runs/mine"))
    assert by.judge.startswith(said)
    assert by.related == related
    assert by.scorer is None
