"""The choice of a checkpoint in a DPO step, with a stand-in for the trainer and scripted answers and verdicts."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from finished_step import finished_step
from pyarrow import fs
from scripted_model import ScriptedModel, ScriptedPool

from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Pair, RankedReply, RankedSet
from selfreward_ray.reporting.reading import read_training
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.steps.status import status_lines
from selfreward_ray.steps.train import dpo
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest, read_manifest
from selfreward_ray.store.run import SNAPSHOT, ModelLayout, RunLayout
from selfreward_ray.store.step import Step
from selfreward_ray.training.job import TrainJob

PAIRS = [
    Pair(f"p{i}/pair", "Why?", (1, 2), Candidate("c", "x", (3,), True), Candidate("r", "y", (4,), True))
    for i in range(4)
]
PROMPTS = 4


def recipe(method: str = "scores", **more: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": "m0",
        "dpo": {"batch_size": 2},
        "judge": {"rubric": "checklist", "verdicts": 1, "min_valid": 1, "retries": 0},
        "evaluation": {"head_to_head": method},
        "inference": {"rows_per_block": 1, "max_replicas": 5},
        "training": {"workers": 1, "select": "judged", "select_every": 2},
    }
    for section, change in more.items():
        values[section] = values[section] | change
    return Recipe.model_validate(values)


class Marks:
    """Replaces `run_pooled`: the answers of a snapshot say its mark for each prompt, which the judge then gives.

    `rows` has a line for each row asked, by the snapshot or the judge. `stop_after` rows it is interrupted.
    """

    def __init__(self, marks: dict[int, str], stop_after: int | None = None):
        self.marks = marks
        self.rows: list[str] = []
        self.engines: list[str] = []
        self._left = stop_after

    def __call__(self, *steps: Any) -> list[Manifest]:
        return run_pooled(*steps, open_pool=self._open)

    def _open(self, model: str, inference: Any, seed: int, note: Any) -> ScriptedPool:
        self.engines.append(model.rpartition("snapshots/")[2])
        return ScriptedPool(ScriptedModel(partial(self._answer, model)), None, model, inference, seed, note)

    def _answer(self, model: str, text: str, row: str) -> str:
        if self._left is not None:
            if self._left == 0:
                raise KeyboardInterrupt
            self._left -= 1
        if "/v" in row:
            self.rows.append(f"judge {row}")
            said = re.findall(r"mark=(\d)", text)
            if len(said) == 1:
                return f"Score: {said[0]}"
            return f"Better: {'first' if said[0] > said[1] else 'second' if said[0] < said[1] else 'tie'}"
        step = int(model.rpartition("/snapshots/")[2].partition("/")[0])
        prompt = int(text.removeprefix("Prompt ").rstrip("?"))
        self.rows.append(f"{step} {row}")
        return f"mark={self.marks[step][prompt]}"


class Training:
    """Replaces the trainer: writes a snapshot for every two of `steps`, and validates as Ray Train does if `beside`."""

    def __init__(self, steps: int, beside: bool = False):
        self._steps = steps
        self._beside = beside
        self.jobs: list[TrainJob] = []
        self.decided: list[bool] = []

    def __call__(self, job: TrainJob, progress: Any) -> None:
        self.jobs.append(job)
        every = job.snapshot_every or self._steps
        for step in range(every, self._steps + 1, every):
            folder = job.folders.snapshot(step)
            (folder / "model").write_json("config.json", {"step": step})
            folder.write_json(SNAPSHOT, {})
            if self._beside and step < self._steps:
                assert job.validation is not None
                self.decided.append(job.validation.is_decided(step))
                if self.decided[-1]:
                    break
        # After step 4 the training destroys its model.
        rows = [{"step": n, "loss": 0.5 if n < 4 else 9.0, "skipped": n >= 4} for n in range(step)]
        job.folders.training.write_json("summary.json", {"steps": step, "tokens": 17, "last": rows[-1]})
        job.folders.training.write_bytes("steps.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    sets = [RankedSet(f"s{i}", f"Prompt {i}?", (RankedReply(f"s{i}/r0", "So.", 0),)) for i in range(PROMPTS)]
    return {
        "model": "m1",
        "judge": "judge",
        "pairs": finished_step(tmp_path, "pair", PAIRS),
        "validation": finished_step(tmp_path, "seed", sets, "validation"),
        "out": str(tmp_path / "M2"),
        "label": "M2 · DPO",
    }


@pytest.fixture(params=["disk", "object store"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store is the same files by a file system that is not the disk's."""
    if request.param == "object store":
        disk, of = fs.SubTreeFileSystem("/", fs.LocalFileSystem()), Folder.filesystem
        monkeypatch.setattr(Folder, "filesystem", lambda folder: (disk, of(folder)[1].lstrip("/")))


MIDDLE = {2: "1111", 4: "2221", 6: "3120", 8: "4444"}
"""Step 4 wins three times against step 2 and ties once; step 6 wins once against step 4, ties once and loses twice."""
ASKED = 3 * 2 * PROMPTS
"""One answer and one verdict for each prompt of three snapshots."""


def chosen(folder: Path) -> int:
    return int(json.loads((folder / "M2/model/config.json").read_text())["step"])


def outcome(manifest: Manifest) -> list[tuple[int, int, float]]:
    return [(c["step"], c["against"], c["left_win_rate"]) for c in manifest.metrics["selected"]["compared"]]


@pytest.mark.parametrize("method", ["scores", "pairwise", "none"])
def test_the_snapshot_before_the_first_that_does_not_win_becomes_the_model(
    tmp_path: Path, given: dict[str, Any], method: str, capsys: pytest.CaptureFixture[str]
):
    training, marks = Training(8), Marks(MIDDLE)
    manifest = dpo(recipe(method), **given, trainer=training, run=marks)
    assert chosen(tmp_path) == 4
    selected = manifest.metrics["selected"]
    assert (selected["step"], selected["of"]) == (4, [2, 4, 6])
    assert (selected["judge"], selected["method"]) == ("judge", "pairwise" if method == "pairwise" else "scores")
    assert outcome(manifest) == [(4, 2, 0.875), (6, 4, 0.375)]
    low, high = selected["compared"][0]["left_win_interval"]
    assert low < 0.875 < high
    assert selected["why"].startswith("step 6 did not win against it (win rates: step 4 against step 2: 87.5 %; step 6")
    assert "M2 · DPO: the model of step 4 is chosen: step 6 did not win" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "M2/training/snapshots").exists()
    assert "000008/model" not in marks.engines, "later snapshots are not asked"
    assert (manifest.rows, manifest.tokens, manifest.metrics["steps"]) == ({"rows": 4}, 17, 4)
    assert manifest.metrics["skipped_steps"] == 0, "alarms do not look at the steps after the chosen one"
    assert manifest.metrics["course"]["loss_rise"] == 0
    assert manifest.metrics["last"]["step"] == 3


def test_beside_the_training_the_result_is_the_same_and_the_training_ends_early(tmp_path: Path, given: dict[str, Any]):
    after = dpo(recipe(), **given, trainer=Training(8), run=Marks(MIDDLE))
    elsewhere = given | {"out": str(tmp_path / "beside" / "M2")}
    training, marks = Training(10, beside=True), Marks(MIDDLE)
    beside = dpo(recipe(), **elsewhere, trainer=training, run=marks)
    assert training.decided == [False, False, True]
    assert chosen(tmp_path / "beside") == 4
    seconds = {"engine_start_seconds": None}
    assert beside.metrics | seconds == after.metrics | seconds, "what alarms and reports read of it too"
    assert len(marks.rows) == ASKED


def test_a_training_whose_last_step_wins_keeps_it(tmp_path: Path, given: dict[str, Any]):
    manifest = dpo(recipe(), **given, trainer=Training(4), run=Marks(MIDDLE))
    assert (chosen(tmp_path), manifest.metrics["selected"]["of"]) == (4, [2, 4])


def test_a_single_snapshot_is_not_judged(tmp_path: Path, given: dict[str, Any]):
    marks = Marks({})
    manifest = dpo(recipe(), **given, trainer=Training(2), run=marks)
    assert (chosen(tmp_path), marks.rows) == (2, [])
    assert manifest.metrics["selected"]["why"] == "it is the only snapshot"


@pytest.mark.parametrize("rows", [0, 1, PROMPTS, PROMPTS + 2, 2 * PROMPTS, 5 * PROMPTS + 3])
def test_after_an_interruption_nothing_is_trained_or_judged_twice(tmp_path: Path, given: dict[str, Any], rows: int):
    checkpoints = Path(ModelLayout(given["out"]).checkpoints.uri)

    class Keeping(Training):
        def __call__(self, job: TrainJob, progress: Any) -> None:
            checkpoints.mkdir()
            super().__call__(job, progress)

    first, marks = Keeping(8), Marks(MIDDLE, stop_after=rows)
    with pytest.raises(KeyboardInterrupt):
        dpo(recipe(), **given, trainer=first, run=marks)
    assert not checkpoints.exists(), "the training has ended, and takes no disk while its snapshots are judged"
    assert read_manifest(Folder(str(tmp_path / "M2/training"))) is None
    second, more = Training(8), Marks(MIDDLE)
    manifest = dpo(recipe(), **given, trainer=second, run=more)
    assert (len(first.jobs), len(second.jobs), chosen(tmp_path)) == (1, 0, 4)
    assert len(marks.rows + more.rows) == ASKED
    assert outcome(manifest) == [(4, 2, 0.875), (6, 4, 0.375)]
    third, none = Training(8), Marks({})
    assert dpo(recipe(), **given, trainer=third, run=none) == manifest
    assert third.jobs == []
    assert none.rows == []


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("place", ["before", "after"])
def test_an_interruption_while_the_model_is_put_in_its_place_is_made_up_for(
    tmp_path: Path, given: dict[str, Any], place: str, monkeypatch: pytest.MonkeyPatch
):
    """Before the snapshot is moved, and after it, when the snapshots are to be deleted."""
    delete = Folder.delete

    def interrupted(folder: Folder) -> None:
        if folder.uri.endswith({"before": "M2/model", "after": "training/snapshots"}[place]):
            raise KeyboardInterrupt
        delete(folder)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "delete", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dpo(recipe(), **given, trainer=Training(8), run=Marks(MIDDLE))
    training, marks = Training(8), Marks({})
    manifest = dpo(recipe(), **given, trainer=training, run=marks)
    assert (chosen(tmp_path), training.jobs, marks.rows) == (4, [], [])
    assert manifest.metrics["selected"]["step"] == 4
    assert not (tmp_path / "M2/training/snapshots").exists()


def test_a_choice_that_was_made_ends_the_training_that_goes_on(tmp_path: Path, given: dict[str, Any]):
    """The driver was killed after validation and before the ranks had stopped."""

    class Killed(Training):
        def __call__(self, job: TrainJob, progress: Any) -> None:
            super().__call__(job, progress)
            raise KeyboardInterrupt

    killed, resumed = Killed(8, beside=True), Training(8)
    with pytest.raises(KeyboardInterrupt):
        dpo(recipe(), **given, trainer=killed, run=Marks(MIDDLE))
    dpo(recipe(), **given, trainer=resumed, run=Marks({}))
    decided = [job.validation and job.validation.decided for job in (*killed.jobs, *resumed.jobs)]
    assert decided == [False, True]
    assert chosen(tmp_path) == 4


def test_validation_takes_as_many_replicas_as_were_looked_for(given: dict[str, Any]):
    training = Training(2)
    dpo(recipe(), **given, trainer=training, run=Marks({}))
    validation: Any = training.jobs[0].validation
    assert (validation.request.field, validation.request.count) == ("inference.min_replicas", 1)
    assert validation.is_decided.__self__.recipe.inference.max_replicas == 1


@pytest.mark.parametrize("why", ["endpoint", "rubric"])
def test_what_only_the_driver_has_is_judged_after_the_training(tmp_path: Path, given: dict[str, Any], why: str):
    changed: dict[str, Any] = {}
    if why == "endpoint":
        given["judge"] = "https://host/v1#judge"
    else:
        rubric = tmp_path / "mine.yaml"
        packaged = Path(__file__).parents[2] / "selfreward_ray/judging/rubrics/checklist.yaml"
        rubric.write_text(packaged.read_text())
        changed = {"judge": {"rubric": str(rubric)}}
    training = Training(2)
    dpo(recipe(**changed), **given, trainer=training, run=Marks({}))
    assert training.jobs[0].validation is None


def test_prompts_and_a_judge_are_needed(tmp_path: Path, given: dict[str, Any]):
    with pytest.raises(UserError, match="M2 · DPO: training.select=judged needs prompts and a judge"):
        dpo(recipe(), **given | {"judge": None}, trainer=Training(2))
    sets = [RankedSet("s0", "Why?", (RankedReply("s0/r0", "So.", 0),))]
    other = finished_step(tmp_path / "other", "seed", sets, "held_out")
    training = Training(2)
    with pytest.raises(UserError, match=r"has no prompts to choose a checkpoint by \(table validation\)"):
        dpo(recipe(), **given | {"validation": other}, trainer=training)
    assert training.jobs == []


def fingerprint(given: dict[str, Any], wanted: Recipe) -> str:
    jobs: list[TrainJob] = []

    def interrupted(job: TrainJob, progress: Any) -> None:
        jobs.append(job)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dpo(wanted, **given, trainer=interrupted, run=Marks({}))
    return jobs[0].fingerprint


def test_only_a_judged_training_depends_on_how_it_is_judged(given: dict[str, Any]):
    def of(**training: Any) -> Recipe:
        return recipe(training=training)

    last = of(select="last")
    known = {"dpo": last.dpo.model_dump(exclude={"micro_batch_tokens"}), "seed": 0}
    known |= {"dtype": "bfloat16", "dropout": None, "lora": last.training.lora.model_dump()}
    known |= {"thoughts": "train", "thinking": [None, None]}
    before = Step("dpo", given["out"], known, {"model": "m1", "pair": given["pairs"]}).fingerprint
    plain = {name: value for name, value in given.items() if name not in ("validation", "judge")}
    assert fingerprint(plain, last) == before, "a training without a choice is the one of earlier versions"
    assert fingerprint(plain, of(select="last", select_every=7)) == before
    with pytest.raises(UserError, match="M2 · DPO: --validation and --judge would choose a checkpoint, but"):
        fingerprint(given, last)
    judged = [
        fingerprint(given, recipe()),
        fingerprint(given, of(select_every=7)),
        fingerprint(given, recipe("pairwise")),
        fingerprint(given, recipe(judge={"verdicts": 2})),
        fingerprint(given | {"judge": "other"}, recipe()),
    ]
    assert len({before, *judged}) == 6


def test_the_plan_gives_the_seed_data_and_the_judge_of_the_run():
    def dpo_inputs(select: str, **evaluation: Any) -> dict[str, Any]:
        values = {"model": "m0", "training": {"select": select}, "evaluation": evaluation}
        steps = plan(Recipe.model_validate(values), RunLayout("run"))
        return next(step.inputs for step in steps if step.name == "dpo")

    assert {"validation", "judge"} & dpo_inputs("last").keys() == set()
    assert dpo_inputs("judged")["validation"] == "run/M1/seed"
    assert dpo_inputs("judged")["judge"] == "run/M1/model"
    assert dpo_inputs("judged", judge="another/model")["judge"] == "another/model"


def test_status_and_report_say_which_step_was_chosen_and_why(tmp_path: Path, given: dict[str, Any]):
    dpo(recipe(), **given, trainer=Training(8), run=Marks(MIDDLE))
    training = read_training("M2 · DPO", "M2/dpo", ModelLayout(given["out"]), str(tmp_path))
    assert training is not None
    assert training.selected.startswith("The model is that of step 4: step 6 did not win against it (win rates: ")
    planned = [step for step in plan(recipe(), RunLayout(str(tmp_path))) if step.name == "dpo"][:1]
    [(_, line)] = status_lines(planned)
    assert line.plain.endswith(" s, model of step 4 (compared: 2, 4, 6)")


def test_trackers_get_the_win_rates(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    recorded: list[tuple[str, Any, int]] = []
    record: list[Callable[..., None]] = [lambda *values: recorded.append(values)]
    monkeypatch.setattr("selfreward_ray.reporting.progress.recorders", record)
    dpo(recipe(), **given, trainer=Training(8), run=Marks(MIDDLE))
    own: Sequence[Any] = [values for values in recorded if values[0] == "M2 · DPO"]
    assert own == [("M2 · DPO", {"win_rate": 0.875}, 4), ("M2 · DPO", {"win_rate": 0.375}, 6)]
