"""Few-shot prompting for new prompts: show tasks, and let the model continue the list (paper, section 2.2, step 1).

The list is in English around tasks of any language. A model may go on in theirs, so that the next task is recognized by
the word for it in many languages, and with full-width digits and punctuation.
"""

import re
from random import Random

OPENING = "A list of varied tasks that people give to an assistant. Each is clear, complete and unlike the rest."
_TASK = (
    "Task|Aufgabe|Tâche|Tarea|Tarefa|Compito|Taak|Uppgift|Opgave|Oppgave|Tehtävä|Zadanie|Úkol|Feladat|Sarcina|Görev"
    "|Tugas|Nhiệm vụ|Задача|Задание|Завдання|Εργασία|משימה|مهمة|المهمة|कार्य|งาน|任务|任務|タスク|課題|작업|과제"
)
_LABEL = rf"[*#\s]*(?<!\w)(?:{_TASK})\s*\d+\s*[:：][*\s]*"


def demonstration_prompt(seeds: list[str], new: list[str], rng: Random) -> str:
    """The text that a model continues: a numbered list of `seeds` and `new` in random order, and the next number."""
    # One line for each task: the model copies the format, and `read_proposal` stops at a blank line.
    tasks = [" ".join(task.split()) for task in [*seeds, *new]]
    rng.shuffle(tasks)
    lines = [f"Task {number}: {task}" for number, task in enumerate(tasks, start=1)]
    return "\n".join([OPENING, "", *lines, f"Task {len(lines) + 1}:"])


def read_proposal(text: str) -> str:
    """The first task of a completion, up to the next ``Task n:`` or blank line; empty if there is none."""
    text = re.sub(rf"\A{_LABEL}", "", text).strip()
    return re.split(rf"{_LABEL}|\n\s*\n", text, maxsplit=1)[0].strip()
