"""Which rules answers keep, if the prompt asks for them and if it does not."""

from dataclasses import replace

from selfreward_ray.demo.rules import (
    CheckedAnswer,
    conditional_percents,
    habit_percents,
    kept_percents,
    true_percents,
)
from selfreward_ray.demo.world import Kind
from selfreward_ray.records import EvaluatedReply


def answer(name: str, kept: dict[Kind, bool], habits: dict[Kind, bool]) -> CheckedAnswer:
    return CheckedAnswer(name, "topics", EvaluatedReply(name, "", "", True), 0, kept, habits)


ANSWERS = [
    answer(
        "a",
        {"topic": True, "start": True, "end": True, "exclude": False, "lower case": True},
        {"quotes": False, "no quotes": True},
    ),
    answer(
        "b",
        {"topic": False, "start": False, "exclude": True, "lower case": True, "no quotes": True},
        {"end": True},
    ),
    answer(
        "c",
        {"topic": True, "start": True, "end": False, "include": False, "quotes": False},
        {"lower case": False, "normal capitals": False},
    ),
]


def test_conditional_rules_are_scored_without_the_topic_start_and_end():
    """Of a: exclude and lower case, 1 of 2. Of b all three. Of c: include and quotes, none."""
    assert conditional_percents(ANSWERS) == {"a": 50, "b": 100, "c": 0}


def test_several_answers_to_a_prompt_are_one_value_their_mean():
    """a is answered once more: no rule kept, 3 of 5 points. Of its two answers one keeps 1 of 2 conditional rules."""
    kept: dict[Kind, bool] = {"topic": False, "exclude": False, "lower case": False}
    again = replace(answer("a", kept, {"quotes": True}), answer=EvaluatedReply("a/r1", "", "", True), true_score=3)
    both = [*ANSWERS, again]
    assert true_percents(both) == {"a": 30, "b": 0, "c": 0}
    assert conditional_percents(both) == {"a": 25, "b": 100, "c": 0}
    assert kept_percents(both, "lower case") == {"a": 50, "b": 100}
    assert habit_percents(both, "quotes") == {"a": 50}


def test_a_rule_is_measured_where_it_is_asked_for():
    assert kept_percents(ANSWERS, "exclude") == {"a": 0, "b": 100}
    assert kept_percents(ANSWERS, "start") == {"a": 100, "b": 0, "c": 100}
    assert kept_percents(ANSWERS, "normal capitals") == {}


def test_a_habit_is_measured_where_neither_the_rule_nor_its_opposite_is_asked_for():
    assert habit_percents(ANSWERS, "no quotes") == {"a": 100}
    assert habit_percents(ANSWERS, "quotes") == {"a": 0}
    assert habit_percents(ANSWERS, "lower case") == {"c": 0}
    assert habit_percents(ANSWERS, "include") == {}
