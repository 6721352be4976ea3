"""MLflow: the server, or the place, that ``MLFLOW_TRACKING_URI`` names."""

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.tracking.tracker import TrackedRun

_RUN_TAG = "selfreward_ray.run"
_METRICS_AT_A_TIME = 1000
"""MLflow's limit of a request."""
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow would try for minutes to reach a server, draw bars into ours, and print the server's address at the end, with
the password in it if there is one. What the user has set comes first."""


class Mlflow:
    """One run of MLflow for one run, in the experiment `tracking.project`; it is found again by its tag."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise UserError('tracking.trackers: mlflow needs its extra: pip install "selfreward-ray[mlflow]"') from None
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if not place:
            raise UserError("tracking.trackers: mlflow needs MLFLOW_TRACKING_URI, for example http://localhost:5000")
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._metric = Metric
        self._waiting: list[Any] = []
        try:
            self._client = MlflowClient(place)
            self._id = self._opened(run)
        except MlflowException as error:
            raise UserError(f"tracking.trackers: MLflow at MLFLOW_TRACKING_URI cannot be used: {error}") from None

    def _opened(self, run: TrackedRun) -> str:
        """The id of the run's MLflow run, a new one the first time."""
        experiment = self._client.get_experiment_by_name(run.project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
        found = self._client.search_runs([number], f"tags.`{_RUN_TAG}` = '{run.id}'", max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        made = self._client.create_run(
            number, tags={_RUN_TAG: run.id, "selfreward_ray.folder": run.uri}, run_name=run.name
        )
        return str(made.info.run_id)

    def metrics(self, series: str, values: Mapping[str, float], step: int, time: float) -> None:
        self._waiting += [self._metric(f"{series}/{name}", v, int(1000 * time), step) for name, v in values.items()]
        if len(self._waiting) >= _METRICS_AT_A_TIME:
            self.flush()

    def text(self, name: str, text: str, step: int, time: float) -> None:
        del time
        self._client.log_text(self._id, text, f"{name}-{step}.txt")

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]], step: int, time: float
    ) -> None:
        del time
        data = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
        self._client.log_table(self._id, data, f"{name}-{step}.json")

    def figure(self, name: str, png: bytes, step: int, time: float) -> None:
        del time
        from PIL import Image

        self._client.log_image(self._id, Image.open(BytesIO(png)), f"{name}-{step}.png")

    def flush(self) -> None:
        while self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting[:_METRICS_AT_A_TIME])
            del self._waiting[:_METRICS_AT_A_TIME]

    def close(self) -> None:
        self.flush()
        self._client.set_terminated(self._id)
