"""A replica's metrics for the cluster's Prometheus and the Ray dashboard: `ray_selfreward_…`."""

from ray.util.metrics import Counter, Gauge

from selfreward_ray.inference.block import BlockCounts
from selfreward_ray.inference.stats import EngineStats

_TOTALS = {
    "prompt_tokens": "Prompt tokens that the engine processed, cached or not.",
    "generated_tokens": "Tokens that the engine generated.",
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "preemptions": "Requests that were preempted from the KV cache and recomputed.",
}
_STATES = {
    "requests_running": "Requests in the engine's running batch.",
    "requests_waiting": "Requests waiting in the engine's queue.",
    "kv_cache_usage": "Share of the KV cache in use, 0 to 1.",
}
_BLOCKS = {
    "rows": "Rows finished.",
    "dropped": "Rows dropped.",
    "verdicts": "Verdicts generated.",
    "invalid_verdicts": "Verdicts without a readable score.",
    "verdicts_asked_again": "Retries of verdicts whose score could not be read.",
}
_STARTS = {
    "engine_restarts": "Replicas restarted after their process ended by itself.",
    "replicas_lost": "Replicas restarted after their node was lost.",
}


class Metrics:
    """Metrics tagged with the step and the replica. Call `publish` regularly, and `block` for each finished block.

    The engine's statistics are attributed to `step`: the step of the block that started last.
    """

    def __init__(self, replica: str, restarted: bool = False, node_lost: bool = False):
        self._step = ""
        self._to_count = {"engine_restarts": restarted, "replicas_lost": node_lost}

        def metric(kind: type[Counter] | type[Gauge], name: str, what: str) -> Counter | Gauge:
            new = kind(f"selfreward_{name}", description=what, tag_keys=("step", "replica"))
            new.set_default_tags({"replica": replica})
            return new

        self._totals = {name: metric(Counter, name, what) for name, what in _TOTALS.items()}
        self._states = {name: metric(Gauge, name, what) for name, what in _STATES.items()}
        self._blocks = {name: metric(Counter, name, what) for name, what in _BLOCKS.items()}
        self._starts = {name: metric(Counter, name, what) for name, what in _STARTS.items()}
        self._published = dict.fromkeys(_TOTALS, 0)

    def begin(self, step: str) -> None:
        """A block of `step` begins. A restart counts for the first step of the new process."""
        self._step = step
        for name, counter in self._starts.items():
            _add(counter, int(self._to_count.pop(name, False)), step)

    def publish(self, stats: EngineStats) -> None:
        if not self._step:
            return
        for name, counter in self._totals.items():
            total = getattr(stats, name)  # read once: the engine updates it concurrently
            _add(counter, total - self._published[name], self._step)
            self._published[name] = total
        for name, gauge in self._states.items():
            gauge.set(getattr(stats, name), tags={"step": self._step})

    def block(self, step: str, block: BlockCounts) -> None:
        for name, counter in self._blocks.items():
            _add(counter, getattr(block, name), step)


def _add(counter: Counter, amount: int, step: str) -> None:
    if amount:  # Ray refuses an increment of 0
        counter.inc(amount, tags={"step": step})
