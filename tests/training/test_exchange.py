"""Slices of gradients that ranks send each other, and their means; `test_ranks.py` has the exchange itself."""

import pytest
import torch

from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.training import exchange, zero3

RANKS = (1, 2, 3, 4)
SHAPES = [(4, 6), (7,), (1,), (3, 5), ()]
"""Divided by some numbers of ranks and not by others; of one element most ranks have an empty slice."""


def gradients(rank: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(shape, generator=generator).bfloat16() for shape in SHAPES]


def averaged(rank: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What `rank` has of the mean, where the other ranks send it what they would."""
    monkeypatch.setattr(exchange.dist, "get_world_size", lambda group: ranks)
    monkeypatch.setattr(exchange.dist, "get_rank", lambda group: rank)

    def receive(received: torch.Tensor, sent: torch.Tensor, group: object) -> None:
        sizes = [-(-tensor.numel() // ranks) for tensor in gradients(0)]
        for other in range(ranks):
            received[other] = exchange._by_rank(gradients(other), sizes, ranks)[rank]

    monkeypatch.setattr(exchange.dist, "all_to_all_single", receive)
    return exchange.average_slices(gradients(rank))


@pytest.mark.parametrize("ranks", RANKS)
def test_the_ranks_slices_one_after_the_other_are_the_mean(ranks: int, monkeypatch: pytest.MonkeyPatch):
    slices = zip(*(averaged(rank, ranks, monkeypatch) for rank in range(ranks)), strict=True)
    for parts, of_ranks in zip(slices, zip(*map(gradients, range(ranks)), strict=True), strict=True):
        mean = torch.stack([tensor.float() for tensor in of_ranks]).mean(0).reshape(-1)
        assert all(part.dtype == torch.float32 for part in parts)
        torch.testing.assert_close(torch.cat(parts), mean, rtol=1e-6, atol=1e-7)


def test_a_mean_of_many_elements_is_taken_in_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exchange, "_CHUNK", 5)
    parts = torch.arange(24.0).reshape(2, 12)
    assert exchange._mean(parts.bfloat16()).tolist() == parts.mean(0).tolist()


def test_small_gradients_of_a_rank_do_not_vanish_beside_large_ones():
    """In bfloat16 a 512th beside 1 is rounded away."""
    parts = torch.tensor([[1.0], [1 / 512]], dtype=torch.bfloat16)
    assert exchange._mean(parts).tolist() == [(1 + 1 / 512) / 2]


@pytest.mark.parametrize("gpus", [0, 1])
def test_ranks_on_gpus_keep_deepspeeds_exchange(gpus: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(DECLARED_GPUS, raising=False)
    monkeypatch.setattr(zero3.deepspeed, "init_distributed", lambda dist_backend: None)
    own = exchange.stage3.reduce_scatter_coalesced
    monkeypatch.setattr(exchange.stage3, "reduce_scatter_coalesced", own)  # it is put back
    zero3.join_ranks(gpus)
    assert (exchange.stage3.reduce_scatter_coalesced is exchange.average_slices) == (gpus == 0)
