"""The whole loop with the real engines, as Ray jobs on a real cluster: vLLM, Ray Data, Ray Train, ZeRO-3.

One tiny random Llama goes M0 → M1 → M2 by `jobs/run.py` and M2 → M3 by `jobs/iterate.py`; the tests look at what
they left. The model first has to learn from the seed to end its verdicts in a score, so nothing here would work
if training did not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_model import write_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward_ray.records import EvaluatedSet, JudgedPrompt, Pair
from selfreward_ray.run_layout import RunLayout
from selfreward_ray.run_store import Manifest, read_manifest, read_rows

pytestmark = pytest.mark.engines

BIN = Path(sys.executable).parent
WORDS = ("red", "green", "blue", "white", "black", "brown", "grey", "pink")
PROMPTS = 24

RECIPE = {
    "name": "tiny",
    "iterations": 1,
    "respond": {"candidates": 3, "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 16}},
    "judge": {
        "rubric": "checklist",
        "verdicts": 2,
        "min_valid": 1,
        "retries": 1,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 16},
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
        "batch_size": 4,
        "micro_batch_tokens": 256,
        "epochs": 2,
        "max_tokens": 256,
    },
    "training": {"gradient_checkpointing": True, "dtype": "bfloat16"},
    "inference": {
        "tokens_in_flight": 8192,
        "rows_per_block": 4,
        "engine": {
            "dtype": "bfloat16",
            "max_model_len": 256,
            "max_num_seqs": 32,
            "enforce_eager": True,
            "block_size": 32,
        },
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"},
    },
}


@dataclass(frozen=True)
class FinishedRun:
    """A run that the jobs made, and what they printed."""

    layout: RunLayout
    model: Path
    recipe: Path
    run_job: str
    iterate_job: str

    def manifest(self, *parts: str) -> Manifest:
        found = read_manifest(self.layout.root / "/".join(parts))
        assert found is not None, f"{parts} is not complete"
        return found


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """M0 and a recipe over a seed file in which shorter replies are ranked better."""
    model = write_tiny_model(folder / "M0")
    sets = [
        {
            "prompt": f"Say {first} or {second}.",
            "responses": [
                {"text": first, "rank": 0, "verdict": "Good.\nScore: 5"},
                {"text": f"{first} {second} {second}", "rank": 1, "verdict": "Long.\nScore: 2"},
            ],
        }
        for first in WORDS
        for second in WORDS
        if first != second
    ]
    seed = folder / "seed.jsonl"
    seed.write_text("".join(json.dumps(s) + "\n" for s in sets))
    prompts = folder / "prompts.jsonl"
    texts = [f"Say {word} {number} times." for number in range(2, 8) for word in WORDS]
    prompts.write_text("".join(json.dumps({"prompt": t}) + "\n" for t in texts))
    values = {
        **RECIPE,
        "model": str(model),
        "seed_data": {"source": str(seed), "ift": 15, "eft": 48, "held_out": 6, "verdicts": "written"},
        "prompts": {"source": str(prompts), "count": PROMPTS},
    }
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(values))
    return model, recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, submit: Callable[..., str]) -> FinishedRun:
    """The two jobs, one after the other."""
    folder = tmp_path_factory.mktemp("run")
    model, recipe = write_inputs(folder)
    run = folder / "run"
    run_job = submit("run.py", str(recipe), "--run-dir", str(run))
    iterate_job = submit("iterate.py", "--run-dir", str(run))
    return FinishedRun(RunLayout(str(run)), model, recipe, run_job, iterate_job)


def test_every_step_is_complete_and_nothing_is_lost(finished: FinishedRun) -> None:
    assert finished.manifest("M1", "model").step == "sft"
    for model in ("M2", "M3"):
        assert finished.manifest(model, "prompts").rows == {"rows": PROMPTS}
        judged = finished.manifest(model, "judged")
        assert 0 < judged.metrics["prefix_hit_rate"] < 1
        assert judged.metrics["engine_restarts"] == 0
        assert judged.rows["rows"] + sum(judged.dropped.values()) == PROMPTS
        pairs = finished.manifest(model, "pairs")
        assert pairs.rows["rows"] + sum(pairs.dropped.values()) == judged.rows["rows"]
        assert finished.manifest(model, "model").step == "dpo"
    for model in ("M1", "M2", "M3"):
        assert finished.manifest(model, "evaluation").rows == {"rows": 6}


def test_each_candidate_is_judged_by_its_own_verdicts(finished: FinishedRun) -> None:
    judged = read_rows(finished.layout.judged(2), JudgedPrompt)
    assert {row.id for row in judged} == {f"it1/p{i:06d}" for i in range(PROMPTS)}
    scores = []
    for row in judged:
        assert [c.id for c in row.candidates] == [f"{row.id}/r{i}" for i in range(3)]
        for candidate in row.candidates:
            assert [v.id for v in candidate.verdicts] == [f"{candidate.id}/v{k}" for k in range(2)]
            valid = [v.score for v in candidate.verdicts if v.score is not None]
            assert candidate.mean == (sum(valid) / len(valid) if valid else None)
            scores += valid
    # M1 has learnt to write verdicts: a model that had not would hardly ever end one in a score.
    assert len(scores) > len(judged) * 3
    assert set(scores) <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


def test_pairs_prefer_what_the_judge_scored_higher(finished: FinishedRun) -> None:
    for t in (2, 3):
        pairs = read_rows(finished.layout.pairs(t), Pair)
        assert pairs
        for pair in pairs:
            assert pair.chosen.text != pair.rejected.text
            assert pair.chosen.mean is not None
            assert pair.rejected.mean is not None
            assert pair.chosen.mean > pair.rejected.mean
            assert pair.chosen.finished


def test_dpo_starts_at_ln2_and_learns_its_pairs(finished: FinishedRun) -> None:
    steps = [json.loads(line) for line in finished.layout.model(2).read_bytes("steps.jsonl").splitlines()]
    assert steps[0]["preference_loss"] == pytest.approx(0.693147, abs=1e-3)
    epoch = len(steps) // 4
    assert sum(s["preference_loss"] for s in steps[-epoch:]) / epoch < 0.65


def test_sft_loss_falls(finished: FinishedRun) -> None:
    steps = [json.loads(line) for line in finished.layout.model(1).read_bytes("steps.jsonl").splitlines()]
    assert steps[-1]["loss"] < steps[0]["loss"] / 4


def test_exported_models_differ_and_load_in_plain_transformers(finished: FinishedRun) -> None:
    weights = [load_file(next(finished.model.glob("*.safetensors")))]
    for t in (1, 2, 3):
        folder = Path(finished.layout.model(t).uri)
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert AutoTokenizer.from_pretrained(folder).chat_template
        ids = torch.tensor([[1, 2, 3]])
        assert torch.isfinite(model(ids).logits).all()
        weights.append(load_file(next(folder.glob("*.safetensors"))))
    for before, after in pairwise(weights):
        assert before.keys() == after.keys()
        for name, tensor in after.items():
            assert tensor.numel() > 0
            assert tensor.shape == before[name].shape
            assert torch.isfinite(tensor).all()
        assert any(not torch.equal(before[name], after[name]) for name in after)


def test_plain_vllm_loads_the_last_model_and_says_what_transformers_says(finished: FinishedRun) -> None:
    """Greedy tokens of both, in a process of its own: vLLM keeps its memory until the process ends."""
    folder = Path(finished.layout.model(3).uri)
    script = (
        "import json, sys\n"
        "from vllm import LLM, SamplingParams\n"
        "if __name__ == '__main__':\n"
        "    model = LLM(sys.argv[1], dtype='float32', max_model_len=256, enforce_eager=True, block_size=32)\n"
        "    asked = [{'prompt_token_ids': [1, 40, 50, 60]}]\n"
        "    out = model.generate(asked, SamplingParams(temperature=0, max_tokens=8, min_tokens=8))\n"
        "    print('\\nTOKENS', json.dumps(list(out[0].outputs[0].token_ids)))\n"
    )
    path = Path(finished.recipe.parent) / "plain_vllm.py"
    path.write_text(script)
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run([sys.executable, path, folder], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    # vLLM logs to the same stream.
    by_vllm = json.loads(next(x for x in done.stdout.splitlines() if x.startswith("TOKENS")).removeprefix("TOKENS"))
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = plain.generate(torch.tensor([[1, 40, 50, 60]]), max_new_tokens=8, min_new_tokens=8, do_sample=False)
    assert by_vllm == ids[0, 4:].tolist()


def test_evaluation_has_answers_and_verdicts(finished: FinishedRun) -> None:
    rows = read_rows(finished.layout.evaluation(1), EvaluatedSet)
    assert len(rows) == 6
    assert all(len(row.judged) == 2 for row in rows)
    figures = finished.manifest("M1", "evaluation").metrics
    assert figures["agreement"]["verdicts"] == 12
    assert figures["replies"]["count"] == 6
    assert figures["replies"]["true_score"] is None, "no program can check these prompts"


def test_jobs_follow_the_run_and_write_the_report(finished: FinishedRun) -> None:
    assert "M2 · respond and judge" in finished.run_job
    assert "M3" not in finished.run_job
    assert "M3 · DPO" in finished.iterate_job
    assert "M1 · SFT  already done" in finished.iterate_job
    page = finished.layout.root.read_bytes("report.html").decode()
    assert "M3" in page
    assert "<svg" in page


def test_the_same_command_again_recomputes_nothing(finished: FinishedRun) -> None:
    """From the shell this time, on a cluster of its own, whatever cluster this machine remembers.

    `iterations=2` is what the run has by now.
    """
    root = Path(finished.layout.uri)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.parent != root}
    done = subprocess.run(
        [BIN / "selfreward", "run", finished.recipe, "--run-dir", root, "iterations=2"],
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count("already done") == len(finished.layout.steps(finished.layout.recipe()))
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.parent != root} == before
