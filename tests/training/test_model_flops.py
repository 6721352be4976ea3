"""Model FLOPs by hand, for a model small enough to count."""

import pytest

from selfreward_ray.records import TokenSequence
from selfreward_ray.training.model_flops import ModelFlops, peak_flops


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


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_the_peak_of_a_device_by_its_name(device: str, tflops: float | None):
    assert peak_flops(device) == (None if tflops is None else tflops * 1e12)
