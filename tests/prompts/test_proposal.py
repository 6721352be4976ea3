"""The few-shot prompt, and reading the proposal from a completion."""

import pytest

from selfreward_ray.prompts.demonstrations import shown_in_round
from selfreward_ray.prompts.few_shot import demonstration_prompt, read_proposal
from selfreward_ray.recipe.schema import Recipe

SEEDS = [f"Seed task number {i}." for i in range(6)]
NEW = ["New task one.", "New task two,\n\nin two paragraphs."]


def test_eight_numbered_lines_and_the_ninth_open() -> None:
    opening, gap, *lines = demonstration_prompt([*SEEDS, *NEW]).split("\n")
    assert opening
    assert not gap
    assert [line.partition(": ")[0] for line in lines[:-1]] == [f"Task {n}" for n in range(1, 9)]
    assert [line.partition(": ")[2] for line in lines[:-1]] == [*SEEDS, NEW[0], "New task two, in two paragraphs."]
    assert lines[-1] == "Task 9:"


def test_what_a_request_shows_is_drawn_by_seed_and_round_and_by_numbers_alone() -> None:
    recipe = Recipe.model_validate({"model": "m0", "prompts": {"requests_per_round": 3}})
    shown = shown_in_round(SEEDS * 2, NEW * 3, recipe, 1, 64)
    assert [len(tasks) for tasks in shown] == [8, 8, 8]
    assert [sum(task in NEW for task in tasks) for tasks in shown] == [2, 2, 2]
    assert shown != shown_in_round(SEEDS * 2, NEW * 3, recipe, 1, 128)
    assert shown != shown_in_round(SEEDS * 2, NEW * 3, recipe, 2, 64)
    numbers = shown_in_round(range(12), range(12, 18), recipe, 1, 64)
    assert shown == [[(SEEDS * 2 + NEW * 3)[number] for number in tasks] for tasks in numbers]


@pytest.mark.parametrize(
    ("completion", "proposal"),
    [
        (" Name three rivers.", "Name three rivers."),
        (" Name three rivers.\nTask 10: Name a sea.", "Name three rivers."),
        (" Name three rivers. Task 10: Name a sea.", "Name three rivers."),
        (" Name three rivers.\n\nThis is a good task.", "Name three rivers."),
        (" Name three rivers.\n \nThis is a good task.", "Name three rivers."),
        ("Task 9: Name three rivers.\nTask 10:", "Name three rivers."),
        ("**Task 9:** Name three rivers.\n**Task 10:** Name a sea.", "Name three rivers."),
        ("\n\n Name three rivers:\n- long\n- short\n", "Name three rivers:\n- long\n- short"),
        ("Plan the task 3: a party.", "Plan the task 3: a party."),
        (" 写一首诗。\n任务10：介绍长江。", "写一首诗。"),
        ("任务 9：写一首诗。\nTask 10：介绍长江。", "写一首诗。"),
        (" 海の名前を言って。\nタスク１０：川の名前", "海の名前を言って。"),
        ("Tâche 9 : Nomme une mer.\nTâche 10 : Nomme un lac.", "Nomme une mer."),
        (" Nenne ein Meer.\n**Aufgabe 10:** Nenne einen See.", "Nenne ein Meer."),
        (" Назови море.\nЗадача 10: Назови реку.", "Назови море."),
        ("完成任务3：写诗。", "完成任务3：写诗。"),
        ("Résume la Tâche.", "Résume la Tâche."),
        ("Task 9. Name three rivers.\nTask 10. Name a sea.", "Name three rivers."),
        ("TASK 9: Name three rivers.\nTASK 10: Name a sea.", "Name three rivers."),
        ("task 9) Name three rivers.\n## task 10)\nName a sea.", "Name three rivers."),
        ("Task #9: Name three rivers.\nTask #10: Name a sea.", "Name three rivers."),
        ("Task 9 (easy): Name three rivers.\nTask 10 (hard): Name a sea.", "Name three rivers."),
        ("Task no. 9: Name three rivers.\nTask number 10: Name a sea.", "Name three rivers."),
        ("Tâche n°9 : Nomme une mer.\nTâche n° 10 : Nomme un lac.", "Nomme une mer."),
        ("Aufgabe 9 – Nenne ein Meer.\nAufgabe Nr. 10 – Nenne einen See.", "Nenne ein Meer."),
        ("Задача №9: Назови море.\nЗадача № 10. Назови реку.", "Назови море."),
        ("题目9：写一首诗。\n题目10：其他", "写一首诗。"),
        ("任务九：写一首诗。\n任务十：其他", "写一首诗。"),
        ("作业 9：写一首诗。", "写一首诗。"),
        ("مهمة ٩: اكتب قصيدة\nمهمة رقم ١٠: ا", "اكتب قصيدة"),
        ("कार्य ९: कविता लिखिए", "कविता लिखिए"),
        ("Bài tập 9: Viết thơ.\nNhiệm vụ số 10: x", "Viết thơ."),
        ("Summarise the text of Task 2: Name rivers.", "Summarise the text of Task 2: Name rivers."),
        ("Explain Task 3: the one above.", "Explain Task 3: the one above."),
        ("解释任务 3：写诗。", "解释任务 3：写诗。"),
        ("Name a sea.\nTasks 10 and 11 are alike.", "Name a sea.\nTasks 10 and 11 are alike."),
        ("Task 9 is hard. Name a sea.", "Task 9 is hard. Name a sea."),
        ("Multitask 3: explain.", "Multitask 3: explain."),
        ("Task 9:", ""),
        ("", ""),
    ],
)
def test_first_task_is_read(completion: str, proposal: str) -> None:
    assert read_proposal(completion) == proposal
