"""The text of a first recipe, with comments that say why."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from selfreward_ray.reporting.formatting import amount, number
from selfreward_ray.starter.sizes import DataSize, ModelSize

Machine = Literal["cpu", "1gpu", "8gpu"]
_GPUS = {"cpu": 0, "1gpu": 1, "8gpu": 8}
_GPU_BYTES = 80e9
"""Memory of a GPU that the recipes are made for; the comments say what is needed."""
_TRAINED_BYTES = 18
"""Bytes that a parameter takes in training: weights 2, gradients 4, the optimizer's weights and moments 12."""
RATES = ((0.3e9, 5e-5, 1e-5), (1.5e9, 2e-5, 5e-6), (6e9, 1e-5, 2e-6), (math.inf, 5.5e-6, 1e-6))
"""Parameters up to which SFT and DPO learn at these rates, with a batch of 16. The last ones are the paper's."""
_LORA_RATE = 10
"""Factor of the learning rates for adapters."""


def starter_text(
    model: str, data: str, machine: Machine, size: ModelSize, rows: DataSize, fields: Mapping[str, Any]
) -> str:
    """A recipe as YAML. `fields` are those of ``seed_data`` by which the data were read."""
    gpus = _GPUS[machine]
    states = _TRAINED_BYTES * size.parameters
    lora = gpus > 0 and states / gpus > _GPU_BYTES / 2
    parts = [
        _head(model, machine, size),
        _seed_data(data, rows, fields),
        _sampling(gpus, size),
        _training(gpus, size, rows, lora),
        _inference(gpus, size),
    ]
    return "\n".join(parts)


def _head(model: str, machine: Machine, size: ModelSize) -> str:
    place = {"cpu": "CPU cores", "1gpu": "one GPU", "8gpu": "one machine with eight GPUs"}[machine]
    return f"""\
# {model}, about {size.parameters / 1e9:.2g}B parameters, on {place}. Fields that are not here have their defaults:
# `selfreward recipe --fields` lists them. `selfreward recipe --show THIS_FILE` shows what differs from the paper.
model: {_quoted(model)}
iterations: 2                    # M1 by SFT, then M2 and M3 by DPO, as in the paper
"""


def _seed_data(data: str, rows: DataSize, fields: Mapping[str, Any]) -> str:
    others = "".join(f"\n  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    language = "\n  language: null                 # all languages; the paper keeps English alone"
    if rows.eft:
        judging = f"  eft: {rows.eft:<26}# teach judging: verdicts on ranked replies; the paper: 1630"
        held = f"  held_out: {rows.held_out:<21}# measure judge and models, and are never trained on; the paper: 190"
    else:
        judging = "  eft: 0                         # too few sets have two different ranks to teach judging"
        held = "  held_out: 0                    # and to measure it: models are then compared by nothing"
    return f"""\
# {amount(rows.sets, "set")} of the format {rows.format}, {number(rows.ranked)} of them with two different ranks.
seed_data:
  source: {_quoted(data)}{others}{"" if "language" in fields else language}
  ift: {rows.ift:<26}# teach answering: each prompt with its best reply; the paper: 3200
{judging}
{held}
"""


def _sampling(gpus: int, size: ModelSize) -> str:
    count, reply, verdict = (2000 if gpus == 1 else 5000, 1024, 512) if gpus else (50, 160, 128)
    reply, verdict = min(reply, size.context // 4), min(verdict, size.context // 8)
    constrained = size.parameters < 3e9
    why = "models of this size often end without a score" if constrained else "the judge writes freely, as in the paper"
    return f"""\
prompts:
  count: {count:<24}# new prompts in an iteration, which the model proposes itself; the paper: 5000
  filters: self-instruct         # made for English; minimal for other languages
respond:
  candidates: 4                  # replies to each prompt, of which the best and the worst become a pair
  sampling: {{max_tokens: {reply}}}   # a reply that is cut off cannot be chosen
judge:
  constrained: {str(constrained).lower():<18}# {why}
  sampling: {{max_tokens: {verdict}}}
"""


def _training(gpus: int, size: ModelSize, rows: DataSize, lora: bool) -> str:
    workers = gpus or 2
    batch = 64 if gpus == 8 else 16 if gpus else 8
    batch = max(workers, min(batch, 2 ** int(math.log2(max(1, rows.ift // 8)))))  # SFT takes eight steps at least
    _, sft, dpo = next(rate for rate in RATES if size.parameters <= rate[0])
    scale = math.sqrt(batch / 16) * (_LORA_RATE if lora else 1)
    passes = (6144, 8192) if gpus else (2048, 2048)
    longest = min(4096 if gpus else 1024, size.context)
    share = _TRAINED_BYTES * size.parameters / max(gpus, 1) / 1e9
    adapters = f"""
  lora: {{rank: 16}}               # all weights would take {share:.0f} GB of each GPU"""
    for_adapters = f", and times {_LORA_RATE} for adapters"
    on_gpus = "\n  gpus_per_worker: 1\n  cpus_per_worker: 2"
    memory = f"# Weights, gradients and the optimizer take about {share:.1f} GB{' of each GPU' if gpus else ''}."
    return f"""\
# Small models take larger steps: rates by size for a batch of 16, times √(batch / 16){for_adapters if lora else ""}.
sft:
  learning_rate: {sft * scale:.1e}
  final_learning_rate: {sft * scale / 5:.1e}
  batch_size: {batch}
  micro_batch_tokens: {passes[0]:<11}# of a forward pass; more is faster if the memory allows
  max_tokens: {longest}
dpo:
  learning_rate: {dpo * scale:.1e}
  final_learning_rate: {dpo * scale / 10:.1e}
  batch_size: {batch}
  micro_batch_tokens: {passes[1]}
  max_tokens: {longest}
{memory if not lora else "# Adapters of rank 16 are trained, not all weights."}
training:
  workers: {workers:<22}# one for each {"GPU" if gpus else "core"}{on_gpus if gpus else ""}{adapters if lora else ""}
"""


def _inference(gpus: int, size: ModelSize) -> str:
    context = min(8192 if gpus else 2048, size.context)
    if not gpus:
        return f"""\
inference:
  tokens_in_flight: 65536
  rows_per_block: 4
  engine:
    max_model_len: {context:<14}# a judge is shown the prompt and the reply
    max_num_seqs: 64
    enforce_eager: true          # compilation would take longer than it saves
    block_size: 32               # faster than vLLM's own on CPUs
  env:
    VLLM_CPU_KVCACHE_SPACE: "2"  # GiB
    VLLM_LOGGING_LEVEL: WARNING
""" + (
            ""
            if size.parameters > RATES[0][0]
            else """\
alarms:
  judge_at_chance: {reaction: warn}   # the default stops the run, and judges of this size are hardly better
"""
        )
    needed = [split for split in (1, 2, 4, 8) if 2 * size.parameters / split <= 0.7 * _GPU_BYTES]
    split = min(min(needed, default=8), gpus)
    replicas = gpus // split
    return f"""\
inference:
  gpus_per_replica: {split:<13}# its weights take {2 * size.parameters / split / 1e9:.1f} GB of each
  cpus_per_replica: 2
  min_replicas: {replicas}
  max_replicas: {replicas}
  tokens_in_flight: 262144       # what the KV cache holds is a good value
  engine:
    max_model_len: {context:<14}# a judge is shown the prompt and the reply
    max_num_seqs: 256
"""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
