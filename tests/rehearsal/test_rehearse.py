"""Rehearsals of all shipped recipes: the whole loop, on the nodes that they are written for."""

from pathlib import Path

import pytest

from selfreward_ray.cluster.rehearsal.rehearse import Rehearsed, rehearse
from selfreward_ray.cluster.rehearsal.report import print_rehearsed
from selfreward_ray.recipe.shipped import shipped_names
from selfreward_ray.recipe.text import load_recipe

pytestmark = [pytest.mark.engines, pytest.mark.cluster]

ROOT = Path(__file__).parents[2]
RECIPES = shipped_names()
TRAININGS = ("SFT baseline", "SFT", "DPO")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch):
    """No test asks a hub for a tokenizer."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# `proof` has the steps and the shape of `quickstart`; so has `open-assistant`, and the manual's worked example runs a
# recipe like it for real. `qwen2.5-0.5b-1gpu` is for one machine with GPUs, as `llama3.1-8b-8gpu` is. A release
# rehearses these three too.
RARE = ("proof", "open-assistant", "qwen2.5-0.5b-1gpu")
LOCAL = [pytest.param(n, marks=[pytest.mark.release] * (n in RARE)) for n in RECIPES if n != "llama2-70b"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_shipped_recipe_is_rehearsed(name: str):
    """To its end, once after a kill; nothing of it would be rejected, and no node is started in vain or left."""
    found = rehearse(load_recipe(name), None, None)
    print_rehearsed(found)
    check(found)


def test_the_papers_recipe_is_rehearsed_on_its_cluster():
    """In a bucket; training starts nodes of its own type alone, and sampling of its own."""
    recipe = load_recipe("llama2-70b")
    found = rehearse(recipe, str(ROOT / "cluster" / "aws-autoscaling.yaml"), "s3://runs/llama2")
    print_rehearsed(found)
    check(found)
    for step in found.steps:
        kinds = {node.split("/")[0] for node in step["started"]}
        trains = step["label"].split(" · ")[1] in TRAININGS
        assert kinds <= ({"training"} if trains else {"inference-on-demand", "inference-spot"}), step
    (baseline,) = [step for step in found.steps if step["label"] == "M1 · SFT baseline"]
    assert len({*baseline["used"]} - {"head"}) == 2
    (pairs, _) = [step for step in found.steps if step["label"] == "M2 · pairs"]
    assert pairs["started"] == []


def check(found: Rehearsed) -> None:
    assert (found.rejected, found.idle, found.left, found.unseen) == ([], [], [], [])
    assert found.interrupted
    labels = [step["label"] for step in found.steps]
    assert labels.count("M2 · pairs") == 2  # killed there, and gone on
    assert labels.count("M1 · SFT") == labels.count("M2 · DPO") == 1
    assert labels.count("M2 · evaluate") == 1
