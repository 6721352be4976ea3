"""What is an answer, and what an evasion, in tasks of seven kinds in three languages, one by one and in runs of all."""

import pytest
from filter_tasks import EVASIONS, STYLES, TASKS, WORDS, Judged, Task, asked, mixed, other_prompts
from test_answers import answers

from selfreward_ray.preferences.flags import text_key

TWO_WORDS = {"Local news", "GROUP BY", "`ORDER BY`"}
"""Labels that no prompt names. Alone they are told from no polite phrase: they need others that stand against them."""


def taken(judged: Judged) -> dict[bytes, bool]:
    return {text_key(text): found for text, found in answers(judged).items()}


def of(*kinds: str) -> list[Task]:
    return [task for task in TASKS if task.kind in kinds]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("task", [task for task in TASKS if task.answers], ids=lambda task: task.asked)
def test_right_answers_are_taken_for_answers(task: Task, style: str):
    """In a run of this task alone, and among other prompts, whatever the other replies are."""
    for rest in ([], other_prompts(task.language, 60)):
        found = taken(asked(task, style) + rest)
        assert {answer: found[text_key(answer)] for answer in task.answers} == {
            answer: style == "answers" or answer not in TWO_WORDS for answer in task.answers
        }


@pytest.mark.parametrize("task", of("writing", "facts"), ids=lambda task: task.asked)
def test_a_plain_word_is_no_answer_to_an_open_task(task: Task):
    """It is asked again and again, but the other replies are long, or answers of their own prompt."""
    for style in ("answers", "long"):
        for evasion in EVASIONS[task.language][:2]:
            for rest in ([], other_prompts(task.language, 60)):
                assert taken(asked(task, style, evasion=evasion) + rest)[text_key(evasion)] is False


@pytest.mark.parametrize("task", of("extracted", "labels", "choice", "code"), ids=lambda task: task.asked)
def test_a_plain_word_is_no_answer_where_long_replies_end_in_others(task: Task):
    for evasion in EVASIONS[task.language][:2]:
        assert taken(asked(task, "long", evasion=evasion))[text_key(evasion)] is False


@pytest.mark.parametrize(
    "task",
    [
        task
        for task in of("extracted", "named")
        if task.language != "zh" and all(len(answer.split()) <= 2 for answer in task.answers)
    ],
    ids=lambda task: task.asked,
)
def test_a_plain_word_is_no_answer_beside_those_that_the_prompts_name(task: Task):
    """Only where the answers have the form of a label: few of the others would tell a plain word from one."""
    for evasion in EVASIONS[task.language][:2]:
        assert taken(asked(task, "answers", evasion=evasion))[text_key(evasion)] is False


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("language", WORDS)
def test_a_plain_word_is_no_answer_to_a_run_of_many_tasks(language: str, style: str):
    """Labels of many tasks stand against it, each in a few prompts. The right answers of each are taken for ones,
    where they are not too rare to be looked at."""
    evasion = EVASIONS[language][0]
    assert taken(mixed(language, style, evasion))[text_key(evasion)] is False
    found = taken(mixed(language, style))
    right = [answer for task in TASKS if task.language == language for answer in task.answers]
    assert [answer for answer in right if not found.get(text_key(answer), True) and answer not in TWO_WORDS] == []
