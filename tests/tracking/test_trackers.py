"""Each tracker, by what its own readers find."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from event_files import events, scalars, texts

from selfreward_ray.cluster.rehearsal.bucket import bucket
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import tracker_named
from selfreward_ray.store.folder import Folder
from selfreward_ray.tracking.figures import histogram
from selfreward_ray.tracking.json_lines import JsonLines, MetricsReader
from selfreward_ray.tracking.tensorboard import TensorBoard
from selfreward_ray.tracking.tracker import TrackedRun, Tracker

HOSTILE = "<script>alert(1)</script> | *a*\n`b` \u202e"


def run_in(uri: str) -> TrackedRun:
    return TrackedRun(uri, "0123abc", "tiny", "tests", {"dpo": {"beta": 0.1}})


def tell(tracker: Tracker, loss: float = 0.5) -> None:
    tracker.metrics("M2/dpo", {"loss": loss, "accuracy": 0.25}, 7, 1_700_000_000.0)
    tracker.text("recipe", HOSTILE, 0, 1_700_000_000.0)
    tracker.table("evaluate/answers", ("prompt", "answer"), [("Why?", HOSTILE)], 2, 1_700_000_000.0)
    tracker.figure("respond/scores", histogram({"4": 3, "10": 1}, "scores"), 2, 1_700_000_000.0)
    tracker.close()


def test_json_lines(tmp_path: Path):
    tell(JsonLines(run_in(str(tmp_path))))
    (file,) = (tmp_path / "metrics").glob("*.jsonl")
    metrics, text, table, figure = map(json.loads, file.read_text().splitlines())
    assert metrics == {
        "time": 1_700_000_000.0, "series": "M2/dpo", "step": 7, "values": {"loss": 0.5, "accuracy": 0.25}
    }  # fmt: skip
    assert text["text"] == HOSTILE
    assert (table["columns"], table["rows"]) == (["prompt", "answer"], [["Why?", HOSTILE]])
    assert (tmp_path / "metrics" / figure["figure"]).read_bytes().startswith(b"\x89PNG")


def test_json_lines_of_a_run_that_is_continued_are_read_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.tracking.json_lines._LINES_PER_FILE", 2)
    for start in (0, 3):
        tracker = JsonLines(run_in(str(tmp_path)))
        for step in range(start, start + 3):
            tracker.metrics("M1/sft", {"loss": 1.0}, step, 0.0)
        tracker.close()
    assert len(list((tmp_path / "metrics").glob("*.jsonl"))) == 4
    assert [line["step"] for line in MetricsReader(str(tmp_path)).new()] == [0, 1, 2, 3, 4, 5]


def test_a_reader_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.tracking.json_lines._LINES_PER_FILE", 3)
    reader, tracker = MetricsReader(str(tmp_path)), JsonLines(run_in(str(tmp_path)))
    seen: list[list[int]] = []
    for step in range(7):
        tracker.metrics("M1/sft", {"loss": 1.0}, step, 0.0)
        tracker.flush()
        if step % 2:
            seen.append([line["step"] for line in reader.new()])
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert [line["step"] for line in reader.new()] == [6]
    assert list(reader.new()) == []


def test_text_that_is_not_valid_unicode_is_written(tmp_path: Path):
    tracker = JsonLines(run_in(str(tmp_path)))
    tracker.text("recipe", "\ud800", 0, 0.0)
    tracker.close()
    (file,) = (tmp_path / "metrics").glob("*.jsonl")
    assert json.loads(file.read_text())["text"] == "?"


def test_tensorboard(tmp_path: Path):
    tell(TensorBoard(run_in(str(tmp_path))))
    folder = tmp_path / "tensorboard"
    assert scalars(folder) == [("M2/dpo/loss", 7, 0.5), ("M2/dpo/accuracy", 7, 0.25)]
    assert {event.wall_time for event in events(folder) if event.step} == {1_700_000_000.0}
    (image,) = [v.image for event in events(folder) for v in event.summary.value if v.HasField("image")]
    assert (image.width, image.height) == (500, 300)


def test_model_text_is_text_in_tensorboard(tmp_path: Path):
    tell(TensorBoard(run_in(str(tmp_path))))
    found = texts(tmp_path / "tensorboard")
    recipe, answers = found["recipe/text_summary"], found["evaluate/answers/text_summary"]
    assert recipe.startswith("<pre>&lt;script&gt;alert(1)&lt;/script&gt; | *a*")
    header, _, row = answers.splitlines()
    assert header == "|prompt|answer|"
    assert row.count("|") == 3
    assert not set("<*`\u202e") & set(row.replace("<br>", ""))


def test_a_run_in_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with bucket("runs", tmp_path / "log") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        run = run_in("s3://runs/first")
        for open_tracker in (JsonLines, TensorBoard):
            tell(open_tracker(run))
        assert [line["step"] for line in MetricsReader(run.uri).new()] == [7]
        events = Folder(f"{run.uri}/tensorboard")
        (file,) = events.files()
        (tmp_path / "events.0").write_bytes(events.read_bytes(file.rpartition("/")[2]))
    assert scalars(tmp_path) == [("M2/dpo/loss", 7, 0.5), ("M2/dpo/accuracy", 7, 0.25)]


def test_mlflow_finds_its_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for loss in (0.5, 0.25):
        tell(tracker_named("mlflow")(run_in(str(tmp_path / "run"))), loss)
    from mlflow import MlflowClient

    client = MlflowClient(f"file:{tmp_path}/mlflow")
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "M2/dpo/loss")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (7, 0.5, 1_700_000_000_000), (7, 0.25, 1_700_000_000_000)
    ]  # fmt: skip
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"recipe-0.txt", "evaluate", "respond"}


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "mlflow needs MLFLOW_TRACKING_URI"), ("http://127.0.0.1:1", "MLflow at MLFLOW_TRACKING_URI cannot be used")],
)
def test_mlflow_without_a_server(place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=message):
        tracker_named("mlflow")(run_in(str(tmp_path)))


def stored_by_wandb(run: Path) -> tuple[Path, bytes]:
    """W&B's folder of a run, and what it has stored of it."""
    (folder,) = (run / "wandb").glob("offline-run-*-0123abc")
    (stored,) = folder.glob("run-0123abc.wandb")
    deadline = time.monotonic() + 120
    while b"M2/dpo/loss" not in stored.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)  # W&B's own process writes it
    return folder, stored.read_bytes()


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tell(tracker_named("wandb")(run_in(str(tmp_path / "run"))))
    folder, data = stored_by_wandb(tmp_path / "run")
    for text in (b"M2/dpo/loss", b"M2/dpo/step", b"respond/scores-2", b"beta"):
        assert text in data
    (table,) = (folder / "files" / "media" / "table" / "evaluate").glob("answers-2_*")
    assert json.loads(table.read_text()) == {"columns": ["prompt", "answer"], "data": [["Why?", HOSTILE]]}


def test_mlflow_does_not_print_its_servers_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    service = MlflowClient("http://me:geheim7@localhost:1")._tracking_client
    monkeypatch.setattr(service.store, "get_run", MagicMock())
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    service._log_url("0123abc")
    assert "geheim7" in capsys.readouterr().out
    tell(tracker_named("mlflow")(run_in(str(tmp_path / "run"))))
    service._log_url("0123abc")
    assert "geheim7" not in capsys.readouterr().out


def test_wandb_keeps_no_key_and_no_address_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "geheim7" * 6)
    monkeypatch.setenv("WANDB_BASE_URL", "http://me:geheim7@localhost:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:geheim7@localhost:1")
    monkeypatch.chdir(tmp_path)
    for command in (["init", "-q"], ["remote", "add", "origin", "https://geheim7:x-oauth-basic@github.com/a/b"]):
        subprocess.run(["git", *command], check=True)
    tell(tracker_named("wandb")(run_in(str(tmp_path / "run"))))
    folder, stored = stored_by_wandb(tmp_path / "run")
    assert b"geheim7" not in stored
    assert not any(b"geheim7" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_wandb_of_a_run_in_a_bucket_writes_where_the_driver_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    tell(tracker_named("wandb")(run_in("s3://runs/first")))
    assert list((tmp_path / "wandb").glob("offline-run-*-0123abc/run-0123abc.wandb"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_without_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(UserError, match=f"{name} needs its extra: pip install"):
        tracker_named(name)(run_in(str(tmp_path)))


@pytest.mark.parametrize("open_tracker", [JsonLines, TensorBoard])
def test_figures_and_texts_need_no_metrics_before(open_tracker: Callable[[TrackedRun], Tracker], tmp_path: Path):
    tracker = open_tracker(run_in(str(tmp_path)))
    tracker.flush()
    tracker.close()
