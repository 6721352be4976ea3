"""Statistics that the engine reports at each step."""

import time
from typing import Any


class EngineStats:
    """Statistics of an engine as of its last step.

    Token counts are totals since the engine's start; `kv_cache_usage` is a fraction from 0 to 1.
    """

    def __init__(self) -> None:
        self.last_step = time.monotonic()
        self.requests_running = 0
        self.requests_waiting = 0
        self.kv_cache_usage = 0.0
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.prefix_cache_queries = 0
        self.prefix_cache_hits = 0
        self.preemptions = 0

    def touch(self) -> None:
        """Record that the engine made a step or was idle."""
        self.last_step = time.monotonic()

    def record(self, scheduler_stats: Any, iteration_stats: Any) -> None:
        """Record what vLLM passes to its stat loggers at each step of the engine; either argument may be None."""
        self.touch()
        if scheduler_stats is not None:
            self.requests_running = scheduler_stats.num_running_reqs
            self.requests_waiting = scheduler_stats.num_waiting_reqs
            self.kv_cache_usage = scheduler_stats.kv_cache_usage
            self.prefix_cache_queries += scheduler_stats.prefix_cache_stats.queries
            self.prefix_cache_hits += scheduler_stats.prefix_cache_stats.hits
        if iteration_stats is not None:
            self.prompt_tokens += iteration_stats.num_prompt_tokens
            self.generated_tokens += iteration_stats.num_generation_tokens
            self.preemptions += iteration_stats.num_preempted_reqs
