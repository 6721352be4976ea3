"""Runs one side of `inference.py`, in a process that it starts with a run's folder.

The folder holds the input (`stage.json`, the table `prompts`); the results are written to `found.json`.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from selfreward_ray.inference.engine import Engine
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.schema import Inference, Judge, Respond, Sampling, VerdictSampling
from selfreward_ray.records import JudgedPrompt, Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows

# Each side imports Ray and vLLM only if it needs them, because the times of whole processes are compared.

RUBRIC = load_rubric("checklist")


@dataclass(frozen=True)
class Work:
    """The work of a side; lengths are in tokens."""

    prompts: int
    reply: int
    verdict: int
    context: int
    sequences: int = 128
    """vLLM's `max_num_seqs`."""
    cache_mb: int = 2048
    """The engine's KV cache."""
    seeded: bool = False

    @property
    def respond(self) -> Respond:
        sampling = Sampling(temperature=1.0, top_p=1.0, min_p=0.05, max_tokens=self.reply, seeded=self.seeded)
        return Respond(candidates=4, sampling=sampling)

    @property
    def judge(self) -> Judge:
        sampling = VerdictSampling(temperature=0.7, top_p=1.0, min_p=0.05, max_tokens=self.verdict, seeded=self.seeded)
        return Judge(rubric="checklist", verdicts=3, retries=0, sampling=sampling)

    @property
    def engine(self) -> dict[str, Any]:
        """Settings of vLLM: those of the quickstart, and those whose defaults differ between sides."""
        return {
            "dtype": "bfloat16",
            "max_model_len": self.context,
            "max_num_seqs": self.sequences,
            "enforce_eager": True,
            "block_size": 32,
            "enable_prefix_caching": True,
            "enable_chunked_prefill": False,
            "disable_log_stats": True,
            "kv_cache_memory_bytes": self.cache_mb << 20,
        }

    def fixed_lengths(self, prompts: list[Prompt]) -> dict[str, int]:
        """The number of tokens of every request, all at the maximum."""
        replies = {id: self.reply for prompt in prompts for id in reply_ids(prompt, self)}
        return replies | {id: self.verdict for reply in replies for id in verdict_ids(reply, self)}


def reply_ids(prompt: Prompt, work: Work) -> list[str]:
    """The request ids that `respond_and_judge` uses for a prompt's replies."""
    return [f"{prompt.id}/r{number}" for number in range(work.respond.candidates)]


def verdict_ids(reply: str, work: Work) -> list[str]:
    return [f"{reply}/v{number}/a0" for number in range(work.judge.verdicts)]


@dataclass(frozen=True)
class Stage:
    """The work of one process on the prompts in `folder`."""

    folder: str
    model: str
    work: Work
    lengths: dict[str, int]
    """The number of tokens of each request, by id; empty if texts end by themselves."""
    seed: int
    cores: str

    def write(self) -> None:
        (Path(self.folder) / "stage.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Self:
        stage = json.loads((folder / "stage.json").read_text())
        return cls(**{**stage, "work": Work(**stage["work"])})

    @property
    def prompts(self) -> list[Prompt]:
        return read_rows(Folder(self.folder), Prompt, "prompts")

    @property
    def environment(self) -> dict[str, str]:
        return {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_CPU_OMP_THREADS_BIND": self.cores}


def parameters(sampling: Sampling, length: int | None, codec: ChatCodec) -> dict[str, Any]:
    """vLLM's parameters for `sampling`, as in the pool's engine, with the end at `length`."""
    ends = {"stop_token_ids": [codec.end_id]} if length is None else {"ignore_eos": True, "max_tokens": length}
    return sampling.model_dump(exclude={"seeded"}) | {"detokenize": False} | ends


Texts = dict[str, tuple[str, int]]
"""Generated texts and their token counts, by request id."""


def in_two_phases(stage: Stage, generate: Callable[[dict[str, str], Sampling], Texts]) -> dict[str, int]:
    """Generate all replies, then all verdicts, with only `generate`. Returns the number of tokens of each request."""
    work = stage.work
    asked = {id: prompt.text for prompt in stage.prompts for id in reply_ids(prompt, work)}
    replies = generate(asked, work.respond.sampling)
    judged = {
        id: RUBRIC.render(asked[reply], text) for reply, (text, _) in replies.items() for id in verdict_ids(reply, work)
    }
    verdicts = generate(judged, work.judge.sampling)
    for text, _ in verdicts.values():
        RUBRIC.read_score(text)
    return {id: tokens for id, (_, tokens) in (replies | verdicts).items()}


def by_raw(stage: Stage) -> dict[str, Any]:
    """`seconds` from the engine's readiness to the last score, and the generated `lengths`."""
    os.environ.update(stage.environment)
    from vllm import LLM, SamplingParams

    codec, lengths = ChatCodec(Path(stage.model)), stage.lengths
    engine = LLM(stage.model, seed=stage.seed, **stage.work.engine)
    start = time.time()

    def generate(texts: dict[str, str], sampling: Sampling) -> Texts:
        asked = [{"prompt_token_ids": codec.prompt_ids(text)} for text in texts.values()]
        each = [SamplingParams(**parameters(sampling, lengths.get(id), codec)) for id in texts]
        found = [output.outputs[0].token_ids for output in engine.generate(asked, each, use_tqdm=False)]
        return {id: (codec.decode(list(ids)), len(ids)) for id, ids in zip(texts, found, strict=True)}

    generated = in_two_phases(stage, generate)
    return {"seconds": time.time() - start, "lengths": generated}


class TimedEngine(Engine):
    """The pool's engine, which records when it is ready and ends each text at its length."""

    def __init__(self, *arguments: Any, ready: Path, lengths: dict[str, int]):
        super().__init__(*arguments)
        self._lengths = lengths
        ready.write_text(str(time.time()))

    def _parameters(self, sampling: Sampling, request_id: str, pattern: str | None) -> Any:
        given = super()._parameters(sampling, request_id, pattern)
        given.ignore_eos, given.stop_token_ids, given.max_tokens = True, [], self._lengths[request_id]
        return given


def by_pool(stage: Stage) -> dict[str, Any]:
    """`seconds` from the engine's readiness to the last written block, the generated `lengths`, and
    `prefix_hit_rate`."""
    from selfreward_ray.cluster.session import joined
    from selfreward_ray.inference.block import BlockCounts, Job
    from selfreward_ray.inference.pool import Workload, open_pool
    from selfreward_ray.inference.programs import respond_and_judge

    os.environ["RAY_ADDRESS"] = "local"  # never a cluster that already runs on this machine
    work, ready = stage.work, Path(stage.folder) / "ready"
    program = partial(respond_and_judge, respond=work.respond, judge=work.judge, rubric=RUBRIC)
    engine = partial(TimedEngine, ready=ready, lengths=stage.lengths)
    row_tokens = work.respond.candidates * work.reply
    out = f"{stage.folder}/judged"
    job = Job("respond", program, Prompt, JudgedPrompt, out, row_tokens)
    inference = Inference(rows_per_block=4, engine=work.engine, env=stage.environment)
    counted, end = BlockCounts(), 0.0
    with joined(), open_pool(stage.model, inference, stage.seed, open_engine=engine) as pool:
        for _, block in pool.run([Workload(job, Folder(f"{stage.folder}/prompts"), set())]):
            counted += block
            end = time.time()
    return {
        "seconds": end - float(ready.read_text()),
        "generated": counted.generated_tokens,
        "prefix_hit_rate": counted.cached_tokens / counted.prompt_tokens,
    }


def by_seeded_pool(stage: Stage) -> dict[str, Any]:
    """The same with a seed per request."""
    return by_pool(replace(stage, work=replace(stage.work, seeded=True)))


def by_ray_data_llm(stage: Stage) -> dict[str, Any]:
    """The generated `lengths`. The sampling engine ends before the judging engine starts: two cores suffice for one."""
    import logging

    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    # A processor's operators need one CPU each; with only the machine's CPUs it would wait forever.
    ray.init("local", num_cpus=16, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    codec, lengths = ChatCodec(Path(stage.model)), stage.lengths

    # A processor keeps only the first of several outputs per request, so each candidate and each verdict is a row.
    def generate(texts: dict[str, str], sampling: Sampling) -> Texts:
        config = vLLMEngineProcessorConfig(
            model_source=stage.model,
            engine_kwargs={**stage.work.engine, "seed": stage.seed},
            runtime_env={"env_vars": stage.environment},
            batch_size=64,
            concurrency=1,
            placement_group_config={"bundles": [{"CPU": 1}]},  # the default requests a GPU
            log_engine_metrics=False,  # would need another package; no side logs metrics
        )
        processor = build_processor(
            config,
            preprocess=lambda row: {
                "messages": [{"role": "user", "content": row["asked"]}],
                "sampling_params": parameters(sampling, lengths.get(row["request"]), codec),
            },
            postprocess=lambda row: {
                "request": row["request"],
                "text": row["generated_text"],
                "tokens": row["num_generated_tokens"],
            },
        )
        rows = [{"request": id, "asked": text} for id, text in texts.items()]
        found = processor(ray.data.from_items(rows)).take_all()
        return {row["request"]: (row["text"], row["tokens"]) for row in found}

    generated = in_two_phases(stage, generate)
    ray.shutdown()
    return {"lengths": generated}


SIDES: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "raw": by_raw,
    "pool": by_pool,
    "seeded pool": by_seeded_pool,
    "ray.data.llm": by_ray_data_llm,
}


def leave_to_vllm(cores: str) -> None:
    """Keep this process and its children off `cores`, to which vLLM's threads are bound."""
    first, _, last = cores.partition("-")
    others = os.sched_getaffinity(0) - set(range(int(first), int(last or first) + 1))
    if others:
        os.sched_setaffinity(0, others)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("side", choices=sorted(SIDES))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    stage = Stage.read(arguments.folder)
    leave_to_vllm(stage.cores)
    (arguments.folder / "found.json").write_text(json.dumps(SIDES[arguments.side](stage)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
