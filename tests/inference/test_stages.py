"""The parts of placement that need no cluster. `tests/raylets/test_placement.py` uses a real one."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray.util

from selfreward_ray.inference import placement
from selfreward_ray.inference.placement import blocks_at_a_time, engine_nodes, release_stages, stages
from selfreward_ray.recipe.schema import Inference

STAGED = Inference(gpus_per_replica=2, nodes_per_replica=2, cpus_per_replica=4)


@pytest.mark.parametrize(("row_tokens", "blocks"), [(1000, 26), (999, 27), (100_000, 2), (1, 256)])
def test_a_replica_has_the_blocks_that_fill_its_engine_and_one_more_within_bounds(row_tokens: int, blocks: int):
    """Four rows per block; 100 rows of 1000 tokens fill the engine."""
    settings = Inference(tokens_in_flight=100_000, rows_per_block=4)
    assert blocks_at_a_time(settings, row_tokens) == blocks


def test_a_replica_that_starts_again_finds_its_own_stages(monkeypatch: pytest.MonkeyPatch):
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            raise ValueError(f"Failed to look up placement group with name: {name}")
        return made[name]

    def make(bundles: list[dict[str, float]], strategy: str, name: str) -> Any:
        made[name] = SimpleNamespace(bundles=bundles, strategy=strategy)
        return made[name]

    monkeypatch.setattr(ray.util, "get_placement_group", get)
    monkeypatch.setattr(ray.util, "placement_group", make)
    first = stages("pool/a", STAGED)
    assert (first.bundles, first.strategy) == ([{"CPU": 2, "GPU": 1}] * 4, "PACK")
    assert stages("pool/a", STAGED) is first
    assert stages("pool/b", STAGED) is not first


def test_the_stages_of_one_pool_are_given_back_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch):
    """Ray still lists removed groups."""
    names = {"ours/a": "CREATED", "ours/b": "PENDING", "ours/c": "REMOVED", "other/a": "CREATED", "": "CREATED"}
    table = {str(i): {"name": name, "state": state} for i, (name, state) in enumerate(names.items())}
    removed: list[str] = []
    monkeypatch.setattr(ray.util, "placement_group_table", lambda: table)
    monkeypatch.setattr(ray.util, "get_placement_group", lambda name: name)
    monkeypatch.setattr(ray.util, "remove_placement_group", removed.append)
    release_stages("ours")
    assert removed == ["ours/a", "ours/b"]


@pytest.mark.parametrize(("group", "nodes"), [(None, {"1"}), ("pool/a", {"1", "2"})])
def test_an_engine_is_on_its_own_node_and_on_those_of_its_stages(
    group: str | None, nodes: set[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ray.util, "get_current_placement_group", lambda: group)
    monkeypatch.setattr(placement, "placement_group_table", lambda _: {"bundles_to_node_id": {0: "1", 1: "2", 2: "2"}})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "1"))
    assert engine_nodes() == nodes
