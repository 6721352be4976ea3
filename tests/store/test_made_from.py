"""Whether a step is the same as one that another release recorded.

Releases are played by sections with other fields and defaults.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.recipe.section import Section, used
from selfreward_ray.records import Prompt
from selfreward_ray.store import made_from
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import count_rows, write_part


class Inner(Section):
    top_p: float = 0.9


class Before(Section):
    beta: float = 0.1
    names: tuple[str, ...] = ("a",)
    unused: int = 3
    inner: Inner = Inner()


class WithNewField(Before):
    new: int = 7


class InnerWithNew(Inner):
    min_p: float = 0.0


class WithNewInnerField(Before):
    inner: InnerWithNew = InnerWithNew()


class WithoutUnused(Section):
    beta: float = 0.1
    names: tuple[str, ...] = ("a",)
    inner: Inner = Inner()


class WithOtherDefault(Before):
    beta: float = 0.2


class WithOtherInner(Inner):
    top_p: float = 1.0


class WithOtherInnerDefault(Before):
    inner: WithOtherInner = WithOtherInner()


def step(out: Path, section: Section, **more: Any) -> Step:
    return Step("respond", str(out), {"dpo": used(section), "deep": {"er": used(section)}, "seed": 0} | more, {})


def finish(made: Step) -> None:
    assert not made.is_done()
    made.write([Prompt("p0", "Why?")], Prompt)
    made.finish(offered=1)


def as_earlier_versions_did(folder: Folder, section: Section) -> None:
    """The manifest records all values, and a fingerprint of them."""
    known = {"recipe": {"dpo": section.model_dump(), "deep": {"er": section.model_dump()}, "seed": 0}, "inputs": {}}
    text = json.dumps({"step": "respond"} | known, sort_keys=True)
    old = {"made_from": known, "fingerprint": hashlib.sha256(text.encode()).hexdigest()}
    folder.write_json("manifest.json", folder.read_json("manifest.json") | old)


SAME = [
    (Before(), Before()),
    (Before(), WithNewField()),
    (WithNewField(), Before()),
    (Before(), WithNewInnerField()),
    (Before(beta=0.3), WithNewField(beta=0.3)),
    (Before(), WithoutUnused()),
    (Before(beta=0.2), WithOtherDefault()),
    (Before(), WithOtherDefault(beta=0.1)),
]
GONE = [(WithNewField(), Before()), (Before(), WithoutUnused())]
OTHER = [
    (Before(), Before(beta=0.2), "dpo.beta: 0.1 → 0.2"),
    (Before(), WithNewField(new=8), "dpo.new: None → 8"),
    (WithNewField(new=8), Before(), "dpo.new: 8 → None"),
    (Before(unused=4), WithoutUnused(), "dpo.unused: 4 → None"),
    (Before(), WithOtherDefault(), "dpo.beta: 0.1 → 0.2"),
    (Before(), WithOtherInnerDefault(), "dpo.inner.top_p: 0.9 → 1.0"),
    (Before(), Before(names=("a", "b")), "dpo.names: ['a'] → ['a', 'b']"),
]


@pytest.mark.parametrize(("before", "now"), SAME)
def test_fields_that_a_release_adds_or_removes_invalidate_nothing(tmp_path: Path, before: Section, now: Section):
    finish(step(tmp_path / "out", before))
    assert step(tmp_path / "out", now).is_done()


@pytest.mark.parametrize(("before", "now", "said"), OTHER)
def test_values_and_defaults_that_change_are_named(tmp_path: Path, before: Section, now: Section, said: str):
    finish(step(tmp_path / "out", before))
    with pytest.raises(UserError, match="made from another recipe") as error:
        step(tmp_path / "out", now).is_done()
    assert f"({said}; deep.er.{said.removeprefix('dpo.')})" in str(error.value)


@pytest.mark.parametrize(("before", "now"), [pair for pair in SAME if pair not in GONE])
def test_manifests_of_earlier_versions_are_the_same_where_they_mean_the_same(
    tmp_path: Path, before: Section, now: Section
):
    """But for fields that are gone, whose defaults such a manifest does not tell."""
    finish(step(tmp_path / "out", before))
    as_earlier_versions_did(Folder(str(tmp_path / "out")), before)
    assert step(tmp_path / "out", now).is_done()


@pytest.mark.parametrize(("before", "now", "said"), [*OTHER, (Before(), WithoutUnused(), "dpo.unused: 3 → None")])
def test_manifests_of_earlier_versions_that_mean_something_else_are_refused(
    tmp_path: Path, before: Section, now: Section, said: str
):
    finish(step(tmp_path / "out", before))
    as_earlier_versions_did(Folder(str(tmp_path / "out")), before)
    with pytest.raises(UserError, match="made from another recipe") as error:
        step(tmp_path / "out", now).is_done()
    assert said in str(error.value)


def test_earlier_versions_did_not_record_settings_of_the_engine(tmp_path: Path):
    """They are not compared, and those that are recorded are."""

    def asking(**engine: Any) -> Step:
        return step(tmp_path / "out", Before(), **Inference(engine=engine).sampling())

    finish(step(tmp_path / "out", Before()))
    as_earlier_versions_did(Folder(str(tmp_path / "out")), Before())
    assert asking(dtype="float32").is_done()
    assert asking().is_done()
    Folder(str(tmp_path / "out")).delete()
    finish(asking(dtype="float32"))
    assert asking(dtype="float32").is_done()
    with pytest.raises(UserError, match=r"inputs \(inference.engine.dtype: float32 → bfloat16\)"):
        asking(dtype="bfloat16").is_done()
    with pytest.raises(UserError, match=r"inference.engine.dtype: float32 → None"):
        asking().is_done()


def test_a_step_that_is_meant_to_make_other_rows_is_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    finish(step(tmp_path / "out", Before()))
    before = step(tmp_path / "out", Before()).fingerprint
    monkeypatch.setitem(made_from.SCHEMAS, "respond", 2)
    assert step(tmp_path / "out", Before()).fingerprint != before
    with pytest.raises(UserError, match=r"inputs \(this version makes other rows of the same\); choose"):
        step(tmp_path / "out", Before()).is_done()
    monkeypatch.setitem(made_from.SCHEMAS, "pair", 3)
    monkeypatch.delitem(made_from.SCHEMAS, "respond")
    assert step(tmp_path / "out", Before()).is_done()


def begun(out: Path, section: Section) -> Step:
    made = step(out, section)
    assert not made.is_done()
    write_part(made.folder, "rows", [Prompt("p0", "Why?")], Prompt, "b0")
    return made


def test_an_unfinished_step_goes_on_under_its_name_when_a_release_adds_a_field(tmp_path: Path):
    """Its checkpoints know it by that name."""
    first = begun(tmp_path / "out", Before())
    again = step(tmp_path / "out", WithNewField())
    assert again.fingerprint != first.fingerprint
    for _ in range(2):
        assert not again.is_done()
        assert again.fingerprint == first.fingerprint
    assert count_rows(again.folder / "rows") == 1
    assert again.finish(offered=1).fingerprint == first.fingerprint


def test_an_unfinished_step_of_another_default_begins_again(tmp_path: Path):
    begun(tmp_path / "out", Before())
    again = step(tmp_path / "out", WithOtherDefault())
    assert not again.is_done()
    assert count_rows(again.folder / "rows") == 0


def test_an_unfinished_step_of_an_earlier_version_goes_on(tmp_path: Path):
    """It has left its fingerprint alone, which no setting of an engine is a part of."""

    first = begun(tmp_path / "out", Before())
    first.folder.write_json("started.json", first.fingerprint)
    again = step(tmp_path / "out", Before(), **Inference(engine={"dtype": "float32"}).sampling())
    assert not again.is_done()
    assert (count_rows(again.folder / "rows"), again.fingerprint) == (1, first.fingerprint)
    other = step(tmp_path / "out", Before(beta=0.2))
    assert not other.is_done()
    assert count_rows(other.folder / "rows") == 0


@pytest.mark.parametrize("content", ["3", "[]", "{}", '{"fingerprint": "a", "made_from": 1, "versions": {}}', "{"])
def test_a_damaged_record_of_an_unfinished_step_is_named(tmp_path: Path, content: str):
    first = begun(tmp_path / "out", Before())
    first.folder.write_bytes("started.json", content.encode())
    with pytest.raises(UserError, match=r"out/started.json is damaged \(.*\); remove"):
        step(tmp_path / "out", Before()).is_done()
    assert count_rows(first.folder / "rows") == 1


def test_a_manifest_tells_values_from_defaults(tmp_path: Path):
    finish(step(tmp_path / "out", Before(beta=0.3, inner=Inner(top_p=0.5))))
    manifest = read_manifest(Folder(str(tmp_path / "out")))
    assert manifest is not None
    differing = {"beta": 0.3, "inner": {"top_p": 0.5}}
    assert manifest.made_from == {
        "recipe": {"dpo": differing, "deep": {"er": differing}, "seed": 0},
        "defaults": {"dpo.names": ["a"], "dpo.unused": 3, "deep.er.names": ["a"], "deep.er.unused": 3},
        "inputs": {},
        "schema": 1,
    }
