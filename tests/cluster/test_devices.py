"""Whether GPUs exist, or are only declared."""

import pytest

from selfreward_ray.cluster.devices import DECLARED_GPUS, collectives, on_gpus


def test_without_gpus_nothing_runs_on_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(DECLARED_GPUS, raising=False)
    assert (on_gpus(0), on_gpus(1), on_gpus(8)) == (False, True, True)
    assert (collectives(0), collectives(1)) == ("gloo", "nccl")


def test_on_gpus_that_are_only_declared_nothing_runs_either(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DECLARED_GPUS, "1")
    assert not on_gpus(8)
    assert collectives(8) == "gloo"
