"""An engine without a model, for real pools: it answers after a while, and fails as its prompts say."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group_table

from selfreward_ray.errors import UserError
from selfreward_ray.inference.programs import LanguageModel
from selfreward_ray.inference.stats import EngineStats
from selfreward_ray.recipe.schema import Inference, Sampling
from selfreward_ray.records import Completion, Prompt, Turn


class StandIn:
    """`model` is ``stand-in://FOLDER``, in which its ``log`` gets a line for each start and each request.

    A prompt's text says what becomes of it: seconds to take, ``raise``, ``kill`` (the process ends), or ``hang`` (no
    step any more, the first time). A file ``refuse`` in the folder keeps engines from starting, so does ``no such
    model``, which no restart mends. A file ``fetch`` names
    seconds, for which it reports ten times a second that a little more of the model is here; after ``stuck`` seconds
    it reports the same for ever.
    """

    def __init__(self, model: str, inference: Inference, seed: int, progress: Callable[[int, int], None]):
        self._folder = Path(model.removeprefix("stand-in://"))
        self._hung = False
        self.stats = EngineStats()
        group = ray.util.get_current_placement_group()
        nodes = list(placement_group_table(group)["bundles_to_node_id"].values()) if group else []
        gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        self._say("started", node=ray.get_runtime_context().get_node_id(), bundles=nodes, gpus=gpus)
        if (self._folder / "refuse").exists():
            raise RuntimeError("no memory for the KV cache")
        if (self._folder / "no such model").exists():
            raise UserError("no such model")
        ticks = 10 * self._seconds("fetch", 0)
        stuck = 10 * self._seconds("stuck", ticks)
        for tick in range(ticks):
            progress(min(tick, stuck), ticks)
            time.sleep(0.1)

    def encode(self, text: str, history: Sequence[Turn] = (), thinking: bool | None = None) -> list[int]:
        return list(text.encode())

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
    ) -> Completion:
        self._say("asked", row=request_id)
        what = bytes(prompt_ids).decode()
        if what == "kill":
            await asyncio.sleep(0.2)
            os._exit(1)
        if what == "raise":
            raise ValueError("refused")
        if what == "hang" and not (self._folder / "hung").exists():
            (self._folder / "hung").touch()
            self._hung = True
        await asyncio.sleep(0.1 if what == "hang" else float(what))
        while self._hung:
            await asyncio.sleep(1)
        self.stats.touch()
        return Completion(what, (1, 2), "stop")

    def shutdown(self) -> None: ...

    def _seconds(self, file: str, otherwise: int) -> int:
        path = self._folder / file
        return int(path.read_text()) if path.exists() else otherwise

    def _say(self, what: str, **fields: Any) -> None:
        with (self._folder / "log").open("a") as log:
            log.write(json.dumps({"what": what, "pid": os.getpid(), "time": time.time(), **fields}) + "\n")


async def echo(prompt: Prompt, model: LanguageModel) -> Prompt:
    """One request a row."""
    completion = await model.generate(model.encode(prompt.text), Sampling(max_tokens=8), prompt.id)
    return Prompt(prompt.id, completion.text)


async def write(prompt: Prompt, model: LanguageModel) -> Prompt:
    """One request a row, as long as a small model makes it."""
    completion = await model.generate(model.encode(prompt.text), Sampling(max_tokens=128, temperature=1.0), prompt.id)
    return Prompt(prompt.id, completion.text)
