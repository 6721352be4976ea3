"""The parts of the engine that need no vLLM: its arguments, and the cause of an error from the log."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.inference.engine import _accepted, _at_least, _defaults, last_error, log_size
from selfreward_ray.models.local import Adapter
from selfreward_ray.recipe.schema import Inference

SAID = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
TRACE = """\
(EngineCore_DP0 pid=71) INFO 11-20 12:00:01 [core.py:77] Initializing a V1 LLM engine
(EngineCore_DP0 pid=71) ERROR 11-20 12:00:02 [core.py:866] EngineCore failed to start.
(EngineCore_DP0 pid=71) ERROR 11-20 12:00:02 [core.py:866] Traceback (most recent call last):
(EngineCore_DP0 pid=71) ERROR 11-20 12:00:02 [core.py:866]   File "core.py", line 857, in run_engine_core
(EngineCore_DP0 pid=71) ERROR 11-20 12:00:02 [core.py:866] {cause}
Process EngineCore_DP0:
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Redirects the standard output of this process to a file with the given text."""
    here = os.dup(1)

    def write(text: str) -> None:
        with (tmp_path / "worker.out").open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.dup2(file.fileno(), 1)

    yield write
    os.dup2(here, 1)
    os.close(here)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE.format(cause="ValueError: No memory for the cache."), "ValueError: No memory for the cache."),
        (
            TRACE.format(cause="torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB."),
            "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB.",
        ),
        ("FirstError: one\nSecondError: two\nall is well\n", "SecondError: two"),
        (f"OSError: the cause\nRuntimeError: {SAID}\n", "OSError: the cause"),
        ("OSError: the cause\nRuntimeError: it failed. See root cause above.\n", "OSError: the cause"),
        ("KeyError: 'café' \udcff\n".encode(errors="surrogateescape").decode(errors="replace"), "KeyError: 'café' �"),
        ("ERROR: nothing of a kind; an Error in words\n", SAID),
        ("", SAID),
    ],
)
def test_the_cause_is_the_last_error_of_the_log(log: Callable[[str], None], text: str, expected: str):
    log(text)
    assert last_error(SAID, 0) == expected


def test_what_was_said_before_is_no_cause(log: Callable[[str], None]):
    log("OldError: before\n")
    since = log_size()
    assert last_error(SAID, since) == SAID
    os.write(1, b"NewError: since\n")
    assert last_error(SAID, since) == "NewError: since"


def test_only_the_end_of_a_long_log_is_read(log: Callable[[str], None]):
    log("OldError: long ago\n" + "a line of the log\n" * 20_000)
    assert last_error(SAID, 0) == SAID
    log("a line of the log\n" * 20_000 + "NewError: just now\n")
    assert last_error(SAID, 0) == "NewError: just now"


def test_a_log_that_can_not_be_read_again_leaves_what_was_said(log: Callable[[str], None]):
    read, write = os.pipe()
    os.write(write, b"ValueError: in the pipe\n")
    os.dup2(write, 1)
    assert last_error(SAID, 0) == SAID
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("rank", "maximum"), [(1, 8), (8, 8), (9, 16), (64, 64), (65, 128), (256, 256), (257, 320), (321, 512)]
)
def test_the_maximum_of_ranks_is_one_that_vllm_knows(rank: int, maximum: int):
    assert _at_least(rank) == maximum


def arguments(adapter: Adapter | None = None, **inference: Any) -> dict[str, Any]:
    return _defaults(Path("/m1"), adapter, Inference(**inference), 7)


def test_without_gpus_prompts_are_read_at_once():
    assert arguments() == {
        "model": "/m1",
        "tokenizer": "/m1",
        "seed": 7,
        "tensor_parallel_size": 1,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "enable_chunked_prefill": False,
    }


def test_on_one_node_its_gpus_are_its_tensor_parallel_size():
    made = arguments(gpus_per_replica=4)
    assert made["tensor_parallel_size"] == 4
    assert not {"enable_chunked_prefill", "pipeline_parallel_size", "distributed_executor_backend"} & set(made)


def test_on_several_nodes_each_is_a_stage_and_ray_starts_them():
    made = arguments(gpus_per_replica=4, nodes_per_replica=3)
    assert (made["tensor_parallel_size"], made["pipeline_parallel_size"]) == (4, 3)
    assert made["distributed_executor_backend"] == "ray"


def test_an_adapter_is_one_of_its_rank_or_a_little_more():
    made = arguments(Adapter(Path("/adapter"), 24), gpus_per_replica=1)
    assert (made["enable_lora"], made["max_loras"], made["max_lora_rank"]) == (True, 1, 32)
    assert "enable_lora" not in arguments(gpus_per_replica=1)


@pytest.mark.parametrize("refusal", [ValueError("max_model_len (9) is\n  too long"), NotImplementedError("no LoRA")])
def test_settings_that_vllm_refuses_are_the_users(refusal: Exception):
    def create() -> Any:
        raise refusal

    said = "; ".join(line.strip() for line in str(refusal).splitlines())
    with pytest.raises(UserError) as raised:
        _accepted(create)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_vllm_finds_missing_on_a_node_is_not_the_users():
    def create() -> Any:
        raise RuntimeError("no device")

    with pytest.raises(RuntimeError, match="no device"):
        _accepted(create)
    assert _accepted(lambda: "settings") == "settings"
