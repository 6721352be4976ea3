"""The GPU benchmark goes its whole way on a CPU, and without Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_without_a_gpu_it_says_so():
    done = run(CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr == "PyTorch sees no GPU here; `--device cpu --size tiny` goes the same way without one\n"


@pytest.mark.engines
def test_a_cpu_goes_the_same_way_and_ray_is_not_needed(tmp_path: Path):
    (tmp_path / "ray.py").write_text("raise ImportError('Ray is not installed here')")
    shape = ("--device", "cpu", "--size", "tiny", "--pairs", "4", "--steps", "2", "--longest", "64")
    done = run(*shape, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["tokens_per_s"] > 0
    assert 0 < figures["peak_memory_gb"] < 8
    # Rounding to bfloat16 alone parts the two: something, but little.
    assert 0 < figures["loss_difference"] < 0.05
    assert 0 < figures["logprob_difference"] < 0.01
    assert 0 < figures["gradient_norm_difference"] < 0.05
