"""The figures of a proof as tables of text, for the Markdown document and the HTML page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfreward_ray.demo.proof.claims import Claim, with_interval, with_sign
from selfreward_ray.demo.proof.controls import CONTROLS
from selfreward_ray.demo.proof.figures import JudgeFigures, ProofFigures, RuleFigures
from selfreward_ray.demo.verifier import MAX_TRUE_SCORE
from selfreward_ray.evaluation.agreement import RULE, ScoreCount
from selfreward_ray.evaluation.outcomes import Outcomes
from selfreward_ray.reporting.formatting import MISSING, number, percent, share_with_interval

TEXT_COLUMNS = ("claim", "held", "figures", "model", "set", "rule", "by", "replies", "scores")
"""The columns with text. The others contain numbers."""


@dataclass(frozen=True)
class Section:
    """A table with its title and an explanation."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(figures: ProofFigures, claims: list[Claim]) -> list[Section]:
    """All tables of the proof, the claims first. There is no table of what was not measured."""
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
    """The main results: each model's scores, and its agreement as judge."""
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
        "A rule checker that the loop never uses scores the answers. They are sampled as in the loop, with as many "
        f"per prompt. 95 % intervals over {what_varies(figures)}, symmetric around the mean, so they may extend beyond "
        "the possible range. Conditional: the share of kept rules among those whose opposite is asked for equally "
        "often; a fixed habit scores 50 %. Spearman: the model as judge of a fixed set of replies, against their true "
        "scores; a set with an unreadable verdict counts as 0."
    )
    return Section("Models", note, (*columns, "judge's Spearman"), rows)


def _greedy(figures: ProofFigures) -> Section:
    rows = [
        (name, model, with_interval(scores[model]), with_interval(figures.greedy_conditional[name][model]))
        for name, scores in figures.greedy.items()
        for model in scores
    ]
    note = (
        "The same for greedy answers. If two ways to answer are almost equally likely, chance in training decides "
        "between them for all prompts of a seed at once, so seeds differ more."
    )
    return Section("Greedy answers", note, ("set", "model", "true score %", "conditional %"), rows)


def what_varies(figures: ProofFigures) -> str:
    """What the intervals are computed over."""
    seeds = len(figures.seeds)
    return "the prompts of one seed" if seeds == 1 else f"prompts and seeds ({seeds})"


def _claims(claims: list[Claim]) -> Section:
    rows = [(claim.text, claim.outcome, claim.figures) for claim in claims]
    note = (
        "Computed from the figures below. Claims that hold prompt by prompt, and comparisons with controls, use the "
        "differences on the same prompts. A difference is not significant if its 95 % interval includes 0; the claim "
        "is then neither shown nor refuted."
    )
    return Section("Claims", note, ("claim", "held", "figures"), rows)


def _seeds(figures: ProofFigures) -> Section:
    rows = [
        (name, model, *map(with_interval, figures.true_score[name][model].runs))
        for name in figures.sets
        for model in figures.models
    ]
    columns = ("set", "model", *(f"seed {seed}" for seed in figures.seeds))
    return Section("Each seed", "True score %, with intervals over the prompts of that seed only.", columns, rows)


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
        "True score %. random: DPO on the same pairs with labels flipped at random. ceiling: DPO on pairs of the same "
        "candidates, judged by the verifier. Both start each iteration from the previous self-rewarded model. "
        "more_sft: SFT from M1 for as many further steps, at the final learning rate of M1's training. no_eft: the "
        "loop with a model that was never taught to judge, with SFT on IFT examples only, constrained verdicts and no "
        "EFT examples in DPO. It has no figure if, with at least one seed, its judge gave too few replies different "
        "scores to train on."
    )
    return Section("Controls", note, ("set", "model", "self-rewarded", *names), rows)


def _ahead(figures: ProofFigures) -> Section:
    names = list(CONTROLS)
    rows = [
        (name, model, *(with_sign(figures.ahead[control][name].get(model)) for control in names))
        for name in figures.sets
        for model in figures.models[1:]
    ]
    note = (
        "Difference in true score between the self-rewarded model and each control's, in points, on the same prompts."
    )
    return Section("Gains over the controls", note, ("set", "model", *names), rows)


def _gains(figures: ProofFigures) -> Section:
    rows = [
        (name, f"{after} over {before}", with_sign(gain), with_sign(figures.conditional_gains[name][after, before]))
        for name in figures.sets
        for (after, before), gain in figures.gains[name].items()
    ]
    note = "Difference between a model and an earlier one, in points, on the same prompts."
    return Section("Gains", note, ("set", "model", "true score", "conditional"), rows)


def _rules(figures: ProofFigures, name: str) -> Section:
    rows = [
        (kind, *(_asked_or_not(by_model[model]) for model in figures.models))
        for kind, by_model in figures.rules[name].items()
    ]
    note = (
        "How often a rule is kept, in percent. First number: if the prompt asks for it. Second number: if the prompt "
        "asks neither for it nor for its opposite, so that keeping it is a habit. A rule with a word is then kept with "
        "any of the rule's words in the demo world, exclude with none of them."
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
        "Agreement of a model's verdicts with the verifier, one verdict per reply: on fixed replies, which are the "
        "same for all models, and on its own candidates for prompts of the loop. Pairwise: share of pairs whose better "
        "reply has the higher score. Five-best: share of the replies with five points that are the best of their set. "
        f"Exact: share of the sets whose order is right, ties included. {RULE}"
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
        "Number of replies by true score, and by the score that the judge gave.",
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
        "Greedy answers to the same held-out prompts; the higher score wins. The judge gives each answer one greedy "
        "verdict. Its rows leave out prompts for which one of the two verdicts is unreadable. Win rate: ties are half "
        "wins; Wilson's interval over the prompts of all seeds, which takes no account of how seeds differ."
    )
    return Section("Head to head", note, ("model", "by", "won", "lost", "ties", "win rate % (95 %)"), rows)


def _outcome(found: Outcomes) -> tuple[str, ...]:
    rate = share_with_interval(found.left_win_rate, found.left_win_interval)
    return (number(found.left), number(found.right), number(found.ties), rate)


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
    note = (
        "Sampled answers of all seeds. Distinct-1 and distinct-2: different words and bigrams, divided by all of them."
    )
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
        "The pairs that a model was trained on, over all seeds, and whether the verifier agrees with them. In the "
        "ceiling: pairs that the control ceiling has too."
    )
    columns = ("model", "prompts", "pairs", "agrees %", "tie %", "disagrees %", "in the ceiling %")
    return Section("Pairs", note, columns, rows)
