"""The real vLLM with a two-layer model in float32, and an adapter of it: what programs may rely on."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_model import ENGINE_ENV
from transformers import AutoModelForCausalLM
from vllm.v1.engine.exceptions import EngineGenerateError

from selfreward_ray.inference.engine import Engine, EngineDead
from selfreward_ray.inference.programs import ContextOverflow
from selfreward_ray.recipe.schema import Inference, Sampling
from selfreward_ray.records import Completion

pytestmark = pytest.mark.engines

SETTINGS = Inference(
    engine={
        "dtype": "float32", "max_model_len": 256, "max_num_seqs": 16, "enforce_eager": True, "block_size": 32,
        "kv_cache_memory_bytes": 1 << 28, "distributed_executor_backend": "uni",
    }
)  # fmt: skip
RIVER = "Write one sentence about rivers. Start with the word together, and use lower case only. " * 3
SEEDED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24, seeded=True)
GREEDY = Sampling(temperature=0.0, max_tokens=24)

Ask = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module", autouse=True)
def _one_process_less() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENGINE_ENV.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of an adapter of the model, and the model that it is merged into."""
    merged = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    folder = tmp_path_factory.mktemp("adapted") / "adapter"
    return write_adapter(folder, tiny_model, merged, rank=4, alpha=16), merged


@pytest.fixture(scope="module")
def engine(adapter: tuple[Path, Any], loop: asyncio.AbstractEventLoop) -> Iterator[Engine]:
    """An engine with a LoRA adapter. `test_loop.py` and `test_zero3.py` run vLLM on whole models."""
    engine = Engine(str(adapter[0]), SETTINGS, seed=5)
    yield engine
    engine.shutdown()
    loop.run_until_complete(asyncio.sleep(0))  # it closes sockets; a context that is collected with one waits for ever


@pytest.fixture
def ask(engine: Engine, loop: asyncio.AbstractEventLoop) -> Callable[..., list[Completion]]:
    """Completions of concurrent requests."""

    def asked(*requests: tuple[str, Sampling, str]) -> list[Completion]:
        async def all_of_them() -> list[Completion]:
            return await asyncio.gather(
                *(engine.generate(engine.encode(text), sampling, name) for text, sampling, name in requests)
            )

        return loop.run_until_complete(all_of_them())

    return asked


def test_a_prompt_that_was_read_before_is_found_in_the_prefix_cache(engine: Engine, ask: Any):
    hits, generated = engine.stats.prefix_cache_hits, engine.stats.generated_tokens
    (first,) = ask((RIVER, GREEDY, "first"))
    (again,) = ask((RIVER, GREEDY, "again"))
    whole_blocks = (len(engine.encode(RIVER)) - 1) // 32 * 32
    assert (first.cached_tokens, again.cached_tokens) == (0, whole_blocks)
    assert engine.stats.prefix_cache_hits - hits == whole_blocks > 0
    assert engine.stats.generated_tokens - generated == 48
    assert first.token_ids == again.token_ids


def test_a_seeded_request_gives_the_same_alone_and_among_others(ask: Any):
    """In float32; in lower precision the results of a batch may depend on its size."""
    others = [(f"Name river {i}.", SEEDED, f"p{i}/r0") for i in range(12)]
    (alone,) = ask((RIVER, SEEDED, "p99/r0"))
    among = ask(*others[:6], (RIVER, SEEDED, "p99/r0"), *others[6:])[6]
    (other_id,) = ask((RIVER, SEEDED, "p99/r1"))
    assert alone.token_ids == among.token_ids != other_id.token_ids


def test_an_unseeded_request_differs_from_time_to_time(ask: Any):
    unseeded = SEEDED.model_copy(update={"seeded": False})
    first, second = ask((RIVER, unseeded, "u/r0"), (RIVER, unseeded, "u/r1"))
    assert first.token_ids != second.token_ids


def test_a_request_over_the_context_is_refused_before_the_engine_sees_it(ask: Any):
    with pytest.raises(ContextOverflow, match=r"the 250 tokens to generate exceed the context of 256"):
        ask((RIVER, Sampling(max_tokens=250), "long"))


def test_a_request_that_the_engine_refuses_does_not_end_it(engine: Engine, ask: Any, loop: Any):
    with pytest.raises(Exception, match="unclosed group"):
        loop.run_until_complete(engine.generate(engine.encode("x"), GREEDY, "wrong", pattern="("))
    assert len(ask((RIVER, GREEDY, "after it"))[0].token_ids) == 24


def test_a_pattern_is_kept_to(engine: Engine, loop: Any):
    given = loop.run_until_complete(engine.generate(engine.encode("x"), SEEDED, "p", pattern="(yes|no)"))
    assert given.text in {"yes", "no"}
    assert given.finish_reason == "stop"


def test_an_adapter_changes_its_base_as_merging_it_would(
    engine: Engine, ask: Any, base: Any, adapter: tuple[Path, Any]
):
    """The greedy tokens of base + adapter in the engine are those of the merged weights in transformers."""
    (given,) = ask((RIVER, GREEDY, "p"))
    ids = torch.tensor([engine.encode(RIVER)])
    expected, without = (
        model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :].tolist()
        for model in (adapter[1], base)
    )
    assert list(given.token_ids) == expected != without


def test_given_tokens_have_the_log_probs_of_transformers(engine: Engine, loop: Any, adapter: tuple[Path, Any]):
    """Also after their prompt was read, and so is in the prefix cache."""
    prompt = engine.encode(RIVER)
    greedy = adapter[1].generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[0, len(prompt) :].tolist()
    other = [*greedy[:-1], (greedy[-1] + 1) % 300]
    for target, expected in [(greedy, True), (other, False), (greedy, True)]:
        score = loop.run_until_complete(engine.score(prompt, target, f"s/{expected}"))
        logprob = log_prob(adapter[1], prompt, target)
        assert score.logprob == pytest.approx(logprob, rel=1e-4)
        assert logprob < -0.1
        assert score.greedy == expected


def test_a_request_to_score_leaves_room_for_a_token(engine: Engine, loop: Any):
    assert engine.context == 256
    assert loop.run_until_complete(engine.score([9] * 200, [9] * 55, "fits")).logprob < 0
    with pytest.raises(ContextOverflow):
        loop.run_until_complete(engine.score([9] * 200, [9] * 56, "long"))


def test_a_text_ends_before_the_given_text(engine: Engine, loop: Any):
    prompt = engine.encode(RIVER)
    whole = loop.run_until_complete(engine.complete(prompt, GREEDY, (), "whole"))
    assert whole.text.startswith(loop.run_until_complete(engine.generate(prompt, GREEDY, "generated")).text[:5])
    end = whole.text[9:12]
    cut = loop.run_until_complete(engine.complete(prompt, GREEDY, (end, "never"), "cut"))
    assert cut.text == whole.text[: whole.text.index(end)]
    assert (cut.finish_reason, whole.finish_reason) == ("stop", "length")
    assert len(cut.token_ids) < len(whole.token_ids) == 24


def log_prob(model: Any, prompt: list[int], target: list[int]) -> float:
    """The log-probability of `target` after `prompt` in transformers."""
    with torch.no_grad():
        logits_TV = model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
    logprobs_TV = torch.log_softmax(logits_TV.float(), -1)
    return float(logprobs_TV[range(len(target)), target].sum())


def write_adapter(folder: Path, base: Path, model: Any, rank: int, alpha: int) -> Path:
    """A random LoRA adapter of `base` as `peft` saves one; merged into `model` at once."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            a = torch.randn(rank, module.in_features, generator=generator) * 0.2
            b = torch.randn(module.out_features, rank, generator=generator) * 0.2
            tensors |= {
                f"base_model.model.{name}.lora_A.weight": a,
                f"base_model.model.{name}.lora_B.weight": b,
            }
            module.weight.data += alpha / rank * b @ a
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "bias": "none",
        "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": str(base),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("errored", "expected"), [(True, EngineDead), (False, KeyError)])
def test_a_failure_of_vllms_own_ends_the_engine_or_the_request_alone(
    engine: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch, errored: bool, expected: type[Exception]
):
    """An error in vLLM's output loop ends all running requests, with an error that has no text."""

    class Failing:
        def __init__(self) -> None:
            self.errored = errored

        async def generate(self, *_: Any, **__: Any) -> Any:
            raise EngineGenerateError from KeyError("a lost request")
            yield

    monkeypatch.setattr(engine, "_engine", Failing())
    with pytest.raises(expected, match="a lost request"):
        ask((RIVER, GREEDY, "failing"))
