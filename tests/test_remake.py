"""A step that is done again makes what was made from it others' work: it is refused, or made again too."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray import loop
from selfreward_ray.loop import run_steps
from selfreward_ray.plan import PlannedStep
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import ModelLayout
from selfreward_ray.store.step import Stale, Step
from selfreward_ray.store.tables import write_part

RECIPE = Recipe(model="m")


class Steps:
    """seed → propose → sft, and eft of nothing: steps that write a text of their own and those of their inputs."""

    def __init__(self, root: Path):
        self.root = root
        self.texts = {"seed": "a", "propose": "b", "sft": "c", "eft": "d"}
        self.made: list[str] = []
        seed, propose = self._planned("seed"), self._planned("propose", given="seed")
        self.planned = [seed, propose, self._planned("eft"), self._planned("sft", given="propose")]

    def _planned(self, name: str, **inputs: str) -> PlannedStep:
        given = {key: str(self.root / value) for key, value in inputs.items()}
        made_in = str(self.root) if name == "sft" else None
        folder = ModelLayout(str(self.root)).training if name == "sft" else Folder(str(self.root / name))
        return PlannedStep(name, "M1", name, folder, given, made_in)

    def function(self, name: str) -> Callable[..., Any]:
        def call(_recipe: Recipe, *, out: str, label: str, proposer: Any = None, **given: str) -> None:
            training = name == "sft"
            step = Step(name, ModelLayout(out).training.uri if training else out, {}, given)
            if step.is_done():
                return
            if training:
                assert not Path(ModelLayout(out).model.uri).exists(), "the model of another training is there"
                Path(ModelLayout(out).model.uri).mkdir()
            step.write([Dropped(self.texts[name], name, "")], Dropped)
            step.finish(offered=1)
            self.made.append(name)

        return call

    def run(self, **more: Any) -> list[str]:
        """The names of the steps that were made."""
        self.made.clear()
        run_steps(self.planned, RECIPE, **more)
        return list(self.made)

    def redo(self, name: str, text: str) -> None:
        self.texts[name] = text
        shutil.rmtree(self.root / name)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    made = Steps(tmp_path)
    for name in made.texts:
        monkeypatch.setitem(loop.STEPS, name, made.function(name))
    assert made.run() == ["seed", "propose", "eft", "sft"]
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
    assert "M1 · propose: made again, because its recipe or its inputs are others now (another given)" in said
    steps.redo("propose", "more")
    assert steps.run(remake=True) == ["propose", "sft"]
    assert steps.run() == []


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
