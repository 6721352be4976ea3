"""Verdicts on ranked replies, and the EFT rows that are chosen from them, with a scripted judge."""

from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray.errors import UserError
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import JudgedSet, RankedReply, RankedSet, SftExample
from selfreward_ray.seed.eft import BEYOND, DISAGREES, NO_VERDICT
from selfreward_ray.steps.eft import eft
from selfreward_ray.steps.verdicts import verdicts
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

RUBRIC = load_rubric("checklist")


def ranked(name: str, written: tuple[str | None, str | None] = (None, None)) -> RankedSet:
    texts = zip(("Yes.", "No."), written, strict=True)
    replies = tuple(RankedReply(f"{name}/r{i}", text, i, None, verdict) for i, (text, verdict) in enumerate(texts))
    return RankedSet(name, f"Is {name} one?", replies)


def recipe(**sizes: Any) -> Recipe:
    values = {"model": "m0", "judge": {"rubric": "checklist", "retries": 0}, "inference": {"rows_per_block": 1}}
    return Recipe.model_validate(values | {"seed_data": {"verdict_samples": 2, **sizes}})


def seed_step(folder: Path, sets: list[RankedSet]) -> str:
    step = Step("seed", str(folder), {}, {})
    step.is_done()
    step.write(sets, RankedSet, "eft")
    step.finish(offered=len(sets), kept=len(sets))
    return str(folder)


@pytest.fixture
def judged(tmp_path: Path) -> str:
    """Three sets. s0 agrees in its second draw, s1 in none, s2 has no readable verdict."""
    scores = {"s0": [("3", "3"), ("4", "1")], "s1": [("1", "2"), ("3", "5")], "s2": [("?", "?"), ("?", "?")]}

    def answer(text: str, row: str) -> str:
        name, reply, draw, _ = row.split("/")
        return f"So. Score: {scores[name][int(draw[1])][int(reply[1])]}"

    seed_data = seed_step(tmp_path / "seed", [ranked(f"s{i}") for i in range(3)])
    step = verdicts(recipe(), model="baseline", seed_data=seed_data, out=str(tmp_path / "verdicts"))
    run_on(pool_of(ScriptedModel(answer)), step)
    return str(tmp_path / "verdicts")


def test_each_reply_has_its_samples(judged: str):
    rows = {row.id: row for row in read_rows(Folder(judged), JudgedSet)}
    assert set(rows) == {"s0", "s1", "s2"}
    assert [[v.score for v in reply.verdicts] for reply in rows["s0"].judged] == [[3.0, 4.0], [3.0, 1.0]]


def test_rows_are_what_agrees_and_every_reply_is_counted(tmp_path: Path, judged: str):
    seed_data, out = str(tmp_path / "seed"), str(tmp_path / "eft")
    manifest = eft(recipe(), seed_data=seed_data, verdicts=judged, out=out)
    assert read_rows(Folder(out), SftExample) == [
        SftExample(f"s0/r{i}/eft", "eft", RUBRIC.render("Is s0 one?", text), f"So. Score: {score}")
        for i, (text, score) in enumerate((("Yes.", 4), ("No.", 1)))
    ]
    assert (manifest.rows, manifest.dropped) == ({"rows": 2}, {DISAGREES: 2, NO_VERDICT: 2})
    assert manifest.metrics == {"sets": 3, "sets_agreeing": 1, "scores": {"1": 1, "4": 1}}
    assert eft(recipe(), seed_data=seed_data, verdicts=judged, out=out) == manifest


def test_written_verdicts_need_no_judge(tmp_path: Path):
    good, bad = ("Score: 5", "Score: 1"), ("Score: 1", "Score: 5")
    seed_data = seed_step(tmp_path / "seed", [ranked("a", bad), ranked("b", good), ranked("c", good)])
    manifest = eft(recipe(eft=2, verdicts="written"), seed_data=seed_data, verdicts=None, out=str(tmp_path / "eft"))
    assert [row.id for row in read_rows(Folder(str(tmp_path / "eft")), SftExample)] == ["b/r0/eft", "b/r1/eft"]
    assert manifest.dropped == {DISAGREES: 2, BEYOND: 2}


def test_verdicts_of_which_none_agrees_are_refused_with_the_reason(tmp_path: Path):
    seed_data = seed_step(tmp_path / "seed", [ranked("a", ("Score: 1", "Score: 5"))])
    with pytest.raises(
        UserError, match=rf"no verdict on any of the 2 replies can be used \(2 {DISAGREES}\); begin again"
    ):
        eft(recipe(verdicts="written"), seed_data=seed_data, verdicts=None, out=str(tmp_path / "eft"))
    assert read_manifest(Folder(str(tmp_path / "eft"))) is None


def test_a_folder_of_another_step_is_refused_by_its_name(tmp_path: Path, judged: str):
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match=r"none holds no finished 'seed' step; is the path right"):
        eft(recipe(), seed_data=str(tmp_path / "none"), verdicts=judged, out=out)
    with pytest.raises(UserError, match=r"verdicts holds a 'verdicts' step, but a 'seed' step is needed here"):
        eft(recipe(), seed_data=judged, verdicts=judged, out=out)
