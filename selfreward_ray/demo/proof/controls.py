"""Controls: other explanations for an improvement, and an upper bound. Each control trains models of its own.

    random     DPO on the same pairs with labels flipped at random: the effect of training on a model's own answers
    ceiling    DPO on pairs of the same candidates, judged by the verifier: the effect of a perfect judge
    more_sft   as many further steps of SFT from M1: the effect of more training
    no_eft     the loop with a model that was never taught to judge (paper, section 3.2)

`random` and `ceiling` start each iteration from the same model as the self-rewarded run. `random` has the same batches
and differs only in the labels of pairs. `ceiling` has pairs of its own, and so also other batches and other EFT
examples in them.
"""

from collections.abc import Callable

from selfreward_ray.demo.proof.layout import further_rows
from selfreward_ray.demo.proof.tables import further_examples, judged_by_truth, random_pairs
from selfreward_ray.loop import run_steps
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.pair import pair
from selfreward_ray.steps.train import TooFewExamples, dpo, sft
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import finished_step


def random(recipe: Recipe, run: RunLayout, control: RunLayout) -> None:
    """M(t) of the run + its pairs with labels flipped at random → M(t+1) of the control."""
    for t in range(2, recipe.iterations + 2):
        random_pairs(recipe, run.pairs(t), control.pairs(t))
        _prefer(recipe, run, control, t, "random")


def ceiling(recipe: Recipe, run: RunLayout, control: RunLayout) -> None:
    """M(t) of the run + pairs of its candidates by the verifier → M(t+1) of the control."""
    for t in range(2, recipe.iterations + 2):
        judged_by_truth(recipe, run.judged(t), control.judged(t))
        pair(recipe, judged=control.judged(t).uri, out=control.pairs(t).uri, label=f"ceiling M{t} · pairs")
        _prefer(recipe, run, control, t, "ceiling")


def _prefer(recipe: Recipe, run: RunLayout, control: RunLayout, t: int, name: str) -> None:
    dpo(
        recipe, model=run.model(t - 1).uri, pairs=control.pairs(t).uri, out=control.model_layout(t).uri,
        eft=run.eft().uri if recipe.dpo.eft_weight else None, label=f"{name} M{t} · DPO",
    )  # fmt: skip


def more_sft(recipe: Recipe, run: RunLayout, control: RunLayout) -> None:
    """M1 + as many further steps of SFT as DPO took for M2 → M2, and so on, on M1's own examples.

    The learning rate is the final one of M1's training. At the initial one, a few steps undo what M1 had learned.
    """
    slow = {"epochs": 1, "learning_rate": recipe.sft.final_learning_rate}
    further = recipe.model_copy(update={"sft": recipe.sft.model_copy(update=slow)})
    policy, place = run.model(1).uri, 0
    for t in range(2, recipe.iterations + 2):
        steps = finished_step(run.training(t).uri, "dpo").read_json("summary.json")["steps"]
        stretch = range(place, place + steps * recipe.sft.batch_size)
        eft, rows = run.eft() if recipe.seed_data.eft else None, further_rows(control, t)
        further_examples(recipe, run.seed(), eft, stretch, rows)
        sft(further, model=policy, seed_data=rows.uri, out=control.model_layout(t).uri, label=f"more_sft M{t} · SFT")
        policy, place = control.model(t).uri, stretch.stop


def no_eft(recipe: Recipe, run: RunLayout, control: RunLayout) -> None:
    """M0 + the same IFT examples → M1, and the loop from there.

    Verdicts are constrained, because a model that was never shown one writes hardly any readable ones. If they give too
    few replies different scores there is nothing to train on, and the control ends with the models that it has.
    """
    del run
    untaught = recipe.model_copy(
        update={
            "seed_data": recipe.seed_data.model_copy(update={"eft": 0}),
            "judge": recipe.judge.model_copy(update={"constrained": True}),
            "dpo": recipe.dpo.model_copy(update={"eft_weight": 0.0}),
        }
    )
    try:
        made = (step for step in plan(untaught, control) if step.name != "evaluate" and not step.compares)
        run_steps(made, untaught)
    except TooFewExamples:
        return


FROM_THE_SAME_MODEL = ("random", "ceiling")
"""The controls whose M(t+1) is trained from the self-rewarded M(t)."""

CONTROLS: dict[str, Callable[[Recipe, RunLayout, RunLayout], None]] = {
    "random": random,
    "ceiling": ceiling,
    "more_sft": more_sft,
    "no_eft": no_eft,
}
"""By name, the functions that train the models of a control from a recipe and its finished run."""
