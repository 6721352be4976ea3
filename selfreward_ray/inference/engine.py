"""One vLLM engine: token ids in, completions out, many requests at once. The only file that imports vLLM."""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from selfreward_ray.cluster.devices import on_gpus
from selfreward_ray.errors import UserError
from selfreward_ray.inference.programs import UNFINISHED_THOUGHT, ContextOverflow, request_seed
from selfreward_ray.inference.scoring import Score
from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.fetch import FetchProgress, ignore_progress
from selfreward_ray.models.local import Adapter, model_and_adapter
from selfreward_ray.recipe.schema import Inference, Sampling
from selfreward_ray.records import Completion, Turn

T = TypeVar("T")


class EngineDead(RuntimeError):
    """The engine's process is gone; this replica cannot serve further requests."""


class Engine:
    """A `ScoringModel` (see `programs` and `scoring`) over vLLM's asynchronous engine.

    `seed` is the run's seed; with ``sampling.seeded`` each request's seed is derived from it and the request's id.
    `progress` receives the progress of the model's fetch. Raises `UserError` for a model that cannot be found and for
    settings that vLLM refuses, and `RuntimeError` when vLLM does not start.
    """

    def __init__(self, model: str, inference: Inference, seed: int, progress: FetchProgress = ignore_progress):
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._log = log_size()
        folder, adapter = model_and_adapter(model, progress)
        self.stats = EngineStats()
        self._codec = ChatCodec(folder)
        self._seed = seed
        self._lora = None if adapter is None else _lora_request(adapter)
        arguments = AsyncEngineArgs(**{**_defaults(folder, adapter, inference, seed), **inference.engine})
        start = partial(AsyncLLM.from_engine_args, arguments, stat_loggers=[_reporter(self.stats)])
        try:
            self._engine = _accepted(start)
        except UserError:
            raise
        except Exception as error:
            raise RuntimeError(last_error(str(error), self._log)) from error
        self._log = log_size()
        self._context = self._engine.model_config.max_model_len

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        return self._codec.prompt_ids(text, history, thinking)

    async def generate(
        self, prompt: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        """One completion, its thought apart from its text.

        Raises `ContextOverflow` when it would not fit, `UserError` for a `pattern` after a prompt that opens a thought,
        and `EngineDead` when the engine is gone.
        """
        from vllm.sampling_params import StructuredOutputsParams

        if pattern is not None and self._codec.opens_thought(prompt):
            raise UserError(
                "judge.constrained cannot constrain a verdict that begins inside a thought; set judge.thinking=false "
                "if the model's chat template has that switch, or judge.constrained=false"
            )
        parameters = self._parameters(
            sampling,
            request_id,
            structured_outputs=None if pattern is None else StructuredOutputsParams(regex=pattern),
            detokenize=False,  # it is decoded once, at the end
        )
        final = await self._final(prompt, parameters, request_id)
        said = self._codec.read(final.outputs[0].token_ids, prompt)
        completion = replace(_completion(final, said.text), thought=said.thought, thought_tokens=said.thought_tokens)
        if said.finished or completion.finish_reason != "stop":
            return completion
        return replace(completion, finish_reason=UNFINISHED_THOUGHT)

    @property
    def context(self) -> int:
        return int(self._context)

    async def score(self, prompt: list[int], target: list[int], request_id: str) -> Score:
        """The score of `target` after `prompt`. Raises as `generate` does."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        # For such a request vLLM does not read the prefix cache, which has no log-probs.
        parameters = SamplingParams(
            temperature=0, max_tokens=1, prompt_logprobs=1, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        final = await self._final(prompt + target, parameters, request_id)
        return _score(final.prompt_logprobs[len(prompt) :], target)

    async def complete(
        self, prompt: list[int], sampling: Sampling, until: Sequence[str], request_id: str
    ) -> Completion:
        """A completion that also ends before the first of the texts `until`. Raises as `generate` does."""
        parameters = self._parameters(
            sampling,
            request_id,
            stop=list(until),
            skip_special_tokens=False,  # `until` may name a control token
            spaces_between_special_tokens=False,
        )
        final = await self._final(prompt, parameters, request_id)
        return _completion(final, final.outputs[0].text)

    async def _final(self, prompt: list[int], parameters: Any, request_id: str) -> Any:
        """vLLM's output of a request. Raises as `generate` does."""
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if len(prompt) + parameters.max_tokens > self._context:
            # The message omits the prompt's length, because dropped rows are counted by their reason.
            raise ContextOverflow(
                f"the prompt and the {parameters.max_tokens} tokens to generate exceed the context of {self._context}"
            )
        request = TokensPrompt(prompt_token_ids=prompt)
        try:
            async for output in self._engine.generate(request, parameters, request_id, lora_request=self._lora):
                final = output
        except EngineDeadError as error:
            raise EngineDead(last_error(str(error), self._log)) from error
        except EngineGenerateError as error:
            cause = error.__cause__ or error
            if self._engine.errored:  # not this request's error: all running requests fail
                raise EngineDead(f"{type(cause).__name__}: {cause}") from error
            raise cause from None
        return final

    def shutdown(self) -> None:
        self._engine.shutdown()

    def _parameters(self, sampling: Sampling, request_id: str, **more: Any) -> Any:
        """vLLM's parameters of a request; `more` are further ones."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            max_tokens=sampling.max_tokens,
            seed=request_seed(self._seed, request_id) if sampling.seeded else None,
            stop_token_ids=[self._codec.end_id],  # the template's end, which SFT trains; a base model's EOS may differ
            output_kind=RequestOutputKind.FINAL_ONLY,
            **more,
        )


def _completion(final: Any, text: str) -> Completion:
    reply = final.outputs[0]
    return Completion(
        text=text,
        token_ids=tuple(reply.token_ids),
        finish_reason=str(reply.finish_reason),
        cached_tokens=final.num_cached_tokens or 0,
    )


def _score(logprobs: list[dict[int, Any]], target: list[int]) -> Score:
    """The score of `target` from vLLM's log-probs of its tokens, each beside the most probable token at its place."""
    own = [place[token].logprob for place, token in zip(logprobs, target, strict=True)]
    best = [max(entry.logprob for entry in place.values()) for place in logprobs]
    return Score(math.fsum(own), own == best)


def _defaults(folder: Path, adapter: Adapter | None, inference: Inference, seed: int) -> dict[str, Any]:
    """Default arguments of the engine; those of the recipe override them."""
    gpus = on_gpus(inference.gpus_per_replica)
    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(folder),
        "seed": seed,
        "tensor_parallel_size": inference.gpus_per_replica if gpus else 1,
        "enable_prefix_caching": True,  # the k verdicts on a reply share their whole prompt
        "disable_log_stats": True,  # of vLLM's own loggers; a replica has its own metrics
    }
    if gpus and inference.nodes_per_replica > 1:
        arguments |= {"pipeline_parallel_size": inference.nodes_per_replica, "distributed_executor_backend": "ray"}
    if adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _at_least(adapter.rank)}
    if not gpus:
        # With chunked prefill, a seeded request crashes vLLM 0.32's CPU engine: it rewinds the request's generator
        # after each chunk, which PyTorch's CPU generators do not support.
        arguments["enable_chunked_prefill"] = False
    return arguments


def _accepted(create: Callable[[], T]) -> T:
    """What `create` makes. Raises `UserError` where vLLM refuses the settings, as it would each time: what fails in the
    engine's own process, such as too little memory, arrives as a `RuntimeError`."""
    try:
        return create()
    except (ValueError, NotImplementedError) as error:
        said = "; ".join(line.strip() for line in str(error).splitlines())
        raise UserError(
            f"vLLM refuses the model with these settings: {said}. Change inference.engine, or the model"
        ) from error


def _reporter(stats: EngineStats) -> Any:
    """A stat logger class that records each step of the engine in `stats`."""
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    class Reporter(PrometheusStatLogger):  # type: ignore[misc]
        """Replaces vLLM's logger, which would observe every request at every step although nobody reads it."""

        def __init__(self, **_: Any) -> None: ...

        def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
            stats.record(scheduler_stats, iteration_stats)

        def log_engine_initialized(self) -> None: ...

    return Reporter


def _lora_request(adapter: Adapter) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(adapter.folder.name, 1, str(adapter.folder))


def _at_least(rank: int) -> int:
    """The smallest `max_lora_rank` that vLLM accepts and that is at least `rank`."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320) if known >= rank), 512)


def log_size() -> int:
    """Size of this process's log in bytes; 0 when its output is not a file."""
    return os.fstat(1).st_size


def last_error(said: str, since: int) -> str:
    """The last error that the engine's process wrote to this process's log after byte `since`; `said` if there is none.

    vLLM's own exception names no cause for errors of that process; it only refers to the log.
    """
    try:
        with open("/proc/self/fd/1", "rb") as log:
            log.seek(max(since, log_size() - 200_000))
            text = log.read().decode(errors="replace")
    except OSError:  # not a file, or not Linux
        return said
    errors = re.findall(r"(?m)^.*?\b((?:\w+\.)*\w*(?:Error|Exception|Interrupt)): (.+)$", text)
    causes = [
        f"{kind}: {words}" for kind, words in errors if words.strip() not in said and "See root cause" not in words
    ]
    return causes[-1] if causes else said
