"""The attention function against a mask of the whole row, on both kernels, and what it refuses."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from selfreward_ray.errors import UserError
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training import attention
from selfreward_ray.training.attention import Spans, packed_attention, use_packed_attention
from selfreward_ray.training.packing import Packed, pack
from selfreward_ray.training.policy import Policy

PACKED = pack((SftTokens("s", (1, 2), (3, 4, 5)), PairTokens("p", (6, 7, 8), (9, 10), (11, 12, 13))))
# Who sees whom, by hand: rows are queries.
SEEN = torch.tensor([[int(c) for c in row] for row in (
    "1000000000000",
    "1100000000000",
    "1110000000000",
    "1111000000000",
    "1111100000000",
    "0000010000000",
    "0000011000000",
    "0000011100000",
    "0000011110000",
    "0000011111000",
    "0000011100100",
    "0000011100110",
    "0000011100111",
)]).bool()  # fmt: skip
# Beginnings of beginnings: what the last but one sees stands in three places of the row.
NESTED = pack((
    SftTokens("a", (1, 2, 3), (4, 5)), SftTokens("b", (1, 2, 6), (7, 8)), SftTokens("c", (1, 2, 6), (7, 9)),
    PairTokens("d", (1, 2, 6, 7), (9, 1), (9, 2)),
))  # fmt: skip
CPU = torch.device("cpu")
SPANS = Spans.of(PACKED.segments, CPU)
LAYER = SimpleNamespace()


def mask_of(packed: Packed) -> torch.Tensor:
    """Who sees whom by the sequences alone, whatever is shared: a token sees those before it in each sequence that has
    it, which all begin with the same."""
    seen = torch.zeros(len(packed.token_ids), len(packed.token_ids)).bool()
    for segment in packed.segments:
        for i, place in enumerate(segment.places()):
            seen[place, segment.places()[: i + 1]] = True
    return seen


def test_the_mask_of_the_row_is_the_one_by_hand():
    assert torch.equal(mask_of(PACKED), SEEN)
    assert NESTED.segments[3].prefix == (slice(0, 2), slice(5, 7), slice(8, 9))


@pytest.mark.parametrize("kernel", ["_products", "_fused"])
@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize("packed", [PACKED, NESTED], ids=["a pair's prompt", "nested beginnings"])
def test_outputs_and_gradients_are_those_of_a_mask(
    kernel: str, heads: int, groups: int, packed: Packed, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attention, "_products", getattr(attention, kernel))
    torch.manual_seed(0)
    length = len(packed.token_ids)
    query, key, value = (
        torch.randn(1, count, length, 8, dtype=torch.float64, requires_grad=True) for count in (heads, groups, groups)
    )
    weight = torch.arange(float(length * heads * 8), dtype=torch.float64).reshape(1, length, heads, 8).cos()

    spans = Spans.of(packed.segments, CPU)
    found, weights = packed_attention(LAYER, query, key, value, None, scaling=0.3, spans=spans)
    assert weights is None
    found_gradients = torch.autograd.grad((found * weight).sum(), (query, key, value))

    repeated = [states.repeat_interleave(heads // groups, dim=1) for states in (key, value)]
    scores = (query @ repeated[0].mT * 0.3).masked_fill(~mask_of(packed), -torch.inf)
    expected = (scores.softmax(-1) @ repeated[1]).transpose(1, 2)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    for mine, theirs in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_spans_are_the_sequences_of_queries_and_of_keys():
    """The second branch of the pair sees the prompt at 5 to 7 and itself at 10 to 12."""
    spans = Spans.of(PACKED.segments, CPU)
    assert spans.places.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 6, 7, 10, 11, 12]
    assert spans.query_ends.tolist() == [0, 5, 10, 13]
    assert spans.key_ends.tolist() == [0, 5, 10, 16]
    assert (spans.queries, spans.keys) == ([5, 5, 3], [5, 5, 6])
    assert spans.query_ends.dtype == spans.key_ends.dtype == torch.int32


def flash_by_hand(query: Any, key: Any, value: Any, ends: Any, key_ends: Any, *rest: Any, scale: float) -> Any:
    """What the kernel is documented to do: each sequence alone, its last query seeing its last key."""
    longest, longest_keys, dropout, causal, _ = rest
    assert (dropout, causal) == (0.25, True)
    assert (longest, longest_keys) == (ends.diff().max(), key_ends.diff().max())
    outputs = []
    for (first, stop), (first_key, stop_key) in zip(pairwise(ends.tolist()), pairwise(key_ends.tolist()), strict=True):
        own, keys, values = query[first:stop], key[first_key:stop_key], value[first_key:stop_key]
        keys, values = (states.repeat_interleave(own.shape[1] // keys.shape[1], dim=1) for states in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", own, keys) * scale
        later = torch.ones(scores.shape[1:]).triu(scores.shape[2] - scores.shape[1] + 1).bool()
        outputs.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(later, -torch.inf).softmax(-1), values))
    return torch.cat(outputs), None


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3)])
def test_one_call_of_flash_attention_does_what_the_loop_over_segments_does(
    heads: int, groups: int, monkeypatch: pytest.MonkeyPatch
):
    """The kernel has no CPU form; on a GPU `make bench-gpu` runs it."""
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash_by_hand)
    torch.manual_seed(0)
    for packed in (PACKED, NESTED):
        length, spans = len(packed.token_ids), Spans.of(packed.segments, CPU)
        query, key, value = (torch.randn(1, n, length, 8, dtype=torch.bfloat16) for n in (heads, groups, groups))
        flash = replace(spans, flash=True)
        found, _ = packed_attention(LAYER, query, key, value, None, scaling=0.3, dropout=0.25, spans=flash)
        expected, _ = packed_attention(LAYER, query, key, value, None, scaling=0.3, spans=spans)
        torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


def test_gradients_of_what_many_see_are_summed_in_float32():
    """A thousand sequences see one token. In bfloat16 the sum of ones would end at 256, where the next is lost."""
    state = torch.zeros(1, 1, 2, 1, dtype=torch.bfloat16, requires_grad=True)
    attention._Seen.apply(state, torch.tensor([1] * 1000 + [0])).sum().backward()
    assert state.grad.flatten().tolist() == [1, 1000]


@pytest.mark.parametrize("kernel", ["_products", "_fused"])
def test_dropout_leaves_out_weights_and_keeps_the_mean(kernel: str, monkeypatch: pytest.MonkeyPatch):
    """All values are 1: without dropout each output is 1, with it the kept weights' sum, on average 1 again."""
    monkeypatch.setattr(attention, "_products", getattr(attention, kernel))
    torch.manual_seed(0)
    packed = pack((SftTokens("s", (1,), (2,) * 299),))
    query, key, value = torch.randn(3, 1, 4, 300, 8).unbind()
    outputs, _ = packed_attention(
        LAYER, query, key, torch.ones_like(value), None, scaling=0.1, dropout=0.5, spans=Spans.of(packed.segments, CPU)
    )
    assert outputs.mean().item() == pytest.approx(1, abs=0.02)
    assert outputs.std().item() > 0.05


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"sliding_window": 5}, "a sliding window of 5 tokens, smaller than a sequence of 6"),
        ({"softcap": 50.0}, "attention with softcap"),
        ({"s_aux": torch.zeros(2)}, "attention with s_aux"),
        ({"position_bias": torch.zeros(1), "position_ids": torch.zeros(1)}, "attention with position_bias"),
        ({"attention_mask": torch.zeros(1, 1, 13, 13)}, "attention with attention_mask"),
        ({"is_causal": False}, "attention with is_causal=False"),
        ({"spans": None}, "do not hand down the keywords"),
    ],
)
def test_what_would_change_the_result_is_refused(asked: dict[str, Any], said: str):
    query = torch.zeros(1, 2, 13, 8)
    given = {"attention_mask": None, "spans": SPANS, "scaling": 1.0} | asked
    with pytest.raises(UserError, match=said):
        packed_attention(LAYER, query, query, query, **given)


def test_what_changes_nothing_is_taken():
    query = torch.zeros(1, 2, 13, 8)
    packed_attention(
        LAYER,
        query,
        query,
        query,
        None,
        scaling=1.0,
        spans=SPANS,
        sliding_window=6,
        softcap=None,
        output_attentions=False,
        is_causal=True,
    )


SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=15)),
            "MistralForCausalLM cannot be trained here: it has a sliding window of 15 tokens; set max_tokens to 15",
        ),
        (
            lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=None)),
            "a soft cap on its attention",
        ),
        (lambda: MambaForCausalLM(MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1)), "linear_attention"),
        (lambda: RwkvForCausalLM(RwkvConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2)), "recurrent"),
        (
            lambda: LlamaForCausalLM(LlamaConfig(**SIZES, layer_types=["full_attention", "linear_attention"])),
            "not attention over whole sequences .linear_attention.",
        ),
        (
            lambda: LlamaForCausalLM(
                LlamaConfig(
                    **SIZES,
                    max_position_embeddings=15,
                    rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
                )
            ),
            "depend on the longest sequence of a batch; set max_tokens to 15 or less",
        ),
        (
            lambda: Gemma3ForCausalLM(
                Gemma3TextConfig(
                    **SIZES,
                    sliding_window=16,
                    max_position_embeddings=15,
                    layer_types=["sliding_attention", "full_attention"],
                    rope_parameters={
                        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                        "full_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
                    },
                )
            ),
            "depend on the longest sequence of a batch; set max_tokens to 15 or less",
        ),
        (
            lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, sliding_window=40, use_bidirectional_attention=True)),
            "attention to later tokens .use_bidirectional_attention.",
        ),
    ],
)
def test_a_model_that_can_not_be_packed_is_refused_before_it_is_trained(make: Any, said: str):
    with pytest.raises(UserError, match=said):
        use_packed_attention(make(), max_tokens=16)


def test_a_window_as_long_as_any_sequence_is_none():
    use_packed_attention(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16)), max_tokens=16)


def test_attention_sinks_are_refused_by_the_first_pass():
    """Nothing in the configuration tells them; the layer hands them to the attention function."""
    config = GptOssConfig(**SIZES, num_local_experts=2, num_experts_per_tok=1, sliding_window=16)
    policy = Policy(GptOssForCausalLM(config), max_tokens=16)
    with pytest.raises(UserError, match="attention with s_aux"):
        policy(PACKED)


def test_the_exported_configuration_names_no_attention_of_ours(tiny_model: Path, tmp_path: Path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    use_packed_attention(model, max_tokens=16)
    model.config.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text()
