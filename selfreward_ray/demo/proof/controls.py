"""What else may have made the models better, or may make them better still. Each control is M(t)s of its own.

    random     DPO on the same pairs, each turned round by a coin: what training on one's own answers does by itself
    ceiling    DPO on the same candidates, judged by the verifier: what a perfect judge would have done
    more_sft   as many further steps of SFT from M1: what more training does
    no_eft     the loop of a model that was never taught to judge (paper, section 3.2)

`random` and `ceiling` start, in each iteration, where the self-rewarded model starts. `random` has its very batches,
and nothing but the orientation of pairs is between the two. `ceiling` has pairs of its own, so that other batches, and
other judging rows in them, come with other orientations.
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
    """M(t) of the run + its pairs, oriented by a coin → M(t+1) of the control."""
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
        recipe, model=run.model(t - 1).uri, pairs=control.pairs(t).uri, out=control.model(t).uri,
        eft=run.eft().uri if recipe.dpo.eft_weight else None, label=f"{name} M{t} · DPO",
    )  # fmt: skip


def more_sft(recipe: Recipe, run: RunLayout, control: RunLayout) -> None:
    """M1 + as many further steps of SFT as DPO took to M2 → M2, and so on; each on a stretch of M1's own examples.

    They go on at the rate at which M1's training ended: from the first one, a few steps undo what M1 had learned.
    """
    slow = {"epochs": 1, "learning_rate": recipe.sft.final_learning_rate}
    further = recipe.model_copy(update={"sft": recipe.sft.model_copy(update=slow)})
    policy, place = run.model(1).uri, 0
    for t in range(2, recipe.iterations + 2):
        steps = finished_step(run.model(t).uri, "dpo").read_json("summary.json")["steps"]
        stretch = range(place, place + steps * recipe.sft.batch_size)
        eft, rows = run.eft() if recipe.seed_data.eft else None, further_rows(control, t)
        further_examples(recipe, run.seed(), eft, stretch, rows)
        out = control.model(t).uri
        sft(further, model=policy, seed_data=rows.uri, out=out, label=f"more_sft M{t} · SFT")
        policy, place = out, stretch.stop


def no_eft(recipe: Recipe, run: RunLayout, control: RunLayout) -> None:
    """M0 + the same IFT rows → M1, and the loop from there.

    Verdicts of a model that has seen none are held to the form, or hardly one could be read. Where they tell too few
    replies apart there is nothing to train on, and the control ends with the models that it has.
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
        run_steps((step for step in plan(untaught, control) if step.name != "evaluate"), untaught)
    except TooFewExamples:
        return


FROM_THE_SAME_MODEL = ("random", "ceiling")
"""Those whose M(t+1) is made from the self-rewarded M(t)."""

CONTROLS: dict[str, Callable[[Recipe, RunLayout, RunLayout], None]] = {
    "random": random,
    "ceiling": ceiling,
    "more_sft": more_sft,
    "no_eft": no_eft,
}
"""By name: makes the models of a control from a recipe and its finished run, where a run has its models."""
