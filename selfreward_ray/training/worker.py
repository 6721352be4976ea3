"""One rank of a training run: ZeRO-3 around a policy, blind to the objective. Runs inside Ray Train."""

import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import deepspeed
import ray.train
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

from selfreward_ray.chat import ChatCodec
from selfreward_ray.models import local_model
from selfreward_ray.recipe import Optimization, Training
from selfreward_ray.run_store import read_rows
from selfreward_ray.storage import Folder
from selfreward_ray.training.batches import Batch, MicroBatch, accumulation_steps, length_of, plan_batches
from selfreward_ray.training.export import export_model
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import LogProbs, Reference, learning_rate
from selfreward_ray.training.policy import Policy, by_sequence

LN2 = math.log(2)


def train(config: dict[str, Any]) -> None:
    """The loop of one rank: encoded examples in, a safetensors folder out."""
    job: TrainJob = config["job"]
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(job.seed)
    examples = read_rows(Folder(job.out), job.objective.record)
    plan = plan_batches(examples, job.optimization, ranks, job.seed)
    source = local_model(job.model)
    engine = _engine(source, job, ranks)
    reference = _reference(engine, plan, job, rank) if job.objective.uses_reference else {}
    if rank == 0:
        job.progress.note.remote("")
    log: list[dict[str, float]] = []
    tokens = 0
    for step, batch in enumerate(plan):
        started = time.monotonic()
        rate = _set_rate(engine, step, len(plan), job.optimization)
        metrics = _step(engine, batch, batch.ranks[rank], reference, job)
        if step == 0 and job.objective.uses_reference:
            _check_first_loss(metrics["preference_loss"])
        step_tokens = sum(length_of(e) * len(e.sequences()) for e in batch.examples())
        tokens += step_tokens
        log.append({"step": step, **metrics, "learning_rate": rate, "seconds": time.monotonic() - started})
        if rank == 0:
            job.progress.update.remote(step + 1, tokens)
    if rank == 0:
        job.progress.note.remote("writing the model")
        Folder(job.out).write_bytes("steps.jsonl", "".join(json.dumps(row) + "\n" for row in log).encode())
        Folder(job.out).write_json("summary.json", {"steps": len(plan), "tokens": tokens, "last": log[-1]})
    export_model(engine.module.model, source, job.out)
    # Once: a report waits for Ray Train's controller, which looks every other second, longer than a small step.
    ray.train.report({**log[-1], "steps": len(plan)})


def deepspeed_config(optimization: Optimization, training: Training, ranks: int) -> dict[str, Any]:
    """DeepSpeed's configuration of a ZeRO-3 run."""
    zero: dict[str, Any] = {"stage": 3, "overlap_comm": training.gpus_per_worker > 0}
    for name, wanted in (
        ("offload_optimizer", training.offload_optimizer),
        ("offload_param", training.offload_parameters),
    ):
        if wanted:
            zero[name] = {"device": "cpu", "pin_memory": True}
    accumulation = accumulation_steps(optimization, ranks)
    return {
        # Sequences, not examples, are DeepSpeed's samples; only the product of the three must agree.
        "train_micro_batch_size_per_gpu": optimization.micro_batch_size,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": optimization.micro_batch_size * accumulation * ranks,
        "bf16": {"enabled": training.dtype == "bfloat16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": optimization.gradient_clipping,
        "steps_per_print": 10**9,
    }


def _engine(source: Path, job: TrainJob, ranks: int) -> Any:
    settings = deepspeed_config(job.optimization, job.training, ranks)
    deepspeed.init_distributed(dist_backend="nccl" if job.training.gpus_per_worker else "gloo")
    zero3 = HfDeepSpeedConfig(settings)  # alive while loading: each weight is sharded as it is read
    model = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=getattr(torch, job.training.dtype),
        # The CPU's flash kernel computes in float32: at a few hundred tokens plain products are much faster.
        attn_implementation="sdpa" if job.training.gpus_per_worker else "eager",
    )
    del zero3
    if job.training.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(model, ChatCodec(source).pad_id)
    # The fused kernel: four times faster on a CPU than the loop over parameters.
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=job.optimization.learning_rate, weight_decay=job.optimization.weight_decay, fused=True
    )
    engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=settings)
    engine.train()
    return engine


def _set_rate(engine: Any, step: int, steps: int, optimization: Optimization) -> float:
    o = optimization
    rate = learning_rate(step, steps, o.schedule, o.learning_rate, o.final_learning_rate, o.warmup_steps)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _step(
    engine: Any, batch: Batch[Any], micros: tuple[MicroBatch[Any], ...], reference: Reference, job: TrainJob
) -> dict[str, float]:
    """One optimizer step; returns the step's loss and metrics over all ranks, a unit of weight each."""
    weight = sum(map(job.objective.weight, batch.examples()))
    sums: Counter[str] = Counter()
    for micro in micros:
        logprobs = _logprobs(engine, micro)
        loss, metrics = job.objective.loss(micro.examples, logprobs, reference)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} on examples {[e.id for e in micro.examples]}")
        share = 0.0 if micro.blank else 1.0
        # DeepSpeed averages gradients over ranks; the step's loss is a sum over them.
        engine.backward(loss * (share * dist.get_world_size() / weight), scale_wrt_gas=False)
        engine.step()
        sums.update({name: share * value for name, value in {"loss": loss.item(), **metrics}.items()})
    total = torch.tensor([sums[name] for name in sorted(sums)], dtype=torch.float64, device=engine.device)
    dist.all_reduce(total)
    return {name: value / weight for name, value in zip(sorted(sums), total.tolist(), strict=True)}


def _logprobs(engine: Any, micro: MicroBatch[Any]) -> LogProbs:
    sequences = [s for e in micro.examples for s in e.sequences()]
    return by_sequence(sequences, engine(sequences, micro.head_chunks))


@torch.no_grad()
def _reference(engine: Any, plan: list[Batch[Any]], job: TrainJob, rank: int) -> Reference:
    """Summed log-probs of every sequence under the untouched model.

    The first epoch's own forward passes, so that each number is what the policy itself would say: the first
    step's margin is then exactly zero.
    """
    mine: dict[str, float] = {}
    steps = plan[: len(plan) // job.optimization.epochs]
    for done, batch in enumerate(steps):
        for micro in batch.ranks[rank]:
            mine.update({name: values.sum().item() for name, values in _logprobs(engine, micro).items()})
        if rank == 0:
            job.progress.note.remote(f"reference log-probs {done + 1}/{len(steps)}")
    shares: list[dict[str, float]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(shares, mine)
    return {name: value for share in shares for name, value in share.items()}


def _check_first_loss(loss: float) -> None:
    if abs(loss - LN2) > 1e-3:
        raise RuntimeError(
            f"the first step's DPO loss is {loss:.5f}, not ln 2 = {LN2:.5f}: the reference log-probs are not "
            "those of the model that training starts from"
        )
