"""The answer to "did it get better?" in one sentence: the last model that is not rejected beside the first one."""

from collections.abc import Iterable, Sequence

from selfreward_ray.reporting.findings import Finding
from selfreward_ray.reporting.summary import RunSummary


def conclusion(summary: RunSummary) -> str:
    """One sentence that follows from the findings, alarms and rejections of `summary`."""
    gone = {f"M{rejection.model}" for rejection in summary.rejections}
    evaluated = [model.model for model in summary.models]
    kept = [model for model in evaluated if model not in gone]
    parts = [*_compared(summary.findings, evaluated, kept)]
    parts += [f"{finding.models}: {finding.outcome}" for finding in summary.findings if finding.kind == "Comparison"]
    names = list(dict.fromkeys(alarm.alarm for alarm in summary.alarms))
    fired = f"{len(summary.alarms)} alarm{'' if len(summary.alarms) == 1 else 's'} fired ({', '.join(names)})"
    parts.append(fired if names else "no alarm fired")
    start = "So far: " if summary.unfinished else ""
    text = f"{start}{'; '.join(parts)}."
    return text[0].upper() + text[1:]


def _compared(findings: Sequence[Finding], evaluated: Sequence[str], kept: Sequence[str]) -> list[str]:
    """The last of the `kept` models against the first: its answers, and its verdicts as a judge."""
    if len(evaluated) < 2:
        return ["no two models were compared"]
    first, last = evaluated[0], kept[-1] if kept else evaluated[0]
    if last == first:
        return [f"every evaluated model after {first} is rejected: use {first}"]
    use = [f"use {last}, because {evaluated[-1]} is rejected"] if last != evaluated[-1] else []
    found = [finding for finding in findings if finding.models == f"{last} against {first}"]
    judged = [finding for finding in found if finding.kind == "Judge"]
    answers = [finding for finding in found if finding.kind != "Judge"]
    return [*use, *_answers(answers, last, first), f"as a judge: {_outcomes(judged)}"]


def _answers(findings: Iterable[Finding], last: str, first: str) -> list[str]:
    by: dict[str, list[str]] = {}
    for finding in findings:
        by.setdefault(finding.outcome, []).append(finding.measure + (f" ({finding.but})" if finding.but else ""))
    better, worse, same = (by.get(outcome, []) for outcome in ("better", "worse", "not significant"))
    if not better and not worse:
        measured = f"the answers of {last} and {first} do not differ significantly by {_listed(same)}"
        return [measured if same else f"the answers of {last} and {first} were not compared"]
    than = [f"better than {first} by {_listed(better)}"] if better else []
    than += [f"worse than {first} by {_listed(worse)}"] if worse else []
    return [f"{last} is {' and '.join(than)}", *([f"not significant by {_listed(same)}"] if same else [])]


def _outcomes(findings: Sequence[Finding]) -> str:
    """``better``, or ``better by pairwise accuracy, not significant by Spearman``."""
    if len({finding.outcome for finding in findings}) <= 1:
        return findings[0].outcome if findings else "not measured"
    return ", ".join(f"{finding.outcome} by {finding.measure}" for finding in findings)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
