"""What does the pool cost against plain vLLM, and against ray.data.llm? Run it by `make bench-inference`.

The same prompts, of which some ask for a word and some for a story, are answered (4 candidates each) and judged (3
verdicts a candidate, asked once) by

    raw           `vllm.LLM`: all sampling, then all judging, token ids in and out
    pool          this project's pool with the program `respond_and_judge`, from a Parquet table to another
    seeded pool   the same with a seed for each request, from its row's id
    ray.data.llm  one processor that samples, then one that judges, each with an engine of its own

on the same model, engine settings and sampling, each in a process of its own, in turns. Each reply and each verdict has
exactly its number of tokens on every side: with fixed lengths all replies are alike and all verdicts; natural lengths
are those that plain vLLM ended by itself in a run before the measured ones, few of them long.

The last line is JSON. `pool_over_raw`: tokens a second, engines started, with fixed lengths;
`pool_over_raw_natural_lengths`: with natural lengths; `ray_data_llm_over_pool`: seconds of the whole process, start to
end, with fixed lengths; `seeded_over_pool`: tokens a second; `prefix_hit_rate`: the share of the pool's prompt tokens
that came from the prefix cache.

It needs a machine that does nothing else. On every side vLLM's threads have the cores of `--cores`, and what else
runs, Ray's processes among it, finds another one free. With all cores given to vLLM (`--cores 0-1` on two) they share:
its threads wait for each other, so that whoever takes one of them off its core for a moment holds up all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from selfreward_ray.chat import ChatCodec
from selfreward_ray.fetch import FetchProgress
from selfreward_ray.inference.engine import Engine
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe import Inference, Judge, Respond, Sampling, VerdictSampling
from selfreward_ray.records import JudgedPrompt, Prompt
from selfreward_ray.run_store import read_rows, write_part
from selfreward_ray.storage import Folder

# Ray and vLLM are imported by the stages that need them: the time of a process is compared with another's.

REPEATS = 3
GROWTH = [64, 128, 256, 512]
SETTLE = 5
"""Seconds between two processes, in which what the earlier one started ends."""
MODEL = Path(__file__).resolve().parents[1] / "models" / "SmolLM2-135M-Instruct"
ENV = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
RUBRIC = load_rubric("checklist")
FORMS = (
    "Name one thing that has to do with {}.",
    "What should one know about {}?",
    "How would you explain {} to a child?",
    "Tell me a long story about {}.",
)
TOPICS = ("bees", "bread", "clocks", "dust", "ferries", "foxes", "harbours", "kites", "moss", "rain", "salt", "wells")


@dataclass(frozen=True)
class Work:
    """What is asked of a side: lengths in tokens."""

    prompts: int
    reply: int
    verdict: int
    context: int
    sequences: int = 128
    """At most at a time: vLLM's `max_num_seqs`."""
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
        """Settings of vLLM: the quickstart's, and those that vLLM or a side would choose otherwise by itself."""
        return {
            "dtype": "bfloat16",
            "max_model_len": self.context,
            "max_num_seqs": self.sequences,
            "enforce_eager": True,
            "block_size": 32,
            "enable_prefix_caching": True,
            "enable_chunked_prefill": False,
            "disable_log_stats": True,
        }

    def fixed_lengths(self, prompts: list[Prompt]) -> dict[str, int]:
        """The tokens of every request, all at their most."""
        replies = {id: self.reply for prompt in prompts for id in reply_ids(prompt, self)}
        return replies | {id: self.verdict for reply in replies for id in verdict_ids(reply, self)}


WORK = {
    "fixed": Work(prompts=16, reply=48, verdict=96, context=512),
    # As many sequences as replies: plain vLLM begins them all at once, and judges them in three waves.
    "natural": Work(prompts=8, reply=768, verdict=256, context=2048, sequences=32),
    "short": Work(prompts=64, reply=8, verdict=16, context=512),
}


def made_prompts(count: int) -> list[Prompt]:
    return [
        Prompt(f"p{number:04d}", FORMS[number % len(FORMS)].format(TOPICS[number // len(FORMS) % len(TOPICS)]))
        for number in range(count)
    ]


def reply_ids(prompt: Prompt, work: Work) -> list[str]:
    """Ids as `respond_and_judge` gives them to the requests of a prompt."""
    return [f"{prompt.id}/r{number}" for number in range(work.respond.candidates)]


def verdict_ids(reply: str, work: Work) -> list[str]:
    return [f"{reply}/v{number}/a0" for number in range(work.judge.verdicts)]


@dataclass(frozen=True)
class Stage:
    """What one process is asked to do with the prompts in `folder`."""

    work: Work
    folder: Path
    seed: int
    cores: str

    @property
    def prompts(self) -> list[Prompt]:
        return read_rows(Folder(str(self.folder)), Prompt, "prompts")

    @property
    def lengths(self) -> dict[str, int]:
        """The tokens of each request, by its id; of none where texts end by themselves."""
        return dict(json.loads((self.folder / "lengths").read_text()))

    @property
    def environment(self) -> dict[str, str]:
        return {**ENV, "VLLM_CPU_OMP_THREADS_BIND": self.cores}


def parameters(sampling: Sampling, length: int | None, codec: ChatCodec) -> dict[str, Any]:
    """vLLM's parameters for what the pool's engine makes of `sampling`, with the end put at `length`."""
    ends = {"stop_token_ids": [codec.end_id]} if length is None else {"ignore_eos": True, "max_tokens": length}
    return sampling.model_dump(exclude={"seeded"}) | {"detokenize": False} | ends


Texts = dict[str, tuple[str, int]]
"""What was generated, with its tokens, by the id of its request."""


def in_two_phases(stage: Stage, generate: Callable[[dict[str, str], Sampling], Texts]) -> dict[str, int]:
    """All replies, then all verdicts, as whoever has only `generate` goes about it. The tokens of each request."""
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
    """`seconds` from the engine's being ready to the last score read, the `lengths` of what was generated."""
    os.environ.update(stage.environment)
    from vllm import LLM, SamplingParams

    codec, lengths = ChatCodec(MODEL), stage.lengths
    engine = LLM(str(MODEL), seed=stage.seed, **stage.work.engine)
    start = time.time()

    def generate(texts: dict[str, str], sampling: Sampling) -> Texts:
        asked = [{"prompt_token_ids": codec.prompt_ids(text)} for text in texts.values()]
        each = [SamplingParams(**parameters(sampling, lengths.get(id), codec)) for id in texts]
        found = [output.outputs[0].token_ids for output in engine.generate(asked, each, use_tqdm=False)]
        return {id: (codec.decode(list(ids)), len(ids)) for id, ids in zip(texts, found, strict=True)}

    generated = in_two_phases(stage, generate)
    return {"seconds": time.time() - start, "lengths": generated}


class TimedEngine(Engine):
    """The pool's engine; it notes when it is ready, and ends each text at its length."""

    def __init__(
        self,
        model: str,
        inference: Inference,
        seed: int,
        progress: FetchProgress,
        *,
        ready: Path,
        lengths: dict[str, int],
    ):
        super().__init__(model, inference, seed, progress)
        self._lengths = lengths
        ready.write_text(str(time.time()))

    def _parameters(self, sampling: Sampling, request_id: str, pattern: str | None) -> Any:
        given = super()._parameters(sampling, request_id, pattern)
        given.ignore_eos, given.stop_token_ids, given.max_tokens = True, [], self._lengths[request_id]
        return given


def by_pool(stage: Stage) -> dict[str, Any]:
    """`seconds` from the engine's being ready to the last block written, the `lengths` of what was generated,
    `prefix_hit_rate`."""
    from selfreward_ray.cluster.session import joined
    from selfreward_ray.inference.block import Block, Job
    from selfreward_ray.inference.pool import open_pool
    from selfreward_ray.inference.programs import respond_and_judge

    os.environ["RAY_ADDRESS"] = "local"  # never a cluster that happens to run here
    work, ready = stage.work, stage.folder / "ready"
    program = partial(respond_and_judge, respond=work.respond, judge=work.judge, rubric=RUBRIC)
    engine = partial(TimedEngine, ready=ready, lengths=stage.lengths)
    row_tokens = work.respond.candidates * work.reply
    job = Job("respond", program, Prompt, JudgedPrompt, str(stage.folder / "judged"), stage.seed, row_tokens, engine)
    inference = Inference(rows_per_block=4, engine=work.engine, env=stage.environment)
    counted, end = Block(), 0.0
    with joined(), open_pool(str(MODEL), inference, job) as pool:
        for block in pool.run(Folder(str(stage.folder / "prompts")), set()):
            counted += block
            end = time.time()
    return {
        "seconds": end - float(ready.read_text()),
        "generated": counted.generated_tokens,
        "prefix_hit_rate": counted.cached_tokens / counted.prompt_tokens,
    }


def by_seeded_pool(stage: Stage) -> dict[str, Any]:
    """The same where each request has a seed of its own."""
    return by_pool(replace(stage, work=replace(stage.work, seeded=True)))


def by_ray_data_llm(stage: Stage) -> dict[str, Any]:
    """The `lengths` of what was generated. The sampling engine ends before the judging engine starts: two cores are
    enough for one."""
    import logging

    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    # A processor's operators want one CPU each; on as many as there are it would wait for ever.
    ray.init("local", num_cpus=16, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    codec, lengths = ChatCodec(MODEL), stage.lengths

    # Of several outputs of one request a processor keeps the first, so each candidate and each verdict is a row.
    def generate(texts: dict[str, str], sampling: Sampling) -> Texts:
        config = vLLMEngineProcessorConfig(
            model_source=str(MODEL),
            engine_kwargs={**stage.work.engine, "seed": stage.seed},
            runtime_env={"env_vars": stage.environment},
            batch_size=64,
            concurrency=1,
            placement_group_config={"bundles": [{"CPU": 1}]},  # without it, a GPU
            log_engine_metrics=False,  # with it, it needs a package more; no side counts
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


@dataclass(frozen=True)
class Bench:
    """How many prompts are answered, how long their texts are, and on which cores."""

    mode: str
    count: int
    cores: str

    @property
    def prompts(self) -> list[Prompt]:
        return made_prompts(self.count)

    def lengths(self) -> dict[str, int]:
        """The tokens of each request: for natural ones, plain vLLM runs once."""
        if self.mode != "natural":
            return WORK[self.mode].fixed_lengths(self.prompts)
        lengths: dict[str, int] = self.run("raw", 0, {})["lengths"]
        at_end = statistics.quantiles(lengths.values(), n=10)[-1]
        print(
            f"{self.mode}: {len(lengths)} texts, {statistics.median(lengths.values()):.0f} tokens at the median, ",
            end="",
        )
        print(f"{at_end:.0f} at the ninth tenth, {max(lengths.values())} at most", flush=True)
        return lengths

    def measure(self, side: str, seed: int, lengths: dict[str, int]) -> dict[str, float]:
        found = self.run(side, seed, lengths)
        generated = found.setdefault("generated", sum(found.pop("lengths", {}).values()))
        if generated != sum(lengths.values()):
            raise SystemExit(f"{generated} tokens were generated, not {sum(lengths.values())}")
        if "seconds" in found:
            found["rate"] = generated / found["seconds"]
        print(f"{self.mode:8} {seed + 1}  {side:13} {line(found)}", flush=True)
        return found

    def run(self, side: str, seed: int, lengths: dict[str, int]) -> dict[str, Any]:
        """What `side` found, in a process of its own, and its `wall`: seconds from its start to its end."""
        with tempfile.TemporaryDirectory(prefix="bench-inference-") as name:
            folder = Path(name)
            write_part(Folder(name), "prompts", self.prompts, Prompt, "part-0")
            (folder / "lengths").write_text(json.dumps(lengths))
            command = [sys.executable, __file__, "--side", side, "--only", self.mode, "--cores", self.cores]
            time.sleep(SETTLE)
            # To a file: a pipe would be read until the last process that holds it has ended.
            with (folder / "log").open("w") as log:
                start = time.monotonic()
                code = subprocess.run(  # noqa: S603 - this very file
                    [*command, "--seed", str(seed), "--folder", name], stdout=log, stderr=subprocess.STDOUT
                ).returncode
                wall = time.monotonic() - start
            if code:
                raise SystemExit((folder / "log").read_text())
            return {"wall": wall, **json.loads((folder / "found").read_text())}


def line(found: dict[str, float]) -> str:
    text = f"{found['generated']:9,.0f} tokens {found['wall']:7.1f} s in all"
    if "seconds" not in found:
        return text
    return f"{text} {found['seconds']:7.1f} s generating {found['rate']:7.0f} tokens/s"


def compare(bench: Bench, repeats: int) -> dict[str, dict[str, float]]:
    """The medians of each side, measured in turns, so that what else the machine does meets them alike."""
    sides = list(SIDES) if bench.mode == "fixed" else ["raw", "pool"]
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    lengths = bench.lengths()
    for repeat, side in product(range(repeats), sides):
        runs[side].append(bench.measure(side, repeat, lengths))
    return {
        side: {name: statistics.median(run[name] for run in found) for name in found[0]} for side, found in runs.items()
    }


def grow(cores: str) -> dict[str, Any]:
    """How the pool's seconds grow with the prompts, its engine started."""
    seconds = {}
    for count in GROWTH:
        bench = Bench("short", count, cores)
        seconds[count] = bench.measure("pool", 0, bench.lengths())["seconds"]
    for count, took in seconds.items():
        print(f"{count:5} prompts {took:7.1f} s, {took / count:5.2f} s each")
    return {"pool_seconds": {count: round(took, 1) for count, took in seconds.items()}}


def compare_all(benches: list[Bench], repeats: int) -> dict[str, float]:
    medians = {bench.mode: compare(bench, repeats) for bench in benches}
    print(f"\nmedians of {repeats}, vLLM's threads on core {benches[0].cores}")
    figures: dict[str, float] = {}
    for mode, sides in medians.items():
        for side, found in sides.items():
            print(f"{mode:8}    {side:13} {line(found)}")
        name = "pool_over_raw" if mode == "fixed" else f"pool_over_raw_{mode}_lengths"
        figures[name] = sides["pool"]["rate"] / sides["raw"]["rate"]
        if mode == "fixed":
            figures["ray_data_llm_over_pool"] = sides["ray.data.llm"]["wall"] / sides["pool"]["wall"]
            figures["seeded_over_pool"] = sides["seeded pool"]["rate"] / sides["pool"]["rate"]
        figures.setdefault("prefix_hit_rate", sides["pool"]["prefix_hit_rate"])
    return {name: round(figure, 3) for name, figure in figures.items()}


def leave_to_vllm(cores: str) -> None:
    """Keep this process, and those that it starts, off `cores`, on which vLLM's threads then bind themselves."""
    first, _, last = cores.partition("-")
    others = os.sched_getaffinity(0) - set(range(int(first), int(last or first) + 1))
    if others:
        os.sched_setaffinity(0, others)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, help="instead of as many as each kind of lengths has by default")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", choices=sorted(WORK), help="measure with these lengths alone")
    parser.add_argument("--cores", default="0", help="those that vLLM's threads are bound to, as 0 or 0-3")
    parser.add_argument("--growth", action="store_true", help=f"measure the pool alone, with {GROWTH} prompts")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        leave_to_vllm(arguments.cores)
        stage = Stage(WORK[arguments.only], arguments.folder, arguments.seed, arguments.cores)
        (stage.folder / "found").write_text(json.dumps(SIDES[arguments.side](stage)))
        return 0
    modes = [arguments.only] if arguments.only else ["fixed", "natural"]
    if arguments.growth:
        found = grow(arguments.cores)
    else:
        benches = [Bench(mode, arguments.prompts or WORK[mode].prompts, arguments.cores) for mode in modes]
        found = compare_all(benches, arguments.repeats)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
