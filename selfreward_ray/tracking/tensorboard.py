"""TensorBoard: event files in ``RUN/tensorboard``, for ``tensorboard --logdir RUN/tensorboard``."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import escape

from selfreward_ray.reporting.formatting import visible
from selfreward_ray.store.folder import Folder
from selfreward_ray.tracking.tracker import TrackedRun


class TensorBoard:
    """Writes event files. For a run in an object store they are written on this machine, and uploaded at each flush."""

    def __init__(self, run: TrackedRun) -> None:
        from tensorboardX import SummaryWriter  # imports torch if it is installed

        self._folder = Folder(run.uri) / "tensorboard"
        self._local, self._scratch = Path(self._folder.uri), None
        if "://" in run.uri:
            self._scratch = tempfile.TemporaryDirectory()
            self._local = Path(self._scratch.name)
        self._writer = SummaryWriter(str(self._local), flush_secs=3600)

    def metrics(self, series: str, values: Mapping[str, float], step: int, time: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{series}/{name}", value, step, walltime=time)

    def text(self, name: str, text: str, step: int, time: float) -> None:
        self._writer.add_text(name, f"<pre>{escape(visible(text))}</pre>", step, walltime=time)

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]], step: int, time: float
    ) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("|" + "|".join(map(_cell, line)) + "|" for line in lines)
        self._writer.add_text(name, text, step, walltime=time)

    def figure(self, name: str, png: bytes, step: int, time: float) -> None:
        from matplotlib.image import imread

        self._writer.add_image(name, imread(io.BytesIO(png))[..., :3], step, walltime=time, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()
        self._upload()

    def close(self) -> None:
        self._writer.close()
        self._upload()

    def _upload(self) -> None:
        if self._scratch:
            for path in self._local.iterdir():
                self._folder.write_bytes(path.name, path.read_bytes())


def _cell(value: str | float) -> str:
    """One line of Markdown in which nothing of a model's text is markup."""
    text = str(escape(visible(str(value)))).replace("\n", "<br>")
    for sign in "\\|`*_[]#~":
        text = text.replace(sign, f"&#{ord(sign)};")
    return text
