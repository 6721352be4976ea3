"""The figures as tables of texts, the same in the document and on the page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfreward_ray.demo.proof.claims import Claim, with_interval, with_sign
from selfreward_ray.demo.proof.controls import CONTROLS
from selfreward_ray.demo.proof.figures import JudgeFigures, ProofFigures, RuleFigures
from selfreward_ray.demo.verifier import MAX_TRUE_SCORE
from selfreward_ray.evaluation.agreement import ScoreCount
from selfreward_ray.evaluation.outcomes import Outcomes
from selfreward_ray.reporting.formatting import MISSING, number, percent

TEXT_COLUMNS = ("claim", "held", "figures", "model", "set", "rule", "by", "replies", "scores")
"""The columns that hold words; the others hold figures."""


@dataclass(frozen=True)
class Section:
    """A table with its title, and what its reader must know."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(figures: ProofFigures, claims: list[Claim]) -> list[Section]:
    """All tables of the proof, the claims first; of what was not measured there is none."""
    return [
        _claims(claims),
        main_table(figures),
        _greedy(figures),
        *([_seeds(figures)] if len(figures.seeds) > 1 else []),
        _gains(figures),
        *([_controls(figures), _ahead(figures)] if figures.controls else []),
        *(_rules(figures, name) for name in figures.sets),
        _judges(figures),
        _histogram(figures),
        _matches(figures),
        _replies(figures),
        _pairs(figures),
    ]


def main_table(figures: ProofFigures) -> Section:
    """The table that stands for the whole."""
    sets = figures.sets
    columns = ["model", *(f"{name}: {what} %" for name in sets for what in ("true score", "conditional"))]
    rows = [
        (
            model,
            *(with_interval(s[name][model]) for name in sets for s in (figures.true_score, figures.conditional)),
            with_interval(figures.fixed_judge[model].spearman, 3) if model in figures.fixed_judge else MISSING,
        )
        for model in figures.models
    ]
    note = (
        "By a program that the loop never sees, on answers sampled as the loop samples them, as many to a prompt; 95 % "
        f"intervals over {what_varies(figures)}, the same margin to both sides, which may reach past what a figure can "
        "be. Conditional: the share kept of those rules whose opposite is asked as often, so that fixed habits come to "
        "50 %. Spearman: the model as judge of a fixed set of replies, with their true scores; a set with an "
        "unreadable verdict counts as 0."
    )
    return Section("Models", note, (*columns, "judge's Spearman"), rows)


def _greedy(figures: ProofFigures) -> Section:
    rows = [
        (name, model, with_interval(scores[model]), with_interval(figures.greedy_conditional[name][model]))
        for name, scores in figures.greedy.items()
        for model in scores
    ]
    note = (
        "The same of each model's likeliest answer. Where two ways to answer are nearly as likely, a coin in the "
        "training decides for all prompts of a seed at once, so that seeds differ more."
    )
    return Section("Greedy answers", note, ("set", "model", "true score %", "conditional %"), rows)


def what_varies(figures: ProofFigures) -> str:
    """What the intervals are over."""
    seeds = len(figures.seeds)
    return "the prompts of one seed" if seeds == 1 else f"prompts and seeds ({seeds})"


def _claims(claims: list[Claim]) -> Section:
    rows = [(claim.text, claim.outcome, claim.figures) for claim in claims]
    note = (
        "Computed from the figures below. Prompt by prompt, and against the controls: the differences on the same "
        "prompts, with their interval; not significant where that has 0 in it, so that the claim is neither shown nor "
        "refuted."
    )
    return Section("Claims", note, ("claim", "held", "figures"), rows)


def _seeds(figures: ProofFigures) -> Section:
    rows = [
        (name, model, *map(with_interval, figures.true_score[name][model].runs))
        for name in figures.sets
        for model in figures.models
    ]
    columns = ("set", "model", *(f"seed {seed}" for seed in figures.seeds))
    return Section("Each seed", "True score %; intervals over the prompts of that seed alone.", columns, rows)


def _controls(figures: ProofFigures) -> Section:
    names = list(CONTROLS)
    rows = [
        (
            name,
            model,
            with_interval(figures.true_score[name][model]),
            *(with_interval(figures.controls[control][name].get(model)) for control in names),
        )
        for name in figures.sets
        for model in figures.models[1:]
    ]
    note = (
        "True score %. random: DPO on the same pairs, each turned round by a coin. ceiling: DPO on the same "
        "candidates, judged by the verifier. Both start, in each iteration, from the self-rewarded model before it. "
        "more_sft: as many further steps of SFT from M1, at the rate at which M1's ended. no_eft: the loop of a model "
        "that was never taught to judge: SFT on the instruction rows alone, verdicts held to the form, no judging rows "
        "in DPO; where it has no figure, its judge told too few replies apart to train on them, with one seed or more."
    )
    return Section("Controls", note, ("set", "model", "self-rewarded", *names), rows)


def _ahead(figures: ProofFigures) -> Section:
    names = list(CONTROLS)
    rows = [
        (name, model, *(with_sign(figures.ahead[control][name].get(model)) for control in names))
        for name in figures.sets
        for model in figures.models[1:]
    ]
    note = "Points of true score by which the self-rewarded model is above each control's, prompt by prompt."
    return Section("Ahead of the controls", note, ("set", "model", *names), rows)


def _gains(figures: ProofFigures) -> Section:
    rows = [
        (name, f"{after} over {before}", with_sign(gain), with_sign(figures.conditional_gains[name][after, before]))
        for name in figures.sets
        for (after, before), gain in figures.gains[name].items()
    ]
    note = "Points that a model gained over an earlier one, prompt by prompt."
    return Section("Gains", note, ("set", "model", "true score", "conditional"), rows)


def _rules(figures: ProofFigures, name: str) -> Section:
    rows = [
        (kind, *(_asked_or_not(by_model[model]) for model in figures.models))
        for kind, by_model in figures.rules[name].items()
    ]
    note = (
        "How often a rule is kept, in percent: asked for / where neither it nor its opposite is asked for (a habit; "
        "then a rule of words is kept with any word that the world has for it, exclude with none)."
    )
    return Section(f"By rule: {name}", note, ("rule", *figures.models), rows)


def _asked_or_not(rule: RuleFigures) -> str:
    return " / ".join(number(e.mean if e else None) for e in (rule.asked, rule.not_asked))


def _by_replies(figures: ProofFigures) -> Iterable[tuple[str, str, JudgeFigures]]:
    for replies, judges in (("fixed", figures.fixed_judge), ("its own", figures.own_judge)):
        for model, judge in judges.items():
            yield replies, model, judge


def _judges(figures: ProofFigures) -> Section:
    rows = [
        (
            replies,
            model,
            percent(a.pairwise_accuracy),
            percent(a.five_best),
            percent(a.exact_match),
            with_interval(judge.spearman, 3),
            number(a.kendall, 3),
            number(a.pooled_spearman, 3),
            percent(a.unreadable),
            number(a.verdicts),
        )
        for replies, model, judge in _by_replies(figures)
        for a in (judge.agreement,)
    ]
    note = (
        "Agreement of a model's verdicts with the verifier, on replies that are the same for all models and on its own "
        "candidates for prompts of the loop; one verdict a reply. Pairwise: pairs of replies whose better one has the "
        "greater score; five-best: replies given five points that are the best of their set; exact: sets whose whole "
        "order is the true one, ties included."
    )
    columns = ("pairwise %", "five-best %", "exact %", "Spearman", "Kendall", "pooled Spearman", "unreadable %")
    return Section("The judge", note, ("replies", "model", *columns, "verdicts"), rows)


def _histogram(figures: ProofFigures) -> Section:
    rows = [
        (replies, model, kind, *cells)
        for replies, model, judge in _by_replies(figures)
        for kind, cells in (("true", _counts(judge.scores, "true")), ("given", _counts(judge.scores, "given")))
    ]
    scores = map(str, range(MAX_TRUE_SCORE + 1))
    return Section(
        "Scores given and true",
        "How many replies were given each score, beside how many are worth it.",
        ("replies", "model", "scores", *scores, "unreadable"),
        rows,
    )


def _counts(found: list[ScoreCount], which: str) -> tuple[str, ...]:
    counts: Counter[float | None] = Counter()
    for score in found:
        counts[getattr(score, which)] += score.count
    unreadable = number(counts[None]) if which == "given" else MISSING
    return (*(number(counts[score]) for score in range(MAX_TRUE_SCORE + 1)), unreadable)


def _matches(figures: ProofFigures) -> Section:
    rows = []
    for match in figures.matches:
        sides = f"{match.left} v {match.right}"
        rows += [(sides, f"the verifier, {name}", *_outcome(found)) for name, found in match.by_truth.items()]
        rows.append((sides, "the judge M1", *_outcome(match.by_judge)))
    note = (
        "Greedy answers to the same held-out prompts; the one with the greater score wins. The judge gives each answer "
        "one greedy verdict; its rows leave out the prompts where one of the two could not be read."
    )
    return Section("Head to head", note, ("model", "by", "won", "lost", "ties", "win rate %"), rows)


def _outcome(found: Outcomes) -> tuple[str, ...]:
    return (number(found.left), number(found.right), number(found.ties), percent(found.left_win_rate))


def _replies(figures: ProofFigures) -> Section:
    rows = [
        (
            model,
            number(r.mean_words, 1),
            percent(r.unfinished),
            percent(r.repetitive),
            number(r.distinct_1, 3),
            number(r.distinct_2, 3),
        )
        for model, r in figures.replies.items()
    ]
    note = "Sampled ones, of all seeds. Distinct: different words, and runs of two, of all that there are."
    return Section(
        "Answers", note, ("model", "words", "unfinished %", "repetitive %", "distinct-1", "distinct-2"), rows
    )


def _pairs(figures: ProofFigures) -> Section:
    def share(count: int | None, pairs: int) -> str:
        return percent(None if count is None or not pairs else count / pairs)

    rows = [
        (
            model,
            number(p.prompts),
            number(p.pairs),
            *(share(count, p.pairs) for count in (p.agreed, p.tied, p.pairs - p.agreed - p.tied)),
            share(figures.shared_pairs.get(model), p.pairs),
        )
        for model, p in figures.pairs.items()
    ]
    note = (
        "The pairs that trained a model, over all seeds, and what the verifier says of them. In the ceiling: those "
        "that its verdicts make too."
    )
    columns = ("model", "prompts", "pairs", "agrees %", "tie %", "disagrees %", "in the ceiling %")
    return Section("Pairs", note, columns, rows)
