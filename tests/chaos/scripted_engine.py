"""An engine without a model: its answers depend on the request and its text alone, so that two runs can be compared.

A reply says its own quality, which an honest judge reads. Token ids are those of the model's own tokenizer.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Sequence

from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.local import local_model
from selfreward_ray.prompts.few_shot import OPENING
from selfreward_ray.recipe.schema import Inference, Sampling
from selfreward_ray.records import Completion, Turn

WORDS = (
    "river", "stone", "bread", "garden", "quiet", "golden", "bridge", "warm", "evening", "fruit", "honest", "country",
    "people", "together", "write", "sentence", "name", "rule", "clear", "question", "paper", "winter", "market",
)  # fmt: skip


def said(text: str, request: str) -> str:
    """A verdict, a proposed prompt, or a reply."""
    rng = random.Random(hashlib.sha256(f"{request}\n{text}".encode()).digest())
    if "/v" in request:
        found = re.findall(r"quality (\d)", text)
        return f"It is on the topic.\nScore: {found[-1] if found else 0}"
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(6, 9)))
    if OPENING in text:
        return f" Explain {words}, number {rng.randrange(10**6)}."
    return f"quality {rng.randint(1, 5)} {words}"


class ScriptedEngine:
    """As `inference.engine.Engine`. `log` gets a line for each request; a request takes `seconds` or a little more."""

    def __init__(
        self,
        log: str,
        seconds: float,
        model: str,
        inference: Inference,
        seed: int,
        progress: Callable[[int, int], None],
    ):
        self.stats = EngineStats()
        self._log, self._seconds = log, seconds
        self._codec = ChatCodec(local_model(model, progress))
        self._texts: dict[tuple[int, ...], str] = {}
        """What was encoded, by its ids."""

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        ids = self._codec.prompt_ids(text, history, thinking)
        self._texts[tuple(ids)] = text
        return ids

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        with open(self._log, "a") as log:
            log.write(json.dumps({"time": time.time(), "request": request_id, "pid": os.getpid()}) + "\n")
        await asyncio.sleep(self._seconds)
        self.stats.touch()
        text = said(self._texts[tuple(prompt_ids)], request_id)
        return Completion(text, tuple(self._codec.target_ids(text)), "stop")

    def shutdown(self) -> None: ...
