from dataclasses import asdict
from io import StringIO

from rich.console import Console

from selfreward_ray.evaluation.agreement import RULE, Judgement, agreement
from selfreward_ray.reporting.agreement_table import print_agreement


def printed(replies: list[Judgement], title: str = "t", best: str = "the best score, 5") -> list[str]:
    out = StringIO()
    rule = print_agreement({title: asdict(agreement(replies, 5))}, best, Console(file=out, width=100))
    assert " ".join(rule.split()) in " ".join(out.getvalue().split())
    return out.getvalue().splitlines()


def cells(lines: list[str], figure: str) -> list[str]:
    (line,) = [line for line in lines if line.strip().startswith(figure)]
    return line.removeprefix(f" {figure}").split()


def test_each_figure_has_its_value_interval_and_number():
    """Eight sets with one right pair, two with a tied one; a lone reply without a score."""
    replies = [Judgement("lone", 0, None)]
    for n in range(10):
        replies += [Judgement(f"{n}", 0, 5), Judgement(f"{n}", 1, 3 if n < 8 else 5)]
    lines = printed(replies)
    accuracy = cells(lines, "pairwise accuracy %")
    assert (accuracy[0], accuracy[-2:]) == ("80.0", ["10", "pairs"])
    low, to, high = accuracy[1:4]
    assert to == "to"
    assert 40 < float(low) < 70 < 95 <= float(high) <= 100
    assert cells(lines, "5-best %")[0] == "83.3"  # 10 of 12
    assert cells(lines, "5-best %")[-6:] == ["12", "replies", "with", "the", "best", "score"]
    assert cells(lines, "Spearman")[0] == "0.800"
    assert cells(lines, "tied pairs %") == ["20.0", "10", "pairs"]
    assert cells(lines, "without a score %")[0] == "4.8"  # 1 of 21
    text = " ".join(" ".join(lines).split())
    assert "10 sets measured, 1 left out." in text
    assert RULE in text
    assert "with the best score, 5, that have the best human rank" in text


def test_what_was_not_measured_is_a_dash():
    lines = printed([Judgement("a", 0, 4), Judgement("a", 1, 3)])
    assert cells(lines, "5-best %")[:2] == ["–", "–"]
    assert cells(lines, "exact match %")[:2] == ["100.0", "–"]  # one set has no interval


def test_names_are_only_text():
    lines = printed([Judgement("a", 0, 4), Judgement("a", 1, 3)], title="[red]f\x1b[2J.csv", best="[b]5")
    assert any("[red]f␛[2J.csv" in line for line in lines)
    assert "[b]5" in "".join(lines)
