"""What becomes of a replica whose engine does not start, without Ray. `tests/raylets` has real pools of them."""

import errno
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.inference import replica as module
from selfreward_ray.inference.replica import Replica


class Exited(Exception):
    """The process ended, and Ray starts another one."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start an engine that raises this; what the pool was stopped with, and what the replica ended with."""

    def exits(health: Any, name: str, error: str) -> NoReturn:
        raise Exited(error)

    monkeypatch.setattr(module, "_exit_process", exits)
    monkeypatch.setattr(module.ray, "get", lambda answer: answer)

    def do(error: Exception) -> tuple[list[str], Exception]:
        def opens(progress: Any) -> Any:
            raise error

        stopped: list[str] = []
        replica: Any = Replica.__new__(Replica)
        replica._health, replica._name = SimpleNamespace(stop=SimpleNamespace(remote=stopped.append)), "a"
        with pytest.raises((Exited, type(error))) as raised:
            replica._opened(opens)
        return stopped, raised.value

    return do


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("no such model"), "no such model"),
        (TypeError("unexpected argument 'sed'"), "the engine did not start: unexpected argument 'sed'"),
    ],
)
def test_what_another_start_would_meet_again_stops_the_pool(start: Any, error: Exception, reason: str):
    assert start(error) == ([reason], error)


@pytest.mark.parametrize(
    "error", [RuntimeError("no memory for the KV cache"), OSError(errno.ENOSPC, "No space left on device")]
)
def test_what_may_be_otherwise_at_another_start_or_on_another_node_is_tried_again(start: Any, error: Exception):
    stopped, ended = start(error)
    assert stopped == []
    assert isinstance(ended, Exited)
    assert str(ended) == f"the engine did not start: {error}"
