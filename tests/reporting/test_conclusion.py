"""The answer of a report in one sentence."""

from dataclasses import replace

import pytest
from reporting_examples import M1, RUN

from selfreward_ray.alarms.check import Fired
from selfreward_ray.reporting.conclusion import conclusion
from selfreward_ray.reporting.findings import Finding, Outcome
from selfreward_ray.reporting.summary import RunSummary
from selfreward_ray.store.rejection import Rejection

MODELS = tuple(replace(M1, model=f"M{t}") for t in (1, 2, 3))


def found(kind: str, outcome: Outcome, measure: str, models: str = "M3 against M1", but: str = "") -> Finding:
    return Finding(kind, models, outcome, "", measure, but)


def run(*findings: Finding, **more: object) -> RunSummary:
    values: dict = {"models": MODELS, "findings": findings, "comparisons": (), "planned_models": 3, **more}
    return replace(RUN, **values)


def score(outcome: Outcome, models: str = "M3 against M1") -> Finding:
    return found("Answers", outcome, "demo score", models)


def wins(outcome: Outcome, but: str = "") -> Finding:
    return found("Head to head", outcome, "head to head", but=but)


def judged(accuracy: Outcome, spearman: Outcome) -> tuple[Finding, Finding]:
    return found("Judge", accuracy, "pairwise accuracy"), found("Judge", spearman, "Spearman")


SAME_JUDGE = judged("not significant", "not significant")


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ((wins("better"), score("better"), *SAME_JUDGE),
         "M3 is better than M1 by head to head and demo score; as a judge: not significant; no alarm fired."),
        ((wins("better"), score("worse"), *judged("worse", "not significant")),
         "M3 is better than M1 by head to head and worse than M1 by demo score; as a judge: worse by pairwise "
         "accuracy, not significant by Spearman; no alarm fired."),
        ((wins("worse"), score("not significant"), *SAME_JUDGE),
         "M3 is worse than M1 by head to head; not significant by demo score; as a judge: not significant; no alarm "
         "fired."),
        ((wins("not significant"), score("not significant"), *judged("better", "better")),
         "The answers of M3 and M1 do not differ significantly by head to head and demo score; as a judge: better; no "
         "alarm fired."),
        ((wins("better", "not significant at equal length"), *SAME_JUDGE),
         "M3 is better than M1 by head to head (not significant at equal length); as a judge: not significant; no "
         "alarm fired."),
        ((wins("not measured"), *SAME_JUDGE),
         "The answers of M3 and M1 were not compared; as a judge: not significant; no alarm fired."),
        ((score("better", "M2 against M1"), score("worse", "M3 against M2")),
         "The answers of M3 and M1 were not compared; as a judge: not measured; no alarm fired."),
    ],
)  # fmt: skip
def test_the_last_model_is_compared_with_the_first(findings: tuple[Finding, ...], said: str):
    assert conclusion(run(*findings)) == said


def fired(alarm: str) -> Fired:
    return Fired(alarm, "M3 · evaluate", 3, 0.1, 0.5, "warn", "")


def test_alarms_are_counted_and_named_once():
    alarms = (fired("win_rate"), fired("win_rate"), fired("unfinished"))
    assert conclusion(run(score("better"), alarms=alarms)).endswith("; 3 alarms fired (win_rate, unfinished).")
    assert conclusion(run(score("better"), alarms=alarms[:1])).endswith("; 1 alarm fired (win_rate).")


def rejection(model: int) -> Rejection:
    return Rejection(model, model + 1, "win_rate", f"M{model} · against M1", 0.4, 0.5, "")


def test_a_rejected_model_is_not_the_winner():
    findings = (score("better"), score("worse", "M2 against M1"))
    assert conclusion(run(*findings, rejections=(rejection(3),))) == (
        "Use M2, because M3 is rejected; M2 is worse than M1 by demo score; as a judge: not measured; no alarm fired."
    )
    assert conclusion(run(*findings, rejections=(rejection(2),))).startswith("M3 is better than M1 by demo score;")
    both = conclusion(run(*findings, rejections=(rejection(2), rejection(3))))
    assert both == "Every evaluated model after M1 is rejected: use M1; no alarm fired."


def test_a_run_under_way_says_so():
    text = conclusion(run(score("better", "M2 against M1"), models=MODELS[:2], unfinished=("M3 · DPO",)))
    assert text == "So far: M2 is better than M1 by demo score; as a judge: not measured; no alarm fired."
    assert conclusion(run(models=MODELS[:1])) == "No two models were compared; no alarm fired."


def test_an_added_comparison_is_told_under_its_name():
    added = found("Comparison", "worse", "comparison", "gpt: M3 against M1")
    assert "; gpt: M3 against M1: worse; no alarm fired." in conclusion(run(score("better"), added))
