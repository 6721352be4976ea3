"""A run's folder: where things are in it."""

from dataclasses import dataclass, replace

from yaml import YAMLError

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import RecipeError, parse_recipe
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.rejection import Rejection, read_rejections
from selfreward_ray.store.step import is_step
from selfreward_ray.yaml_text import load_yaml

ANSWERS = "answers"
"""In the folder of a step whose judge is an endpoint: its answers, until the step is finished."""
SNAPSHOT = "snapshot.json"
"""In the folder of a snapshot: its presence means that the model in it is complete."""


@dataclass(frozen=True)
class ModelLayout:
    """The folders that a training step makes inside the one that it is given, such as ``RUN/M2``."""

    uri: str

    @property
    def training(self) -> Folder:
        """The step's own: encoded rows, what was dropped, losses, checkpoints; last, the manifest."""
        return Folder(self.uri) / "training"

    @property
    def model(self) -> Folder:
        """The trained model and nothing else. It is complete once the manifest is there."""
        return Folder(self.uri) / "model"

    @property
    def checkpoints(self) -> Folder:
        """Ray Train's folder, until the training has ended."""
        return self.training / "ray_train"

    @property
    def snapshots(self) -> Folder:
        """Models of earlier optimizer steps, until one of them is chosen."""
        return self.training / "snapshots"

    def snapshot(self, step: int) -> Folder:
        """The snapshot after `step` optimizer steps: its ``model``, and the steps that judge it."""
        return self.snapshots / f"{step:06d}"

    @property
    def reference(self) -> Folder:
        """Log-probs of the model that training started from, which other trainings on the same pairs read again."""
        return Folder(self.uri) / "reference"


@dataclass(frozen=True)
class RunLayout:
    """The folders of a run. ``t`` counts models: M1 is the SFT model, M(t+1) is trained on M(t)'s own preferences, or
    on those of an earlier model if M(t) is rejected."""

    uri: str
    rejections: tuple[Rejection, ...] = ()
    """The rejected models that are known; `current` reads those of the run."""

    def current(self) -> "RunLayout":
        """The layout with the rejected models that the run has recorded."""
        return replace(self, rejections=read_rejections(self.root))

    def rejection(self, t: int) -> Rejection | None:
        """The record of M(t)'s rejection; None if it is not rejected."""
        return next((rejection for rejection in self.rejections if rejection.model == t), None)

    def parent(self, t: int) -> int:
        """The model that M(t), from M2 on, is made from: the newest one before it that was not rejected by then."""
        gone = {rejection.model for rejection in self.rejections if rejection.since <= t}
        return max(model for model in range(1, t) if model not in gone)

    @property
    def root(self) -> Folder:
        return Folder(self.uri)

    def seed(self) -> Folder:
        return self.root / "M1" / "seed"

    def baseline(self) -> ModelLayout:
        return ModelLayout((self.root / "M1" / "baseline").uri)

    def verdicts(self) -> Folder:
        return self.root / "M1" / "verdicts"

    def eft(self) -> Folder:
        return self.root / "M1" / "eft"

    def prompts(self, t: int) -> Folder:
        return self.root / f"M{t}" / "prompts"

    def judged(self, t: int) -> Folder:
        """The candidates that M(t) is trained on. Those of a rejected model stay where they are, in ``judged``."""
        return self.root / f"M{t}" / f"judged{self._by(t)}"

    def pairs(self, t: int) -> Folder:
        return self.root / f"M{t}" / f"pairs{self._by(t)}"

    def _by(self, t: int) -> str:
        parent = self.parent(t)
        return "" if parent == t - 1 else f"-by-M{parent}"

    def model_layout(self, t: int) -> ModelLayout:
        """The folders of the training that makes M(t)."""
        return ModelLayout((self.root / f"M{t}").uri)

    def training(self, t: int) -> Folder:
        return self.model_layout(t).training

    def model(self, t: int) -> Folder:
        return self.model_layout(t).model

    def evaluation(self, t: int) -> Folder:
        return self.root / f"M{t}" / "evaluation"

    def scored(self, t: int) -> Folder:
        """M(t)'s answers to held-out prompts with the scores of the run's judge."""
        return self.root / f"M{t}" / "scored"

    def against(self, t: int, other: int) -> Folder:
        """M(t)'s answers head to head with those of the earlier model M(other)."""
        return self.root / f"M{t}" / f"against-M{other}"

    @property
    def comparisons(self) -> Folder:
        """Where users put comparisons of their own, each a compare step in a folder of its name."""
        return self.root / "comparisons"

    def recipe_text(self) -> str:
        """The recipe as the run resolved it. Raises `UserError` for no run's folder, and for an earlier version's."""
        check_layout(self.root)
        if not self.root.is_file("recipe.yaml"):
            run = _run_around(self.uri)
            remedy = f"the run's folder is {run}" if run else "`selfreward run` makes one"
            raise UserError(f"{self.uri} is no run's folder: it has no recipe.yaml; {remedy}")
        return self.root.read_bytes("recipe.yaml").decode(errors="replace")

    def recipe(self) -> Recipe:
        """Raises `UserError` as `recipe_text` does, and where it is damaged."""
        text = self.recipe_text()
        try:
            return parse_recipe(load_yaml(text))
        except (YAMLError, RecipeError) as error:
            fault = " ".join(str(error).split())
            raise UserError(
                f"{self.uri}/recipe.yaml is damaged ({fault}); put back what the run wrote, or, if another version "
                "wrote this, go on with that one"
            ) from None


def _run_around(uri: str) -> str | None:
    """The run's folder that the file or folder `uri` is in; None if there is none close above it."""
    place = same_place(uri)
    for _ in range(3):  # RUN/M3/evaluation/rows
        place = place.rpartition("/")[0]
        if not place or place.endswith(":/"):
            return None
        if Folder(place).is_file("recipe.yaml") and "M1" in Folder(place).folders():
            return place
    return None


def check_layout(run: Folder) -> None:
    """Raise `UserError` for a run of an earlier version: a training wrote its files beside the model's."""
    earlier = [name for name in ("model", "baseline") if is_step(run / "M1" / name)]
    if earlier:
        raise UserError(
            f"{run.uri} is a run of an earlier version, with other folders and ids (its M1/{earlier[0]} holds a step's "
            "own files): use it with that version, or start a new run in another --run-dir"
        )
