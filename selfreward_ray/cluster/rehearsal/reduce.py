"""Reduce a recipe so that two cores run it in minutes. Settings of placement are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_ray.cluster.capacity import NodeType, capacity_for, describe
from selfreward_ray.cluster.cluster_file import Shape
from selfreward_ray.cluster.devices import slow_in_bfloat16
from selfreward_ray.cluster.requests import worker_request
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import is_source
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.alarms import Alarms
from selfreward_ray.recipe.schema import ENDING_TOKENS, Inference, Prompts, Recipe
from selfreward_ray.recipe.text import differing_fields, parse_recipe
from selfreward_ray.recipe.training import Training

_ENGINE = {
    "max_model_len": 4096,
    "max_num_seqs": 16,
    "enforce_eager": True,
    "block_size": 32,
    "distributed_executor_backend": "uni",
}
# Without multiprocessing vLLM's CPU platform accepts "uni", which saves a process per engine that imports vLLM.
_ENGINE_ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
_REPLY_TOKENS = 24
_VERDICT_TOKENS = 48
_MODEL_TOKENS = 4096


@dataclass(frozen=True)
class StandIns:
    """Paths of the model and data that replace the recipe's in a rehearsal."""

    model: str
    proposer: str
    rankings: str
    """Ranked sets, with verdicts."""
    prompts: str


def reduced(recipe: Recipe, shape: Shape, stand_ins: StandIns) -> Recipe:
    """The reduced recipe of a rehearsal.

    Placement is kept: the resources of replicas and workers, accelerator types, and nodes per replica. Methods are kept
    too: rubric, pair policy, loss, LoRA, who proposes prompts and who writes verdicts. No alarm ends it, because a
    random model judges by chance. Raises `UserError` if no node of `shape` holds a worker.
    """
    values = recipe.model_dump()
    for section, change in (
        ("seed_data", _seed_data(recipe, stand_ins)),
        ("prompts", _prompts(recipe, stand_ins)),
        ("respond", {"candidates": min(recipe.respond.candidates, 3)}),
        ("judge", _judge(recipe)),
        ("pairs", {"positive_mean": 0.0}),
        ("training", _training(recipe.training, shape)),
        ("inference", _inference(recipe.inference)),
        ("evaluation", {"judge": recipe.evaluation.judge and stand_ins.model}),
        ("alarms", _alarms(recipe.alarms)),
    ):
        values[section] |= change
    values["respond"]["sampling"]["max_tokens"] = min(recipe.respond.sampling.max_tokens, _REPLY_TOKENS)
    for section in ("sft", "dpo"):
        values[section] |= {
            "batch_size": max(2, values["training"]["workers"]),
            "micro_batch_tokens": min(values[section]["micro_batch_tokens"], 2048),
            "max_tokens": min(values[section]["max_tokens"], _MODEL_TOKENS),
            "epochs": 1,
            "warmup_steps": min(values[section]["warmup_steps"], 1),
        }
    return parse_recipe(values | {"model": stand_ins.model, "iterations": min(recipe.iterations, 1)})


def prompts_are_here(prompts: Prompts) -> bool:
    """Whether new prompts come from a model, an installed source or a file of this machine."""
    return prompts.source == "model" or is_source(prompts.source) or Path(prompts.source).exists()


def reductions(recipe: Recipe, rehearsed: Recipe) -> list[str]:
    """The fields that were changed, as ``training.workers: 64 → 2``."""
    return differing_fields(recipe, rehearsed)


def _seed_data(recipe: Recipe, stand_ins: StandIns) -> dict[str, Any]:
    seed = recipe.seed_data
    changed: dict[str, Any] = {
        "ift": min(seed.ift, 16),
        "eft": min(seed.eft, 12),
        "held_out": min(seed.held_out, 4),
    }
    if recipe.training.select == "judged":
        changed["validation"] = min(seed.validation, 4)
    if not is_source(seed.named()):
        changed |= {"source": stand_ins.rankings, "format": None, "columns": {}, "ignore": ()}
    if seed.verdicts not in ("baseline", "written"):
        changed["verdicts"] = stand_ins.model
    return changed


def _prompts(recipe: Recipe, stand_ins: StandIns) -> dict[str, Any]:
    prompts = recipe.prompts
    changed: dict[str, Any] = {
        "count": min(prompts.count, 10),
        "seed_demonstrations": min(prompts.seed_demonstrations, 6),
        "requests_per_round": min(prompts.requests_per_round, 16),
        "max_requests": None,
        "sampling": prompts.sampling.model_dump() | {"max_tokens": min(prompts.sampling.max_tokens, _REPLY_TOKENS)},
    }
    if prompts.proposer is not None:
        changed["proposer"] = stand_ins.proposer
    if not prompts_are_here(prompts):
        changed |= {"source": stand_ins.prompts, "split": "train", "format": None, "columns": {}, "ignore": ()}
    return changed


def rubric_of(recipe: Recipe) -> str:
    """The rubric of a rehearsal: the recipe's, or a packaged one if that has no endings for constrained verdicts."""
    return recipe.judge.rubric if load_rubric(recipe.judge.rubric).endings else "additive"


def _judge(recipe: Recipe) -> dict[str, Any]:
    """Constrain verdicts, because a random model writes no score by itself."""
    judge = recipe.judge
    tokens = max(min(judge.sampling.max_tokens, _VERDICT_TOKENS), ENDING_TOKENS)
    return {
        "rubric": rubric_of(recipe),
        "verdicts": min(judge.verdicts, 2),
        "min_valid": 1,
        "retries": min(judge.retries, 1),
        "constrained": True,
        "sampling": judge.sampling.model_dump() | {"max_tokens": tokens},
    }


def _alarms(alarms: Alarms) -> dict[str, Any]:
    return {
        name: alarm | {"reaction": "warn"} for name, alarm in alarms.model_dump().items() if alarm["reaction"] != "off"
    }


def _training(training: Training, shape: Shape) -> dict[str, Any]:
    """At most two workers. If the recipe's workers need several nodes, each requests all CPUs of a node."""
    changed: dict[str, Any] = {
        "workers": min(training.workers, 2),
        "min_workers": training.min_workers and min(training.min_workers, 2),
        "checkpoint_every": min(training.checkpoint_every, 2),
        "dtype": _dtype(training.dtype),
        "liger_kernels": False,
        "deepspeed": {},  # for other workers, on GPUs
        "lora": training.lora.model_dump() | {"rank": min(training.lora.rank, 4)},
    }
    if training.select == "judged":
        changed["select_every"] = min(training.select_every, 2)
    request = worker_request(training)
    nodes = [shape.head, *(node.resources for node in shape.workers.values())]
    held = [(capacity_for(request, [NodeType("one", node, 1)], None), node) for node in nodes]
    most, node = max(held, key=lambda found: found[0])
    if not most:
        raise UserError(
            f"no node of the cluster holds a training worker, which asks for {describe(request.bundles[0])}; "
            "lower what a worker takes (training.cpus_per_worker, gpus_per_worker), or declare such a node type"
        )
    if most < request.count:
        changed["cpus_per_worker"] = node["CPU"]
    return changed


def _inference(inference: Inference) -> dict[str, Any]:
    return {
        "min_replicas": 1,
        "max_replicas": 1 if inference.nodes_per_replica > 1 else min(inference.max_replicas, 2),
        "tokens_in_flight": 2048,  # small enough that the verdicts of a baseline fill two replicas
        "rows_per_block": min(inference.rows_per_block, 2),
        "engine": _ENGINE | {"dtype": _dtype("bfloat16")},
        "env": inference.env | _ENGINE_ENV,
    }


def _dtype(wanted: str) -> str:
    return "float32" if slow_in_bfloat16(gpus=0) else wanted
