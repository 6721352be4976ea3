"""The demo world: instructions of topics and rules, which a rule checker can verify.

This module knows nothing of scores, so the loop may take its prompts from here.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from selfreward_ray.records import Prompt, prompt_id

Kind = Literal[
    "topic", "start", "end", "include", "exclude", "lower case", "normal capitals", "quotes", "no quotes"
]  # fmt: skip

SENTENCES: dict[Kind, str] = {
    "topic": "Write one sentence about {word}.",
    "start": 'Start with "{word}".',
    "end": 'End with "{word}".',
    "include": 'Include the word "{word}".',
    "exclude": 'Do not use the word "{word}".',
    "lower case": "Use lower case only.",
    "normal capitals": "Use normal capital letters.",
    "quotes": "Put it in double quotes.",
    "no quotes": "Do not use quotes.",
}

# An instruction asks for four of the five aspects. Rules of one aspect are opposites and equally frequent, so that a
# habit, such as quoting everything or using every word of the instruction, is wrong as often as right. Start and end
# need no opposite, because their words vary. Each check is a look-up, because a small judge cannot count.
ASPECTS: tuple[tuple[Kind, ...], ...] = (
    ("start",),
    ("end",),
    ("include", "exclude"),
    ("lower case", "normal capitals"),
    ("quotes", "no quotes"),
)
RULES_ASKED = 4
CONDITIONAL_KINDS: tuple[Kind, ...] = tuple(kind for aspect in ASPECTS if len(aspect) > 1 for kind in aspect)
"""The rules that have an opposite. Any fixed habits keep half of them."""

_INCLUDED = ("quiet", "golden", "gentle", "simple", "bright", "warm", "curious", "patient")
WORDS: dict[Kind, tuple[str, ...]] = {
    "start": ("Honestly", "Today", "Usually", "Sometimes", "Perhaps", "Luckily", "Naturally", "Clearly"),
    "end": ("together", "again", "outside", "anyway", "gladly", "everywhere", "forever", "alone"),
    "include": _INCLUDED,
    "exclude": _INCLUDED,
}
"""Words of rules in the seed data, the loop's prompts and all held-out sets but ``words``."""

_UNSEEN_INCLUDED = ("calm", "silver", "clever", "brave", "playful", "cheerful", "humble", "tender")
UNSEEN_WORDS: dict[Kind, tuple[str, ...]] = {
    "start": ("Indeed", "Surely", "Often", "Lately", "Truly", "Meanwhile", "Nowadays", "Somehow"),
    "end": ("daily", "happily", "proudly", "nearby", "indoors", "abroad", "overnight", "eagerly"),
    "include": _UNSEEN_INCLUDED,
    "exclude": _UNSEEN_INCLUDED,
}
"""Words of rules in the held-out set ``words`` only."""

# Disjoint groups of topics: the seed data, the loop's prompts, and each held-out set.
TOPICS: dict[str, tuple[str, ...]] = {
    group: tuple(names.split())
    for group, names in {
        "seed": "rivers bread trains gardens clouds music bridges tea mountains bicycles candles honey "
        "forests whales kites pottery islands rain puppets windmills cheese owls castles sand "
        "bees chess rockets ferries rice mirrors violins deserts penguins volcanoes blankets marbles "
        "lemons sparrows wool harps cellars turnips compasses ponds zebras buttons maps acorns",
        "iterations": "oceans coffee planes orchards stars drums lighthouses milk valleys scooters lanterns jam "
        "meadows dolphins balloons weaving caves snow robots canals pasta foxes towers clay "
        "ants origami tractors submarines salt umbrellas violets onions hammers frogs opera feathers "
        "staircases silk carrots camels bakeries mosaics trumpets pebbles thunder geese ladders vinegar",
        "dev": "beaches cotton elevators peaches wasps jazz quilts marshes helicopters cucumbers statues rabbits "
        "pianos fountains pepper wheelbarrows tulips lobsters attics ribbons hail oysters libraries planets",
        "topics": "lakes chocolate trams parks comets flutes harbours soup glaciers skateboards telescopes sugar "
        "jungles turtles fireworks knitting wells fog magnets tunnels noodles squirrels pyramids glass "
        "dragonflies wheat subways orchids bells waterfalls sledges cinnamon ravens crystals shadows walnuts "
        "banjos dunes sandals eclipses",
        "words": "swans barley ambulances lilacs cellos cliffs sailboats ginger hedgehogs diamonds rainbows almonds "
        "guitars reefs mittens comedies cactuses yoghurt trolleys hammocks herons bronze lagoons scarves "
        "pigeons tapestries plums canoes crickets porcelain greenhouses elephants moss icebergs sculptures "
        "raspberries kettles ballet badgers spices",
    }.items()
}


@dataclass(frozen=True)
class Rule:
    """A rule of an instruction. `word` is the topic or the word of the rule; empty if it has none."""

    kind: Kind
    word: str = ""

    @property
    def sentence(self) -> str:
        """The sentence of the instruction that states the rule."""
        return SENTENCES[self.kind].format(word=self.word)


def is_left_out(kinds: Iterable[Kind]) -> bool:
    """Whether an instruction with rules of these `kinds` occurs in the held-out set ``words`` only.

    This holds if an even number of its rules are the second of their aspect, which is so for 14 of the 28 combinations.
    Among both halves every rule is as frequent as its opposite.
    """
    return sum(kind in aspect[1:] for kind in kinds for aspect in ASPECTS) % 2 == 0


def write_instructions(count: int, topics: tuple[str, ...], rng: random.Random, unseen: bool = False) -> list[str]:
    """Write `count` different instructions, each with a topic and rules of four of the five aspects in random order.

    If `unseen` is set, they have only unseen words and combinations of rules that are left out elsewhere; otherwise
    none of these.
    """
    words = UNSEEN_WORDS if unseen else WORDS
    written: dict[str, None] = {}
    while len(written) < count:
        kinds = [rng.choice(aspect) for aspect in rng.sample(ASPECTS, RULES_ASKED)]
        if is_left_out(kinds) == unseen:
            rules = [Rule(kind, rng.choice(words.get(kind, ("",)))) for kind in kinds]
            asked = [Rule("topic", rng.choice(topics)), *rules]
            written[" ".join(rule.sentence for rule in asked)] = None
    return list(written)


def demo_prompts(count: int, seed: int, iteration: int) -> list[Prompt]:
    """The prompts of an iteration, with ids such as ``M3/p000017``. No two prompts of a run are the same."""
    # Each iteration takes its own part of one sequence for the whole run.
    texts = write_instructions(count * (iteration + 1), TOPICS["iterations"], random.Random(f"demo prompts {seed}"))
    return [Prompt(prompt_id(iteration, i), text) for i, text in enumerate(texts[count * iteration :])]
