"""Does the loop improve a model? Tested in the demo world, where a rule checker knows the true scores. Open this first.

    for each seed      with data, models and held-out prompts of its own:
      loop               M0 → M1 → M2 → M3, each evaluated on held-out prompts
      measurements       sampled answers; each model's verdicts on its own answers; M1's scores for all answers
      controls           other explanations for an improvement, and an upper bound
    figures            pooled over prompts and seeds
    claims             held, not significant or not held, as the figures decide
    documents          HTML page, Markdown document, and figures as JSON

The loop is the ordinary one and does not import this package; only this package uses the verifier. Every part is a
function of folders with manifests, so that the same call resumes after an interruption.
"""

from rich.console import Console

from selfreward_ray import loop
from selfreward_ray.demo.proof.claims import Claim, make_claims
from selfreward_ray.demo.proof.controls import CONTROLS
from selfreward_ray.demo.proof.documents import write_documents
from selfreward_ray.demo.proof.figures import pool_figures
from selfreward_ray.demo.proof.gather import read_run
from selfreward_ray.demo.proof.layout import (
    all_answers,
    all_judged,
    control_run,
    held_out_prompts,
    own_answers,
    own_prompts,
    sampled_answers,
    seed_run,
)
from selfreward_ray.demo.proof.tables import next_prompts, prompts_alone, side_by_side
from selfreward_ray.errors import UserError
from selfreward_ray.preferences import POLICIES
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Pair
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.sample import sample
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import RunLayout


def prove(recipe: Recipe, run_dir: str, seeds: int, with_controls: bool) -> list[Claim]:
    """Run `recipe` with `seeds` consecutive seeds, beginning with its own, and write the documents to `run_dir`.

    Raises `UserError` if the recipe does not use the demo world or trains on no pairs, if held-out prompts were not
    answered, and if another process works on the proof or on one of its runs.
    """
    check_provable(recipe)
    with owned(Folder(run_dir)):
        return _prove(recipe, run_dir, seeds, with_controls)


def _prove(recipe: Recipe, run_dir: str, seeds: int, with_controls: bool) -> list[Claim]:
    runs = [(recipe.model_copy(update={"seed": recipe.seed + n}), seed_run(run_dir, n)) for n in range(seeds)]
    for number, (own, run) in enumerate(runs, start=1):
        Console(stderr=True).print(f"seed {own.seed}, {number} of {seeds}", style="bold", highlight=False)
        one_seed(own, run, with_controls)
    figures = pool_figures([read_run(own, run, with_controls) for own, run in runs])
    claims = make_claims(figures)
    write_documents(Folder(run_dir), recipe, figures, claims)
    return claims


def one_seed(recipe: Recipe, run: RunLayout, with_controls: bool) -> None:
    """Run the loop of one seed, its measurements and its controls."""
    loop.run(recipe, run.uri)
    made = range(1, recipe.iterations + 2)
    for t in made:
        check_whole(run.evaluation(t))
    prompts_alone(run.seed(), held_out_prompts(run))
    _answers(recipe, recipe.model, run, run, 0, label="M0")
    for t in made:
        _answers(recipe, run.model(t).uri, run, run, t, label=f"M{t}")
    judge_once_more(recipe, run)
    judge_all(recipe, run)
    for name, make_models in CONTROLS.items() if with_controls else ():
        control = control_run(run, name)
        make_models(recipe, run, control)
        for t in made:
            if read_manifest(control.training(t)) is not None:
                _answers(recipe, control.model(t).uri, run, control, t, label=f"{name} M{t}")


def judge_once_more(recipe: Recipe, run: RunLayout) -> None:
    """Let the last model judge its own answers, as each earlier model has done in the loop."""
    last = recipe.iterations + 1
    next_prompts(recipe, own_prompts(run))
    run_pooled(
        respond(
            recipe, model=run.model(last).uri, prompts=own_prompts(run).uri, out=own_answers(recipe, run, last).uri,
            label=f"M{last} · judges its own answers",
        )
    )  # fmt: skip


def judge_all(recipe: Recipe, run: RunLayout) -> None:
    """Let M1 judge the answers of M1 and all later models. M1 was taught to judge, and was not trained on preferences.

    It scores each reply on its own, as it was taught, rather than comparing two. Its verdicts are greedy, so that equal
    answers of two models always tie.
    """
    side_by_side(recipe, run, all_answers(run))
    greedy = recipe.judge.sampling.model_copy(update={"temperature": 0.0})
    once = recipe.judge.model_copy(update={"verdicts": 1, "min_valid": 1, "sampling": greedy})
    run_pooled(
        judge(
            recipe.model_copy(update={"judge": once}), model=run.model(1).uri, replies=all_answers(run).uri,
            out=all_judged(run).uri, label="M1 judges the answers of M1 and after",
        )
    )  # fmt: skip


def _answers(recipe: Recipe, model: str, run: RunLayout, of: RunLayout, t: int, *, label: str) -> None:
    """Sample the answers of M(t) of `of` to held-out prompts, with the sampling of the loop.

    Greedy answers vary more between seeds: if two ways to answer are almost equally likely, chance in training decides
    between them for all prompts at once.
    """
    out = sampled_answers(of, t)
    run_pooled(sample(recipe, model=model, prompts=held_out_prompts(run).uri, out=out.uri, label=f"{label} · answers"))
    check_whole(out)


def check_whole(answers: Folder) -> None:
    """Raise `UserError` if a finished step has dropped held-out prompts: models are compared on the same prompts."""
    manifest = read_manifest(answers)
    if manifest is not None and manifest.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in manifest.dropped.items())
        raise UserError(
            f"{answers.uri}: held-out prompts have no answer ({reasons}), but a proof compares models on the same "
            "prompts; remove that folder and run the same command again"
        )


def check_provable(recipe: Recipe) -> None:
    """Raise `UserError` if `recipe` does not use the demo world or makes no pairs, and if its models could have other
    parents or other trainings than those of the controls."""
    if recipe.seed_data.source != "demo" or recipe.prompts.source != "demo" or not recipe.seed_data.held_out:
        raise UserError(
            "a proof needs answers that a rule checker can score: set seed_data.source=demo, prompts.source=demo, and "
            "seed_data.held_out above 0"
        )
    if not recipe.iterations or not recipe.seed_data.held_out_groups:
        raise UserError(
            "a proof compares models on held-out sets: set iterations above 0, and at least one of "
            "seed_data.held_out_groups"
        )
    if POLICIES[recipe.pairs.policy].record is not Pair:
        raise UserError(
            f"a proof needs preference pairs, but pairs.policy={recipe.pairs.policy} makes none; set another policy"
        )
    if recipe.training.select != "last":
        raise UserError(
            f"a proof compares trainings of the same length, but training.select={recipe.training.select} chooses "
            "among their checkpoints; set training.select=last"
        )
    rollbacks = [name for name, alarm in recipe.alarms if alarm.reaction == "rollback"]
    if rollbacks:
        raise UserError(
            f"a proof trains each model from the one before it, but alarms.{rollbacks[0]}.reaction=rollback may reject "
            f"that one; set alarms.{rollbacks[0]}.reaction=warn"
        )
