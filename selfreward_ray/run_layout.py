"""Where things are in a run's folder, and in which order they come to be."""

from dataclasses import dataclass

import yaml

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe
from selfreward_ray.recipe_text import parse_recipe
from selfreward_ray.storage import Folder


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run: its name, the model it works for, and its folder."""

    name: str
    model: str
    folder: Folder


@dataclass(frozen=True)
class RunLayout:
    """The folders of a run. ``t`` counts models: M1 is the SFT model, M(t+1) is trained on M(t)'s own preferences."""

    uri: str

    @property
    def root(self) -> Folder:
        return Folder(self.uri)

    def seed(self) -> Folder:
        return self.root / "M1" / "seed"

    def baseline(self) -> Folder:
        return self.root / "M1" / "baseline"

    def verdicts(self) -> Folder:
        return self.root / "M1" / "verdicts"

    def eft(self) -> Folder:
        return self.root / "M1" / "eft"

    def prompts(self, t: int) -> Folder:
        return self.root / f"M{t}" / "prompts"

    def judged(self, t: int) -> Folder:
        return self.root / f"M{t}" / "judged"

    def pairs(self, t: int) -> Folder:
        return self.root / f"M{t}" / "pairs"

    def model(self, t: int) -> Folder:
        return self.root / f"M{t}" / "model"

    def evaluation(self, t: int) -> Folder:
        return self.root / f"M{t}" / "evaluation"

    def recipe_text(self) -> str:
        """The recipe as the run resolved it. Raises `UserError` when this is no run's folder."""
        if not self.root.is_file("recipe.yaml"):
            raise UserError(f"{self.uri} is no run's folder: it has no recipe.yaml; `selfreward run` makes one")
        return self.root.read_bytes("recipe.yaml").decode()

    def recipe(self) -> Recipe:
        return parse_recipe(yaml.safe_load(self.recipe_text()))

    def steps(self, recipe: Recipe) -> list[PlannedStep]:
        """Every step of the run in the order in which `selfreward_ray.loop` takes them."""
        planned = [PlannedStep("seed", "M1", self.seed())]
        if recipe.seed_data.eft:
            if recipe.seed_data.verdicts == "baseline":
                planned += [PlannedStep("baseline", "M1", self.baseline())]
            if recipe.seed_data.verdicts != "written":
                planned += [PlannedStep("verdicts", "M1", self.verdicts())]
            planned += [PlannedStep("eft", "M1", self.eft())]
        planned += [PlannedStep("sft", "M1", self.model(1))]
        for t in range(2, recipe.iterations + 2):
            planned += [
                PlannedStep("propose", f"M{t}", self.prompts(t)),
                PlannedStep("respond", f"M{t}", self.judged(t)),
                PlannedStep("pair", f"M{t}", self.pairs(t)),
                PlannedStep("sft" if recipe.pairs.policy == "positive-only" else "dpo", f"M{t}", self.model(t)),
            ]
        if recipe.seed_data.held_out:
            planned += [PlannedStep("evaluate", f"M{t}", self.evaluation(t)) for t in range(1, recipe.iterations + 2)]
        return planned
