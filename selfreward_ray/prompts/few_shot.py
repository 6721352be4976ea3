"""Few-shot prompting for new prompts: show tasks, and let the model continue the list (paper, section 2.2, step 1).

The list is in English around tasks of any language. A model may go on in theirs, so that the next task is recognized by
the word for it in many languages, and with full-width digits and punctuation.
"""

import re
from collections.abc import Sequence

from selfreward_ray.words import composed

OPENING = "A list of varied tasks that people give to an assistant. Each is clear, complete and unlike the rest."
_TASK = (
    "Task|Aufgabe|Tâche|Tarea|Tarefa|Compito|Taak|Uppgift|Opgave|Oppgave|Tehtävä|Zadanie|Úkol|Úloha|Feladat|Sarcina"
    "|Görev|Tugas|Nhiệm vụ|Bài tập|Задача|Задание|Завдання|Εργασία|משימה|مهمة|المهمة|कार्य|टास्क|งาน|งานที่"
    "|任务|任務|题目|題目|作业|タスク|課題|작업|과제"
)
_SIGN = r"(?:[#№]|n[°ºo]\.?|nr\.?|no\.?|num(?:ber|éro)?\.?|номер|số|رقم|第|番号)?"
_DIGITS = r"(?:\d+|[〇零一二三四五六七八九十百]+)"
_NUMBERED = rf"(?<!\w)(?:{_TASK})\s*{_SIGN}\s*{_DIGITS}(?!\w)"
_MARKED = r"[*_#>\s]*"
_FIRST = re.compile(rf"\A{_MARKED}{_NUMBERED}\s*(?:\([^()\n]*\)\s*)?(?:[:：.。、)–—-]|$)[*_\s]*", re.IGNORECASE)
"""The label that a completion may begin with. What follows it can be nothing else, so many marks may end it."""
_NEXT = re.compile(
    rf"\n{_MARKED}{_NUMBERED}\s*(?:\([^()\n]*\)\s*)?(?:[:：.。、)–—-]|(?=\n|\Z))"  # at the beginning of a line
    rf"|(?<=[.!?。！？…])[ \t*_]*{_NUMBERED}\s*[:：]"  # after a sentence, where a colon must follow
    r"|\n\s*\n",
    re.IGNORECASE,
)
"""Where the first task ends. Within a sentence, a task's number is a part of it."""


def demonstration_prompt(tasks: Sequence[str]) -> str:
    """The text that a model continues: a numbered list of `tasks`, and the next number."""
    # One line for each task: the model copies the format, and `read_proposal` stops at a blank line.
    lines = [f"Task {number}: {' '.join(task.split())}" for number, task in enumerate(tasks, start=1)]
    return "\n".join([OPENING, "", *lines, f"Task {len(lines) + 1}:"])


def read_proposal(text: str) -> str:
    """The first task of a completion, up to the next line ``Task n:`` or blank line; empty if there is none."""
    text = _FIRST.sub("", composed(text)).strip()
    return _NEXT.split(text, maxsplit=1)[0].strip()
