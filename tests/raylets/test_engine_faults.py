"""What may happen to vLLM's own process, and what a replica reads from it: real engines, a model of two layers."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import stand_in
from pools import Ran, until
from tiny_model import ENGINE_ENV

from selfreward_ray.inference.engine import Engine

pytestmark = [pytest.mark.engines, pytest.mark.release, pytest.mark.usefixtures("cluster")]
Run = Callable[..., Ran]

ENGINE = {
    "dtype": "bfloat16",
    "max_model_len": 256,
    "max_num_seqs": 8,
    "enforce_eager": True,
    "block_size": 32,
    "distributed_executor_backend": "uni",
}
ONE = {
    "min_replicas": 1,
    "max_replicas": 1,
    "tokens_in_flight": 1024,
    "rows_per_block": 2,
    "hang_seconds": 5,
    "stall_seconds": 120,
    "engine": ENGINE,
    "env": ENGINE_ENV,
}


TOO_LONG = "ContextOverflow: the prompt and the 128 tokens to generate exceed the context of 256"
JOB: dict[str, Any] = {"program": stand_in.write, "row_tokens": 128}


def engines() -> list[psutil.Process]:
    """Of this test's own cluster, which it started; this process may have ended engines of its own before."""
    here = psutil.Process()
    return [child for child in here.children(recursive=True) if "EngineCor" in child.name() and child.parent() != here]


def test_killed_and_hung_engines_are_replaced_and_none_outlives_its_replica(run: Run, tiny_model: Path):
    faults: dict[str, Callable[[psutil.Process], None]] = {
        "engine killed": lambda engine: engine.kill(),
        "engine stopped": lambda engine: engine.suspend(),
        "replica of an engine killed": lambda engine: engine.parent().kill(),
    }
    struck: list[tuple[str, psutil.Process]] = []
    found_after: dict[str, float] = {}

    def find(name: str, engine: psutil.Process) -> None:
        began = time.monotonic()
        until(lambda: not engine.is_running())
        found_after[name] = time.monotonic() - began

    def strike(done: int) -> None:
        if len(struck) < len(faults) and done >= 20 * (len(struck) + 1):
            (engine,) = engines()
            name = list(faults)[len(struck)]
            struck.append((name, engine))
            faults[name](engine)
            threading.Thread(target=find, args=(name, engine)).start()

    texts = ["Name a river."] * 100
    texts[7] = "Name a river. " * 60
    ran = run(texts, strike, model=str(tiny_model), job=JOB, open_engine=Engine, **ONE)
    assert [name for name, _ in struck] == list(faults)
    assert ran.faults["engine_restarts"] == len(faults)
    assert ran.dropped == {"p007": TOO_LONG}
    assert not any(engine.is_running() for _, engine in struck)
    ran.check("request over the context")
    for name in faults:
        ran.check(name, found_after[name])
