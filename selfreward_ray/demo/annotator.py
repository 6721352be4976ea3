"""A program in place of human annotators: it writes replies, ranks them and explains the ranks.

Its ranked sets are the seed data of the demo world and, on unseen topics, its held-out sets.
"""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import replace

from selfreward_ray.demo.frames import FRAMES, OFF_TOPIC_FRAMES, PHRASES
from selfreward_ray.demo.verifier import checks, parse_instruction, true_score
from selfreward_ray.demo.world import TOPICS, UNSEEN_WORDS, WORDS, Kind, Rule, write_instructions
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import RankedReply, RankedSet
from selfreward_ray.seed.split import SeedSets

TOPIC_KEPT = 0.85
_QUOTED_WORDS: tuple[Kind, ...] = ("start", "end", "include", "exclude")


def demo_seed_sets(sizes: SeedData, rng_seed: int) -> SeedSets:
    """The seed data of the demo world, `sizes.held_out` prompts of each of its held-out sets, and `sizes.validation`
    prompts of the group ``dev`` that are not held out.

    Ids of sets are ``topics/000017``, with the name of the group. A set depends only on `rng_seed` and its id, so other
    sizes and other held-out sets do not change it.
    """
    # A set gives three EFT examples. Half as many sets as examples are enough even after sets with only ties are
    # dropped.
    seed = _asked("seed", sizes.ift + math.ceil(sizes.eft / 2), rng_seed)
    held_out = {group: _asked(group, sizes.held_out, rng_seed) for group in sizes.held_out_groups}
    # The instructions of a group are one sequence, of which the held-out ones come first.
    beyond = sizes.held_out if "dev" in sizes.held_out_groups else 0
    validation = _asked("dev", beyond + sizes.validation, rng_seed)[beyond:]
    return SeedSets(
        # One reply per set that breaks some rules: with the best of three, the loop would have less to improve. With a
        # probability of one half, replies would be the same for a rule and its opposite, and M1 would learn neither.
        ift=[annotate(*one, replies=1, keep=(0.8, 0.8)) for one in seed[: sizes.ift]],
        eft=[annotate(*one) for one in seed[sizes.ift :]],
        held_out=[replace(annotate(*one), group=group) for group, asked in held_out.items() for one in asked],
        dropped=[],
        validation=[annotate(*one) for one in validation],
    )


def _asked(group: str, count: int, rng_seed: int) -> list[tuple[str, str, random.Random]]:
    """Instructions of a group of `TOPICS`, each with the id of its set and a random generator of its own."""
    written = write_instructions(
        count, TOPICS[group], random.Random(f"demo {group} {rng_seed}"), unseen=group == "words"
    )
    ids = [f"{group}/{i:06d}" for i in range(count)]
    return [(i, text, random.Random(f"demo {i} {rng_seed}")) for i, text in zip(ids, written, strict=True)]


def annotate(
    set_id: str, instruction: str, rng: random.Random, replies: int = 3, keep: tuple[float, float] = (0.15, 0.95)
) -> RankedSet:
    """Write replies to `instruction` and rank them by true score, with dense ranks and equal ranks for ties.

    The probability that a reply keeps a rule is drawn for each reply, uniformly from the range `keep`. The topic is
    mentioned with probability `TOPIC_KEPT`.
    """
    rules = parse_instruction(instruction)
    texts = [compose(rules, _draw_kept(rules, rng.uniform(*keep), rng), rng) for _ in range(replies)]
    scores = [true_score(instruction, text) for text in texts]
    best_first = sorted(set(scores), reverse=True)
    return RankedSet(
        set_id,
        instruction,
        tuple(
            RankedReply(f"{set_id}/r{i}", text, best_first.index(score), score, write_verdict(instruction, text))
            for i, (text, score) in enumerate(zip(texts, scores, strict=True))
        ),
    )


def compose(rules: Sequence[Rule], kept: Collection[Kind], rng: random.Random) -> str:
    """Write a sentence that keeps the rules whose kind is in `kept` and breaks the others."""
    asked = {rule.kind: rule.word for rule in rules}
    start, end = (_choose_word(kind, asked.get(kind), kind in kept, rng) for kind in ("start", "end"))
    word = asked.get("include") or asked.get("exclude")
    include = _choose_word("include", word, ("include" in kept) or ("exclude" in asked and "exclude" not in kept), rng)
    frame = rng.choice(FRAMES if "topic" in kept else OFF_TOPIC_FRAMES).format(topic=asked["topic"])
    opening = f"{start}, {frame}" if start else frame[0].upper() + frame[1:]
    parts = [opening, rng.choice(PHRASES[include]) if include else "", end]
    sentence = " ".join(part for part in parts if part) + "."
    if "lower case" in kept or ("normal capitals" in asked and "normal capitals" not in kept):
        sentence = sentence.lower()
    if "quotes" in kept or ("no quotes" in asked and "no quotes" not in kept):
        sentence = f'"{sentence}"'
    return sentence


def write_verdict(instruction: str, reply: str) -> str:
    """The annotator's verdict: for each check a line with evidence, result and running total, then ``Score: k``."""
    lines, total = [], 0
    for check in checks(instruction, reply):
        total += check.passed
        answer = "yes" if check.passed else "no"
        lines.append(f"{_label(check.rule)}: {check.evidence}, {answer}, {total}")
    return "\n".join([*lines, f"Score: {total}"])


def _label(rule: Rule) -> str:
    if rule.kind in _QUOTED_WORDS:
        return f'{rule.kind} "{rule.word}"'
    return f"{rule.kind} {rule.word}".strip()


def _draw_kept(rules: Sequence[Rule], likelihood: float, rng: random.Random) -> set[Kind]:
    return {rule.kind for rule in rules if rng.random() < (TOPIC_KEPT if rule.kind == "topic" else likelihood)}


def _choose_word(kind: Kind, word: str | None, taken: bool, rng: random.Random) -> str:
    """`word` if it is `taken`; otherwise, with equal probability, another word of its vocabulary or none. None if the
    rule is not asked for."""
    if word is None:
        return ""
    if taken:
        return word
    vocabulary = next(words[kind] for words in (WORDS, UNSEEN_WORDS) if word in words[kind])
    return rng.choice(["", rng.choice([other for other in vocabulary if other != word])])
