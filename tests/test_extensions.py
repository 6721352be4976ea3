"""A source and a scorer of another package, found by their entry points."""

import sys
from pathlib import Path

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray.errors import UserError
from selfreward_ray.extensions import find_source, scorer_named
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Prompt, RankedSet, SftExample
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.seed import seed
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows

PACKAGE = """
from selfreward_ray.extensions import Score
from selfreward_ray.records import Prompt, RankedReply, RankedSet
from selfreward_ray.seed.split import SeedSets


class Sums:
    def seed_sets(self, wanted, seed):
        def one(i):
            right, wrong = RankedReply(f"s{i}/r0", f"{2 * i}", 0, 5.0), RankedReply(f"s{i}/r1", "7", 1, 1.0)
            return RankedSet(f"s{i}", f"{i} + {i}?", (right, wrong))

        return SeedSets([one(1)], [], [one(2), one(3)], [])

    def prompts(self, count, seed, iteration):
        return [Prompt(f"it{iteration}/p{i:06d}", f"{i} + {seed}?") for i in range(count)]


def add_up(prompt, reply):
    left, right = prompt.removesuffix("?").split(" + ")
    return Score(float(int(left) + int(right) == int(reply)), 1) if reply.isdigit() else None
"""
ENTRY_POINTS = """
[selfreward_ray.sources]
sums = sums_extension:Sums

[selfreward_ray.scorers]
sums = sums_extension:add_up
lost = sums_extension:nothing
"""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = tmp_path / "site"
    (site / "sums-1.0.dist-info").mkdir(parents=True)
    (site / "sums_extension.py").write_text(PACKAGE)
    (site / "sums-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: sums\nVersion: 1.0\n")
    (site / "sums-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("sums_extension", None)


@pytest.mark.usefixtures("_installed")
def test_a_source_gives_seed_and_prompts_and_a_scorer_the_score(tmp_path: Path):
    """Of the answers to 2 + 2 and 3 + 3, which are 4 both, one is right."""
    recipe = Recipe.model_validate(
        {
            "model": "m0",
            "seed": 9,
            "seed_data": {"source": "sums", "ift": 1, "eft": 0, "held_out": 2},
            "prompts": {"source": "sums", "count": 3},
            "judge": {"rubric": "checklist", "retries": 0},
            "evaluation": {"scorer": "sums"},
        }
    )
    seeds, prompts, out = (str(tmp_path / name) for name in ("seed", "prompts", "out"))
    seed(recipe, out=seeds)
    assert [row.target for row in read_rows(Folder(seeds), SftExample)] == ["2"]
    assert [row.id for row in read_rows(Folder(seeds), RankedSet, "held_out")] == ["s2", "s3"]
    propose(recipe, seed_data=seeds, iteration=2, out=prompts)
    assert read_rows(Folder(prompts), Prompt) == [Prompt(f"it2/p{i:06d}", f"{i} + 9?") for i in range(3)]
    model = ScriptedModel(lambda text, row: "4" if row.endswith("/answer") else "Score: 3")
    replies = run_on(pool_of(model), evaluate(recipe, model="m1", seed_data=seeds, out=out)).metrics["replies"]
    assert (replies["score"], replies["count"]) == (50, 2)


@pytest.mark.usefixtures("_installed")
def test_a_scorer_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match=r"no installed package has a scorer 'sum' \(there are: demo, lost, sums\)"):
        scorer_named("sum")
    with pytest.raises(
        UserError, match=r"'lost' of selfreward_ray.scorers can not be loaded from sums_extension:nothing"
    ):
        scorer_named("lost")


def test_what_is_no_installed_source_is_data_to_be_read():
    assert find_source("data/ranked.jsonl") is None
    assert find_source("demo") is not None
