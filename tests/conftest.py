"""Fixtures of all tests. Helpers to import stand beside this file: `tiny_model`, `scripted_model`."""

import os
import shutil
import tempfile
from pathlib import Path

# The clusters of this process and of those that it starts are found by them alone: other tests may run beside it.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray-")  # short: sockets in it have long names
os.environ["SELFREWARD_CACHE"] = tempfile.mkdtemp(prefix="selfreward-cache-")
# Read when Ray is imported: a test that forgets to begin a cluster fails, and does not leave one to those after it. The
# processes that tests start connect as a user's do.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
import ray  # noqa: F401

del os.environ["RAY_ENABLE_AUTO_CONNECT"]

import pytest
from hypothesis import HealthCheck, settings
from tiny_model import write_tiny_model

# The same examples in every run, and a busy machine is not a failure.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_unconfigure() -> None:
    for name in ("RAY_TMPDIR", "SELFREWARD_CACHE"):
        shutil.rmtree(os.environ[name], ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama with a tokenizer and a ChatML template; not to be written to."""
    import torch

    torch.set_num_threads(1)
    return write_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(autouse=True)
def as_on_a_fast_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command prints does not depend on how busy this machine is: no line is repeated after ten seconds."""
    monkeypatch.setattr("selfreward_ray.reporting.silence.SECONDS_BETWEEN_LINES", 3600)


@pytest.fixture
def unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked at before a command begins: what it is given is not there. It begins in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("check_run", "check_step"):
        monkeypatch.setattr(f"selfreward_ray.check.check.{name}", lambda *given: [])
