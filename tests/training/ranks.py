"""Ranks of DeepSpeed as plain processes on this machine: what Ray Train starts, without Ray."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


class Silent:
    """A progress actor that nobody reads: any call, also ``.remote``, is taken and answered by itself."""

    def __getattr__(self, name: str) -> "Silent":
        return self

    def __call__(self, *arguments: Any) -> "Silent":
        return self

    def __reduce__(self) -> Any:
        return (Silent, ())


def run_ranks(function: Callable[[str], None], argument: Path, ranks: int = 2, seconds: float = 200) -> None:
    """Call a module's `function` with `argument` in each of `ranks` processes; fails with what one of them said.

    A rank that is done waits until the others are, and ends without finalizing Python, as Ray Train's workers end. A
    thread of gloo's may still hold tensors of the last collective, and to let go of them takes the GIL; while Python is
    finalized, that ends the thread, and ``std::terminate`` the process.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks),
        "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "training"), *sys.path]),
    }  # fmt: skip
    reading, writing = os.pipe()  # at its end when the last rank has closed it, or has died
    code = (
        f"import os, sys, {function.__module__} as m; m.{function.__name__}(sys.argv[1]); "
        f"os.close({writing}); os.read({reading}, 1); os._exit(0)"
    )
    logs = [argument / f"rank{rank}.log" for rank in range(ranks)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(argument)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            pass_fds=(reading, writing),
        )
        for rank, log in enumerate(logs)
    ]
    os.close(reading)
    os.close(writing)
    try:
        codes = [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0] * ranks, "\n".join(log.read_text()[-3000:] for log in logs)
