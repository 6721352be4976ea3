"""Runs one side of `dpo.py`, in a process started by it (for TRL: one process per rank).

Each rank writes ``rank-<number>.json`` into the run's folder ``out``; the process that started them, or rank 0, writes
``found.json`` into the run's folder.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dpo_work import RATE, Work

# Each side imports Ray, torch and TRL only if it needs them, because the times of whole processes are compared.


class Watch:
    """Measurements of a rank, from the start of loading the model to the end of its last optimizer step."""

    def __init__(self) -> None:
        import torch

        self._embedding, self._computed, self._padding = torch.nn.Embedding, 0, 0
        torch.nn.modules.module.register_module_forward_pre_hook(self._count)
        self._start = time.monotonic()
        self.found: dict[str, Any] = {}

    def _count(self, module: Any, inputs: tuple[Any, ...]) -> None:
        # Each forward pass embeds its tokens once, padding included; backward passes do not. Padding with the end
        # token, as in SmolLM2, repeats a row's last token. With another padding token, one token per row is not
        # counted.
        if isinstance(module, self._embedding):
            ids_BT = inputs[0]
            repeats_BT = (ids_BT.flip(1) == ids_BT[:, -1:]).int().cumprod(1)
            self._computed += ids_BT.numel()
            self._padding += int(repeats_BT.sum()) - len(ids_BT)

    def stop(self) -> None:
        """Record the measurements; the last call counts."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.found |= {
            "seconds": time.monotonic() - self._start,
            "peak_mb": int(status["VmHWM"].split()[0]) / 1e3,
            "computed_tokens": self._computed,
            "padding_tokens": self._padding,
        }

    def write(self, folder: str, rank: int) -> None:
        (Path(folder) / f"rank-{rank}.json").write_text(json.dumps(self.found))


class Phases:
    """Seconds of a rank inside wrapped functions, without those inside nested wrapped functions."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.monotonic()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = time.monotonic() - start
            self.seconds[phase] += took - self._inner.pop()
            self._inner[-1] += took

    def wrap(self, owner: Any, name: str, phase: Callable[[], str]) -> None:
        function = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self(phase()):
                return function(*arguments, **named)

        setattr(owner, name, timed)

    def wrap_collective(self, owner: Any, name: str, phase: str) -> None:
        """Add a barrier before each collective, to separate waiting for the slower rank from communication."""
        import torch.distributed as dist

        function = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self("waiting"):
                dist.barrier()
            with self(phase):
                handle = function(*arguments, **named)
                if handle is not None:
                    handle.wait()
            return handle

        setattr(owner, name, timed)


def watched_rank(config: dict[str, Any]) -> Any:
    """A rank of ours, measured until it starts to write the model."""
    import torch.distributed as dist

    from selfreward_ray.training import worker

    export, watch = worker.export_model, Watch()

    def stop_and_export(*arguments: Any) -> None:
        watch.stop()
        export(*arguments)

    with patch.object(worker, "export_model", stop_and_export):
        result = worker.train(config)
    watch.write(config["job"].out, dist.get_rank())
    return result


def profiled_rank(config: dict[str, Any]) -> Any:
    """The same, with the seconds of each phase. Slower, because parameters are not prefetched."""
    import torch
    from deepspeed.comm.torch import TorchBackend
    from deepspeed.runtime.engine import DeepSpeedEngine

    phases = Phases()
    phases.wrap(DeepSpeedEngine, "forward", lambda: "forward" if torch.is_grad_enabled() else "reference")
    phases.wrap(DeepSpeedEngine, "backward", lambda: "backward")
    phases.wrap(DeepSpeedEngine, "step", lambda: "optimizer")
    for name in ("all_gather_into_tensor", "all_gather_coalesced", "all_gather"):
        phases.wrap_collective(TorchBackend, name, "gather")
    for name in ("reduce_scatter_tensor", "reduce_scatter", "all_reduce"):
        phases.wrap_collective(TorchBackend, name, "reduce")
    result = watched_rank(config)
    path = Path(config["job"].out) / f"rank-{torch.distributed.get_rank()}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "phases": phases.seconds}))
    return result


def by_ours(work: Work, folder: str, rank: Callable[[dict[str, Any]], Any] = watched_rank) -> dict[str, Any]:
    """Losses and seconds of each step."""
    from selfreward_ray.cluster.session import joined
    from selfreward_ray.reporting.progress import Progress
    from selfreward_ray.training.trainer import fit

    os.environ["RAY_ADDRESS"] = "local"  # never a cluster that already runs on this machine
    with joined(), Progress("DPO", work.pairs // work.pairs_a_step, "steps") as progress:
        fit(work.job(f"{folder}/out"), progress, rank)
    steps = [json.loads(line) for line in (Path(folder) / "out" / "training" / "steps.jsonl").read_text().splitlines()]
    return {"losses": [s["preference_loss"] for s in steps], "step_seconds": [s["seconds"] for s in steps]}


def by_ours_profiled(work: Work, folder: str) -> dict[str, Any]:
    return by_ours(work, folder, profiled_rank)


def as_trl_comes() -> dict[str, Any]:
    """TRL's defaults, and the DeepSpeed settings of the ZeRO-3 file that TRL ships."""
    return {
        "deepspeed": {
            "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True},
            "bf16": {"enabled": "auto"},
            "gradient_clipping": "auto",
            "steps_per_print": 10**9,
        }
    }


def as_trl_is_fastest(work: Work) -> dict[str, Any]:
    """Our DeepSpeed configuration, eager attention, pairs in the given order, the fastest number of pairs per pass."""
    from selfreward_ray.training.zero3_settings import deepspeed_config

    recipe = work.recipe
    a_pass = work.trl_pairs_a_pass
    return {
        "deepspeed": deepspeed_config(recipe.dpo, recipe.training, work.workers, parameters=135_000_000),
        "model_init_kwargs": {"dtype": recipe.training.dtype, "attn_implementation": "eager"},
        "per_device_train_batch_size": a_pass,
        "gradient_accumulation_steps": work.pairs_a_step // (work.workers * a_pass),
        "train_sampling_strategy": "sequential",
    }


def by_trl_live(work: Work, folder: str) -> dict[str, Any]:
    return by_trl(work, folder, "out/training/rows", as_trl_comes(), precompute=False)


def by_trl_precomputed(work: Work, folder: str) -> dict[str, Any]:
    return by_trl(work, folder, "out/training/rows", as_trl_comes(), precompute=True)


def by_trl_tuned(work: Work, folder: str) -> dict[str, Any]:
    return by_trl(work, folder, "ordered", as_trl_is_fastest(work), precompute=True)


def by_trl(work: Work, folder: str, rows: str, more: dict[str, Any], *, precompute: bool) -> dict[str, Any]:
    """Losses and seconds of each step, on each rank; under torchrun."""
    import deepspeed
    import torch
    import torch.distributed as dist
    from accelerate import DistributedType, PartialState
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class TokenIdsTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _prepare_input(self, data: Any) -> Any:
            # Under DeepSpeed, transformers casts all inputs that are not integers. Precomputed log-probs of hundreds of
            # nats, rounded to bfloat16, are off by up to 4, and the first loss is not ln 2.
            return data

    losses: list[float] = []
    ends: list[float] = []

    class Notes(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not ends:
                ends.append(time.monotonic())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.stop()
            ends.append(time.monotonic())

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    recipe = work.recipe
    sizes = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    more["deepspeed"] |= dict.fromkeys(sizes, "auto")
    # Accelerate does not select DeepSpeed on a CPU by itself, so it is enabled explicitly.
    deepspeed.init_distributed(dist_backend="gloo")
    PartialState(cpu=True).distributed_type = DistributedType.DEEPSPEED
    arguments = DPOConfig(
        output_dir=f"{folder}/trl",
        bf16=recipe.training.dtype == "bfloat16",
        use_cpu=True,
        accelerator_config={"use_configured_state": True},
        gradient_checkpointing=recipe.training.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        num_train_epochs=recipe.dpo.epochs,
        beta=recipe.dpo.beta,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=recipe.dpo.gradient_clipping,
        weight_decay=recipe.dpo.weight_decay,
        optim="adamw_torch_fused",
        max_length=None,
        precompute_ref_log_probs=precompute,
        seed=work.seed,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **more,
    )
    pairs = Dataset.from_parquet(f"{folder}/{rows}/part-0.parquet", cache_dir=f"{folder}/datasets")
    watch = Watch()
    trainer = TokenIdsTrainer(model=work.model, args=arguments, train_dataset=pairs, callbacks=[Notes()])
    trainer.train()
    watch.write(f"{folder}/out", dist.get_rank())
    dist.destroy_process_group()
    return {"losses": losses, "step_seconds": [b - a for a, b in pairwise(ends)]}


def by_products(work: Work, folder: str) -> dict[str, Any]:
    """Total TFLOP/s of all ranks in bfloat16 products, by shape; under torchrun."""
    del folder
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rates = {}
    for rows, inner, columns in work.products:
        left, right = torch.randn(rows, inner).bfloat16(), torch.randn(inner, columns).bfloat16()
        left @ right
        dist.barrier()
        start, products = time.monotonic(), 0
        while (took := time.monotonic() - start) < 1:
            left @ right
            products += 1
        rate = torch.tensor(2 * rows * inner * columns * products / took / 1e12)
        dist.all_reduce(rate)
        rates[f"{rows}×{inner}×{columns}"] = rate.item()
    dist.destroy_process_group()
    return rates


SIDES: dict[str, Callable[[Work, str], dict[str, Any]]] = {
    "ours": by_ours,
    "ours-profiled": by_ours_profiled,
    "trl-live": by_trl_live,
    "trl-precomputed": by_trl_precomputed,
    "trl-tuned": by_trl_tuned,
    "products": by_products,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("side", choices=sorted(SIDES))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    work = Work(**json.loads((arguments.folder / "work.json").read_text()))
    found = SIDES[arguments.side](work, str(arguments.folder))
    if os.environ.get("RANK", "0") == "0":
        (arguments.folder / "found.json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
