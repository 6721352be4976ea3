"""The error message of a pool. `tests/raylets/test_pool_faults.py` has real pools that end with these errors."""

from types import SimpleNamespace

import pytest
import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayActorError

from selfreward_ray.cluster.capacity import ResourceRequest, resource_bundle
from selfreward_ray.inference import pool as pool_module
from selfreward_ray.inference.engine import Engine
from selfreward_ray.inference.pool import Pool, PoolStopped
from selfreward_ray.recipe.schema import Inference

TWO = ResourceRequest("one replica", "inference.min_replicas", 2, (resource_bundle(1, 0, None),))
DIED, STALLED = RayActorError(error_msg="its node is gone"), ExecutionTimeoutError("no progress")


@pytest.mark.parametrize(
    ("error", "why", "said"),
    [
        (DIED, ("no memory for the KV cache", "", False), "PoolStopped: no memory for the KV cache"),
        (STALLED, ("no memory for the KV cache", "", True), "PoolStopped: no memory for the KV cache"),
        (DIED, ("", "", True), "RayActorError: its node is gone"),
        (STALLED, ("", "", False), "PoolStopped: no progress for 5 s (inference.stall_seconds): no engine started"),
        (
            STALLED,
            ("", "", False),
            "a replica waits for resources, or a block or an engine start takes longer. Replicas: none",
        ),
        (STALLED, ("", "reset", True), "no block was finished; reset. Replicas: none of 2 × (1 CPU)"),
    ],
)
def test_a_pool_ends_with_what_its_replicas_said(
    error: Exception, why: tuple[str, str, bool], said: str, monkeypatch: pytest.MonkeyPatch
):
    health = SimpleNamespace(failure=SimpleNamespace(remote=lambda: why))
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(pool_module, "outlook", lambda request, since: f"none of {request}")
    pool = Pool("owner/model", Inference(stall_seconds=5), 0, Engine, health, print)
    with pytest.raises((PoolStopped, RayActorError)) as raised, pool._explained(TWO):
        raise error
    assert said in f"{type(raised.value).__name__}: {raised.value}"
