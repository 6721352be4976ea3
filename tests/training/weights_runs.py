"""What two ranks do with a model's weights between storage and shards; each function runs in each of their processes.

Each rank writes what it saw as JSON: ``NAME-RANK.json`` in the folder that it is given.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARD_BYTES = 60_000
RANK = int(os.environ.get("RANK", "0"))


def say(folder: str, name: str, what: Any) -> None:
    (Path(folder) / f"{name}-{RANK}.json").write_text(json.dumps(what))


def start_group() -> None:
    """A rank that another leaves alone is to be seen in seconds, not after gloo's half an hour."""
    from datetime import timedelta

    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=timedelta(seconds=30))


def raised(work: Callable[[], Any]) -> list[str]:
    """Kind and words of what `work` raises."""
    try:
        work()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


# --- agreement


def agreements(folder: str) -> None:
    """What each rank raises where one of them meets an error, or waits for rank 0."""
    from selfreward_ray.errors import UserError
    from selfreward_ray.training import agreement

    start_group()
    agreement._LOOK_EVERY_S = 0.1

    def met(error: Exception, rank: int) -> list[str]:
        return raised(lambda: agreement.agree(error if rank == RANK else None))

    def fail() -> None:
        raise OSError("no answer")

    heard = {
        "nothing": raised(lambda: agreement.agree(None)),
        "storage": met(OSError("reset"), 1),
        "user": met(UserError("no such model"), 1),
        "long": agreement.on_rank_0(lambda: time.sleep(1) or "done"),  # ten looks
        "failed": raised(lambda: agreement.on_rank_0(fail)),
        "each": agreement.together(lambda: RANK),
        "one": raised(lambda: agreement.together(fail if RANK else lambda: None)),
    }
    say(folder, "agreements", heard)


# --- loading


def write_moe(folder: Path) -> None:
    """A random mixture of experts: each is apart in the file, and fused in transformers; the router has a buffer."""
    import torch
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, n_routed_experts=4, n_group=1, topk_group=1,
        num_experts_per_tok=2, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=16,
        qk_rope_head_dim=16, v_head_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = DeepseekV3ForCausalLM(config)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.arange(4.0))
    model.save_pretrained(folder)


def load(folder: str) -> None:
    """Load the folders under ZeRO-3 and compare every whole weight with what plain transformers loads.

    Rank 1 has copies of the folders without weights. It says how far weights are off, and which buffers.
    """
    import deepspeed
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from selfreward_ray.recipe.training import Dpo, Training
    from selfreward_ray.training.loading import load_sharded
    from selfreward_ray.training.zero3 import join_ranks
    from selfreward_ray.training.zero3_settings import deepspeed_config

    join_ranks(gpus_per_worker=0)
    sharded = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
    settings = deepspeed_config(Dpo(), Training(dtype="float32", deepspeed=sharded), 2, parameters=0)
    heard: dict[str, Any] = {}
    for name in ("llama", "moe", "bare", "doubled"):
        whole = Path(folder) / name
        mine = whole if RANK == 0 else whole.with_name(f"{name}-without-weights")
        plain = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)
        model = load_sharded(mine, AutoConfig.from_pretrained(mine), settings, torch.float32)
        expected = dict(plain.named_parameters())
        off = {}
        for key, parameter in model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter]):
                off[key] = (parameter - expected.pop(key)).abs().max().item()
        heard[name] = {
            "files": len(list(mine.glob("*.safetensors"))),
            "sharded": all(hasattr(p, "ds_id") and p.ds_numel > p.ds_tensor.numel() for p in model.parameters()),
            "left": list(expected),
            "off": max(off.values()),
            "weights": len(off),
            "buffers": {n: b.tolist() for n, b in model.named_buffers() if n.endswith("correction_bias")},
        }
    say(folder, "load", heard)


def load_damaged(folder: str) -> None:
    """Open the engine on each of the folders: rank 0's is damaged, but for ``rank-1``, and the other rank's is not.

    Then ask for a reference of a model that is not there for rank 0.
    """
    from dataclasses import replace
    from functools import partial

    from selfreward_ray.recipe.training import Training
    from selfreward_ray.training.reference import reference_logprobs
    from selfreward_ray.training.zero3 import open_engine

    job = replace(job_of(folder, "", []), training=Training(dtype="float32"))
    start_group()
    heard = {}
    for case in sorted(path for path in Path(folder).iterdir() if path.is_dir() and path.name != "whole"):
        spoilt_rank = 1 if case.name == "rank-1" else 0
        source = case if spoilt_rank == RANK else case.with_name("whole")
        heard[case.name] = raised(partial(open_engine, source, job, 2))
    lost = replace(job, model=f"{folder}/whole" if RANK else f"{folder}/lost", out=f"{folder}/M2")
    heard["reference"] = raised(lambda: reference_logprobs(None, [], lost))
    say(folder, "damaged", heard)


# --- fetching


def fetch(folder: str) -> None:
    """The worker's fetch of a stored model, each rank with a cache of its own, as on two nodes."""
    from pyarrow import fs

    from selfreward_ray.models import fetch as fetching
    from selfreward_ray.store.folder import Folder
    from selfreward_ray.training.worker import _fetched_model

    start_group()
    store = fs.SubTreeFileSystem(folder, fs.LocalFileSystem())
    Folder.filesystem = lambda self: (store, self.uri.removeprefix("mock://"))  # type: ignore[method-assign]
    os.environ["SELFREWARD_CACHE"] = f"{folder}/cache-{RANK}"
    fetching.PART_BYTES = 20_000
    notes: list[str] = []
    fetched = _fetched_model(job_of(folder, "mock://llama", notes))
    say(folder, "fetch", {"notes": notes, "files": sorted(path.name for path in fetched.iterdir())})


def job_of(folder: str, model: str, notes: list[str]) -> Any:
    from selfreward_ray.recipe.training import Dpo, Training
    from selfreward_ray.training.job import TrainJob
    from selfreward_ray.training.objectives import DpoObjective

    class Noted:
        """A progress actor whose notes are kept."""

        @property
        def note(self) -> "Noted":
            return self

        def remote(self, text: str) -> None:
            notes.append(text)

    return TrainJob("DPO", model, folder, DpoObjective(Dpo()), Dpo(), Training(), 0, "run", Noted())


# --- export


def export(folder: str) -> None:
    """Exports of the model ``llama``: one that goes well, one whose storage fails, and one with a spoilt weight."""
    from selfreward_ray.training import export as module

    start_group()
    gather, write = module._gather, module.write_shard
    events: list[tuple[str, str, float]] = []
    fail_at = ""

    def gathered(held: Any, *given: Any) -> Any:
        events.append(("gather", next(iter(held)), time.monotonic()))
        return gather(held, *given)

    def slow(where: Any, file: str, tensors: Any) -> None:
        """As an object store is. It must not be the thread that gathers."""
        assert threading.current_thread() is not threading.main_thread()
        events.append(("begin", file, time.monotonic()))
        time.sleep(0.5)
        if file == fail_at:
            raise OSError("connection reset")
        write(where, file, tensors)
        events.append(("end", file, time.monotonic()))

    module._gather, module.write_shard = gathered, slow
    source = Path(folder) / "llama"
    model = _plain(source)
    module.export_model(model, source, f"{folder}/well", SHARD_BYTES)
    say(folder, "well", events)

    events.clear()
    fail_at = "model-00002-of-00009.safetensors"
    heard = {"storage": raised(lambda: module.export_model(model, source, f"{folder}/storage", SHARD_BYTES))}
    heard["storage_events"] = list(events)
    if RANK == 1:
        model.model.layers[0].self_attn.q_proj.weight.data[3] = float("nan")
    heard["spoilt"] = raised(lambda: module.export_model(model, source, f"{folder}/spoilt", SHARD_BYTES))
    say(folder, "wrong", heard)


def _plain(source: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
