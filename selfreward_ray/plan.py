"""The steps of a run and their order, defined only here.

`selfreward_ray.loop` runs them, `selfreward status` shows them, and the report reads their results.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.preferences import POLICIES
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.rejection import Rejection
from selfreward_ray.store.run import ModelLayout, RunLayout

POOLED = {"verdicts", "respond", "evaluate", "judge", "compare"}
"""Steps whose functions return a `PooledStep`, for `run_pooled`: replicas of the model in their inputs do the work."""

TRAINING_STEPS = {"baseline", "sft", "dpo"}
"""Steps that train a model."""

LOOP_TRAININGS = {"sft", "dpo"}
"""Those that make M1, M2, …, each from the one before it."""


def own_folder(step: str, out: str) -> Folder:
    """The folder of its own, with its manifest, that a step makes in what it is given as `out`."""
    return ModelLayout(out).training if step in TRAINING_STEPS else Folder(out)


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run. Its function is called as ``(recipe, **inputs, out=out, label=label)``."""

    name: str
    """The key of its function in `selfreward_ray.loop.STEPS`."""
    model: str
    """The model that it trains or evaluates, for example ``M2``."""
    title: str
    """Its title in the progress display."""
    folder: Folder
    """The step's own: its manifest is here."""
    inputs: dict[str, Any]
    made_in: str | None = None
    """Where a training step makes its own folder and the model's."""
    compares: bool = False
    """Whether it is part of a comparison of models, which may have several steps of one name."""

    @property
    def out(self) -> str:
        """What its function is given as `out`."""
        return self.made_in or self.folder.uri

    @property
    def short(self) -> str:
        """Its name in tables, different for all steps of a model."""
        return self.title if self.compares else self.name

    @property
    def label(self) -> str:
        return f"{self.model} · {self.title}"


def plan(recipe: Recipe, layout: RunLayout) -> list[PlannedStep]:
    """All steps of the run. Each model is evaluated, and compared with earlier ones, before the next one is trained.

    A rejected model of `layout` is tested no further than the alarm that rejected it, and the next model is made from
    the one before it. Steps that use the same model are adjacent, so that its engines start once: the prompts of all
    iterations, as soon as the proposing model exists; a model's evaluation and its answers; and what the judge of the
    comparisons does.
    """
    seed, *to_first_model = first_model(recipe, layout)
    proposed = [layout.prompts(t + 1).uri for t in range(1, recipe.iterations + 1)]
    proposals = [_proposal(layout, t, proposed[: t - 1]) for t in range(1, recipe.iterations + 1)]
    m1_proposes = _proposed_by_m1(recipe, layout)
    steps = [seed, *([] if m1_proposes else proposals), *to_first_model, *(proposals if m1_proposes else [])]
    scored: set[int] = set()
    for t in range(1, recipe.iterations + 2):
        improve = iteration(recipe, layout, t) if t <= recipe.iterations else []
        respond, train = improve[:1], improve[1:]
        tests = evaluation(recipe, layout, t) + comparison(recipe, layout, t, scored)
        made = _until_rejected(tests, layout.rejection(t))
        scored |= {int(step.model[1:]) for step in made if step.name == "judge"}
        evaluate, compare = [s for s in made if not s.compares], [s for s in made if s.compares]
        steps += evaluate + respond + compare + train
    return steps


def _until_rejected(tests: list[PlannedStep], rejection: Rejection | None) -> list[PlannedStep]:
    """The `tests` of a model up to the step after which it was rejected.

    All of them if that was a step of its successor, and none if it was its own training.
    """
    if rejection is None or not rejection.step.startswith(f"M{rejection.model} · "):
        return tests
    labels = [step.label for step in tests]
    return tests[: labels.index(rejection.step) + 1] if rejection.step in labels else []


def _proposed_by_m1(recipe: Recipe, layout: RunLayout) -> bool:
    """Whether M1 of this run proposes the prompts. Raises `UserError` if a later model is to."""
    proposer = recipe.prompts.proposer and same_place(recipe.prompts.proposer)
    own = [same_place(layout.model(t).uri) for t in range(1, recipe.iterations + 2)]
    if proposer in own[1:]:
        raise UserError(
            f"prompts.proposer: {recipe.prompts.proposer} is trained on prompts of this run, which it cannot propose; "
            f"name M1 ({layout.model(1).uri}) or a model from elsewhere"
        )
    return proposer == own[0]


def first_model(recipe: Recipe, layout: RunLayout) -> list[PlannedStep]:
    """M0 → M1."""
    steps = [PlannedStep("seed", "M1", "seed data", layout.seed(), {})]
    if recipe.seed_data.eft:
        steps += _eft(recipe, layout)
    return [*steps, _sft_from_m0(recipe, layout, 1)]


def _eft(recipe: Recipe, layout: RunLayout) -> list[PlannedStep]:
    """EFT rows, with verdicts by the SFT baseline, by another model, or from the data source."""
    seed, judge, steps = {"seed_data": layout.seed().uri}, recipe.seed_data.verdicts, []
    if judge == "baseline":
        judge = layout.baseline().model.uri
        inputs = {"model": recipe.model, **seed}
        steps += [_training("baseline", "M1", "SFT baseline", layout.baseline(), inputs)]
    if judge != "written":
        steps += [PlannedStep("verdicts", "M1", "verdicts", layout.verdicts(), {"model": judge, **seed})]
    verdicts = None if judge == "written" else layout.verdicts().uri
    return [*steps, PlannedStep("eft", "M1", "EFT", layout.eft(), {**seed, "verdicts": verdicts})]


def _sft_from_m0(recipe: Recipe, layout: RunLayout, t: int, positives: str | None = None) -> PlannedStep:
    """M0 + IFT + EFT → M(t), with the positive replies of the previous model if `positives` is given."""
    eft = layout.eft().uri if recipe.seed_data.eft else None
    inputs = {"model": recipe.model, "seed_data": layout.seed().uri, "eft": eft, "positives": positives}
    return _training("sft", f"M{t}", "SFT", layout.model_layout(t), inputs)


def _training(name: str, model: str, title: str, made: ModelLayout, inputs: dict[str, Any]) -> PlannedStep:
    return PlannedStep(name, model, title, made.training, inputs, made_in=made.uri)


def prompts(layout: RunLayout, t: int) -> PlannedStep:
    """The prompts that M(t) answers, to train M(t+1)."""
    return _proposal(layout, t, [layout.prompts(model).uri for model in range(2, t + 1)])


def _proposal(layout: RunLayout, t: int, earlier: list[str]) -> PlannedStep:
    inputs = {"seed_data": layout.seed().uri, "iteration": t, "earlier": earlier}
    return PlannedStep("propose", f"M{t + 1}", "prompts", layout.prompts(t + 1), inputs)


def iteration(recipe: Recipe, layout: RunLayout, t: int) -> list[PlannedStep]:
    """M(t), or the model before it if it is rejected, → M(t+1), from finished prompts."""
    new = t + 1
    policy = layout.model(layout.parent(new)).uri
    judged, pairs = layout.judged(new), layout.pairs(new)
    answered = {"model": policy, "prompts": layout.prompts(new).uri}
    steps = [
        PlannedStep("respond", f"M{new}", "respond and judge", judged, answered),
        PlannedStep("pair", f"M{new}", "pairs", pairs, {"judged": judged.uri}),
    ]
    if POLICIES[recipe.pairs.policy].trained_by == "sft":
        return [*steps, _sft_from_m0(recipe, layout, new, positives=pairs.uri)]
    eft = layout.eft().uri if recipe.dpo.eft_weight else None
    inputs = {"model": policy, "pairs": pairs.uri, "eft": eft}
    if recipe.training.select == "judged":
        inputs |= {"validation": layout.seed().uri, "judge": _judge(recipe, layout)}
    return [*steps, _training("dpo", f"M{new}", "DPO", layout.model_layout(new), inputs)]


def evaluation(recipe: Recipe, layout: RunLayout, t: int) -> list[PlannedStep]:
    """The evaluation of M(t), if the recipe has held-out sets."""
    inputs = {"model": layout.model(t).uri, "seed_data": layout.seed().uri}
    step = PlannedStep("evaluate", f"M{t}", "evaluate", layout.evaluation(t), inputs)
    return [step] if recipe.seed_data.held_out else []


def _judge(recipe: Recipe, layout: RunLayout) -> str:
    """The judge of the run, of models and of snapshots."""
    return recipe.evaluation.judge or layout.model(1).uri


def comparison(recipe: Recipe, layout: RunLayout, t: int, scored: Container[int] = ()) -> list[PlannedStep]:
    """M(t)'s answers to the held-out prompts against those of the model that it was made from and of M1, by the judge
    of the run. Answers of the models `scored` are not scored again."""
    method = recipe.evaluation.head_to_head if recipe.seed_data.held_out else "none"
    if t == 1 or method == "none":
        return []
    judge, others = _judge(recipe, layout), sorted({layout.parent(t), 1}, reverse=True)

    def against(name: str, other: int, **inputs: Any) -> PlannedStep:
        return PlannedStep(name, f"M{t}", f"against M{other}", layout.against(t, other), inputs, compares=True)

    if method == "pairwise":
        return [
            against("compare", other, model=judge, left=layout.evaluation(t).uri, right=layout.evaluation(other).uri)
            for other in others
        ]

    def scoring(m: int) -> dict[str, Any]:
        return {"model": judge, "replies": layout.evaluation(m).uri}

    # M1's answers are judged with those of the first model that is compared, by the same start of the judge's engines.
    scores = [
        PlannedStep("judge", f"M{m}", "score answers", layout.scored(m), scoring(m), compares=True)
        for m in sorted({t, *others})
        if m not in scored
    ]
    compared = [
        against("head_to_head", other, left=layout.scored(t).uri, right=layout.scored(other).uri) for other in others
    ]
    return [*scores, *compared]
