"""The GPU benchmark runs completely on a CPU, and without Ray.

What only a GPU can run, and no test does: FlashAttention on packed rows and Liger's kernels, which `training/` chooses
there, NCCL, which its engine opens there, and the allocator's count of peak memory in place of the process's.
"""

from pathlib import Path

import pytest
from benchmark_runs import run_benchmark


def test_without_a_gpu_it_says_so():
    done = run_benchmark("gpu", CUDA_VISIBLE_DEVICES="")
    assert done.status == 1
    assert done.errors == "PyTorch sees no GPU here; `--device cpu --size tiny` goes the same way without one\n"


@pytest.mark.release
@pytest.mark.engines
def test_a_cpu_runs_the_same_code_and_ray_is_not_needed(tmp_path: Path):
    (tmp_path / "ray.py").write_text("raise ImportError('Ray is not installed here')")
    shape = ("--device", "cpu", "--size", "tiny", "--pairs", 4, "--steps", 2, "--longest", 64, "--peak-tflops", 0.001)
    figures = run_benchmark("gpu", *shape, PYTHONPATH=str(tmp_path)).figures
    assert figures["tokens_per_s"] > 0
    assert figures["model_flop_utilisation"] > 0
    assert 0 < figures["peak_memory_gb"] < 8
    # The two differ only by rounding to bfloat16: a little, but not zero.
    assert 0 < figures["loss_difference"] < 0.05
    assert 0 < figures["logprob_difference"] < 0.01
    assert 0 < figures["gradient_norm_difference"] < 0.05
