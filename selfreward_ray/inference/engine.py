"""One vLLM engine: token ids in, completions out, many requests at once. The only file that imports vLLM."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfreward_ray.cluster.devices import on_gpus
from selfreward_ray.inference.programs import ContextOverflow
from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.fetch import FetchProgress, ignore_progress
from selfreward_ray.models.local import Adapter, model_and_adapter
from selfreward_ray.recipe.schema import Inference, Sampling
from selfreward_ray.records import Completion, Turn


class EngineDead(RuntimeError):
    """The engine's process is gone; nothing more can be asked of this replica."""


class Engine:
    """A `LanguageModel` (see `programs`) over vLLM's asynchronous engine.

    `seed` is the run's; with ``sampling.seeded`` a request's own seed is derived from it and the request's id.
    `progress` is told how the model's fetch goes on. Raises `UserError` for a model that can not be found,
    `RuntimeError` where vLLM does not start.
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
        try:
            self._engine = AsyncLLM.from_engine_args(arguments, stat_loggers=[_reporter(self.stats)])
        except Exception as error:
            raise RuntimeError(last_error(str(error), self._log)) from error
        self._log = log_size()
        self._context = self._engine.model_config.max_model_len

    def encode(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        return self._codec.prompt_ids(text, history)

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        """One completion. Raises `ContextOverflow` when it would not fit, `EngineDead` when the engine is gone."""
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if len(prompt_ids) + sampling.max_tokens > self._context:
            # No length of this prompt in it: reasons are counted.
            raise ContextOverflow(
                f"the prompt and the {sampling.max_tokens} tokens to generate exceed the context of {self._context}"
            )
        request = TokensPrompt(prompt_token_ids=prompt_ids)
        parameters = self._parameters(sampling, request_id, pattern)
        try:
            async for output in self._engine.generate(request, parameters, request_id, lora_request=self._lora):
                final = output
        except EngineDeadError as error:
            raise EngineDead(last_error(str(error), self._log)) from error
        except EngineGenerateError as error:
            cause = error.__cause__ or error
            if self._engine.errored:  # it was no fault of this request: all that were under way end so
                raise EngineDead(f"{type(cause).__name__}: {cause}") from error
            raise cause from None
        reply = final.outputs[0]
        return Completion(
            text=self._codec.decode(list(reply.token_ids)),
            token_ids=tuple(reply.token_ids),
            finish_reason=str(reply.finish_reason),
            cached_tokens=final.num_cached_tokens or 0,
        )

    def shutdown(self) -> None:
        self._engine.shutdown()

    def _parameters(self, sampling: Sampling, request_id: str, pattern: str | None) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        digest = hashlib.sha256(f"{self._seed}/{request_id}".encode()).digest()
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            max_tokens=sampling.max_tokens,
            seed=int.from_bytes(digest[:4]) if sampling.seeded else None,
            stop_token_ids=[self._codec.end_id],  # the template's, which SFT trains; a base model's EOS may be another
            structured_outputs=None if pattern is None else StructuredOutputsParams(regex=pattern),
            detokenize=False,  # decoded once, when finished
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _defaults(folder: Path, adapter: Adapter | None, inference: Inference, seed: int) -> dict[str, Any]:
    """Arguments of the engine, over which the recipe's go."""
    gpus = on_gpus(inference.gpus_per_replica)
    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(folder),
        "seed": seed,
        "tensor_parallel_size": inference.gpus_per_replica if gpus else 1,
        "enable_prefix_caching": True,  # k verdicts of a reply share all but their last tokens
        "disable_log_stats": True,  # those of vLLM; a replica has its own
    }
    if gpus and inference.nodes_per_replica > 1:
        arguments |= {"pipeline_parallel_size": inference.nodes_per_replica, "distributed_executor_backend": "ray"}
    if adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _at_least(adapter.rank)}
    if not gpus:
        # Read in pieces, the prompt of a seeded request ends vLLM 0.32's CPU engine: it rewinds the request's
        # generator after each piece, which PyTorch's CPU generators can not do.
        arguments["enable_chunked_prefill"] = False
    return arguments


def _reporter(stats: EngineStats) -> Any:
    """A class of stat loggers that tells `stats` of each step."""
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    class Reporter(PrometheusStatLogger):  # type: ignore[misc]
        """In the place of vLLM's own, which would observe every request at every step for nobody."""

        def __init__(self, **_: Any) -> None: ...

        def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
            stats.record(scheduler_stats, iteration_stats)

        def log_engine_initialized(self) -> None: ...

    return Reporter


def _lora_request(adapter: Adapter) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(adapter.folder.name, 1, str(adapter.folder))


def _at_least(rank: int) -> int:
    """The least maximum of ranks, of those that vLLM knows, that `rank` is not above."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320) if known >= rank), 512)


def log_size() -> int:
    """Bytes in this process's log so far; 0 where its output is no file."""
    return os.fstat(1).st_size


def last_error(said: str, since: int) -> str:
    """What the engine's own process said last in this process's log, after its first `since` bytes, else `said`.

    vLLM reports no cause of what happens there but "see above".
    """
    try:
        with open("/proc/self/fd/1", "rb") as log:
            log.seek(max(since, log_size() - 200_000))
            text = log.read().decode(errors="replace")
    except OSError:  # no file, or no Linux
        return said
    errors = re.findall(r"(?m)^.*?\b((?:\w+\.)*\w*(?:Error|Exception|Interrupt)): (.+)$", text)
    causes = [
        f"{kind}: {words}" for kind, words in errors if words.strip() not in said and "See root cause" not in words
    ]
    return causes[-1] if causes else said
