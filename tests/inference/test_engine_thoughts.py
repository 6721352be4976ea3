"""The real vLLM under a template that opens a thought and under a plain one: what it samples, judges, trains, exports.

The models write a given sequence: each token's embedding is what the head of the next one looks for.
"""

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_families import ALL_FAMILIES, write_family
from tiny_model import ENGINE_ENV, write_tiny_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from selfreward_ray.errors import UserError
from selfreward_ray.inference.engine import Engine
from selfreward_ray.inference.programs import respond_and_judge
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.schema import Inference, Judge, Respond, Sampling, VerdictSampling
from selfreward_ray.records import JudgedPrompt, Pair, Prompt
from selfreward_ray.steps.export import export
from selfreward_ray.store.step import Step
from selfreward_ray.training.examples import Encoding, pair_tokens

pytestmark = pytest.mark.engines

SETTINGS = Inference(
    engine={
        "dtype": "float32", "max_model_len": 2048, "max_num_seqs": 8, "enforce_eager": True, "block_size": 32,
        "kv_cache_memory_bytes": 1 << 28, "distributed_executor_backend": "uni",
    }
)  # fmt: skip
RESPOND = Respond(candidates=2, sampling=Sampling(temperature=0, max_tokens=40))
JUDGE = Judge(verdicts=1, min_valid=1, retries=0, sampling=VerdictSampling(temperature=0, max_tokens=40))
RUBRIC = load_rubric("checklist")
THOUGHT, REPLY = "2?", "Score: 4"


def writing(folder: Path, family: str, written: str) -> Path:
    """A model whose every reply is `written` and the end token."""
    plain = write_tiny_model(folder / "plain")
    write_family(AutoTokenizer.from_pretrained(plain), ALL_FAMILIES[family], folder / "model")
    codec, tokenizer = ChatCodec(folder / "model"), AutoTokenizer.from_pretrained(folder / "model")
    last = codec.prompt_ids("Why?")[-1]
    chain = [last, *tokenizer(written, add_special_tokens=False)["input_ids"], codec.end_id]
    assert len(set(chain)) == len(chain), "each token has one that follows"
    config = LlamaConfig.from_pretrained(plain, vocab_size=-(-len(tokenizer) // 64) * 64)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings, head = model.model.embed_tokens.weight, model.lm_head.weight
        head.zero_()
        for before, after in pairwise(chain):
            head[after] = embeddings[before] / embeddings[before].norm()
    model.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module", autouse=True)
def _one_process_less() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENGINE_ENV.items():
            patch.setenv(name, value)
        yield


async def judged_by(folder: Path) -> JudgedPrompt:
    engine = Engine(str(folder), SETTINGS, seed=0)
    try:
        if engine._codec.opens_thought(engine.encode("Why?")):
            with pytest.raises(UserError, match="judge.constrained cannot constrain a verdict that begins inside a"):
                await engine.generate(engine.encode("Why?"), RESPOND.sampling, "x", pattern="yes")
        made = await respond_and_judge(Prompt("M2/p000000", "Why?"), engine, RESPOND, JUDGE, RUBRIC)
        assert isinstance(made, JudgedPrompt)
        return made
    finally:
        engine.shutdown()
        await asyncio.sleep(0)


def exported(folder: Path, prompt: JudgedPrompt) -> dict[str, Any]:
    step = Step("respond", str(folder / "step"), {}, {})
    step.is_done()
    step.write([prompt], JudgedPrompt)
    step.finish(offered=1)
    export(step.folder.uri, str(folder / "replies.jsonl"), pick="first")
    row: dict[str, Any] = json.loads((folder / "replies.jsonl").read_text())
    return row


@pytest.mark.parametrize(
    ("family", "written", "prompt_end", "thought", "read"),
    [
        ("qwen 3.5", f"{THOUGHT}</think>{REPLY}", "assistant\n<think>\n", THOUGHT, f"{THOUGHT}</think>"),
        ("chatml", REPLY, "assistant\n", "", ""),
    ],
)
def test_what_is_sampled_judged_trained_and_exported(
    tmp_path: Path, family: str, written: str, prompt_end: str, thought: str, read: str
):
    folder = writing(tmp_path, family, written)
    prompt = asyncio.run(judged_by(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    first, second = prompt.candidates
    assert tokenizer.decode(prompt.token_ids).endswith(prompt_end)
    assert tokenizer.decode(first.token_ids) == f"{written}<|im_end|>", "sampled"
    assert (first.text, first.thought, first.finished) == (REPLY, thought, True)
    (verdict,) = first.verdicts
    assert (verdict.text, verdict.thought, verdict.score, first.mean) == (REPLY, thought, 4.0, 4.0), "judged"
    pair = Pair("p", prompt.text, prompt.token_ids, first, second)
    for thoughts, context in (("train", ""), ("read", read)):
        tokens = pair_tokens(pair, lambda: ChatCodec(folder), Encoding(thoughts))
        assert (tokens.prompt_ids, tokens.chosen_ids) == (prompt.token_ids, first.token_ids), "trained"
        assert tokenizer.decode(tokens.chosen_ids[: tokens.chosen_context]) == context
    row = exported(tmp_path, prompt)
    assert (row["prompt"], row["reply"], row["thought"]) == ("Why?", REPLY, thought or None), "exported"
