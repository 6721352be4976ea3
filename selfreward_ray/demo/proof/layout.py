"""Where things are in a proof's folder. A seed is a run like any other, and so, as far as it goes, is a control."""

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout


def seed_run(proof: str, number: int) -> RunLayout:
    """The run of one seed: ``seed0/M1``, …"""
    return RunLayout(f"{proof.rstrip('/')}/seed{number}")


def control_run(run: RunLayout, name: str) -> RunLayout:
    """A control's own models, with their pairs and answers where a run has its: ``seed0/controls/random/M2/model``."""
    return RunLayout(f"{run.uri}/controls/{name}")


def held_out_prompts(run: RunLayout) -> Folder:
    """The prompts of the held-out sets, as a propose step leaves them."""
    return run.root / "held_out" / "prompts"


def sampled_answers(run: RunLayout, t: int) -> Folder:
    """M(t)'s answers to them, of a run's or a control's."""
    return run.root / f"M{t}" / "answers"


def own_prompts(run: RunLayout) -> Folder:
    """For the last model, which has no iteration after it, some prompts of one, as a propose step leaves them."""
    return run.root / "own" / "prompts"


def own_answers(recipe: Recipe, run: RunLayout, t: int) -> Folder:
    """M(t)'s candidates, judged by M(t): those of the loop, or the last model's to its prompts."""
    return run.judged(t + 1) if t <= recipe.iterations else run.root / "own" / "judged"


def all_answers(run: RunLayout) -> Folder:
    """The answers of M1 and the models after it to the held-out prompts, side by side."""
    return run.root / "answers" / "all"


def all_judged(run: RunLayout) -> Folder:
    """The same, judged by M1."""
    return run.root / "answers" / "judged"


def further_rows(control: RunLayout, t: int) -> Folder:
    """What M(t) of the control `more_sft` is trained on."""
    return control.root / f"M{t}" / "rows"
