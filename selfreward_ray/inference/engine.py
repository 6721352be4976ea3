"""One vLLM replica: token ids in, completions out, many requests at once. The only file that imports vLLM."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfreward_ray.chat import ChatCodec
from selfreward_ray.inference.programs import ContextOverflow
from selfreward_ray.recipe import Inference, Sampling
from selfreward_ray.records import Completion, Turn


class EngineDead(RuntimeError):
    """The engine's process is gone; nothing more can be asked of this replica."""


class Engine:
    """A `LanguageModel` (see `programs`) over vLLM's asynchronous engine.

    `seed` is the run's; with ``sampling.seeded`` a request's own seed is derived from it and the request's id.
    """

    def __init__(self, model: Path, inference: Inference, seed: int):
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        defaults: dict[str, Any] = {
            "model": str(model),
            "tokenizer": str(model),
            "seed": seed,
            "tensor_parallel_size": max(1, inference.gpus_per_replica),
            "enable_prefix_caching": True,  # k verdicts of a reply share all but their last tokens
            "disable_log_stats": True,
        }
        if not inference.gpus_per_replica:
            # Read in pieces, the prompt of a seeded request ends vLLM 0.32's CPU engine: it rewinds the request's
            # generator after each piece, which PyTorch's CPU generators can not do.
            defaults["enable_chunked_prefill"] = False
        self._codec = ChatCodec(model)
        self._seed = seed
        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**{**defaults, **inference.engine}))
        self._context = self._engine.model_config.max_model_len

    def encode(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        return self._codec.prompt_ids(text, history)

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        """One completion. Raises `ContextOverflow` when it would not fit, `EngineDead` when the engine is gone."""
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        if len(prompt_ids) + sampling.max_tokens > self._context:
            # No length of this prompt in it: reasons are counted.
            raise ContextOverflow(
                f"the prompt and the {sampling.max_tokens} tokens to generate exceed the context of {self._context}"
            )
        try:
            request = TokensPrompt(prompt_token_ids=prompt_ids)
            parameters = self._parameters(sampling, request_id, pattern)
            async for output in self._engine.generate(request, parameters, request_id):
                final = output.outputs[0]
        except EngineDeadError as error:
            raise EngineDead(str(error)) from error
        return Completion(
            text=self._codec.decode(list(final.token_ids)),
            token_ids=tuple(final.token_ids),
            finish_reason=str(final.finish_reason),
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
