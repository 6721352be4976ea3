"""A step that is done again makes what was made from it others' work: it is refused, or made again too."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_ray import loop
from selfreward_ray.errors import UserError
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.rejection import Rejection, read_rejections, write_rejection
from selfreward_ray.store.run import ModelLayout, RunLayout
from selfreward_ray.store.step import Stale, Step
from selfreward_ray.store.tables import write_part

RECIPE = Recipe(model="m")


class Steps:
    """seed → propose → sft → dpo, and eft of nothing: steps that write a text of their own."""

    def __init__(self, root: Path):
        self.layout = RunLayout(str(root))
        self.texts = {"seed": "a", "propose": "b", "eft": "c", "sft": "d", "dpo": "e"}
        self.made: list[str] = []
        seed, propose, model = str(root / "M1/seed"), str(root / "M2/prompts"), self.layout.model(1).uri
        self.planned = [
            PlannedStep("seed", "M1", "seed", Folder(seed), {}),
            PlannedStep("propose", "M2", "propose", Folder(propose), {"given": seed}),
            PlannedStep("eft", "M1", "eft", self.layout.eft(), {}),
            PlannedStep("sft", "M1", "sft", self.layout.training(1), {"given": propose}, str(root / "M1")),
            PlannedStep("dpo", "M2", "dpo", self.layout.training(2), {"model": model}, str(root / "M2")),
        ]

    def function(self, name: str) -> Callable[..., Any]:
        def call(_recipe: Recipe, *, out: str, label: str, proposer: Any = None, **given: str) -> None:
            training = name in ("sft", "dpo")
            step = Step(name, ModelLayout(out).training.uri if training else out, {}, given)
            if step.is_done():
                return
            if training:
                assert not ModelLayout(out).model.files(), "the model of another training is there"
                ModelLayout(out).model.write_json("config.json", self.texts[name])
            step.write([Dropped(self.texts[name], name, "")], Dropped)
            step.finish(offered=1)
            self.made.append(name)

        return call

    def run(self, remake: bool = False) -> list[str]:
        """The names of the steps that were made."""
        self.made.clear()
        loop.run_plan(RECIPE, self.layout, remake)
        return list(self.made)

    def redo(self, name: str, text: str) -> None:
        self.texts[name] = text
        next(step for step in self.planned if step.name == name).folder.delete()


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    made = Steps(tmp_path)
    for name in made.texts:
        monkeypatch.setitem(loop.STEPS, name, made.function(name))
    monkeypatch.setattr(loop, "plan", lambda recipe, layout: made.planned)
    monkeypatch.setattr(loop, "tracked", lambda *_: nullcontext())
    monkeypatch.setattr(loop, "Reactions", lambda *_: SimpleNamespace(after=lambda *_, **__: None))
    monkeypatch.setattr(loop, "update_report", lambda _: None)
    assert made.run() == ["seed", "propose", "eft", "sft", "dpo"]
    return made


def test_what_was_made_from_a_step_that_is_done_again_is_refused(steps: Steps):
    steps.redo("propose", "other")
    with pytest.raises(Stale, match=r"a finished 'sft' step made from .* \(another given\); .* --remake does that"):
        steps.run()
    assert steps.made == ["propose"]


def test_a_step_that_is_done_again_alike_changes_nothing(steps: Steps):
    steps.redo("propose", "b")
    assert steps.run() == ["propose"]


def test_remake_makes_what_was_made_from_it_and_no_more(steps: Steps, capsys: pytest.CaptureFixture[str]):
    steps.redo("seed", "other")
    assert steps.run(remake=True) == ["seed", "propose"], "the prompts are the same as before"
    said = " ".join(capsys.readouterr().err.split())
    assert "M2 · propose: made again, because its recipe or its inputs are others now (another given)" in said
    assert steps.run() == []


def test_models_after_one_that_is_trained_again_are_too_with_their_rejections(steps: Steps):
    """The alarms look at the steps after the newest model alone."""
    write_rejection(steps.layout.root, Rejection(2, 3, "win_rate", "M2 · evaluate", 0.1, 0.5, ""))
    steps.redo("propose", "other")
    assert steps.run(remake=True) == ["propose", "sft", "dpo"]
    assert read_rejections(steps.layout.root) == ()


def test_models_after_one_whose_training_was_removed_are_trained_again(steps: Steps):
    """As the manual says how to do a step again. The alarms would not look at it while a later model is there."""
    write_rejection(steps.layout.root, Rejection(2, 3, "win_rate", "M2 · evaluate", 0.1, 0.5, ""))
    steps.redo("sft", "d")
    assert steps.run(remake=True) == ["sft", "dpo"]
    assert read_rejections(steps.layout.root) == ()
    assert steps.run(remake=True) == []


def test_a_training_that_goes_on_keeps_what_it_has(steps: Steps):
    training = steps.layout.training(2)
    training.remove("manifest.json")
    steps.layout.model(2).delete()
    training.write_json("checkpoint.json", 1)
    steps.run(remake=True)
    assert training.is_file("checkpoint.json")


def test_nothing_is_removed_because_an_input_is_not_there(steps: Steps):
    """Another working directory, a disk that is not mounted."""
    given = Path(steps.layout.uri).parent / "given.jsonl"
    given.write_text("1")
    steps.planned[0].inputs["given"] = str(given)
    steps.planned[0].folder.delete()
    steps.run()
    given.unlink()
    kept = {path: path.read_bytes() for path in Path(steps.layout.uri).rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"was made from {given}, which is not there now; put it back"):
        steps.run(remake=True)
    assert {path: path.read_bytes() for path in Path(steps.layout.uri).rglob("*") if path.is_file()} == kept


@pytest.mark.parametrize("removed", ["model", "manifest.json"])
def test_an_interruption_of_remake_is_made_up_for(steps: Steps, removed: str, monkeypatch: pytest.MonkeyPatch):
    steps.redo("propose", "other")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "delete" if removed == "model" else "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            steps.run(remake=True)
    assert steps.run(remake=True) == ["sft", "dpo"]


def test_a_step_of_an_earlier_version_is_known_by_its_fingerprint(tmp_path: Path):
    first = Step("seed", str(tmp_path / "seed"), {}, {})
    first.is_done()
    first.finish(offered=0)
    written = first.folder.read_json("manifest.json")
    del written["content"]
    first.folder.write_json("manifest.json", written)
    manifest = read_manifest(first.folder)
    assert manifest is not None
    assert manifest.identity == manifest.fingerprint
    assert Step("pair", str(tmp_path / "pair"), {}, {"seed": first.folder.uri}).fingerprint


def test_steps_without_tables_are_not_the_same(tmp_path: Path):
    identities = set()
    for name in ("seed", "eft"):
        step = Step(name, str(tmp_path / name), {}, {})
        step.is_done()
        identities.add(step.finish(offered=0).identity)
    assert len(identities) == 2


def test_the_files_of_a_table_may_have_other_names_and_another_order(tmp_path: Path):
    contents = set()
    for number, names in enumerate([("part-0", "part-1"), ("b", "a")]):
        step = Step("seed", str(tmp_path / str(number)), {}, {})
        step.is_done()
        for name, text in zip(names, "xy", strict=True):
            write_part(step.folder, "rows", [Dropped(text, "", "")], Dropped, name)
        contents.add(step.finish(offered=2).content)
    assert len(contents) == 1
