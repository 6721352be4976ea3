"""DPO on one GPU: speed, and whether the results match those on a CPU. Run with `make bench-gpu`.

Uses the trainer's modules (policy, objective, batches, reference, ZeRO-3 engine) on one rank, without Ray. It needs
PyTorch, transformers, DeepSpeed, on a GPU Liger's kernels, and the dependencies of this package's records and recipes.
Models are Llamas with random weights, created from a configuration; pairs are random token ids.

    speed   the whole model, bfloat16, gradient checkpointing: tokens (without padding) and model FLOPs per second of
            the optimizer steps, without the first two; peak memory: allocated by PyTorch, on a CPU by the process
    parity  the same widths with two layers, on one small batch: float32 on the CPU against bfloat16 on the GPU. The
            reference's mean log-prob per token may differ by 0.01 nats, the loss by 0.05 (with a uniform reference,
            because with its own it is always ln 2), and the gradient norm by 5 %

Each stage runs in its own process. Model FLOPs are those of `training/model_flops.py`; utilization is their share of
`--peak-tflops`, by default NVIDIA's figure for dense bfloat16 on an H100 SXM or H200. The last line is JSON; the exit
status is 1 if the two devices differ. `--device cpu --size tiny` runs the same code without a GPU (in bfloat16).
"""

import argparse
import json
import math
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The stages import torch, because DeepSpeed chooses its device from the environment of its process.

SIZES: dict[str, dict[str, Any]] = {
    # Llama 3.2 1B.
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 400,
        "initializer_range": 0.1,  # the default of 0.02 would make all log-probs nearly equal
    },
}
WARM_UP = 2
PARITY_PAIRS = 4
TOLERANCES = {"logprob": 0.01, "loss": 0.05, "gradient_norm": 0.05}
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"


def write_model(folder: Path, size: str, layers: int | None = None) -> None:
    """A Hugging Face folder of deterministic random bfloat16 weights, and a tokenizer of three tokens."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"<|im_start|>": 0, "<|im_end|>": 1, "<|unknown|>": 2}, "<|unknown|>"))
    ends = dict.fromkeys(("eos_token", "pad_token"), "<|im_end|>")
    PreTrainedTokenizerFast(tokenizer_object=core, chat_template=CHATML, **ends).save_pretrained(folder)
    shape = SIZES[size] | ({"num_hidden_layers": layers} if layers else {})
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=4096, eos_token_id=1, pad_token_id=1))
    model.to(torch.bfloat16).save_pretrained(folder)


def made_pairs(count: int, vocabulary: int, longest: int) -> list[Any]:
    """Pairs of random ids: prompts of 1/16 to 1/4 of the `longest` sequence, log-normal replies, an eighth of it at
    the median."""
    from selfreward_ray.records import PairTokens

    rng = random.Random(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, vocabulary) for _ in range(length))

    def reply() -> tuple[int, ...]:
        return (*ids(min(3 * longest // 4, round(longest / 8 * rng.lognormvariate(0, 0.6))) - 1), 1)

    return [
        PairTokens(f"p{number}", ids(rng.randint(longest // 16, longest // 4)), reply(), reply())
        for number in range(count)
    ]


class Unheard:
    """Replaces Ray's handle of the progress actor."""

    def __getattr__(self, name: str) -> "Unheard":
        return self

    def remote(self, *_: Any) -> None:
        pass


def opened(model: Path, device: str, dtype: str, batch: int, micro_batch_tokens: int) -> tuple[Any, Any]:
    """The trainer's engine on one rank, and its job."""
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ[name] = str(value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    from selfreward_ray.recipe.training import Dpo, Training
    from selfreward_ray.training.job import TrainJob
    from selfreward_ray.training.objectives import DpoObjective
    from selfreward_ray.training.zero3 import open_engine

    dpo = Dpo(
        learning_rate=1e-4, final_learning_rate=1e-4, batch_size=batch, micro_batch_tokens=micro_batch_tokens
    )  # fmt: skip
    gpu = device == "cuda"
    training = Training(workers=1, gpus_per_worker=int(gpu), dtype=dtype, liger_kernels=gpu)
    job = TrainJob(
        "DPO", str(model), str(model.parent / "out"), DpoObjective(dpo), dpo, training, 0, "bench", Unheard()
    )
    return open_engine(model, job, 1), job


def speed(
    model: Path, device: str, dtype: str, batch: int, steps: int, longest: int, micro_batch_tokens: int
) -> dict[str, float]:
    import torch
    from transformers import AutoConfig

    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.model_flops import ModelFlops
    from selfreward_ray.training.reference import reference_logprobs
    from selfreward_ray.training.step import take_step

    config = AutoConfig.from_pretrained(model)
    engine, job = opened(model, device, dtype, batch, micro_batch_tokens)
    plan = plan_batches(
        made_pairs(batch * (WARM_UP + steps), config.vocab_size, longest), job.optimization, 1, job.seed
    )
    reference = reference_logprobs(engine, plan, job)
    flops_of = ModelFlops.of(config)
    seconds, tokens, flops = [], [], []
    for step in plan:
        start = time.monotonic()
        take_step(engine, step, step.ranks[0], reference, job)  # it reads the losses, which synchronizes the device
        seconds.append(time.monotonic() - start)
        sequences = [s for pair in step.examples() for s in pair.sequences()]
        tokens.append(sum(len(s.prompt_ids) + len(s.target_ids) for s in sequences))
        flops.append(flops_of.training(sequences))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took = sum(seconds[WARM_UP:])
    return {
        "tokens_per_s": sum(tokens[WARM_UP:]) / took,
        "tflops": sum(flops[WARM_UP:]) / took / 1e12,
        "step_seconds": statistics.median(seconds[WARM_UP:]),
        "peak_memory_gb": (torch.cuda.max_memory_allocated() if device == "cuda" else resident) / 1e9,
    }


def parity(model: Path, device: str, dtype: str, longest: int) -> dict[str, float]:
    from transformers import AutoConfig

    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.reference import reference_logprobs
    from selfreward_ray.training.step import take_step

    vocabulary = AutoConfig.from_pretrained(model).vocab_size
    engine, job = opened(model, device, dtype, PARITY_PAIRS, micro_batch_tokens=8192)
    pairs = made_pairs(PARITY_PAIRS, vocabulary, longest)
    (batch,) = plan = plan_batches(pairs, job.optimization, 1, job.seed)
    targets = {s.id: len(s.target_ids) for pair in pairs for s in pair.sequences()}
    reference = reference_logprobs(engine, plan, job)
    uniform = {name: -count * math.log(vocabulary) for name, count in targets.items()}
    return {
        "logprob": sum(reference[name] for name in targets) / sum(targets.values()),
        "loss": take_step(engine, batch, batch.ranks[0], uniform, job)["loss"],
        "gradient_norm": float(engine.get_global_grad_norm()),
    }


def in_process(stage: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """The results of a stage."""
    command = [sys.executable, __file__, "--stage", json.dumps([stage, str(folder), settings])]
    environment = dict(os.environ)
    if settings.get("device") == "cpu":
        environment["DS_ACCELERATOR"] = "cpu"
    with (folder / "log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env=environment).returncode  # noqa: S603 - this very file
    if code:
        raise SystemExit((folder / "log").read_text())
    return json.loads((folder / "found.json").read_text())


def run_stage(stage: str, folder: str, settings: dict[str, Any]) -> None:
    found: Any = {"write": write_model, "speed": speed, "parity": parity}[stage](Path(folder) / "model", **settings)
    (Path(folder) / "found.json").write_text(json.dumps(found))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    device = arguments.device
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder = Path(name)
        in_process("write", folder, size=arguments.size)
        shape = {
            "batch": arguments.pairs,
            "steps": arguments.steps,
            "longest": arguments.longest,
            "micro_batch_tokens": arguments.micro_batch_tokens,
        }
        fast = in_process("speed", folder, device=device, dtype="bfloat16", **shape)
        print(
            f"{arguments.size} on {device}: {fast['tokens_per_s']:,.0f} tokens/s, {fast['tflops']:.3f} TFLOP/s, "
            f"{fast['step_seconds']:.2f} s a step of {arguments.pairs} pairs, {fast['peak_memory_gb']:.1f} GB",
            flush=True,
        )
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder, short = Path(name), min(512, arguments.longest)
        in_process("write", folder, size=arguments.size, layers=2)
        here = in_process("parity", folder, device="cpu", dtype="float32", longest=short)
        there = in_process("parity", folder, device=device, dtype="bfloat16", longest=short)
    for where, found in (("float32 on cpu", here), (f"bfloat16 on {device}", there)):
        print(f"{where}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()), flush=True)
    differences = {name: abs(there[name] - here[name]) for name in TOLERANCES}
    differences["gradient_norm"] /= here["gradient_norm"]
    return {
        "tokens_per_s": round(fast["tokens_per_s"]),
        "model_flop_utilisation": round(fast["tflops"] / arguments.peak_tflops, 4),
        "peak_memory_gb": round(fast["peak_memory_gb"], 2),
        **{f"{name}_difference": round(difference, 5) for name, difference in differences.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=sorted(SIZES), default="1b")
    parser.add_argument("--peak-tflops", type=float, default=989, help="of the device, in dense bfloat16 products")
    parser.add_argument("--pairs", type=int, default=16, help="a step")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--longest", type=int, default=2048, help="tokens of the longest sequence that may come up")
    parser.add_argument("--micro-batch-tokens", type=int, default=32_768)
    parser.add_argument("--stage", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(*arguments.stage)
        return 0
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here; `--device cpu --size tiny` goes the same way without one")
    found = measure(arguments)
    print(json.dumps(found))
    return int(any(found[f"{name}_difference"] > most for name, most in TOLERANCES.items()))


if __name__ == "__main__":
    sys.exit(main())
