"""Model FLOPs by hand, for a model small enough to count."""

import sys
from pathlib import Path

from selfreward_ray.records import TokenSequence

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from model_flops import ModelFlops


def test_a_two_layer_llama():
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=10,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    # Queries and output 8×8 each, keys and values 8×4 each, gate, up and down 8×16 each; the head 8×10.
    flops = ModelFlops.of(config)
    assert flops == ModelFlops(body=2 * (2 * 64 + 2 * 32 + 3 * 128), head=80, attention=2 * 2 * 4)
    sequences = [TokenSequence("a", (1, 2), (3,)), TokenSequence("b", (1,), (2, 3, 4))]
    products = 2 * (3 + 4) * 1152 + 2 * (1 + 3) * 80
    attention = 2 * (9 + 16) * 16
    assert flops.forward(sequences) == products + attention
    assert flops.training(sequences) == 3 * (products + attention)
