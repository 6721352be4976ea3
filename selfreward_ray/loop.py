"""M0 → M1 → M2 → … : the whole of self-rewarding training. Open this file first.

    seed                 ranked human replies → IFT (instruction, best reply)
    baseline, verdicts   M0 + IFT → a baseline, which judges ranked replies
    EFT                  judge prompts with those verdicts that agree with the people's ranking
    SFT                  M0 + IFT + EFT → M1
    for each iteration   the model improves itself:
      propose              new prompts
      respond and judge    N candidates a prompt, each judged k times by the same model
      pair                 best against worst
      DPO                  M(t) + pairs → M(t+1), reference M(t); or SFT, where only positive replies are taken
    evaluate             every model on held-out prompts and rankings
    report               one table, one page

Every step is a function of folders: it reads its inputs' and writes its own, and one whose manifest is there
is not done again. So the same call after an interruption goes on where it was.
"""

from selfreward_ray.cluster.asks import replica_ask, worker_ask
from selfreward_ray.cluster.room import check_room
from selfreward_ray.models import local_model
from selfreward_ray.recipe import Recipe
from selfreward_ray.run_layout import RunLayout
from selfreward_ray.run_store import claim_run, read_manifest
from selfreward_ray.steps.eft import eft
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.pair import pair
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.report import report
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.seed import seed
from selfreward_ray.steps.train import dpo, sft
from selfreward_ray.steps.verdicts import verdicts


def run(recipe: Recipe, run_dir: str) -> None:
    """Run `recipe` to its end in `run_dir`, a local folder or an object-store URI."""
    layout = RunLayout(run_dir)
    if not layout.root.is_file("recipe.yaml"):
        local_model(recipe.model, weights=False)  # a name that leads nowhere must not be what the folder is bound to
    check_cluster(recipe, layout)
    claim_run(layout.root, recipe)
    first_model(recipe, layout)
    for t in range(1, recipe.iterations + 1):
        iterate(recipe, layout, t)
    measure(recipe, layout)


def run_next_iteration(run_dir: str) -> None:
    """The next unfinished iteration of a run; one more than its recipe has when all are finished."""
    layout = RunLayout(run_dir)
    recipe = layout.recipe()
    t = 1
    while read_manifest(layout.model(t + 1)) is not None:
        t += 1
    if t > recipe.iterations:
        recipe = recipe.model_copy(update={"iterations": t})
        claim_run(layout.root, recipe)
    check_cluster(recipe, layout)
    first_model(recipe, layout)
    iterate(recipe, layout, t)
    measure(recipe, layout)


def check_cluster(recipe: Recipe, layout: RunLayout) -> None:
    """Raise `UserError`, before anything is paid for, where the cluster can never hold a step that is still to come."""
    if read_manifest(layout.model(recipe.iterations + 1)) is None:
        check_room(worker_ask(recipe.training))
        check_room(replica_ask(recipe.inference))


def first_model(recipe: Recipe, layout: RunLayout) -> None:
    """M0 → M1."""
    seed(recipe, out=layout.seed().uri, label="M1 · seed data")
    if recipe.seed_data.eft:
        teach_judging(recipe, layout)
    model_by_sft(recipe, layout, 1, label="M1 · SFT")


def teach_judging(recipe: Recipe, layout: RunLayout) -> None:
    """EFT rows: verdicts of the SFT baseline, of another model, or as they are written in the source."""
    seed_data, judge, verdicts_of = layout.seed().uri, recipe.seed_data.verdicts, None
    if judge == "baseline":
        judge = layout.baseline().uri
        sft(recipe, model=recipe.model, seed_data=seed_data, out=judge, label="M1 · SFT baseline")
    if judge != "written":
        verdicts_of = layout.verdicts().uri
        verdicts(recipe, model=judge, seed_data=seed_data, out=verdicts_of, label="M1 · verdicts")
    eft(recipe, seed_data=seed_data, verdicts=verdicts_of, out=layout.eft().uri, label="M1 · EFT")


def model_by_sft(recipe: Recipe, layout: RunLayout, t: int, label: str, positives: str | None = None) -> None:
    """M0 + IFT + EFT → M(t), with the positive replies of an earlier model where there are some."""
    eft_rows = layout.eft().uri if recipe.seed_data.eft else None
    sft(
        recipe, model=recipe.model, seed_data=layout.seed().uri, eft=eft_rows, positives=positives,
        out=layout.model(t).uri, label=label,
    )  # fmt: skip


def iterate(recipe: Recipe, layout: RunLayout, t: int) -> None:
    """M(t) → M(t+1)."""
    policy, new = layout.model(t).uri, t + 1
    prompts, judged, pairs = layout.prompts(new).uri, layout.judged(new).uri, layout.pairs(new).uri
    earlier = [layout.prompts(model).uri for model in range(2, new)]
    propose(recipe, seed_data=layout.seed().uri, iteration=t, earlier=earlier, out=prompts, label=f"M{new} · prompts")
    respond(recipe, model=policy, prompts=prompts, out=judged, label=f"M{new} · respond and judge")
    pair(recipe, judged=judged, out=pairs, label=f"M{new} · pairs")
    if recipe.pairs.policy == "positive-only":
        model_by_sft(recipe, layout, new, positives=pairs, label=f"M{new} · SFT")
    else:
        eft_rows = layout.eft().uri if recipe.dpo.eft_weight else None
        dpo(recipe, model=policy, pairs=pairs, eft=eft_rows, out=layout.model(new).uri, label=f"M{new} · DPO")


def measure(recipe: Recipe, layout: RunLayout) -> None:
    """Evaluate every model that there is, and report."""
    for t in range(1, recipe.iterations + 2):
        if recipe.seed_data.held_out and read_manifest(layout.model(t)) is not None:
            model, seed_data, out = layout.model(t).uri, layout.seed().uri, layout.evaluation(t).uri
            evaluate(recipe, model=model, seed_data=seed_data, out=out, label=f"M{t} · evaluate")
    report(layout.uri)
