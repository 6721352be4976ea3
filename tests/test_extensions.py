"""A source, a scorer and a tracker of another package, found by their entry points."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray import extensions
from selfreward_ray.check.check import check_run, require
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import given_prompts, given_sets, is_source, scorer_named
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe, Tracking
from selfreward_ray.records import Prompt, RankedReply, RankedSet, SftExample
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.seed.split import SeedSets
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.seed import seed
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.tables import read_rows
from selfreward_ray.tracking.run import tracked

PACKAGE = """
from dataclasses import replace

from selfreward_ray.extensions import Score
from selfreward_ray.records import Prompt, RankedReply, RankedSet, prompt_id
from selfreward_ray.seed.split import SeedSets


class Sums:
    def seed_sets(self, wanted, seed):
        def one(i):
            right, wrong = RankedReply(f"s{i}/r0", f"{2 * i}", 0, 5.0), RankedReply(f"s{i}/r1", "7", 1, 1.0)
            return RankedSet(f"s{i}", f"{i} + {i}?", (right, wrong))

        return SeedSets([one(1)], [], [one(2), one(3)], [])

    def prompts(self, count, seed, iteration):
        return [Prompt(prompt_id(iteration, i), f"{i} + {seed}?") for i in range(count)]


class TwoSets(Sums):
    def seed_sets(self, wanted, seed):
        given = super().seed_sets(wanted, seed)
        again = replace(given.ift[0], replies=(RankedReply("x", "4", 0, 5.0),))
        return replace(given, held_out=[*given.held_out, again])


class TwoReplies(Sums):
    def seed_sets(self, wanted, seed):
        given = super().seed_sets(wanted, seed)
        return replace(given, held_out=[replace(given.held_out[0], replies=given.ift[0].replies)])


def odd(prompt, reply):
    return 0.5 if reply == "1" else Score(1, int(reply))


def add_up(prompt, reply):
    left, right = prompt.removesuffix("?").split(" + ")
    return Score(float(int(left) + int(right) == int(reply)), 1) if reply.isdigit() else None


class Board:
    def __init__(self, run):
        self.file = open(run.recipe["name"], "w")

    def metrics(self, series, values, step, time):
        print(series, step, values, file=self.file)

    def text(self, name, text, step, time):
        print(name, file=self.file)

    def table(self, name, columns, rows, step, time): ...

    def figure(self, name, png, step, time): ...

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()
"""
ENTRY_POINTS = """
[selfreward_ray.sources]
sums = sums_extension:Sums
two-sets = sums_extension:TwoSets
two-replies = sums_extension:TwoReplies
gone = sums_extension:Gone

[selfreward_ray.scorers]
sums = sums_extension:add_up
lost = sums_extension:nothing
odd = sums_extension:odd

[selfreward_ray.trackers]
board = sums_extension:Board
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
    assert read_rows(Folder(prompts), Prompt) == [Prompt(f"M3/p{i:06d}", f"{i} + 9?") for i in range(3)]
    model = ScriptedModel(lambda text, row: "4" if row.endswith("/answer") else "Score: 3")
    replies = run_on(pool_of(model), evaluate(recipe, model="m1", seed_data=seeds, out=out)).metrics["replies"]
    assert (replies["score"], replies["count"]) == (50, 2)


@pytest.mark.usefixtures("_installed")
def test_a_scorer_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        UserError, match=r"no installed package has a scorer 'sum' \(there are: demo, lost, odd, sums\)"
    ):
        scorer_named("sum")
    with pytest.raises(UserError, match=r"evaluation.scorer: 'lost' cannot be loaded from sums_extension:nothing"):
        scorer_named("lost")


@pytest.mark.usefixtures("_installed")
def test_a_tracker_is_told_of_a_run(tmp_path: Path):
    written = tmp_path / "written"
    recipe = Recipe.model_validate(
        {"name": str(written), "model": "m0", "seed_data": {"source": "demo"}, "tracking": {"trackers": ["board"]}}
    )
    layout = RunLayout(str(tmp_path / "run"))
    claim_run(layout.root, recipe)
    with tracked(recipe, layout, plan(recipe, layout)), Progress("M1 · SFT", 9, "steps") as progress:
        progress.record({"loss": 0.5}, at=3)
    assert written.read_text().splitlines() == ["recipe", "M1/sft 3 {'loss': 0.5}"]
    with pytest.raises(
        UserError, match=r"tracking.trackers: no installed package has a tracker 'bored' \(there are: board"
    ):
        require(check_run(recipe.model_copy(update={"tracking": Tracking(trackers=("bored",))}), None))


def test_what_is_no_installed_source_is_data_to_be_read():
    assert not is_source("data/ranked.jsonl")
    assert is_source("demo")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("²", r"ValueError: invalid literal for int\(\) with base 10: '²' \(.*sums_extension.py:\d+\); correct it"),
        ("0", r"ValueError: Score\(value=1\.0, maximum=0\.0\) is not of 0 to a maximum above 0 \(.*sums_extension"),
        ("1", r"gave 0.5; it must give a Score, or None"),
    ],
)
def test_a_scorer_that_fails_is_named_with_the_reply(reply: str, fault: str):
    with pytest.raises(
        UserError, match=rf"^evaluation.scorer: 'odd', for the reply '{reply}' to 'How many\?': {fault}"
    ):
        scorer_named("odd")("How many?", reply)


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("twice", ["sets", "replies"])
def test_a_source_that_gives_an_id_twice_is_refused(tmp_path: Path, twice: str):
    """An id is a row's restart key: of two rows with one id the second would be left out."""
    recipe = Recipe.model_validate({"model": "m0", "seed_data": {"source": f"two-{twice}", "eft": 0}})
    with pytest.raises(UserError, match=rf"source: 'two-{twice}' gives two {twice} with the id 's1"):
        seed(recipe, out=str(tmp_path / "seed"))


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("named", "fault"),
    [
        ({}, None),
        ({"seed_data": {"source": "owner/data"}, "prompts": {"source": "model"}}, None),
        ({"evaluation": {"scorer": "sum"}}, "evaluation.scorer: no installed package has a scorer 'sum'"),
        (
            {"seed_data": {"source": "ranked.jsonl"}},
            "seed_data.source: cannot read ranked.jsonl: there is no such file",
        ),
        ({"prompts": {"source": "more.jsonl"}}, "prompts.source: cannot read more.jsonl: there is no such file"),
        ({"prompts": {"source": "gone"}}, "prompts.source: 'gone' cannot be loaded from sums_extension:Gone"),
        ({"prompts": {"source": "more.jsonl"}, "iterations": 0}, None),
    ],
)
def test_what_a_recipe_names_and_nobody_has_is_known_before_anything_is_started(
    named: dict[str, Any], fault: str | None
):
    values = {"model": "m0", "seed_data": {"source": "sums"}, "prompts": {"source": "sums"}}
    recipe = Recipe.model_validate(values | {"evaluation": {"scorer": "sums"}} | named)
    found = [finding.text for finding in check_run(recipe, None) if finding.problem and finding.about != "model"]
    assert len(found) == (fault is not None)
    assert not fault or found[0].startswith(fault)


GIVEN = SeedSets([RankedSet("s", "Why?", (RankedReply("r", "So.", 0),))], [], [], [])


def sets_with(**changed: Any) -> SeedSets:
    (ranked,) = GIVEN.ift
    return replace(GIVEN, ift=[replace(ranked, **changed)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "gave None; it must give SeedSets"),
        (RuntimeError("no database"), r"RuntimeError: no database \(.*test_extensions.py:\d+\); correct the source"),
        (replace(GIVEN, ift=["Why?"]), "gave 'Why\\?'; it must give a RankedSet"),
        (sets_with(prompt=" "), "its prompt is empty"),
        (sets_with(prompt=None), "prompt: input should be a valid string"),
        (sets_with(id=7), "id: input should be a valid string"),
        (sets_with(replies=()), "it has no replies"),
        (sets_with(replies=(RankedReply("r", "So.", 0.5),)), "replies.0.rank: input should be a valid integer"),
        (sets_with(replies=(RankedReply("r", b"So.", 0),)), "not JSON serializable"),
    ],
)
def test_sets_of_a_source_that_are_not_sound_are_named(given: Any, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extensions, "source_named", lambda name: Gives(given))
    recipe = Recipe.model_validate({"model": "m0", "seed_data": {"source": "mine"}})
    with pytest.raises(UserError, match=f"^seed_data.source: 'mine'.*{message}"):
        given_sets(recipe)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "gave the ids \\[\\]; 2 prompts must have those of M2/p000000 to M2/p000001"),
        ([Prompt("M3/p000000", "a"), Prompt("M3/p000001", "b")], "gave the ids"),
        ([Prompt("M2/p000000", "a"), Prompt("M2/p000001", "")], "its prompt is empty"),
        (["a", "b"], "gave 'a'; it must give a Prompt"),
        (None, "TypeError"),
    ],
)
def test_prompts_of_a_source_that_are_not_sound_are_named(given: Any, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extensions, "source_named", lambda name: Gives(given))
    recipe = Recipe.model_validate({"model": "m0", "prompts": {"source": "mine", "count": 2}})
    with pytest.raises(UserError, match=f"^prompts.source: 'mine'.*{message}"):
        given_prompts(recipe, 1)


class Gives:
    """A source that gives, or raises, one thing."""

    def __init__(self, given: Any):
        self._given = given

    def seed_sets(self, wanted: Any, seed: int) -> Any:
        if isinstance(self._given, Exception):
            raise self._given
        return self._given

    def prompts(self, count: int, seed: int, iteration: int) -> Any:
        return self._given
