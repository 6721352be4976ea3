"""The judge behind vLLM's own OpenAI server on this machine, with a two-layer model in float32."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import ENGINE_ENV
from transformers import AutoModelForCausalLM

from selfreward_ray.inference.pool import PoolStopped
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import JudgedPrompt, Verdict
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.tables import read_rows

pytestmark = pytest.mark.engines

KEY = "sk-of-this-test"
TOKENS = 12
ARGUMENTS = {
    "host": "127.0.0.1", "served-model-name": "tiny", "dtype": "float32", "max-model-len": "512", "max-num-seqs": "8",
    "block-size": "32", "kv-cache-memory-bytes": str(1 << 28), "distributed-executor-backend": "uni",
}  # fmt: skip
FLAGS = ("--enforce-eager", "--no-enable-chunked-prefill", "--enable-prompt-tokens-details")
START_S = 300


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of vLLM's server, which wants a key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    options = [word for name, value in ARGUMENTS.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model), *options, *FLAGS]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=os.environ | ENGINE_ENV | {"VLLM_API_KEY": KEY, "VLLM_NO_USAGE_STATS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    raise AssertionError(f"vLLM's server did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture(autouse=True)
def _key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def judged(model: str, folder: Path, replies: list[str]) -> Manifest:
    recipe = Recipe.model_validate(
        {
            "model": "m0",
            "judge": {
                "rubric": "checklist", "verdicts": 2, "min_valid": 1, "retries": 0,
                "sampling": {"max_tokens": TOKENS, "temperature": 0},
            },
        }
    )  # fmt: skip
    (folder / "replies.jsonl").write_text(
        "".join(json.dumps({"prompt": "A river?", "reply": r}) + "\n" for r in replies)
    )
    step = judge(recipe, model=model, replies=str(folder / "replies.jsonl"), out=str(folder / "out"))
    (manifest,) = run_pooled(step)
    return manifest


def verdicts_by_reply(folder: Path) -> dict[str, tuple[Verdict, ...]]:
    rows = read_rows(Folder(str(folder / "out")), JudgedPrompt)
    return {row.candidates[0].text: row.candidates[0].verdicts for row in rows}


def greedy(model: Path, text: str) -> tuple[str, int, int]:
    """Transformers' own greedy reply, and the numbers of the prompt's and of the reply's tokens."""
    codec = ChatCodec(model)
    prompt = codec.prompt_ids(text)
    net: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = net.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False)[0, len(prompt) :].tolist()
    return codec.decode(ids), len(prompt), len(ids)


def characters(text: str) -> str:
    """`text` without the signs for half characters, of which a server that streams writes fewer."""
    return text.replace("\ufffd", "")


def test_it_judges_as_the_model_does_and_counts_its_tokens(server: str, tiny_model: Path, tmp_path: Path):
    """Greedy verdicts are transformers' own text. A reply that does not fit is not asked about."""
    replies = ["The Rhine.", "The Oder, which is a river."]
    manifest = judged(f"{server}#tiny", tmp_path, [*replies, "river " * 600])
    found = verdicts_by_reply(tmp_path)
    rubric, prompts, generated = load_rubric("checklist"), 0, 0
    for reply in replies:
        text, prompt_tokens, reply_tokens = greedy(tiny_model, rubric.render("A river?", reply))
        assert [characters(verdict.text) for verdict in found[reply]] == [characters(text)] * 2
        prompts += 2 * prompt_tokens
        generated += 2 * reply_tokens
    assert [verdict.attempts for verdict in found["river " * 600]] == [0, 0]
    assert found["river " * 600][0].text.startswith(
        "not asked: the prompt and the tokens to generate exceed the context"
    )
    assert (manifest.metrics["prompt_tokens"], manifest.metrics["generated_tokens"]) == (prompts, generated)
    assert manifest.metrics["cached_tokens"] >= 0
    assert manifest.metrics["endpoint_retries"] == 0


def test_a_wrong_model_is_named(server: str, tmp_path: Path):
    with pytest.raises(PoolStopped, match=r"HTTP 404: .*other.* does not exist.*; is the name after the # one of its"):
        judged(f"{server}#other", tmp_path, ["The Rhine."])


def test_a_wrong_base_url_is_named(server: str, tmp_path: Path):
    with pytest.raises(PoolStopped, match=r"HTTP 404: .*Not Found.*the one that ends in /v1"):
        judged(f"{server.removesuffix('/v1')}#tiny", tmp_path, ["The Rhine."])


@pytest.mark.parametrize("key", ["", "sk-another"])
def test_a_wrong_key_is_said(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = "it refuses the key in the environment variable OPENAI_API_KEY" if key else "it wants a key"
    with pytest.raises(PoolStopped, match=f"HTTP 401: .*{said}"):
        judged(f"{server}#tiny", tmp_path, ["The Rhine."])
