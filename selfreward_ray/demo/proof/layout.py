"""The folders of a proof. Each seed has the layout of a run, and so has each control."""

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout


def seed_run(proof: str, number: int) -> RunLayout:
    """The run of a seed, with the folders ``seed0/M1`` and so on."""
    return RunLayout(f"{proof.rstrip('/')}/seed{number}")


def control_run(run: RunLayout, name: str) -> RunLayout:
    """The models, pairs and answers of a control, in the layout of a run: ``seed0/controls/random/M2/model``."""
    return RunLayout(f"{run.uri}/controls/{name}")


def held_out_prompts(run: RunLayout) -> Folder:
    """The prompts of the held-out sets, as the output of a propose step."""
    return run.root / "held_out" / "prompts"


def sampled_answers(run: RunLayout, t: int) -> Folder:
    """The answers of M(t), of a run or a control, to the held-out prompts."""
    return run.root / f"M{t}" / "answers"


def own_prompts(run: RunLayout) -> Folder:
    """Prompts for the last model, which has no further iteration, as the output of a propose step."""
    return run.root / "own" / "prompts"


def own_answers(recipe: Recipe, run: RunLayout, t: int) -> Folder:
    """Candidates of M(t), judged by M(t): those of the loop, or for the last model those for `own_prompts`."""
    return run.judged(t + 1) if t <= recipe.iterations else run.root / "own" / "judged"


def all_answers(run: RunLayout) -> Folder:
    """The answers of M1, M2, … to the held-out prompts, as candidates of one row per prompt."""
    return run.root / "answers" / "all"


def all_judged(run: RunLayout) -> Folder:
    """`all_answers`, judged by M1."""
    return run.root / "answers" / "judged"


def further_rows(control: RunLayout, t: int) -> Folder:
    """The examples that M(t) of the control `more_sft` is trained on."""
    return control.root / f"M{t}" / "rows"
