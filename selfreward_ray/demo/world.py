"""The demo world: instructions whose fulfilment a program can check, written from topics and rules.

This file knows nothing about scores, so the loop may take its prompts from here.
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

# An instruction asks for four of the five. Opposites stand side by side, so that a habit such as quoting
# everything, or using every word that the instruction names, loses as often as it wins. Start and end need
# none: their word is another one in every instruction. Each check is a look-up: a small judge can not count.
ASPECTS: tuple[tuple[Kind, ...], ...] = (
    ("start",),
    ("end",),
    ("include", "exclude"),
    ("lower case", "normal capitals"),
    ("quotes", "no quotes"),
)
RULES_ASKED = 4
CONDITIONAL_KINDS: tuple[Kind, ...] = tuple(kind for aspect in ASPECTS if len(aspect) > 1 for kind in aspect)
"""The rules whose opposite is in the world too: fixed habits keep half of them, whatever the habits are."""

_INCLUDED = ("quiet", "golden", "gentle", "simple", "bright", "warm", "curious", "patient")
WORDS: dict[Kind, tuple[str, ...]] = {
    "start": ("Honestly", "Today", "Usually", "Sometimes", "Perhaps", "Luckily", "Naturally", "Clearly"),
    "end": ("together", "again", "outside", "anyway", "gladly", "everywhere", "forever", "alone"),
    "include": _INCLUDED,
    "exclude": _INCLUDED,
}
"""The words of rules in the seed data, in the loop and in the held-out sets but one."""

_UNSEEN_INCLUDED = ("calm", "silver", "clever", "brave", "playful", "cheerful", "humble", "tender")
UNSEEN_WORDS: dict[Kind, tuple[str, ...]] = {
    "start": ("Indeed", "Surely", "Often", "Lately", "Truly", "Meanwhile", "Nowadays", "Somehow"),
    "end": ("daily", "happily", "proudly", "nearby", "indoors", "abroad", "overnight", "eagerly"),
    "include": _UNSEEN_INCLUDED,
    "exclude": _UNSEEN_INCLUDED,
}
"""The words of rules in the held-out set ``words``, and nowhere else."""

# Groups without a common topic: the seed data, the loop's prompts, and each held-out set.
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
    """One demand of an instruction. `word` is the topic or the demanded word, empty where there is none."""

    kind: Kind
    word: str = ""

    @property
    def sentence(self) -> str:
        """The demand as the instruction words it."""
        return SENTENCES[self.kind].format(word=self.word)


def is_left_out(kinds: Iterable[Kind]) -> bool:
    """Whether an instruction with rules of these `kinds` stands in the held-out set ``words`` alone.

    That is one with an even number of rules that are the second of their aspect. Of the 28 combinations this leaves out
    14, such that on either side every rule is asked as often as its opposite.
    """
    return sum(kind in aspect[1:] for kind in kinds for aspect in ASPECTS) % 2 == 0


def write_instructions(count: int, topics: tuple[str, ...], rng: random.Random, unseen: bool = False) -> list[str]:
    """`count` different instructions: a topic, then four of the five aspects in random order.

    Where `unseen`, all words of rules are unseen ones and all combinations left-out ones; else none are.
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
    """The prompts of one iteration, ``M3/p000017`` of the second: none comes twice, in it or in another iteration."""
    # One sequence for the whole run, of which each iteration has its own stretch.
    texts = write_instructions(count * (iteration + 1), TOPICS["iterations"], random.Random(f"demo prompts {seed}"))
    return [Prompt(prompt_id(iteration, i), text) for i, text in enumerate(texts[count * iteration :])]
