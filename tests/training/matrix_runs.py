"""Each architecture of the matrix through ZeRO-3, one process group for all, and through vLLM."""

import json
import multiprocessing
import os
import traceback
from pathlib import Path
from typing import Any

from architectures import ARCHITECTURES, TRAINED, Architecture
from ranks import Silent
from tiny_model import ENGINE_ENV
from zero3_runs import PAIRS, all_logprobs, whole_weights

from selfreward_ray.recipe.training import Dpo, Sft, Training
from selfreward_ray.records import SftTokens
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective, SftObjective

WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": {"rank": 4, "alpha": 8}, "gradient_checkpointing": False},
}
"""Of training: fields of the recipe's section."""
_STEPS = {"learning_rate": 1e-2, "final_learning_rate": 1e-2, "batch_size": len(PAIRS), "max_tokens": 64}
_SHARDED = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
"""By the defaults these small weights would stay whole on each rank."""
_SFT = [SftTokens(f"s{i}", pair.prompt_ids, pair.chosen_ids) for i, pair in enumerate(PAIRS)]


def write_source(architecture: Architecture, tokenizer: Path, folder: Path) -> None:
    """A tiny model with random weights in `folder`, named as in the folders that its architecture comes in, with the
    tokenizer of the folder `tokenizer`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    config = AutoConfig.for_model(architecture.type, **architecture.settings())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | architecture.written))


def run_matrix(folder: str) -> None:
    """An optimizer step of DPO and one of SFT, of all weights and of adapters, and the exports; rank 0 writes what was
    said, as JSON, beside each architecture's folder `source`. For one that is rejected it is the message."""
    from selfreward_ray.errors import UserError

    for architecture in ARCHITECTURES:
        home = Path(folder) / architecture.name
        for name in WAYS if architecture in TRAINED else ["full"]:
            try:
                said = _run(home, name)
            except UserError as error:  # all ranks raise it
                said = {"rejected": str(error)}
            if os.environ["RANK"] == "0":
                (home / f"{name}.json").write_text(json.dumps(said))


def _run(home: Path, name: str) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    from selfreward_ray.training.batches import plan_batches
    from selfreward_ray.training.export import export_model
    from selfreward_ray.training.reference import reference_logprobs
    from selfreward_ray.training.step import take_step
    from selfreward_ray.training.zero3 import open_engine

    torch.manual_seed(0)
    training = Training.model_validate({"dtype": "float32", "deepspeed": _SHARDED} | WAYS[name])
    folders, run = (str(home / "source"), str(home / name)), (training, 0, "run", Silent())
    dpo_job = TrainJob(name, *folders, DpoObjective(Dpo(**_STEPS)), Dpo(**_STEPS), *run)
    sft_job = TrainJob(name, *folders, SftObjective(), Sft(**_STEPS), *run)
    ranks = int(os.environ["WORLD_SIZE"])
    engine = open_engine(home / "source", dpo_job, ranks)
    rank = dist.get_rank()
    (pairs,) = plan_batches(PAIRS, dpo_job.optimization, ranks, 0)
    (examples,) = plan_batches(_SFT, sft_job.optimization, ranks, 0)
    before = all_logprobs(engine, [pairs], rank)
    reference = reference_logprobs(engine, [pairs], dpo_job)
    weights = whole_weights(engine)
    steps = [
        take_step(engine, batch, batch.ranks[rank], reference, job)
        for batch, job in ((pairs, dpo_job), (examples, sft_job))
    ]
    moved = {n: not torch.equal(weight, weights[n]) for n, weight in whole_weights(engine).items()}
    export_model(engine.module.model, home / "source", dpo_job.folders.model.uri)
    return {"before": before, "after": all_logprobs(engine, [pairs], rank), "steps": steps, "moved": moved}


def ask_vllm(folder: str) -> None:
    """vLLM's log-probs of every target token for the exports of the trained architectures, as JSON beside them; its
    error where it does not read one.

    Each engine has a process of its own, forked from this one, which has imported vLLM; two run at a time.
    """
    os.environ |= ENGINE_ENV
    import vllm  # noqa: F401

    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_ask, args=(Path(folder) / one.name, one.vllm)) for one in TRAINED]
    for begin in range(0, len(children), 2):
        for child in children[begin : begin + 2]:
            child.start()
        for child in children[begin : begin + 2]:
            child.join()


def _ask(home: Path, settings: dict[str, Any]) -> None:
    from vllm import LLM, SamplingParams

    sequences = [s for pair in PAIRS for s in pair.sequences()]
    asked = [{"prompt_token_ids": [*s.prompt_ids, *s.target_ids]} for s in sequences]
    try:
        engine = LLM(
            str(home / "full" / "model"), dtype="float32", max_model_len=64, max_num_seqs=4, enforce_eager=True,
            kv_cache_memory_bytes=1 << 26, enable_prefix_caching=False, **settings,
        )  # fmt: skip
        outputs = engine.generate(asked, SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False))
        heard: Any = {
            s.id: [
                of_position[token].logprob
                for token, of_position in zip(s.target_ids, output.prompt_logprobs[len(s.prompt_ids) :], strict=True)
            ]
            for s, output in zip(sequences, outputs, strict=True)
        }
        engine.llm_engine.engine_core.shutdown()
    except Exception as error:
        traceback.print_exc()
        heard = {"error": f"{type(error).__name__}: {error}"}
    (home / "vllm.json").write_text(json.dumps(heard))
