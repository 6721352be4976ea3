"""A small run through the real steps: what models say is scripted, what trainings do is written down.

A reply says its own quality, so that an honest judge can read it. Human ranks follow it.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of

from selfreward_ray import loop
from selfreward_ray.inference import pool
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import JudgedPrompt
from selfreward_ray.steps import pair
from selfreward_ray.store.arrow import to_table
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import ModelLayout, RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

SETS, HELD_OUT, PROMPTS = 40, 8, 8
LENGTHS = (6, 10, 20, 40)
"""Words of a prompt's candidates."""
SOUND = {"loss_rise": -0.4, "chosen_logprob_fall": -0.1, "final_margin": 0.3, "early_accuracy": 0.6}
"""The course of a sound training."""
Judge = Callable[[str], str]
"""Takes a judge prompt and gives the verdict."""


def words(count: int, start: int) -> str:
    return " ".join(f"w{start + number}" for number in range(count))


def honest(question: str) -> str:
    """Reads the quality, and which of two replies has more of it."""
    found = [int(quality) for quality in re.findall(r"quality (\d)", question)]
    if "<first_reply>" in question:
        return f"Better: {'tie' if found[0] == found[1] else 'first' if found[0] > found[1] else 'second'}"
    return f"Score: {found[0]}"


def obedient(question: str) -> str:
    """Does what the rubric says about the score."""
    return "Score: 5" if "always give 5" in question else honest(question)


def long_winded(question: str) -> str:
    """Gives a point for every eight words of the reply."""
    reply = question.split("<reply>")[1].split("</reply>")[0]
    return f"Score: {min(5, len(reply.split()) // 8)}"


def first_one(question: str) -> str:
    """Prefers the first of two replies."""
    return "Better: first" if "<first_reply>" in question else honest(question)


def inverted(question: str) -> str:
    """Gives the worst reply the highest score."""
    (quality,) = re.findall(r"quality (\d)", question)
    return f"Score: {5 - int(quality)}"


class SmallLoop:
    """A run in `folder`. `judge` gives all models' verdicts; `answers` are the qualities of their greedy answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = RunLayout(str(folder / "run"))
        self.judge: Judge = honest
        self.answers = {"M1": 2, "M2": 3, "M3": 4}
        self.answer_words = {"M1": 10, "M2": 10, "M3": 10}
        self.courses: dict[str, dict[str, float | None]] = {}
        """By model, the course of its training, if it is not `SOUND`."""
        self.asked: list[tuple[str, str]] = []
        """(model, row) of every request."""
        self.trained: list[tuple[str, str]] = []
        """(model, what it was trained from) of every training."""
        self.reports: list[RunLayout] = []
        """The layouts of which a report was written."""
        self._folder = folder
        _write(folder / "seed.jsonl", map(_ranked_set, range(SETS)))
        _write(folder / "prompts.jsonl", ({"prompt": f"Explain topic {i} to me."} for i in range(3 * PROMPTS)))
        monkeypatch.setattr(pool, "open_pool", self._open_pool)
        monkeypatch.setattr(pair._Table, "stream", _stream)
        # Pages and pictures, which take most of a small run's time, are tested elsewhere.
        monkeypatch.setattr(loop, "update_report", self.reports.append)
        monkeypatch.setattr("selfreward_ray.tracking.run.histogram", lambda counts, title: b"")
        for name in ("sft", "dpo"):
            monkeypatch.setitem(loop.STEPS, name, getattr(self, f"_{name}"))

    def recipe(self, **sections: Any) -> Recipe:
        values: dict[str, Any] = {
            "model": "m0",
            "iterations": 2,
            "seed_data": {"source": str(self._folder / "seed.jsonl"), "ift": 8, "eft": 0, "held_out": HELD_OUT},
            "prompts": {"source": str(self._folder / "prompts.jsonl"), "count": PROMPTS},
            "judge": {"rubric": "checklist", "verdicts": 1, "min_valid": 1, "retries": 0},
            "tracking": {"trackers": []},
        }
        return Recipe.model_validate(values | {name: values.get(name, {}) | more for name, more in sections.items()})

    def run(self, recipe: Recipe | None = None) -> None:
        """As `selfreward run`, less what asks a cluster."""
        recipe = recipe or self.recipe()
        claim_run(self.layout.root, recipe)
        loop.run_plan(recipe, self.layout)

    def finished(self) -> list[str]:
        """Labels of the finished steps, in the order of the plan."""
        layout = self.layout.current()
        return [s.label for s in plan(layout.recipe(), layout) if read_manifest(s.folder) is not None]

    def cost(self) -> str:
        """What was done until now."""
        layout = self.layout.current()
        manifests = [read_manifest(step.folder) for step in plan(layout.recipe(), layout)]
        done = [manifest for manifest in manifests if manifest is not None]
        return f"{len(done)} of {len(manifests)} steps, {len(self.asked)} requests"

    def _open_pool(self, model: str, *arguments: Any) -> Any:
        name = model.split("/")[-2]
        return pool_of(ScriptedModel(lambda text, row: self._say(name, text, row)))(model, *arguments)

    def _say(self, model: str, text: str, row: str) -> str:
        self.asked.append((model, row))
        if "/v" in row:
            return self.judge(text)
        if row.endswith("/answer"):
            number = int(re.findall(r"\d+", text)[0])
            return f"quality {self.answers[model]} {words(self.answer_words[model], 100 * number)}"
        prompt, candidate = int(row.split("/p")[1].split("/")[0]), int(row[-1])
        # Each length is as often among the best as among the worst.
        quality = (prompt + candidate) % len(LENGTHS) + 1
        return f"quality {quality} {words(LENGTHS[candidate], 1000 * prompt + 100 * candidate)}"

    def _sft(self, recipe: Recipe, *, model: str, out: str, label: str, **inputs: Any) -> None:
        self._train("sft", model, out)

    def _dpo(self, recipe: Recipe, *, model: str, out: str, label: str, **inputs: Any) -> None:
        self._train("dpo", model, out)

    def _train(self, name: str, model: str, out: str) -> None:
        made, folders = out.split("/")[-1], ModelLayout(out)
        step = Step(name, folders.training.uri, {}, {"model": model})
        if step.is_done():
            return
        self.trained.append((made, model.split("/")[-2] if "/" in model else model))
        folders.model.write_json("config.json", {"made": made})
        step.finish(offered=0, metrics={"steps": 10, "skipped_steps": 0, "course": self.courses.get(made, SOUND)})


def _write(path: Path, rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _ranked_set(number: int) -> dict[str, Any]:
    """People prefer better replies, which are a little longer, as people do."""
    replies = [(5, 24), (3, 16), (1, 8)]
    responses = [
        {"text": f"quality {quality} {words(count, 50 * place)}", "rank": place}
        for place, (quality, count) in enumerate(replies)
    ]
    return {"prompt": f"Question {number}: why?", "responses": responses}


def _stream(table: Any, function: Any, columns: Any = None) -> Iterator[dict[str, Any]]:
    """Replaces Ray Data in the pair step: all rows are one block."""
    rows = read_rows(Folder(table._folder.uri.rpartition("/")[0]), JudgedPrompt)
    return iter(function(to_table(rows, JudgedPrompt)).to_pylist())
