import pickle
import random
import sys
import tracemalloc

import pytest

from selfreward_ray.store.number_table import NumberTable


def test_it_has_the_very_numbers_by_their_names():
    rng = random.Random(0)
    given = {f"M2/q{n:06d}/{side}": rng.uniform(-900, 0) for n in range(500) for side in ("chosen", "rejected")}
    rows = list(given.items())
    rng.shuffle(rows)
    for table in (NumberTable(rows), pickle.loads(pickle.dumps(NumberTable(rows)))):  # noqa: S301 - of the test
        assert len(table) == 1000
        assert {name: table[name] for name in given} == given
        for other in ("M2/q000500/chosen", " ", "M2/q000000"):
            assert table.all(other) == []
            with pytest.raises(KeyError, match=other):
                table[other]


def test_a_name_may_have_several_numbers():
    table = NumberTable([("a", 3.0), ("b", 1.0), ("a", 1.0), ("\ud800", 7.0), ("a", 2.0)])
    assert [table.all(name) for name in ("a", "b", "c", "\ud800")] == [[3.0, 1.0, 2.0], [1.0], [], [7.0]]
    assert table["a"] == 3.0


def test_without_rows_it_is_empty():
    table = NumberTable([])
    assert not table
    assert table.all("a") == []


def test_a_number_takes_32_bytes():
    count = 100_000
    tracemalloc.start()
    table = NumberTable((f"M2/q{n}/chosen", -1.5) for n in range(count))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40 * count < count * sys.getsizeof("M2/q99999/chosen")
    assert table["M2/q99999/chosen"] == -1.5
