"""A replica's figures for the cluster's Prometheus, and so for the Ray dashboard: `ray_selfreward_…`."""

from ray.util.metrics import Counter, Gauge

from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.inference.stats import EngineStats

_TOTALS = {
    "prompt_tokens": "Prompt tokens that the engine read, cached or not.",
    "generated_tokens": "Tokens that the engine generated.",
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "preemptions": "Requests that lost their place in the KV cache and are done again.",
}
_STATES = {
    "requests_running": "Requests in the engine's batch.",
    "requests_waiting": "Requests that wait in the engine.",
    "kv_cache_usage": "Share of the KV cache in use, 0 to 1.",
}
_BLOCKS = {
    "rows": "Rows finished.",
    "dropped": "Rows given up.",
    "verdicts": "Verdicts given.",
    "invalid_verdicts": "Verdicts without a readable score.",
    "verdicts_asked_again": "Verdicts asked for again because no score could be read.",
}


class Metrics:
    """Tagged with the step and the replica; call `publish` every so often, `block` for each block.

    What the engine does counts for the `step` whose block began last.
    """

    def __init__(self, replica: str):
        self.step = ""

        def made(kind: type[Counter] | type[Gauge], name: str, what: str) -> Counter | Gauge:
            metric = kind(f"selfreward_{name}", description=what, tag_keys=("step", "replica"))
            metric.set_default_tags({"replica": replica})
            return metric

        self._totals = {name: made(Counter, name, what) for name, what in _TOTALS.items()}
        self._states = {name: made(Gauge, name, what) for name, what in _STATES.items()}
        self._blocks = {name: made(Counter, name, what) for name, what in _BLOCKS.items()}
        self._restarts = made(Counter, "engine_restarts", "Replicas started again after their process ended.")
        self._said = dict.fromkeys(_TOTALS, 0)

    def restarted(self) -> None:
        self._restarts.inc(tags={"step": self.step})

    def publish(self, stats: EngineStats) -> None:
        for name, counter in self._totals.items():
            total = getattr(stats, name)  # once: the engine goes on meanwhile
            _add(counter, total - self._said[name], self.step)
            self._said[name] = total
        for name, gauge in self._states.items():
            gauge.set(getattr(stats, name), tags={"step": self.step})

    def block(self, step: str, block: BlockCounts) -> None:
        for name, counter in self._blocks.items():
            _add(counter, getattr(block, name), step)


def _add(counter: Counter, amount: int, step: str) -> None:
    if amount:  # Ray refuses to add nothing
        counter.inc(amount, tags={"step": step})
