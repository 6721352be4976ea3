"""Ranks of DeepSpeed as plain processes on this machine: what Ray Train starts, without Ray."""

import importlib
import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

_CONTEXT = multiprocessing.get_context("forkserver")
_ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MASTER_ADDR": "127.0.0.1",
}  # fmt: skip


class Silent:
    """A progress actor that nobody reads: any call, also ``.remote``, is taken and answered by itself."""

    def __getattr__(self, name: str) -> "Silent":
        return self

    def __call__(self, *arguments: Any) -> "Silent":
        return self

    def __reduce__(self) -> Any:
        return (Silent, ())


def run_ranks(function: Callable[[str], None], argument: Path, ranks: int = 2, seconds: float = 200) -> None:
    """Call `function` with `argument` in `ranks` processes. Fails with their logs, also after `seconds` for each rank.

    The processes are forked from a server that has imported the slow modules. Their environment is that of the first
    call in the session.
    """
    with mock.patch.dict(os.environ, _ENVIRONMENT):  # imports read it
        _CONTEXT.set_forkserver_preload(["selfreward_ray.training.worker", "transformers.models.llama.modeling_llama"])
        forkserver.ensure_running()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs = [argument / f"rank{rank}.log" for rank in range(ranks)]
    here, there = zip(*(_CONTEXT.Pipe() for _ in range(ranks)), strict=True)
    processes = [
        _CONTEXT.Process(
            target=_rank,
            args=(function.__module__, function.__name__, str(argument), str(log), there[rank]),
            kwargs={"MASTER_PORT": str(port), "WORLD_SIZE": str(ranks), "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    for end in there:
        end.close()
    try:
        for end in here:
            connection.wait([end], seconds)  # for what it sends when it is done, or for its end
    finally:
        for end in here:
            end.close()
        for process in processes:
            process.join(10)
            process.kill()
            process.join()
    codes = [process.exitcode for process in processes]
    assert codes == [0] * ranks, "\n".join(log.read_text()[-3000:] for log in logs)


def _rank(module: str, function: str, argument: str, log: str, done: Connection, **variables: str) -> None:
    """One rank's process, in which `module` is imported with its `variables`.

    A rank that is done waits until the others are, and ends without finalizing Python, as Ray Train's workers end. A
    thread of gloo's may still hold tensors of the last collective, and to let go of them takes the GIL; while Python is
    finalized, that ends the thread, and ``std::terminate`` the process.
    """
    # Empty: what DeepSpeed compiled once would hide that it compiles at a first start.
    os.environ.update(variables, TORCH_EXTENSIONS_DIR=f"{argument}/compiled")
    with open(log, "w") as written:
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
    getattr(importlib.import_module(module), function)(argument)
    done.send(None)
    done.poll(None)  # until the test closes it
    os._exit(0)
