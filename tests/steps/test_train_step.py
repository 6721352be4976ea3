"""SFT and DPO up to the trainer, which is replaced: what it is given, and what becomes of the rest."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.training import Training
from selfreward_ray.records import Candidate, Pair, PairTokens, Positive, SftExample, SftTokens, Turn
from selfreward_ray.steps import train
from selfreward_ray.steps.train import dpo, sft
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import ModelLayout
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows
from selfreward_ray.training.examples import NO_PLACE
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective, SftObjective

PAIRS = [
    Pair(f"p{i}/pair", "Why?", (1, 2), Candidate("c", "x", (3,) * (i + 1), True), Candidate("r", "y", (4,), True))
    for i in range(4)
]


class Jobs(list[TrainJob]):
    """A stand-in for the trainer: the jobs that it was given."""

    def __call__(self, job: TrainJob, progress: Any) -> None:
        self.append(job)
        job.folders.training.write_json("summary.json", {"steps": 1, "tokens": 17, "last": {"loss": 0.5}})


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def table(folder: Path, rows: list[Any]) -> str:
    step = Step(folder.name, str(folder), {}, {})
    step.is_done()
    step.write(rows, type(rows[0]))
    step.finish(offered=len(rows))
    return str(folder)


def recipe(**dpo: Any) -> Recipe:
    return Recipe.model_validate({"model": "m0", "dpo": dpo, "sft": {"batch_size": 2}, "training": {"workers": 1}})


def test_pairs_that_fit_are_trained_on_and_the_rest_dropped(tmp_path: Path, jobs: Jobs):
    """With two prompt tokens the chosen sequences are 3, 4, 5 and 6 long; at most 5 are allowed."""
    wanted = recipe(batch_size=2, max_tokens=5, beta=0.3)
    source, out = table(tmp_path / "pair", PAIRS), str(tmp_path / "out")
    manifest = dpo(wanted, model="m1", pairs=source, out=out, trainer=jobs)
    [job] = jobs
    assert (job.model, job.objective, job.optimization) == ("m1", DpoObjective(wanted.dpo), wanted.dpo)
    assert read_rows(job.folders.training, PairTokens)[2] == PairTokens("p2/pair", (1, 2), (3, 3, 3), (4,))
    assert (manifest.rows, manifest.dropped) == ({"rows": 3}, {"longer than max_tokens = 5": 1})
    assert (manifest.tokens, manifest.metrics["last"]) == (17, {"loss": 0.5})
    assert dpo(wanted, model="m1", pairs=source, out=out, trainer=jobs) == manifest
    assert len(jobs) == 1


def test_checkpoints_are_kept_until_the_manifest_is_there(tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
    """A driver may be killed between the training's end and its manifest: the training would begin anew."""
    source, out = table(tmp_path / "pair", PAIRS), str(tmp_path / "out")
    checkpoint = Path(ModelLayout(out).checkpoints.uri, "newest")

    def train(job: TrainJob, progress: Any) -> None:
        checkpoint.mkdir(parents=True, exist_ok=True)
        jobs(job, progress)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Step, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            dpo(recipe(batch_size=2), model="m1", pairs=source, out=out, trainer=train)
    assert checkpoint.exists()
    dpo(recipe(batch_size=2), model="m1", pairs=source, out=out, trainer=train)
    assert not checkpoint.parent.exists()


def test_only_the_same_training_finds_what_an_interrupted_one_left(tmp_path: Path):
    """More workers, or more patience with bad steps, are the same run; another rate is not."""
    source, out = table(tmp_path / "pair", PAIRS), tmp_path / "out"
    seen: list[tuple[str, bool]] = []

    def interrupted(job: TrainJob, progress: Any) -> None:
        left = out / "training" / "ray_train"
        seen.append((job.fingerprint, left.exists()))
        left.mkdir(exist_ok=True)
        raise KeyboardInterrupt

    first = recipe(batch_size=2)
    other_cluster = first.model_copy(update={"training": Training(workers=7, max_skipped_steps=9, checkpoint_every=1)})
    for wanted in (first, other_cluster, recipe(batch_size=2, learning_rate=2e-6)):
        with pytest.raises(KeyboardInterrupt):
            dpo(wanted, model="m1", pairs=source, out=str(out), trainer=interrupted)
    assert [left for _, left in seen] == [False, True, False]
    assert seen[0][0] == seen[1][0] != seen[2][0]


def test_rows_are_encoded_block_by_block_and_those_of_an_interrupted_attempt_are_gone(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
):
    """Its blocks may have had other boundaries, as those of an earlier version."""
    monkeypatch.setattr(train, "_ROWS_PER_BLOCK", 1)
    source, out = table(tmp_path / "pair", PAIRS), str(tmp_path / "out")

    def killed(job: TrainJob, progress: Any) -> None:
        for table in ("rows", "dropped"):
            files = (job.folders.training / table).files(".parquet")
            shutil.copy(files[0], files[0].replace("-000000", "-000999"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dpo(recipe(batch_size=2), model="m1", pairs=source, out=out, trainer=killed)
    manifest = dpo(recipe(batch_size=2), model="m1", pairs=source, out=out, trainer=jobs)
    assert manifest.rows == {"rows": 4}
    training = ModelLayout(out).training
    assert [pair.id for pair in read_rows(training, PairTokens)] == [pair.id for pair in PAIRS]
    assert len((training / "rows").files()) == 4


def test_pairs_of_replies_from_a_file_are_encoded_by_the_model_that_they_train(
    tmp_path: Path, tiny_model: Path, jobs: Jobs
):
    """No engine read or wrote them: they come without ids."""
    given = Pair("p/pair", "Name a sea.", (), Candidate("c", "North.", (), True), Candidate("r", "Red.", (), True))
    out = str(tmp_path / "out")
    dpo(recipe(batch_size=1), model=str(tiny_model), pairs=table(tmp_path / "pair", [given]), out=out, trainer=jobs)
    codec = ChatCodec(tiny_model)
    ids = [codec.prompt_ids("Name a sea."), codec.target_ids("North."), codec.target_ids("Red.")]
    assert read_rows(ModelLayout(out).training, PairTokens) == [PairTokens("p/pair", *map(tuple, ids))]


def test_each_pair_carries_a_judging_row_and_the_rows_go_round(tmp_path: Path, tiny_model: Path, jobs: Jobs):
    """Three rows, of which one is too long, for four pairs: the two others twice each, in an order of the seed's."""
    rows = [SftExample(f"s{i}/eft", "eft", f"Judge {i}.", "Score: 4") for i in range(2)]
    rows.append(SftExample("s2/eft", "eft", "Judge it. " * 60, "Score: 4"))
    given = {"model": str(tiny_model), "pairs": table(tmp_path / "pair", PAIRS)}
    wanted, out = recipe(batch_size=2, max_tokens=60, eft_weight=0.5), str(tmp_path / "out")
    manifest = dpo(wanted, **given, eft=table(tmp_path / "eft", rows), out=out, trainer=jobs)
    assert (manifest.rows, manifest.dropped) == ({"rows": 4}, {"longer than max_tokens = 60": 1})
    carried = [row.eft for row in read_rows(ModelLayout(out).training, PairTokens)]
    codec = ChatCodec(tiny_model)
    targets = tuple(codec.target_ids("Score: 4"))
    by_id = {f"s{i}/eft": SftTokens(f"s{i}/eft", tuple(codec.prompt_ids(f"Judge {i}.")), targets) for i in range(2)}
    assert {row.id: row for row in carried} == by_id
    assert [row.id for row in carried[:2]] == [row.id for row in carried[2:]]
    plain = dpo(recipe(batch_size=2), **given, out=str(tmp_path / "plain"), trainer=jobs)
    assert plain.rows == {"rows": 4}
    assert {row.eft for row in read_rows(Folder(str(tmp_path / "plain/training")), PairTokens)} == {None}


def test_a_weight_without_judging_rows_is_refused(tmp_path: Path, tiny_model: Path, jobs: Jobs):
    given = {"model": str(tiny_model), "pairs": table(tmp_path / "pair", PAIRS), "out": str(tmp_path / "out")}
    with pytest.raises(UserError, match="give --eft"):
        dpo(recipe(batch_size=2, eft_weight=0.5), **given, trainer=jobs)
    long = table(tmp_path / "eft", [SftExample("s/eft", "eft", "Judge it. " * 60, "Score: 4")])
    with pytest.raises(UserError, match="no EFT row in .* raise dpo.max_tokens"):
        dpo(recipe(batch_size=2, max_tokens=60, eft_weight=0.5), **given, eft=long, trainer=jobs)
    assert jobs == []


def test_fewer_examples_than_a_batch_are_refused_before_anything_is_started(tmp_path: Path, jobs: Jobs):
    wanted = recipe(batch_size=4, max_tokens=5)
    few = r"DPO: 3 examples in .* \(1 dropped\), fewer than one batch of 4.*dpo.batch_size"
    with pytest.raises(UserError, match=few):
        dpo(wanted, model="m1", pairs=table(tmp_path / "pair", PAIRS), out=str(tmp_path / "out"), trainer=jobs)
    assert jobs == []
    assert read_manifest(Folder(str(tmp_path / "out/training"))) is None


def test_examples_are_encoded_by_the_models_own_template(tmp_path: Path, tiny_model: Path, jobs: Jobs):
    rows = [SftExample(f"s{i}/ift", "ift", "Name a sea.", "The North Sea.") for i in range(2)]
    out = str(tmp_path / "out")
    sft(recipe(), model=str(tiny_model), seed_data=table(tmp_path / "seed", rows), out=out, trainer=jobs)
    codec = ChatCodec(tiny_model)
    prompt_ids, target_ids = codec.prompt_ids("Name a sea."), codec.target_ids("The North Sea.")
    assert read_rows(ModelLayout(out).training, SftTokens)[1] == SftTokens(
        "s1/ift", tuple(prompt_ids), tuple(target_ids)
    )
    assert jobs[0].objective == SftObjective()


def test_sft_takes_judging_rows_and_positive_replies_beside_the_instructions(
    tmp_path: Path, tiny_model: Path, jobs: Jobs
):
    seed_data = table(tmp_path / "seed", [SftExample("s/ift", "ift", "Why?", "So.", (Turn("user", "Hi."),))])
    eft = table(tmp_path / "eft", [SftExample("s/eft", "eft", "Judge it.", "Score: 4")])
    positive = Positive("p/r0", "Why?", (1, 2), Candidate("p/r0", "x", (3, 4), True))
    positives = table(tmp_path / "pair", [positive])
    given = {"recipe": recipe(), "model": str(tiny_model), "seed_data": seed_data}
    made = [
        sft(**given, eft=eft, out=str(tmp_path / "m1"), trainer=jobs),
        sft(**given, eft=eft, positives=positives, out=str(tmp_path / "m2"), trainer=jobs),
    ]
    assert [m.rows for m in made] == [{"rows": 2}, {"rows": 3}]
    codec = ChatCodec(tiny_model)
    rows = {row.id: row for row in read_rows(Folder(str(tmp_path / "m2/training")), SftTokens)}
    assert rows["s/ift"].prompt_ids == tuple(codec.prompt_ids("Why?", (Turn("user", "Hi."),)))
    assert rows["s/eft"].target_ids == tuple(codec.target_ids("Score: 4"))
    assert rows["p/r0"] == SftTokens("p/r0", (1, 2), (3, 4))
    with pytest.raises(UserError, match="SFT: 1 examples in"):
        sft(**given, out=str(tmp_path / "baseline"), trainer=jobs)


def test_thoughts_that_the_template_has_no_place_for_are_counted_and_told_once(
    tmp_path: Path, tiny_model: Path, jobs: Jobs, capsys: pytest.CaptureFixture[str]
):
    """Rows that are dropped do not count; an EFT example counts once, however many pairs carry it."""
    rows = [SftExample(f"s{i}/ift", "ift", "Why?", "So.", thought="Hm." if i else "") for i in range(3)]
    rows.append(SftExample("s3/ift", "ift", "Why? " * 5000, "So.", thought="Hm."))
    model, out = str(tiny_model), str(tmp_path / "m1")
    made = sft(recipe(), model=model, seed_data=table(tmp_path / "seed", rows), out=out, trainer=jobs)
    assert made.metrics["left_out_thoughts"] == {NO_PLACE: 2}
    assert capsys.readouterr().err.count(f"SFT: 2 thoughts are not trained: {NO_PLACE}") == 1
    eft = table(tmp_path / "eft", [SftExample("s/eft", "eft", "Judge it.", "Score: 4", thought="Hm.")])
    pairs, wanted = table(tmp_path / "pair", PAIRS), recipe(batch_size=2, eft_weight=0.5)
    made = dpo(wanted, model=model, pairs=pairs, eft=eft, out=str(tmp_path / "m2"), trainer=jobs)
    assert made.metrics["left_out_thoughts"] == {NO_PLACE: 1}
    assert f"DPO: 1 thought is not trained: {NO_PLACE}" in capsys.readouterr().err
    made = dpo(recipe(batch_size=2), model=model, pairs=pairs, out=str(tmp_path / "m3"), trainer=jobs)
    assert "left_out_thoughts" not in made.metrics
    assert "not trained" not in capsys.readouterr().err


def test_a_model_is_written_to_a_folder_of_its_own_alone(tmp_path: Path, jobs: Jobs):
    """A file of somebody's in its place is not removed, however often the command is given."""
    given = {"model": "m1", "pairs": table(tmp_path / "pair", PAIRS), "out": str(tmp_path / "out")}
    other = tmp_path / "out" / "model" / "config.json"
    other.parent.mkdir(parents=True)
    other.touch()
    for _ in range(2):
        with pytest.raises(UserError, match=r"out/model is not empty, and no training in .*out wrote it"):
            dpo(recipe(batch_size=2), **given, trainer=jobs)
    assert (other.exists(), jobs) == (True, [])
    other.unlink()
    dpo(recipe(batch_size=2), **given, trainer=jobs)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["model", "training"]


def test_a_model_is_known_by_its_content_wherever_it_is(tmp_path: Path, tiny_model: Path, jobs: Jobs):
    """A run's model that was copied to another place is the same input; trained again to other weights it is not."""
    given = {"recipe": recipe(batch_size=2), "pairs": table(tmp_path / "pair", PAIRS), "out": str(tmp_path / "M3")}
    first = tmp_path / "M2" / "model"
    shutil.copytree(tiny_model, first)
    made = dpo(**given, model=str(first), trainer=jobs)
    shutil.copytree(first, tmp_path / "elsewhere")
    assert dpo(**given, model=str(tmp_path / "elsewhere"), trainer=jobs) == made
    weights = first / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match="made from another recipe or other inputs"):
        dpo(**given, model=str(first), trainer=jobs)
    assert len(jobs) == 1
