"""Fixtures of every room. Helpers to import stand beside this file: `tiny_model`, `scripted_model`."""

import os
from pathlib import Path

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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama with a tokenizer and a ChatML template; not to be written to."""
    import torch

    torch.set_num_threads(1)
    return write_tiny_model(tmp_path_factory.mktemp("tiny-model"))
