"""The MLflow tracker of a run against a server. `make test-mlflow` installs the server and runs this."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import EvaluatedReply, EvaluatedSet
from selfreward_ray.reporting.progress import Progress
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.tracking.run import tracked

pytestmark = pytest.mark.mlflow

SERVER = os.environ.get("MLFLOW_SERVER", str(Path(__file__).parents[2] / "build" / "mlflow" / "bin" / "mlflow"))
RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "model": "m0",
        "iterations": 1,
        "seed_data": {"source": "demo", "verdicts": "written"},
        "tracking": {"trackers": ["mlflow"], "project": "tests"},
    }
)
HOSTILE = "<script>alert(1)</script> | *a*\n`b` \u202e"


def wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            asked.request("GET", "/health")
            if asked.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.5)
    pytest.fail(f"the server does not answer: {log.read_text()}")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an MLflow server with its data in a temporary folder. Without MLflow the test fails."""
    if not Path(SERVER).is_file():
        pytest.fail(f"there is no MLflow server at {SERVER}; `make test-mlflow` installs it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store, log = tmp_path / "mlflow", tmp_path / "log"
    store.mkdir()
    command = [
        SERVER, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{store}/runs.db", "--artifacts-destination", str(store / "artifacts"),
    ]  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # processes for what nothing here uses
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True) as process:
        try:
            wait_for(process, port, log)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def train(layout: RunLayout, first: int, last: int) -> None:
    with Progress("M2 · DPO", last, "steps") as shown:
        for step in range(first, last + 1):
            shown.record({"step": step - 1, "loss": 1 / step, "skipped": False}, at=step)


def evaluate(layout: RunLayout) -> None:
    """A finished evaluation of M1, and its candidates with scores."""
    with Progress("M1 · evaluate", 1, "prompts"):
        made = Step("evaluate", layout.evaluation(1).uri, {}, {})
        made.is_done()
        made.write([EvaluatedSet("s0", EvaluatedReply("s0/a", "Why?", HOSTILE, True), ())], EvaluatedSet)
        made.finish(offered=1, tokens=12, metrics={"agreement": {"spearman": 0.5}, "scores": {"4": 2, "10": 1}})


def test_a_run_that_is_continued_is_one_run_of_the_server_with_all_that_was_logged(server: str, tmp_path: Path):
    """It is interrupted after three steps of a training, and goes on from the checkpoint at step 2."""
    from mlflow import MlflowClient

    client = MlflowClient(server)
    layout = RunLayout(str(tmp_path / "run"))
    claim_run(layout.root, RECIPE)

    def runs() -> list[Any]:
        experiment = client.get_experiment_by_name("tests")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id]))

    with tracked(RECIPE, layout, plan(RECIPE, layout)):
        evaluate(layout)
        train(layout, 1, 3)
    assert [run.info.status for run in runs()] == ["FINISHED"]
    with tracked(RECIPE, layout, plan(RECIPE, layout)):
        assert [run.info.status for run in runs()] == ["RUNNING"]
        train(layout, 3, 5)
    (run,) = runs()
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert run.data.tags["selfreward_ray.folder"] == layout.uri

    def history(name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]

    assert sorted(history("M2/dpo/loss")) == [(1, 1), (2, 1 / 2), (3, 1 / 3), (3, 1 / 3), (4, 1 / 4), (5, 1 / 5)]
    assert history("evaluate/agreement/spearman") == [(1, 0.5)]
    assert history("evaluate/tokens") == [(1, 12)]

    def artifact(path: str) -> bytes:
        return Path(client.download_artifacts(run.info.run_id, path, str(tmp_path))).read_bytes()

    assert artifact("recipe-0.txt").decode() == layout.recipe_text()
    table = client.load_table(run.info.experiment_id, "evaluate/answers-1.json", run_ids=[run.info.run_id])
    assert table.to_dict("list") == {"prompt": ["Why?"], "answer": [HOSTILE]}
    assert artifact("evaluate/scores-1.png").startswith(b"\x89PNG")
