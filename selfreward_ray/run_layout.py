"""Where things are in a run's folder."""

from dataclasses import dataclass

import yaml

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe
from selfreward_ray.recipe_text import parse_recipe
from selfreward_ray.storage import Folder


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
