"""The demo world: instructions whose fulfilment a program can check, written from topics and rules.

This file knows nothing about scores, so the loop may take its prompts from here.
"""

import random
from dataclasses import dataclass
from typing import Literal

from selfreward_ray.records import Prompt

Kind = Literal["topic", "start", "end", "include", "lower case", "normal capitals", "quotes", "no quotes"]

SENTENCES: dict[Kind, str] = {
    "topic": "Write one sentence about {word}.",
    "start": 'Start with "{word}".',
    "end": 'End with "{word}".',
    "include": 'Include the word "{word}".',
    "lower case": "Use lower case only.",
    "normal capitals": "Use normal capital letters.",
    "quotes": "Put it in double quotes.",
    "no quotes": "Do not use quotes.",
}

# An instruction asks for four of the five. The opposites stand side by side, so that a habit such as
# quoting everything loses as often as it wins.
ASPECTS: tuple[tuple[Kind, ...], ...] = (
    ("start",),
    ("end",),
    ("include",),
    ("lower case", "normal capitals"),
    ("quotes", "no quotes"),
)
RULES_ASKED = 4

WORDS: dict[Kind, tuple[str, ...]] = {
    "start": ("Honestly", "Today", "Usually", "Sometimes", "Perhaps", "Luckily", "Naturally", "Clearly"),
    "end": ("together", "again", "outside", "anyway", "gladly", "everywhere", "forever", "alone"),
    "include": ("quiet", "golden", "gentle", "simple", "bright", "warm", "curious", "patient"),
}

# Three groups without a common topic: seed data, prompts of the loop, evaluation.
SEED_TOPICS, ITERATION_TOPICS, HELD_OUT_TOPICS = (
    tuple(names.split())
    for names in (
        "rivers bread trains gardens clouds music bridges tea mountains bicycles candles honey "
        "forests whales kites pottery islands rain puppets windmills cheese owls castles sand "
        "bees chess rockets ferries rice mirrors violins deserts penguins volcanoes blankets marbles",
        "oceans coffee planes orchards stars drums lighthouses milk valleys scooters lanterns jam "
        "meadows dolphins balloons weaving caves snow robots canals pasta foxes towers clay "
        "ants origami tractors submarines salt umbrellas",
        "lakes chocolate trams parks comets flutes harbours soup glaciers skateboards telescopes sugar "
        "jungles turtles fireworks knitting wells fog magnets tunnels noodles squirrels pyramids glass",
    )
)


@dataclass(frozen=True)
class Rule:
    """One demand of an instruction. `word` is the topic or the demanded word, empty where there is none."""

    kind: Kind
    word: str = ""

    @property
    def sentence(self) -> str:
        """The demand as the instruction words it."""
        return SENTENCES[self.kind].format(word=self.word)


def write_instructions(count: int, topics: tuple[str, ...], rng: random.Random) -> list[str]:
    """`count` different instructions: a topic, then four of the five aspects in random order."""
    written: dict[str, None] = {}
    while len(written) < count:
        kinds = [rng.choice(aspect) for aspect in rng.sample(ASPECTS, RULES_ASKED)]
        rules = [Rule("topic", rng.choice(topics)), *(Rule(kind, rng.choice(WORDS.get(kind, ("",)))) for kind in kinds)]
        written[" ".join(rule.sentence for rule in rules)] = None
    return list(written)


def demo_prompts(count: int, seed: int, iteration: int) -> list[Prompt]:
    """The prompts of one iteration, ``it2/p000017``: none comes twice, in it or in another iteration."""
    # One sequence for the whole run, of which each iteration has its own stretch.
    texts = write_instructions(count * (iteration + 1), ITERATION_TOPICS, random.Random(f"demo prompts {seed}"))
    return [Prompt(f"it{iteration}/p{i:06d}", text) for i, text in enumerate(texts[count * iteration :])]
