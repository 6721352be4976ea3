"""Log-probs and gradients of the chunked, padded policy against plain transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from selfreward_ray.errors import UserError
from selfreward_ray.records import TokenSequence
from selfreward_ray.training.policy import Policy, by_sequence

SEQUENCES = [
    TokenSequence("short", (5,), (7,)),
    TokenSequence("long", (5, 9, 11, 30), (7, 8, 300, 12, 1, 40, 2)),  # 2 is the pad token: a target may be it too
    TokenSequence("prompted", tuple(range(20, 28)), (99, 1)),
]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def plain(model: Any, sequence: TokenSequence) -> torch.Tensor:
    """Log-probs of the target, one sequence alone, over the whole vocabulary at once."""
    ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
    logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
    positions = torch.arange(len(sequence.prompt_ids), ids.shape[1])
    return logprobs[positions - 1, ids[0, positions]]


# Ten targets at once, in uneven parts, one by one, and with parts left empty.
head_chunks = pytest.mark.parametrize("head_chunks", [1, 3, 10, 13])


@head_chunks
def test_log_probs_are_those_of_the_plain_model(model: Any, head_chunks: int):
    with torch.no_grad():
        found = by_sequence(SEQUENCES, Policy(model, pad_id=2)(SEQUENCES, head_chunks))
        for sequence in SEQUENCES:
            assert found[sequence.id].dtype == torch.float32
            torch.testing.assert_close(found[sequence.id], plain(model, sequence), atol=1e-5, rtol=0)


@head_chunks
def test_gradients_are_those_of_the_plain_model(model: Any, head_chunks: int):
    """Of a loss that weighs each token differently, so that a token in another's place would show."""

    def gradients(logprobs: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        (logprobs * torch.arange(1.0, len(logprobs) + 1)).sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    found = gradients(Policy(model, pad_id=2)(SEQUENCES, head_chunks))
    expected = gradients(torch.cat([plain(model, s) for s in SEQUENCES]))
    assert max(g.abs().max() for g in expected.values()) > 0.1
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_a_model_that_changes_its_logits_after_the_head_is_refused(model: Any):
    """Log-probs of the bare head would be wrong, and the reference's equally wrong: nothing later would show it."""
    model.config.final_logit_softcapping = 30.0
    try:
        with pytest.raises(UserError, match="final_logit_softcapping"):
            Policy(model, pad_id=2)
    finally:
        del model.config.final_logit_softcapping
