"""Small trainings under ZeRO-3 that tests look at: what each rank does, by the parts of the real worker."""

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranks import Silent
from tiny_model import ENGINE_ENV

from selfreward_ray.recipe.training import Dpo, Training
from selfreward_ray.records import PairTokens
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective

SHARD_BYTES = 60_000
GATHERED = {
    "zero_optimization": {
        "stage3_param_persistence_threshold": 0,
        "stage3_prefetch_bucket_size": 5_000,
        "stage3_max_live_parameters": 20_000,
        "stage3_max_reuse_distance": 0,
        "reduce_bucket_size": 10_000,
        "sub_group_size": 10_000,
    }
}
"""Of DeepSpeed: of the tiny model too no weight is whole between passes, each is gathered and let go in every pass, few
of them at a time, and gradients are reduced, and weights updated, in several parts. By the defaults all stay whole."""
PAIRS = [
    PairTokens(f"p{i}", tuple(range(5, 9 + i)), tuple(range(40, 43 + i)), tuple(range(90, 98 - i))) for i in range(6)
]


@dataclass(frozen=True)
class Case:
    """A training of `PAIRS` of the tiny model, three steps of two pairs."""

    name: str
    tied: bool = False
    training: dict[str, Any] = field(default_factory=dict)

    def job(self, folder: Path) -> TrainJob:
        dpo = Dpo(learning_rate=1e-2, final_learning_rate=1e-2, batch_size=2)
        model = folder / ("tied" if self.tied else "untied")
        out = folder / self.name
        training = Training.model_validate({"dtype": "float32"} | self.training)
        return TrainJob(self.name, str(model), str(out), DpoObjective(dpo), dpo, training, 0, "run", Silent())


CASES = [
    Case("plain", tied=False),
    Case("tied", tied=True),
    Case("half", training={"dtype": "bfloat16"}),
    Case("dropout", training={"dropout": 0.5}),
    Case("offload", training={"offload_optimizer": True, "offload_parameters": True}),
    Case("lora", training={"lora": {"rank": 4, "alpha": 8}}),
    Case("gathered", training={"deepspeed": GATHERED}),
    Case("gathered-tied-stored", tied=True, training={"deepspeed": GATHERED, "gradient_checkpointing": False}),
    Case("lora-gathered", training={"lora": {"rank": 4, "alpha": 8}, "deepspeed": GATHERED}),
    Case("lora-tied-half", tied=True, training={"lora": {"rank": 4, "alpha": 8}, "dtype": "bfloat16"}),
]
READ_BY_VLLM = [case for case in CASES if case.name in ("plain", "half")]


def run_cases(folder: str) -> None:
    """Each case's training and export; rank 0 writes what the worker said, as JSON, beside the model."""
    from selfreward_ray.store.folder import Folder

    for case in CASES:
        said = _run(case, Path(folder))
        if os.environ["RANK"] == "0":
            Folder(f"{folder}/{case.name}").write_json("said.json", said)


def _run(case: Case, folder: Path) -> dict[str, Any]:
    import torch
    import torch.distributed as dist
    from deepspeed.utils import z3_leaf_module

    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.export import export_model
    from selfreward_ray.training.reference import reference_logprobs, untouched_loss
    from selfreward_ray.training.zero3 import open_engine

    torch.manual_seed(0)
    job = case.job(folder)
    engine = open_engine(Path(job.model), job, int(os.environ["WORLD_SIZE"]))
    rank = dist.get_rank()
    plan = plan_batches(PAIRS, job.optimization, dist.get_world_size(), job.seed)
    before = all_logprobs(engine, plan, rank)
    reference = reference_logprobs(engine, plan, job)
    first_loss = untouched_loss(engine, plan[0].ranks[rank][0], reference, job)
    passes = [all_logprobs(engine, plan, rank, training=True) for _ in range(2)]
    weights = whole_weights(engine)
    for batch in plan:
        _train(engine, batch.ranks[rank], reference, job)
    export_model(engine.module.model, Path(job.model), job.folders.model.uri, SHARD_BYTES)
    said = {
        "before": before,
        "passes": passes,
        "moved": [name for name, weight in whole_weights(engine).items() if not torch.equal(weight, weights[name])],
        "still": [name for name, weight in whole_weights(engine).items() if torch.equal(weight, weights[name])],
        "after": all_logprobs(engine, plan, rank),
        "reference": _of_pairs(reference),
        "again": _of_pairs(reference_logprobs(engine, plan, job)),  # the policy has moved by now
        "first_loss": first_loss,
        "whole": [name for name, weight in engine.module.named_parameters() if weight.ds_persist],
        "layers": [name for name, module in engine.module.model.named_modules() if z3_leaf_module(module)],
        "offloaded": [engine.optimizer.offload_optimizer, engine.optimizer.offload_param],
        "trained_loss": untouched_loss(engine, plan[0].ranks[rank][0], reference, job),
    }
    return said


def _of_pairs(reference: Any) -> dict[str, float]:
    return {s.id: reference[s.id] for pair in PAIRS for s in pair.alone().sequences()}


def _train(engine: Any, micros: Any, reference: dict[str, float], job: TrainJob) -> None:
    from selfreward_ray.training.zero3 import logprobs_of

    for micro in micros:
        loss, _ = job.objective.loss(micro.examples, logprobs_of(engine, micro), reference)
        engine.backward(loss, scale_wrt_gas=False)
        engine.step()


def whole_weights(engine: Any) -> dict[str, Any]:
    """The whole weights, by the policy's own names for them."""
    import deepspeed

    whole = {}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            whole[name] = parameter.detach().clone()
    return whole


def all_logprobs(engine: Any, plan: Any, rank: int, training: bool = False) -> dict[str, list[float]]:
    """Log-probs of every target token by all ranks, with dropout if `training`."""
    import torch
    import torch.distributed as dist

    from selfreward_ray.training.zero3 import logprobs_of, without_dropout

    shares: list[Any] = [None] * dist.get_world_size()
    mine = {}
    with torch.no_grad(), nullcontext() if training else without_dropout(engine):
        for batch in plan:
            for micro in batch.ranks[rank]:
                mine |= {name: values.tolist() for name, values in logprobs_of(engine, micro).items()}
    dist.all_gather_object(shares, mine)
    return {name: values for share in shares for name, values in share.items()}


def ask_vllm(folder: str) -> None:
    """vLLM's log-probs of every target token for the exports in `READ_BY_VLLM`, as JSON beside the model.

    Its engines run in this process, where vLLM is imported once.
    """
    os.environ |= ENGINE_ENV
    from vllm import LLM, SamplingParams

    sequences = [s for pair in PAIRS for s in pair.sequences()]
    asked = [{"prompt_token_ids": [*s.prompt_ids, *s.target_ids]} for s in sequences]
    for case in READ_BY_VLLM:
        job = case.job(Path(folder))
        engine = LLM(
            job.folders.model.uri, dtype=job.training.dtype, max_model_len=64, max_num_seqs=4, enforce_eager=True,
            kv_cache_memory_bytes=1 << 26, enable_prefix_caching=False,
        )  # fmt: skip
        outputs = engine.generate(asked, SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False))
        heard = {
            s.id: [
                of_position[token].logprob
                for token, of_position in zip(s.target_ids, output.prompt_logprobs[len(s.prompt_ids) :], strict=True)
            ]
            for s, output in zip(sequences, outputs, strict=True)
        }
        (Path(folder) / case.name / "vllm.json").write_text(json.dumps(heard))
        engine.llm_engine.engine_core.shutdown()  # garbage collection would destroy the next engine's process group


def accumulate(folder: str) -> None:
    """One pass whose gradient is 1 on rank 0 and a 512th on the others, then 256 of a 512th on all. Rank 0 writes what
    a weight has of them before the update."""
    import deepspeed
    import torch
    from deepspeed.utils import safe_get_full_grad

    from selfreward_ray.training.zero3 import join_ranks
    from selfreward_ray.training.zero3_settings import deepspeed_config

    settings = deepspeed_config(Dpo(), Training(dtype="bfloat16"), int(os.environ["WORLD_SIZE"]), parameters=4)
    join_ranks(gpus_per_worker=0)
    with deepspeed.zero.Init(config_dict_or_path=settings):
        layer = torch.nn.Linear(4, 1, bias=False)
    engine, *_ = deepspeed.initialize(model=layer, optimizer=torch.optim.AdamW(layer.parameters()), config=settings)
    first = 1.0 if os.environ["RANK"] == "0" else 1 / 512
    for share in [first] + 256 * [1 / 512]:
        engine.set_gradient_accumulation_boundary(False)
        engine.backward(engine(torch.full((1, 4), share, dtype=torch.bfloat16)).sum(), scale_wrt_gas=False)
        engine.step()
    gradient = safe_get_full_grad(layer.weight)
    if os.environ["RANK"] == "0":
        (Path(folder) / "gradient.json").write_text(json.dumps(gradient.tolist()))
