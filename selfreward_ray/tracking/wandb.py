"""Weights & Biases. The server, the key and the mode (``WANDB_MODE=offline``) are those of the environment."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from selfreward_ray.errors import UserError
from selfreward_ray.tracking.tracker import TrackedRun


class WeightsAndBiases:
    """One run of W&B for one run, continued under the same id. Every series has its own x-axis, ``SERIES/step``."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError('tracking.trackers: wandb needs its extra: pip install "selfreward-ray[wandb]"') from None
        self._wandb = wandb
        folder = Path.cwd()
        if "://" not in run.uri:
            folder = Path(run.uri)
            folder.mkdir(parents=True, exist_ok=True)  # W&B would take another one without a word
        try:
            self._run = wandb.init(
                project=run.project,
                name=run.name,
                id=run.id,
                resume="allow",
                config=run.recipe,
                dir=folder,
                # Of a repository in the working directory it would keep the address, which may hold a token.
                settings=wandb.Settings(console="off", silent=True, disable_git=True),
            )
        except wandb.Error as error:
            raise UserError(
                f"tracking.trackers: W&B does not start: {error}; see WANDB_API_KEY, WANDB_BASE_URL and WANDB_MODE"
            ) from None
        self._series: set[str] = set()

    def metrics(self, series: str, values: Mapping[str, float], step: int, time: float) -> None:
        del time  # W&B has its own
        axis = f"{series}/step"
        if series not in self._series:
            self._series.add(series)
            self._run.define_metric(f"{series}/*", step_metric=axis)
        self._run.log({axis: step} | {f"{series}/{name}": value for name, value in values.items()})

    def text(self, name: str, text: str, step: int, time: float) -> None:
        self.table(name, ["text"], [[text]], step, time)

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]], step: int, time: float
    ) -> None:
        del time
        self._run.log({f"{name}-{step}": self._wandb.Table(list(columns), [list(row) for row in rows])})

    def figure(self, name: str, png: bytes, step: int, time: float) -> None:
        del time
        from PIL import Image

        self._run.log({f"{name}-{step}": self._wandb.Image(Image.open(BytesIO(png)))})

    def flush(self) -> None:
        """W&B sends by itself."""

    def close(self) -> None:
        self._run.finish()
