import random

from selfreward_ray.seed.demo.verifier import parse_instruction
from selfreward_ray.seed.demo.world import (
    ASPECTS,
    HELD_OUT_TOPICS,
    ITERATION_TOPICS,
    SEED_TOPICS,
    WORDS,
    Rule,
    demo_prompts,
    write_instructions,
)


def test_a_rule_is_worded_as_a_sentence():
    assert Rule("topic", "rivers").sentence == "Write one sentence about rivers."
    assert Rule("start", "Honestly").sentence == 'Start with "Honestly".'
    assert Rule("lower case").sentence == "Use lower case only."


def test_no_topic_stands_in_two_groups_or_twice_in_one():
    topics = [*SEED_TOPICS, *ITERATION_TOPICS, *HELD_OUT_TOPICS]
    assert len(topics) == len(set(topics)) == 90
    assert all(topic.isalpha() and topic.islower() for topic in topics)


def test_words_of_rules_are_distinct():
    words = [word.casefold() for options in WORDS.values() for word in options]
    assert len(words) == len(set(words)) == 24


def test_instructions_are_different_and_of_the_given_topics():
    instructions = write_instructions(500, ("rivers", "bread"), random.Random(0))
    assert len(set(instructions)) == 500
    assert {parse_instruction(text)[0].word for text in instructions} == {"rivers", "bread"}


def test_every_kind_of_rule_comes_in_every_place_about_as_often_as_its_opposite():
    rules = [parse_instruction(text)[1:] for text in write_instructions(4000, SEED_TOPICS, random.Random(0))]
    for place in range(4):
        for aspect in ASPECTS:
            for kind in aspect:
                share = sum(r[place].kind == kind for r in rules) / len(rules)
                assert abs(share - 0.2 / len(aspect)) < 0.03


def test_prompts_are_named_and_repeatable():
    prompts = demo_prompts(300, seed=3, iteration=2)
    assert [p.id for p in prompts[:2]] == ["it2/p000000", "it2/p000001"]
    assert prompts == demo_prompts(300, seed=3, iteration=2)
    assert {parse_instruction(p.text)[0].word for p in prompts} <= set(ITERATION_TOPICS)
    assert [p.text for p in prompts] != [p.text for p in demo_prompts(300, seed=4, iteration=2)]


def test_no_prompt_comes_twice_in_a_run():
    texts = [p.text for iteration in (1, 2, 3) for p in demo_prompts(5000, seed=0, iteration=iteration)]
    assert len(set(texts)) == 15000
