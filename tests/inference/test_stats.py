"""What an engine says of itself, summed up."""

from types import SimpleNamespace

import pytest

from selfreward_ray.inference import stats
from selfreward_ray.inference.stats import EngineStats


def scheduler(running: int, waiting: int, usage: float, queries: int, hits: int) -> SimpleNamespace:
    cache = SimpleNamespace(queries=queries, hits=hits)
    return SimpleNamespace(
        num_running_reqs=running, num_waiting_reqs=waiting, kv_cache_usage=usage, prefix_cache_stats=cache
    )


def iteration(prompt: int, generated: int, preempted: int) -> SimpleNamespace:
    return SimpleNamespace(num_prompt_tokens=prompt, num_generation_tokens=generated, num_preempted_reqs=preempted)


def test_tokens_are_totals_and_states_are_the_last_ones():
    said = EngineStats()
    said.record(scheduler(3, 5, 0.25, 100, 40), iteration(100, 3, 0))
    said.record(scheduler(4, 0, 0.5, 10, 9), iteration(10, 4, 1))
    assert (said.requests_running, said.requests_waiting, said.kv_cache_usage) == (4, 0, 0.5)
    assert (said.prompt_tokens, said.generated_tokens, said.preemptions) == (110, 7, 1)
    assert (said.prefix_cache_queries, said.prefix_cache_hits) == (110, 49)


@pytest.mark.parametrize("parts", [(None, iteration(7, 1, 0)), (scheduler(1, 0, 0.5, 7, 0), None), (None, None)])
def test_a_step_of_which_the_engine_says_only_a_part_is_a_step(
    parts: tuple[SimpleNamespace | None, SimpleNamespace | None], monkeypatch: pytest.MonkeyPatch
):
    said = EngineStats()
    now = said.last_step + 60
    monkeypatch.setattr(stats, "time", SimpleNamespace(monotonic=lambda: now))
    said.record(*parts)
    assert said.last_step == now
    assert said.requests_running == (parts[0] is not None)
    assert said.prompt_tokens == (7 if parts[1] else 0)
