"""Which inputs a DPO step needs by its recipe beside a model and pairs. Imports no trainer."""

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.step import finished_step


def check_dpo_inputs(
    recipe: Recipe, eft: str | None, validation: str | None, judge: str | None, label: str = "DPO"
) -> None:
    """Raise `UserError` unless `eft` is given where EFT rows are trained on, `validation` and `judge` where a
    checkpoint is chosen by them, and each of them only there.

    Also if `validation` is no finished seed step.
    """
    if recipe.dpo.eft_weight and eft is None:
        raise UserError(f"{label}: dpo.eft_weight is above 0, which needs EFT rows: give --eft, an EFT step")
    if eft is not None and not recipe.dpo.eft_weight:
        raise UserError(
            f"{label}: --eft gives rows to train on beside the pairs, but dpo.eft_weight is 0; set it above 0, or "
            "leave out --eft"
        )
    judged = recipe.training.select == "judged"
    if judged and (validation is None or judge is None):
        raise UserError(
            f"{label}: training.select=judged needs prompts and a judge: give --validation, a seed step that was "
            "made with it, and --judge, a model"
        )
    given = [option for option, value in (("--validation", validation), ("--judge", judge)) if value is not None]
    if given and not judged:
        raise UserError(
            f"{label}: {' and '.join(given)} would choose a checkpoint, but training.select is last; add "
            f"training.select=judged, or leave out {' and '.join(given)}"
        )
    if validation is not None:
        finished_step(validation, "seed")
