"""Metrics of a replica, with counters that reject the same values as Ray's."""

from typing import Any, ClassVar

import pytest

from selfreward_ray.inference import metrics
from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.inference.metrics import Metrics
from selfreward_ray.inference.stats import EngineStats


class Metric:
    known: ClassVar[dict[str, "Metric"]] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]):
        assert description.endswith(".")
        assert name not in self.known
        self.known[name] = self
        self.tag_keys = tag_keys
        self.tags: dict[str, str] = {}
        self.said: list[float] = []
        self.tagged: list[dict[str, str]] = []

    def set_default_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def add(self, value: float, tags: dict[str, str] | None) -> None:
        tags = self.tags | (tags or {})
        assert set(tags) == set(self.tag_keys)
        self.said.append(value)
        self.tagged.append(tags)


class FakeCounter(Metric):
    def inc(self, amount: float = 1.0, tags: dict[str, str] | None = None) -> None:
        if amount <= 0:
            raise ValueError(f"value must be > 0, got {amount}")
        self.add(amount, tags)


class FakeGauge(Metric):
    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.add(value, tags)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every metric that was created, by name."""
    monkeypatch.setattr(Metric, "known", {})
    monkeypatch.setattr(metrics, "Counter", FakeCounter)
    monkeypatch.setattr(metrics, "Gauge", FakeGauge)
    return Metric.known


def test_counters_get_what_was_added_since_and_gauges_what_is(known: dict[str, Any]):
    published, stats = Metrics("replica-1"), EngineStats()
    published.begin("respond")
    for generated, running, usage in ((0, 0, 0.0), (7, 3, 0.5), (7, 2, 0.5), (9, 0, 0.0)):
        stats.generated_tokens, stats.requests_running, stats.kv_cache_usage = generated, running, usage
        published.publish(stats)
    assert known["selfreward_generated_tokens"].said == [7, 2]
    assert known["selfreward_requests_running"].said == [0, 3, 2, 0]
    assert known["selfreward_kv_cache_usage"].said == [0.0, 0.5, 0.5, 0.0]
    assert known["selfreward_prompt_tokens"].said == []


def test_each_figure_of_an_engine_is_published_as_itself(known: dict[str, Any]):
    published, stats = Metrics("replica-1"), EngineStats()
    published.begin("respond")
    figures = {name: value for value, name in enumerate(vars(stats), 1) if name != "last_step"}
    vars(stats).update(figures)
    published.publish(stats)
    said = {name: metric.said for name, metric in known.items() if metric.said}
    assert said == {f"selfreward_{name}": [value] for name, value in figures.items()}


def test_a_blocks_counts_are_added(known: dict[str, Any]):
    published = Metrics("replica-1")
    published.block("respond", BlockCounts(rows=8, dropped=1, verdicts=30, invalid_verdicts=0, verdicts_asked_again=2))
    published.block("respond", BlockCounts(rows=2))
    said = {name.removeprefix("selfreward_"): metric.said for name, metric in known.items() if metric.said}
    assert said == {"rows": [8, 2], "dropped": [1], "verdicts": [30], "verdicts_asked_again": [2]}


def test_each_figure_has_its_step_and_the_replica(known: dict[str, Any]):
    """An engine continues from one step to the next."""
    published, stats = Metrics("replica-1"), EngineStats()
    assert len(known) == 15
    for step, generated in (("evaluate", 5), ("respond", 12)):
        published.begin(step)
        stats.generated_tokens = generated
        published.publish(stats)
    published.block("evaluate", BlockCounts(rows=1))
    steps = [{"step": step, "replica": "replica-1"} for step in ("evaluate", "respond")]
    assert known["selfreward_generated_tokens"].tagged == steps
    assert known["selfreward_requests_running"].tagged == steps
    assert known["selfreward_rows"].tagged == steps[:1]


def test_nothing_is_published_before_the_first_block_and_a_restart_counts_for_its_step(known: dict[str, Any]):
    published, stats = Metrics("replica-1", restarted=True), EngineStats()
    published.publish(stats)
    assert not any(metric.said for metric in known.values())
    for step in ("evaluate", "respond"):
        published.begin(step)
    assert known["selfreward_engine_restarts"].tagged == [{"step": "evaluate", "replica": "replica-1"}]
    assert known["selfreward_replicas_lost"].tagged == []


def test_a_replica_that_was_lost_with_its_node_is_counted_apart(known: dict[str, Any]):
    published = Metrics("replica-1", node_lost=True)
    for step in ("evaluate", "respond"):
        published.begin(step)
    assert known["selfreward_replicas_lost"].tagged == [{"step": "evaluate", "replica": "replica-1"}]
    assert known["selfreward_engine_restarts"].tagged == []
