import random
from itertools import combinations, product

import pytest

from selfreward_ray.demo.verifier import parse_instruction
from selfreward_ray.demo.world import (
    ASPECTS,
    CONDITIONAL_KINDS,
    RULES_ASKED,
    TOPICS,
    UNSEEN_WORDS,
    WORDS,
    Kind,
    Rule,
    demo_prompts,
    is_left_out,
    write_instructions,
)

COMBINATIONS = [
    frozenset(kinds) for aspects in combinations(ASPECTS, RULES_ASKED) for kinds in product(*aspects)
]  # fmt: skip


def asked(unseen: bool) -> list[list[Kind]]:
    written = write_instructions(4000, TOPICS["seed"], random.Random(0), unseen)
    return [[rule.kind for rule in parse_instruction(text)[1:]] for text in written]


def test_a_rule_is_worded_as_a_sentence():
    assert Rule("topic", "rivers").sentence == "Write one sentence about rivers."
    assert Rule("start", "Honestly").sentence == 'Start with "Honestly".'
    assert Rule("lower case").sentence == "Use lower case only."


def test_no_topic_stands_in_two_groups_or_twice_in_one():
    assert {group: len(topics) for group, topics in TOPICS.items()} == {
        "seed": 48,
        "iterations": 48,
        "dev": 24,
        "topics": 40,
        "words": 40,
    }
    topics = [topic for group in TOPICS.values() for topic in group]
    assert len(topics) == len(set(topics))
    assert all(topic.isalpha() and topic.islower() for topic in topics)


def test_words_of_rules_are_distinct_and_opposites_share_theirs():
    assert WORDS["exclude"] == WORDS["include"]
    assert UNSEEN_WORDS["exclude"] == UNSEEN_WORDS["include"]
    words = [
        word.casefold()
        for known in (WORDS, UNSEEN_WORDS)
        for kind in ("start", "end", "include")
        for word in known[kind]
    ]
    assert len(words) == len(set(words)) == 48


def test_the_rules_that_have_an_opposite_are_the_conditional_ones():
    assert set(CONDITIONAL_KINDS) == {"include", "exclude", "lower case", "normal capitals", "quotes", "no quotes"}


def test_half_of_the_combinations_are_left_out_and_none_stands_on_both_sides():
    """28: one aspect is open; without start or end 8 choices of three opposites each, else 4 of two."""
    assert len(COMBINATIONS) == 28
    assert sum(map(is_left_out, COMBINATIONS)) == 14
    for unseen in (False, True):
        found = {frozenset(kinds) for kinds in asked(unseen)}
        assert found == {kinds for kinds in COMBINATIONS if is_left_out(kinds) == unseen}


def test_a_combination_with_an_even_number_of_second_opposites_is_left_out():
    assert is_left_out(("start", "end", "include", "quotes"))
    assert not is_left_out(("start", "end", "include", "no quotes"))
    assert is_left_out(("start", "exclude", "quotes", "normal capitals"))


def test_instructions_are_different_and_of_the_given_topics():
    instructions = write_instructions(500, ("rivers", "bread"), random.Random(0))
    assert len(set(instructions)) == 500
    assert {parse_instruction(text)[0].word for text in instructions} == {"rivers", "bread"}


@pytest.mark.parametrize("unseen", [False, True])
def test_every_kind_of_rule_comes_in_every_place_about_as_often_as_its_opposite(unseen: bool):
    instructions = asked(unseen)
    for place in range(4):
        for aspect in ASPECTS:
            for kind in aspect:
                share = sum(kinds[place] == kind for kinds in instructions) / len(instructions)
                assert abs(share - 0.2 / len(aspect)) < 0.03


@pytest.mark.parametrize(("unseen", "words"), [(False, WORDS), (True, UNSEEN_WORDS)])
def test_words_of_rules_are_all_of_one_side(unseen: bool, words: dict[Kind, tuple[str, ...]]):
    written = write_instructions(1000, TOPICS["dev"], random.Random(0), unseen)
    rules = {rule for text in written for rule in parse_instruction(text)[1:] if rule.word}
    assert rules == {Rule(kind, word) for kind, vocabulary in words.items() for word in vocabulary}


def test_prompts_are_named_and_repeatable():
    prompts = demo_prompts(300, seed=3, iteration=2)
    assert [p.id for p in prompts[:2]] == ["M3/p000000", "M3/p000001"]
    assert prompts == demo_prompts(300, seed=3, iteration=2)
    assert {parse_instruction(p.text)[0].word for p in prompts} <= set(TOPICS["iterations"])
    assert [p.text for p in prompts] != [p.text for p in demo_prompts(300, seed=4, iteration=2)]


def test_the_loop_asks_for_no_left_out_combination():
    kinds = [{rule.kind for rule in parse_instruction(p.text)[1:]} for p in demo_prompts(1000, seed=0, iteration=1)]
    assert not any(map(is_left_out, kinds))


def test_no_prompt_comes_twice_in_a_run():
    texts = [p.text for iteration in (1, 2, 3) for p in demo_prompts(5000, seed=0, iteration=iteration)]
    assert len(set(texts)) == 15000
