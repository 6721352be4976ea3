"""Inputs of the sides of `dpo.py`: settings of a run, and pairs generated from a seed."""

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import parse_recipe
from selfreward_ray.records import PairTokens

TRL_PAIRS_A_PASS = 2
RATE = 3e-5
PRODUCTS = ((512, 576, 1536), (1024, 576, 1536), (1024, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 4096))
"""Matrix products `[a, b] × [b, c]` for measuring the machine's peak rate."""
WORDS = (
    "the a of to and in that it is was for on are with as be at one have this from by hot but what some we can out "
    "other were all your when up use how said an each she which do their time if will way about many then them write "
    "would like so these her long make thing see him two has look more day could go come did number sound no most "
    "people my over know water than call first who may down side been now find any new work part take get place made"
)


@dataclass(frozen=True)
class Work:
    """Settings of one run."""

    model: str
    pairs: int = 48
    pairs_a_step: int = 16
    workers: int = 2
    trl_pairs_a_pass: int = TRL_PAIRS_A_PASS
    reply_tokens: int | None = None
    """Length of all replies; None draws the lengths."""
    products: tuple[tuple[int, ...], ...] = PRODUCTS
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        rates = {"learning_rate": RATE, "final_learning_rate": RATE}
        return parse_recipe(
            {
                "model": self.model,
                "dpo": {"batch_size": self.pairs_a_step, "max_tokens": 4096, **rates, "micro_batch_tokens": 2048},
                # More workers than cores must be schedulable as well.
                "training": {"workers": self.workers, "cpus_per_worker": min(1, (os.cpu_count() or 1) / self.workers)},
            }
        )

    def job(self, out: str) -> Any:
        """The job of our trainer; `out`/training holds the pairs."""
        from selfreward_ray.training.job import TrainJob
        from selfreward_ray.training.objectives import DpoObjective

        recipe = self.recipe
        objective = DpoObjective(recipe.dpo)
        return TrainJob("DPO", self.model, out, objective, recipe.dpo, recipe.training, self.seed, "bench", None)

    def environment(self) -> dict[str, str]:
        """Environment variables of our workers' processes."""
        from selfreward_ray.training.trainer import environment

        return environment(self.job(""))


def made_pairs(work: Work) -> list[PairTokens]:
    """Prompts of 30 to 150 words; replies of a log-normal number of words, 70 at the median."""
    rng, codec, vocabulary = random.Random(work.seed), ChatCodec(Path(work.model)), WORDS.split()

    def words(count: int) -> str:
        return " ".join(rng.choices(vocabulary, k=count))

    def reply() -> tuple[int, ...]:
        if work.reply_tokens:
            *ids, end = codec.target_ids(words(2 * work.reply_tokens))
            return (*ids[: work.reply_tokens - 1], end)
        return tuple(codec.target_ids(words(min(600, max(5, round(rng.lognormvariate(math.log(70), 0.6)))))))

    return [
        PairTokens(f"p{number:04d}", tuple(codec.prompt_ids(words(rng.randint(30, 150)))), reply(), reply())
        for number in range(work.pairs)
    ]
