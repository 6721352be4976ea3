"""Log-probs and gradients of the packed policy against plain transformers, one sequence at a time."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from selfreward_ray.errors import UserError
from selfreward_ray.records import PairTokens, SftTokens, TokenSequence
from selfreward_ray.training import head
from selfreward_ray.training.packing import pack
from selfreward_ray.training.policy import Policy, _logit_factor, by_sequence

PAIR = PairTokens("long", (5, 9, 11, 30), (7, 8, 300, 12, 1, 40, 2), (9, 7))
EXAMPLES = (
    SftTokens("short", (5,), (7,)),
    PAIR,
    SftTokens("prompted", tuple(range(20, 28)), (99, 1)),
    PairTokens("even", (4, 4), (1,), (2, 3, 5)),
    # Beginnings of the others: of a target, of a prompt, and of each other.
    SftTokens("reads what is said", (5, 9, 11, 30, 7, 8), (300, 3)),
    PairTokens("preamble", tuple(range(20, 26)), (40, 41, 42), (40, 41, 43), eft=SftTokens("eft", (20, 21, 7), (6, 5))),
)
SEQUENCES = [s for e in EXAMPLES for s in e.sequences()]


def llama(tiny_model: Path) -> Any:
    """Two query heads on one key head."""
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def qwen3(_: Path) -> Any:
    """Six query heads on two key heads, with norms of queries and keys."""
    config = Qwen3Config(
        vocab_size=400,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        initializer_range=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Qwen3ForCausalLM(config).eval()


def granite(_: Path) -> Any:
    """Logits are a sixth of what the head gives."""
    config = GraniteConfig(
        vocab_size=400, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.1, logits_scaling=6.0, attention_multiplier=0.2,
        residual_multiplier=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return GraniteForCausalLM(config).eval()


def gpt2(_: Path) -> Any:
    """A vector for each absolute position."""
    config = GPT2Config(
        vocab_size=400, n_embd=48, n_layer=2, n_head=3, n_positions=32, initializer_range=0.1,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module", params=[llama, qwen3, granite, gpt2])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> Any:
    make: Callable[[Path], Any] = request.param
    return make(tiny_model)


def policy_of(model: Any) -> Policy:
    return Policy(deepcopy(model), max_tokens=16)


def plain(model: Any, sequence: TokenSequence) -> torch.Tensor:
    """Log-probs of the target, one sequence alone, over the whole vocabulary at once."""
    ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
    logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
    positions = torch.arange(len(sequence.prompt_ids), ids.shape[1])
    return logprobs[positions - 1, ids[0, positions]]


# Of 400 logits each: all 26 targets at once, nine blocks of up to three in parts of two, and one by one.
blocks = pytest.mark.parametrize("logits", [(2**25, 2**21), (1200, 800), (1, 1)], indirect=True)


@pytest.fixture
def logits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are alive at a time, and in float32."""
    monkeypatch.setitem(head._LOGITS, "cpu", request.param)


def test_the_examples_share_beginnings():
    """Also of targets; else the tests below would show little."""
    packed = pack(EXAMPLES)
    assert len(packed.token_ids) < sum(segment.keys for segment in packed.segments) - 20
    assert len(packed.predictors.unique()) < len(packed.predictors) - 5


@blocks
@pytest.mark.usefixtures("logits")
def test_log_probs_are_those_of_the_plain_model(model: Any):
    packed = pack(EXAMPLES)
    with torch.no_grad():
        found = by_sequence(packed, policy_of(model)(packed))
        for sequence in SEQUENCES:
            assert found[sequence.id].dtype == torch.float32
            torch.testing.assert_close(found[sequence.id], plain(model, sequence), atol=1e-5, rtol=0)


@blocks
@pytest.mark.usefixtures("logits")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_plain_model(model: Any, checkpointing: bool):
    """Of a loss that weighs each token differently, so that a token in another's place would show."""

    def gradients(model: Any, logprobs: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        (logprobs * torch.arange(1.0, len(logprobs) + 1)).sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    policy = policy_of(model).train()
    if checkpointing:
        policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    packed = pack(EXAMPLES)
    said = by_sequence(packed, policy(packed))
    found = gradients(policy.model, torch.cat([said[s.id] for s in SEQUENCES]))
    expected = gradients(model, torch.cat([plain(model, s) for s in SEQUENCES]))
    assert max(g.abs().max() for g in expected.values()) > 0.1
    for name, gradient in expected.items():
        # Rounding follows the largest summands of a tensor, not its small entries, and differs between CPUs.
        torch.testing.assert_close(found[name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=0, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_sequence_sees_another(model: Any, dtype: torch.dtype):
    """Other ids in one branch, or in the example before, leave the rest as it was to the last bit."""
    policy = policy_of(model.to(dtype))
    model.to(torch.float32)

    def logprobs(*examples: SftTokens | PairTokens) -> dict[str, torch.Tensor]:
        packed = pack(examples)
        with torch.no_grad():
            return by_sequence(packed, policy(packed))

    first, last = EXAMPLES[2], EXAMPLES[3]
    before = logprobs(first, PAIR, last)
    for changed, sequence in (
        ((first, replace(PAIR, rejected_ids=(350, 351)), last), "long/rejected"),
        ((first, replace(PAIR, chosen_ids=(6, 351, 352, 353, 354, 355, 356)), last), "long/chosen"),
        ((replace(first, target_ids=(350, 351)), PAIR, last), "prompted/target"),
    ):
        after = logprobs(*changed)
        assert {name for name in before if not torch.equal(before[name], after[name])} == {sequence}


def test_the_factor_of_logits_is_the_architectures():
    """Granite divides by its own, Cohere multiplies."""
    assert _logit_factor(GraniteConfig(logits_scaling=8.0)) == 0.125
    assert _logit_factor(CohereConfig(logit_scale=0.0625)) == 0.0625
    assert _logit_factor(Qwen3Config()) == 1.0


def test_a_head_that_is_more_than_a_matrix_is_refused(model: Any):
    biased = deepcopy(model)
    biased.set_output_embeddings(torch.nn.Linear(4, 400, bias=True))
    with pytest.raises(UserError, match="output heads other than a plain linear one"):
        Policy(biased, max_tokens=16)


def test_a_model_that_changes_its_logits_after_the_head_is_refused(model: Any):
    """Log-probs of the bare head would be wrong, and the reference's equally wrong: nothing later would show it."""
    capped = deepcopy(model)
    capped.config.final_logit_softcapping = 30.0
    with pytest.raises(UserError, match="final_logit_softcapping"):
        Policy(capped, max_tokens=16)
