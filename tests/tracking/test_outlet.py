import threading
from typing import Any

from selfreward_ray.tracking import outlet
from selfreward_ray.tracking.outlet import Outlet


class Remembering:
    """A tracker that remembers its calls, and fails at the text ``fail``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[str] = set()

    def text(self, name: str, text: str, step: int, time: float) -> None:
        self.calls.append(text)
        self.threads.add(threading.current_thread().name)
        if text == "fail":
            raise RuntimeError("the server is gone")

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")


def tell(out: Outlet, *texts: str) -> None:
    for text in texts:
        out.put(lambda tracker, text=text: tracker.text("t", text, 0, 0.0))


def test_calls_arrive_in_order_in_a_thread_of_its_own_and_before_the_end():
    tracker, said = Remembering(), []
    out = Outlet("board", tracker, said.append)
    tell(out, "a", "b", "c")
    out.close()
    assert [call for call in tracker.calls if call != "flush"] == ["a", "b", "c", "close"]
    assert tracker.threads == {"tracker board"}
    assert said == []


def test_a_tracker_that_fails_is_left_out_with_one_line():
    tracker, said = Remembering(), []
    out = Outlet("board", tracker, said.append)
    tell(out, "a", "fail", "b", "fail")
    out.close()
    assert [call for call in tracker.calls if call != "flush"] == ["a", "fail"]
    assert said == ["the tracker board failed, and receives nothing more: RuntimeError: the server is gone"]


def test_what_was_received_is_flushed_while_nothing_else_comes(monkeypatch: Any):
    monkeypatch.setattr(outlet, "SECONDS_BETWEEN_FLUSHES", 0.01)
    flushed = threading.Event()
    tracker = Remembering()
    tracker.flush = flushed.set  # type: ignore[method-assign]
    out = Outlet("board", tracker, print)
    tell(out, "a")
    assert flushed.wait(60)
    out.close()


def test_a_tracker_that_hangs_does_not_hold_the_run(monkeypatch: Any):
    monkeypatch.setattr(outlet, "SECONDS_TO_CLOSE", 0.01)
    let_go, said = threading.Event(), []
    tracker = Remembering()
    tracker.text = lambda *_: let_go.wait(60)  # type: ignore[assignment]
    out = Outlet("board", tracker, said.append)
    tell(out, "a")
    out.close()
    let_go.set()
    assert said == ["board has not received the last metrics within 0.01 s"]
