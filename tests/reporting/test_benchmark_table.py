from io import StringIO
from typing import Any

from rich.console import Console

from selfreward_ray.reporting.benchmark_table import print_benchmark


def row(task: str, **values: Any) -> dict[str, Any]:
    return {
        "task": task, "group": None, "metric": "acc", "filter": "none", "value": 0.5, "standard_error": 0.1234,
        "few_shot": 5, "documents": 1319,
    } | values  # fmt: skip


def printed(*rows: dict[str, Any]) -> list[str]:
    out = StringIO()
    print_benchmark(rows, Console(file=out, width=100))
    return [" ".join(line.split()) for line in out.getvalue().splitlines() if line.strip()][2:]


def test_a_figure_has_its_standard_error_and_what_it_is_over():
    strict = row("gsm8k", metric="exact_match", filter="strict-match", standard_error=None, few_shot=None)
    assert printed(row("arc_easy"), strict) == [
        "arc_easy acc 0.5000 0.1234 5 1,319",
        "gsm8k exact_match, strict-match 0.5000 – – 1,319",
    ]


def test_the_parts_of_a_group_are_shown_only_if_the_group_has_no_figure():
    parts = [row("mmlu_law", group="mmlu"), row("a", group="without")]
    assert [line.split()[0] for line in printed(row("mmlu"), *parts)] == ["mmlu", "a"]


def test_names_are_shown_as_text():
    assert printed(row("[red]x\x1b[0m"))[0].startswith("[red]x␛[0m acc")
