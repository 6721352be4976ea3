from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.training.shards import plan_shards


def test_shards_by_hand():
    """At most ten bytes a file: 4 + 6 fit, 3 + 8 do not, and what is larger than a file has one of its own."""
    sizes = {"a": 4, "b": 6, "c": 3, "d": 8, "e": 12, "f": 1}
    shards = plan_shards(sizes, 10)
    assert list(shards.values()) == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]
    assert list(shards)[1] == "model-00002-of-00005.safetensors"


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 40))
def test_each_tensor_is_in_one_shard_and_no_shard_is_too_large(sizes: list[int], limit: int):
    named = {f"w{i}": size for i, size in enumerate(sizes)}
    shards = list(plan_shards(named, limit).values())
    assert [name for names in shards for name in names] == list(named)
    assert all(len(names) == 1 or sum(named[name] for name in names) <= limit for names in shards)
