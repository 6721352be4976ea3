"""The whole loop with the real engines, as a Ray job on a real cluster: vLLM, Ray Data, Ray Train, ZeRO-3.

One tiny random Llama learns from people's rankings and becomes M1 and M2 by `jobs/run.py`; the tests look at what it
left. The run's folder is in an object store: what every step writes, and every checkpoint, goes
through S3's protocol.

The ranked replies are six words in random order, so the model learns to write such lines: they are its proposals too.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_model import ENGINE_ENV, write_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward_ray.models.local import local_model
from selfreward_ray.plan import plan
from selfreward_ray.prompts.filters import length
from selfreward_ray.records import (
    EvaluatedSet,
    JudgedPrompt,
    JudgedSet,
    Pair,
    Prompt,
    Proposal,
    RankedSet,
    SftExample,
)
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest, read_manifest
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import read_rows
from selfreward_ray.tracking.json_lines import MetricsReader

pytestmark = pytest.mark.engines

BIN = Path(sys.executable).parent
WORDS = (
    "river",
    "stone",
    "bread",
    "garden",
    "quiet",
    "golden",
    "bridge",
    "warm",
    "evening",
    "fruit",
    "honest",
    "country",
)
SETS = 66
HELD_OUT = 6
PROMPTS = 12

RECIPE = {
    "name": "tiny",
    "iterations": 1,
    # Verdicts of a random model agree with the people by chance: with eight of each, enough sets have one that does.
    "seed_data": {"ift": 30, "eft": 30, "held_out": HELD_OUT, "verdict_samples": 8},
    "prompts": {
        "count": PROMPTS,
        "seed_demonstrations": 2,
        "new_demonstrations": 1,
        "requests_per_round": 4,
        "max_requests": 400,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 32, "seeded": True},
    },
    # Long enough for six words to end in: a reply that is cut off may not be chosen.
    "respond": {"candidates": 3, "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 48}},
    "judge": {
        "rubric": "checklist",
        "verdicts": 2,
        "min_valid": 1,
        "retries": 0,
        "constrained": True,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 32},
    },
    "sft": {
        "learning_rate": 5.0e-3,
        "final_learning_rate": 5.0e-4,
        "batch_size": 8,
        "micro_batch_tokens": 512,
        "epochs": 3,
        "max_tokens": 256,
    },
    "dpo": {
        "learning_rate": 2.0e-4,
        "final_learning_rate": 1.0e-4,
        "batch_size": 2,
        "micro_batch_tokens": 256,
        "epochs": 3,
        "max_tokens": 256,
    },
    # A random model judges by chance.
    "alarms": {"judge_at_chance": {"reaction": "warn"}, "loss_rise": {"reaction": "warn"}},
    "training": {"gradient_checkpointing": True, "dtype": "bfloat16", "checkpoint_every": 3},
    "inference": {
        "tokens_in_flight": 8192,
        "rows_per_block": 4,
        "engine": {
            "dtype": "float32",
            "max_model_len": 256,
            "max_num_seqs": 32,
            "enforce_eager": True,
            "block_size": 32,
            "distributed_executor_backend": "uni",
        },
        "env": ENGINE_ENV,
    },
}


@dataclass(frozen=True)
class FinishedRun:
    """A run that the job made, and what it printed."""

    layout: RunLayout
    model: Path
    recipe: Path
    printed: str

    def manifest(self, folder: Folder) -> Manifest:
        found = read_manifest(folder)
        assert found is not None, f"{folder.uri} is not complete"
        return found

    def steps(self, t: int) -> list[dict[str, Any]]:
        """A line for each step of M(t)'s training."""
        return [json.loads(line) for line in self.layout.training(t).read_bytes("steps.jsonl").splitlines()]


def messages(rng: random.Random) -> list[dict[str, Any]]:
    """Flat messages: first-turn prompts with two ranked replies each, and three that cannot be placed or used."""
    rows = []
    for i in range(SETS):
        tree = {"message_tree_id": f"t{i}", "lang": "en"}
        asked = f"Say {rng.choice(WORDS)} and the number {i}."
        rows.append({**tree, "message_id": f"t{i}", "role": "prompter", "text": asked})
        for rank in (1, 0):
            reply = {"message_id": f"t{i}/{rank}", "parent_id": f"t{i}", "role": "assistant", "rank": rank}
            rows.append({**tree, **reply, "text": " ".join(rng.sample(WORDS, 6))})
    lost = {"message_tree_id": "t0", "role": "assistant", "text": "red", "rank": 0, "lang": "en"}
    rows.append({**lost, "message_id": "orphan", "parent_id": "nobody"})
    rows.append({**lost, "message_id": "a circle", "parent_id": "a circle"})
    rows.append({**lost, "message_id": "by a model", "parent_id": "t0", "rank": 2, "synthetic": True})
    rng.shuffle(rows)
    return rows


def write_inputs(folder: Path, run_dir: str) -> tuple[Path, Path]:
    """M0 and a recipe over a file of people's rankings, whose new prompts M1 proposes."""
    model = write_tiny_model(folder / "M0")
    source = folder / "messages.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in messages(random.Random(0))))
    values: dict[str, Any] = {**RECIPE, "model": str(model)}
    # M0 judges. By default a baseline does, which the rehearsals train: one training more than this chain needs.
    values["seed_data"] = {**values["seed_data"], "source": str(source), "verdicts": str(model)}
    values["prompts"] = {**values["prompts"], "proposer": f"{run_dir}/M1/model"}
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(values))
    return model, recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, submit: Callable[..., str], bucket: str) -> FinishedRun:
    run_dir = f"{bucket}/tiny"
    model, recipe = write_inputs(tmp_path_factory.mktemp("run"), run_dir)
    printed = submit("run.py", str(recipe), "--run-dir", run_dir)
    return FinishedRun(RunLayout(run_dir), model, recipe, printed)


def test_every_step_is_complete_and_nothing_is_lost(finished: FinishedRun) -> None:
    layout = finished.layout
    assert finished.manifest(layout.training(1)).step == "sft"
    assert finished.manifest(layout.prompts(2)).rows == {"rows": PROMPTS}
    judged = finished.manifest(layout.judged(2))
    assert 0 < judged.metrics["prefix_hit_rate"] < 1
    assert judged.metrics["engine_restarts"] == 0
    assert judged.rows["rows"] + sum(judged.dropped.values()) == PROMPTS
    pairs = finished.manifest(layout.pairs(2))
    assert pairs.rows["rows"] + sum(pairs.dropped.values()) == judged.rows["rows"]
    assert finished.manifest(layout.training(2)).step == "dpo"
    for t in (1, 2):
        assert finished.manifest(layout.evaluation(t)).rows == {"rows": HELD_OUT}


def test_m2_is_compared_with_m1_by_m1(finished: FinishedRun) -> None:
    """All answers are scored, or dropped because too few of their verdicts can be read."""
    layout = finished.layout
    for t in (1, 2):
        scored = finished.manifest(layout.scored(t))
        assert (scored.step, scored.rows["rows"], scored.metrics["verdicts"]) == ("judge", HELD_OUT, 2 * HELD_OUT)
    compared = finished.manifest(layout.against(2, 1))
    outcomes = compared.metrics["outcomes"]
    assert outcomes["left"] + outcomes["right"] + outcomes["ties"] == compared.rows["rows"]
    assert compared.rows["rows"] + sum(compared.dropped.values()) == HELD_OUT
    assert "Head to head" in layout.root.read_bytes("report.html").decode()


def test_metrics_were_recorded_while_it_ran(finished: FinishedRun) -> None:
    """Of every optimizer step, of the pool's steps, and of each model's evaluation; TensorBoard has them too."""
    layout = finished.layout
    lines = list(MetricsReader(layout.uri).new())
    trained = [line for line in lines if line["series"] == "M2/dpo"]
    assert [line["step"] for line in trained] == [row["step"] + 1 for row in finished.steps(2)]
    assert {"loss", "accuracy", "reward_margin", "gradient_norm", "tokens_per_second"} <= trained[-1]["values"].keys()
    pooled = [line for line in lines if line["series"] == "M2/respond"]
    assert pooled[-1]["values"]["rows_left"] == 0
    assert "mean_score" in pooled[-1]["values"]
    assert [line["step"] for line in lines if line["series"] == "evaluate"] == [1, 2]
    assert finished.manifest(layout.judged(2)).metrics["scores"]
    assert (layout.root / "tensorboard").files()


def test_every_ranked_set_has_its_place_and_every_lost_message_its_reason(finished: FinishedRun) -> None:
    seed = finished.manifest(finished.layout.seed())
    reading = seed.metrics.pop("reading")
    assert (reading["bad_rows"], reading["unused_columns"]) == (0, [])
    assert seed.metrics == {"ift": 30, "eft": 30, "held_out": HELD_OUT}
    assert seed.dropped == {"its parent is missing": 1, "its parents form a circle": 1, "reply is synthetic": 1}


def test_constrained_verdicts_all_end_in_a_score(finished: FinishedRun) -> None:
    sets = read_rows(finished.layout.verdicts(), JudgedSet)
    assert {s.id for s in sets} == {s.id for s in read_rows(finished.layout.seed(), RankedSet, "eft")}
    verdicts = [v for s in sets for reply in s.judged for v in reply.verdicts]
    assert len(verdicts) == 30 * 2 * 8
    assert all(v.score is not None and v.attempts == 1 for v in verdicts)


def test_judging_rows_agree_with_the_people(finished: FinishedRun) -> None:
    rows = {row.id.removesuffix("/eft"): row.target for row in read_rows(finished.layout.eft(), SftExample)}
    assert 30 <= len(rows) <= 31
    assert len(rows) + sum(finished.manifest(finished.layout.eft()).dropped.values()) == 30 * 2
    scores = {reply: float(text.rsplit("Score: ", 1)[1]) for reply, text in rows.items()}
    both = [name for name in scores if name.endswith("/0") and f"{name[:-1]}1" in scores]
    assert both
    assert all(scores[name] > scores[f"{name[:-1]}1"] for name in both)


def test_prompts_are_proposed_in_rounds_and_filtered(finished: FinishedRun) -> None:
    prompts = read_rows(finished.layout.prompts(2), Prompt)
    assert all(length(p.text) is None for p in prompts)
    assert len({p.text for p in prompts}) == len(prompts) == PROMPTS
    proposals = read_rows(finished.layout.prompts(2) / "proposals", Proposal)
    assert len(proposals) == PROMPTS + sum(finished.manifest(finished.layout.prompts(2)).dropped.values())
    assert {p.id: p.text for p in prompts}.items() <= {p.id: p.text for p in proposals}.items()
    assert len(proposals) > 4, "more than one round"


def test_each_candidate_is_judged_by_its_own_verdicts(finished: FinishedRun) -> None:
    judged = read_rows(finished.layout.judged(2), JudgedPrompt)
    assert {row.id for row in judged} <= {p.id for p in read_rows(finished.layout.prompts(2), Prompt)}
    for row in judged:
        assert [c.id for c in row.candidates] == [f"{row.id}/r{i}" for i in range(3)]
        for candidate in row.candidates:
            assert [v.id for v in candidate.verdicts] == [f"{candidate.id}/v{k}" for k in range(2)]
            scores = [v.score for v in candidate.verdicts]
            assert {*scores} <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
            assert candidate.mean == sum(filter(None, scores)) / 2


def test_pairs_prefer_what_the_judge_scored_higher(finished: FinishedRun) -> None:
    pairs = read_rows(finished.layout.pairs(2), Pair)
    assert pairs
    for pair in pairs:
        assert pair.chosen.text != pair.rejected.text
        assert pair.chosen.mean is not None
        assert pair.rejected.mean is not None
        assert pair.chosen.mean > pair.rejected.mean
        assert pair.chosen.finished


def test_pairs_are_exported(finished: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    subprocess.run([BIN / "selfreward", "export", finished.layout.pairs(2).uri, "--out", out], check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [pair.id for pair in read_rows(finished.layout.pairs(2), Pair)]


def test_sft_loss_falls(finished: FinishedRun) -> None:
    steps = finished.steps(1)
    assert steps[-1]["loss"] < steps[0]["loss"] / 2


def test_dpo_starts_at_ln2_and_learns_its_pairs(finished: FinishedRun) -> None:
    steps = finished.steps(2)
    assert steps[0]["preference_loss"] == pytest.approx(0.693147, abs=1e-3)
    epoch = len(steps) // 3
    assert sum(s["preference_loss"] for s in steps[-epoch:]) / epoch < 0.65


def test_exported_models_differ_and_load_in_plain_transformers(finished: FinishedRun) -> None:
    layout = finished.layout
    folders = [local_model(folder.uri) for folder in (layout.model(1), layout.model(2))]
    weights = [load_file(next(finished.model.glob("*.safetensors")))]
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert AutoTokenizer.from_pretrained(folder).chat_template
        assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
        weights.append(load_file(next(folder.glob("*.safetensors"))))
    for before, after in pairwise(weights):
        assert before.keys() == after.keys()
        for name, tensor in after.items():
            assert tensor.numel() > 0
            assert tensor.shape == before[name].shape
            assert torch.isfinite(tensor).all()
        assert any(not torch.equal(before[name], after[name]) for name in after)


def test_evaluation_has_answers_and_verdicts(finished: FinishedRun) -> None:
    rows = read_rows(finished.layout.evaluation(1), EvaluatedSet)
    assert len(rows) == HELD_OUT
    assert all(len(row.judged) == 2 for row in rows)
    figures = finished.manifest(finished.layout.evaluation(1)).metrics
    assert figures["agreement"]["verdicts"] == 2 * HELD_OUT
    assert figures["agreement_of_means"]["verdicts"] == 2 * 2 * HELD_OUT
    assert figures["replies"]["count"] == HELD_OUT
    assert figures["replies"]["score"] is None, "the recipe names no scorer"


def test_the_job_follows_the_run_and_writes_the_report(finished: FinishedRun) -> None:
    done = [line.split("  ")[0].removeprefix("✓ ") for line in finished.printed.splitlines() if line.startswith("✓")]
    assert done == [step.label for step in plan(finished.layout.recipe(), finished.layout)]
    page = finished.layout.root.read_bytes("report.html").decode()
    assert "M2" in page
    assert "<svg" in page


def test_the_same_command_again_recomputes_nothing(finished: FinishedRun) -> None:
    """From the shell this time, on a cluster of its own, whatever cluster this machine remembers."""
    layout = finished.layout
    steps = plan(layout.recipe(), layout)
    before = [step.folder.read_bytes("manifest.json") for step in steps]
    done = subprocess.run(
        [BIN / "selfreward", "run", finished.recipe, "--run-dir", layout.uri],
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count("already done") == len(steps)
    assert [step.folder.read_bytes("manifest.json") for step in steps] == before
