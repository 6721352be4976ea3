import io

import pytest
from rich.console import Console

from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.reporting import progress
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.steps.live import LiveMetrics, shares


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, float], int]]:
    found: list[tuple[dict[str, float], int]] = []
    monkeypatch.setattr(progress, "recorders", [lambda label, values, at: found.append((dict(values), at))])
    return found


def test_metrics_of_a_pool_are_recorded_as_often_as_a_line_of_a_log_and_at_the_end(recorded: list[object]):
    now = [100.0]
    live = LiveMetrics(Progress("respond", 9, "prompts", console=Console(file=io.StringIO())), clock=lambda: now[0])
    for seconds, done, tokens in ((9, 3, 300), (1, 4, 400), (9, 5, 900), (2, 9, 1720)):
        now[0] += seconds
        live.update(BlockCounts(rows=done, generated_tokens=tokens), done, 9)
    assert recorded == [
        ({"rows_left": 5, "tokens_per_second": 40.0, "dropped_share": 0.0}, 4),
        ({"rows_left": 0, "tokens_per_second": 120.0, "dropped_share": 0.0}, 9),
    ]


def test_shares_of_what_was_counted():
    counted = BlockCounts(
        rows=4, dropped=1, prompt_tokens=200, cached_tokens=50, generated_tokens=9, verdicts=8, invalid_verdicts=2,
        scores={"4": 3, "10": 1, "2": 2},
    )  # fmt: skip
    found = shares(counted)
    assert found == {
        "dropped_share": 0.25, "prefix_hit_rate": 0.25, "unreadable_share": 0.25, "mean_score": 26 / 6,
        "score_share/2": 2 / 6, "score_share/4": 3 / 6, "score_share/10": 1 / 6,
    }  # fmt: skip
    assert list(found)[-3:] == ["score_share/2", "score_share/4", "score_share/10"]


def test_scores_of_a_long_scale_are_counted_in_bins():
    found = shares(BlockCounts(scores={"41": 1, "49.5": 1, "0": 1, "100": 1}))
    assert {name: share for name, share in found.items() if "share" in name} == {
        "score_share/0": 0.25, "score_share/40": 0.5, "score_share/100": 0.25
    }  # fmt: skip


def test_nothing_counted_nothing_shared():
    assert shares(BlockCounts()) == {}


def test_tokens_from_before_its_turn_are_no_speed_of_a_step(recorded: list[tuple[dict[str, float], int]]):
    now = [100.0]
    progress = Progress("respond", 2, "prompts", console=Console(file=io.StringIO()))
    live = LiveMetrics(progress, 500, clock=lambda: now[0])
    now[0] += 10
    live.update(BlockCounts(rows=2, generated_tokens=700), 2, 2)
    assert recorded[0][0]["tokens_per_second"] == 20
