"""What is found about a run before it begins: all of it at once, and nothing is written."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from selfreward_ray.check import places
from selfreward_ray.check.check import check_run, check_step, require
from selfreward_ray.check.findings import Check, Finding, examine
from selfreward_ray.check.inputs import input_checks
from selfreward_ray.check.machine import machine_resources
from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step


def problems(found: list[Finding]) -> list[str]:
    return [finding.text for finding in found if finding.problem]


def recipe(model: object, **sections: Any) -> Recipe:
    """A recipe that one machine with two cores can hold."""
    sections = {"training": {"workers": 1}, "seed_data": {"source": "demo"}, "prompts": {"source": "demo"}} | sections
    for stage in ("sft", "dpo"):
        sections[stage] = {"max_tokens": 512} | sections.get(stage, {})
    return Recipe.model_validate({"model": str(model)} | sections)


def finish(step: str, folder: Path) -> None:
    made = Step(step, str(folder), {}, {})
    assert not made.is_done()
    made.finish(offered=0)


def write_pairs(file: Path, count: int, bad: int = 0) -> str:
    rows = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(count)]
    rows += [{"prompt": f"What is {n}?", "chosen": None, "rejected": "No."} for n in range(bad)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_a_sound_run_has_no_problem_and_nothing_is_written(tmp_path: Path, tiny_model: Path):
    found = check_run(recipe(tiny_model), str(tmp_path / "below" / "run"))
    assert problems(found) == []
    assert {finding.about for finding in found} == {"folder", "seed data", "model", "machine"}
    assert list(tmp_path.iterdir()) == []


def test_all_problems_are_named_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    wanted = recipe(
        "nowhere",
        seed_data={"source": "gone.jsonl"},
        prompts={"source": "more.jsonl"},
        judge={"rubric": "unheard-of"},
        evaluation={"scorer": "nobody", "judge": "neverwhere"},
        tracking={"trackers": ["board"]},
        training={"workers": 999},
        sft={"batch_size": 999},
        dpo={"batch_size": 999},
    )
    with pytest.raises(UserError) as raised:
        require(check_run(wanted, str(tmp_path / "file" / "run")))
    head, *said = (line.strip() for line in str(raised.value).splitlines())
    assert head == "9 problems, and nothing was started:"
    for beginning in (
        f"{tmp_path}/file/run cannot be made: {tmp_path}/file is no folder",
        "tracking.trackers: no installed package has a tracker 'board'",
        "evaluation.scorer: no installed package has a scorer 'nobody'",
        "unknown rubric 'unheard-of'",
        "seed_data.source: cannot read gone.jsonl",
        "prompts.source: cannot read more.jsonl",
        "model 'nowhere' is neither",
        "model 'neverwhere' is neither",
        "training.workers = 999 asks for 999 × (1 CPU), and this machine",
    ):
        assert [line.startswith(beginning) for line in said].count(True) == 1, beginning
    assert len(said) == 9


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("seed_data", {"source": "demo", "verdicts": "nowhere"}, "model 'nowhere' is neither a local folder"),
        ("seed_data", {}, "seed_data.source is not set: name your ranked conversations"),
        ("prompts", {"proposer": "nowhere"}, "model 'nowhere' is neither a local folder"),
        ("prompts", {"proposer": "{run}/M2/model"}, "is trained on prompts of this run"),
        ("prompts", {"proposer": "{run}/M1/model"}, None),
        ("prompts", {"proposer": "nowhere", "source": "demo"}, None),
        ("prompts", {"proposer": "http://127.0.0.1:9/v1#m"}, "is an endpoint, which can only judge"),
        ("seed_data", {"source": "demo", "verdicts": "http://127.0.0.1:9/v1#m"}, None),
        ("seed_data", {"source": "demo", "verdicts": "http://127.0.0.1:9/v1"}, "is not the address of an endpoint"),
        ("training", {"select": "judged"}, "pairs.policy=positive-only trains by SFT; set training.select=last"),
        ("respond", {"thinking": True}, "respond.thinking: "),
    ],
)
def test_what_a_recipe_names_is_looked_for(
    section: str, values: dict[str, str], message: str | None, tmp_path: Path, tiny_model: Path
):
    """A model of the run itself is not there yet, and a proposer that nobody asks is not looked for."""
    run = tmp_path / "run"
    named = {name: v.format(run=run) if isinstance(v, str) else v for name, v in values.items()}
    policy = {"pairs": {"policy": "positive-only"}} if section == "training" else {}
    found = problems(check_run(recipe(tiny_model, **{section: named}, **policy), str(run)))
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


@pytest.mark.parametrize(
    ("resources", "fits"), [({"CPU": 64, "GPU": 8, "accelerator_type:H100": 1}, True), ({"CPU": 4}, False), ({}, None)]
)
def test_the_cluster_of_a_file_is_asked_instead_of_this_machine(
    resources: dict[str, int], fits: bool | None, tmp_path: Path, tiny_model: Path
):
    """Without resources it is not known what a node has."""
    node = {"resources": resources, "max_workers": 4, "min_workers": 0} if resources else {"max_workers": 4}
    types = {"head": {"resources": {"CPU": 4}}, "worker": node}
    (tmp_path / "cluster.yaml").write_text(
        json.dumps({"head_node_type": "head", "max_workers": 4, "available_node_types": types})
    )
    training = {"workers": 16, "cpus_per_worker": 8, "gpus_per_worker": 1, "accelerator_type": "H100"}
    found = check_run(recipe(tiny_model, training=training), None, str(tmp_path / "cluster.yaml"))
    said = [finding.text for finding in found if finding.about == "cluster"]
    if fits is False:
        assert said[0].startswith("training.workers = 16 asks for 16 × (8 CPU, 1 GPU, H100), and the cluster can never")
    else:
        assert said[0] == f"{tmp_path}/cluster.yaml" if fits else "declares no resources" in said[0]
    assert bool(problems(found)) == (fits is False)


def test_a_machine_has_no_gpus_for_workers_that_want_some(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    """What is not known of a machine, such as another maker's GPUs, is left to Ray."""
    wanted = recipe(tiny_model, training={"workers": 1, "gpus_per_worker": 1, "accelerator_type": "H100"})
    monkeypatch.setattr("selfreward_ray.check.machine.machine_resources", lambda: {"CPU": 8.0, "GPU": 0.0})
    (said,) = problems(check_run(wanted, None))
    assert "asks for 1 × (1 CPU, 1 GPU, H100), and this machine (8 CPU) holds 0 of them; lower training.workers" in said
    monkeypatch.setattr("selfreward_ray.check.machine.machine_resources", lambda: {"CPU": 8.0})
    assert problems(check_run(wanted, None)) == []


def test_workers_beyond_the_least_may_be_missing(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.check.machine.machine_resources", lambda: {"CPU": 8.0})
    elastic = {"training": {"workers": 16, "min_workers": 8}}
    assert problems(check_run(recipe(tiny_model, **elastic), None)) == []
    elastic["training"]["min_workers"] = 9
    (said,) = problems(check_run(recipe(tiny_model, **elastic), None))
    assert said.startswith("training.min_workers = 9 asks for 9 × (1 CPU), and this machine (8 CPU) holds 8 of them")


def test_a_cluster_that_would_be_joined_is_asked_later(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.check.machine.cluster_address", lambda: "10.0.0.1:6379")
    found = check_run(
        recipe(tiny_model, training={"workers": 99}, sft={"batch_size": 99}, dpo={"batch_size": 99}), None
    )
    assert problems(found) == []
    assert found[-1].text == "the Ray cluster at 10.0.0.1:6379, which is asked for its nodes when it is joined"


def test_a_step_that_asks_for_nothing_looks_at_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert problems(check_step(recipe("any"), "seed", str(tmp_path / "out"), {})) == []


@pytest.mark.parametrize(
    ("uri", "remote"), [("s3://b/run", True), ("runs/a", False), ("/runs/a", False), ("file:///runs/a", False)]
)
def test_an_object_store_is_waited_for_for_seconds(uri: str, remote: bool):
    assert (places.late(uri) is not None) == remote


def test_a_bucket_is_tried_by_a_file_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "b" / "run").mkdir(parents=True)
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, "b/run"))
    assert list(places.check_writable("s3://b/run")) == ["s3://b/run can be written"]
    assert list((tmp_path / "b" / "run").iterdir()) == []
    (tmp_path / "b" / "run").rmdir()
    with pytest.raises(UserError, match="s3://b/run cannot be written: .*; check that the bucket exists, its region"):
        list(places.check_writable("s3://b/run"))
    places.check_room("s3://b/run", 3, 10**18)  # the room of a bucket is not known


def test_finished_steps_need_nothing(tmp_path: Path, tiny_model: Path):
    """The model and the data of a run that has ended may be gone."""
    layout = RunLayout(str(tmp_path / "run"))
    gone = recipe(tmp_path / "gone", iterations=0, seed_data={"source": "demo", "eft": 0, "held_out": 0})
    claim_run(layout.root, gone)
    finish("seed", Path(layout.seed().uri))
    assert len(problems(check_run(gone, layout.uri))) == 1
    finish("sft", Path(layout.training(1).uri))
    assert problems(check_run(gone, layout.uri)) == []


def test_a_bound_folder_accepts_another_recipe_until_its_first_step_is_finished(tmp_path: Path, tiny_model: Path):
    layout = RunLayout(str(tmp_path / "run"))
    claim_run(layout.root, recipe(tiny_model, seed=1))
    other = recipe(tiny_model, seed=2)
    assert problems(check_run(other, layout.uri)) == []
    finish("seed", Path(layout.seed().uri))
    (said,) = problems(check_run(other, layout.uri))
    assert "was begun with another recipe:\n  seed: 1 → 2" in said


def test_a_run_that_is_at_work_is_a_problem(tmp_path: Path, tiny_model: Path):
    with owned(Folder(str(tmp_path / "run"))):
        (said,) = problems(check_run(recipe(tiny_model), str(tmp_path / "run")))
    assert said.startswith(f"{tmp_path}/run is at work by process ")
    assert problems(check_run(recipe(tiny_model), str(tmp_path / "run"))) == []


def test_the_sets_of_seed_data_are_counted(tmp_path: Path, tiny_model: Path):
    source = write_pairs(tmp_path / "pairs.jsonl", 40, bad=2)
    wanted = {"source": source, "ift": 20, "eft": 10, "held_out": 5, "bad_share": 0.2}
    found = check_run(recipe(tiny_model, seed_data=wanted), None)
    assert problems(found) == []
    said = [finding.text for finding in found if finding.about == "seed data"]
    assert said[0] == f"{source}: 42 rows of the format 'preference': 20 for IFT, 10 to judge for EFT, 5 held out"
    assert said[1].startswith("left out: 7 of 42: ")


@pytest.mark.parametrize(
    ("seed_data", "message"),
    [
        ({"ift": 0}, "raise seed_data.ift above 0"),
        ({"ift": 3}, "gives 3 rows to train on, fewer than one batch of 16: give more sets, "),
        ({"ift": 3, "verdicts": "written", "eft": 0}, "fewer than one batch of 16: give more sets"),
        ({"bad_share": 0.01}, "more than seed_data.bad_share=0.01 allows"),
        ({"columns": {"prompt": "frage"}}, "has no column 'frage' for 'prompt'"),
        ({"split": "test", "source": "{folder}"}, "has no split 'test'"),
    ],
)
def test_seed_data_that_cannot_serve_is_known_before(
    seed_data: dict[str, Any], message: str, tmp_path: Path, tiny_model: Path
):
    source = write_pairs(tmp_path / "pairs.jsonl", 40, bad=2)
    wanted = {"source": source, **seed_data}
    wanted["source"] = wanted["source"].format(folder=tmp_path)
    (said,) = problems(check_run(recipe(tiny_model, seed_data=wanted), None))
    assert message in said


def test_prompts_must_suffice_for_all_iterations(tmp_path: Path, tiny_model: Path):
    source = write_pairs(tmp_path / "pairs.jsonl", 39)
    enough = recipe(tiny_model, prompts={"source": source, "count": 13}, iterations=3)
    assert problems(check_run(enough, None)) == []
    (said,) = problems(check_run(recipe(tiny_model, prompts={"source": source, "count": 20}, iterations=2), None))
    assert said.startswith(f"prompts.source: {source} has 39 prompts that can be used, and 2 iterations of ")
    assert "need 40: give a longer file" in said


@pytest.mark.parametrize(
    ("step", "inputs", "message"),
    [
        ("sft", {"seed_data": "{seed}"}, None),
        ("sft", {"seed_data": "{there}"}, "holds no finished 'seed' step; is the path right"),
        ("sft", {"seed_data": "{seed}", "eft": "{seed}"}, "holds a 'seed' step, but an 'eft' step is needed here"),
        ("pair", {"judged": "{seed}"}, "holds a 'seed' step, but a 'respond' or 'judge' step is needed here"),
        ("propose", {"seed_data": "{seed}", "iteration": 1, "earlier": ["{seed}"]}, "but a 'propose' step is needed"),
        ("respond", {"prompts": "{there}/none.jsonl"}, "--prompts: cannot read"),
        ("respond", {"prompts": "{there}/pairs.jsonl"}, None),
        ("answer", {"questions": "{there}/odd.jsonl"}, "odd.jsonl:1: has no known format"),
        ("judge", {"replies": "{there}/odd.jsonl"}, "--replies"),
        ("judge", {"replies": "{model}"}, "is a model, not its replies"),
        ("compare", {"left": "{there}/answers.jsonl", "right": "{there}/none.jsonl"}, "--right: cannot read"),
        ("agreement", {"data": "{there}/none.jsonl"}, "--data: cannot read"),
        ("dpo", {"pairs": "{seed}"}, "holds a 'seed' step, but a 'pair' step is needed here"),
        ("evaluate", {"seed_data": "{seed}", "model": "http://127.0.0.1:9/v1#m"}, "which can only judge"),
        ("sft", {"seed_data": "{seed}", "model": "http://127.0.0.1:9/v1#m"}, "which can only judge"),
    ],
)
def test_the_inputs_of_a_step_are_looked_at(
    step: str, inputs: dict[str, Any], message: str | None, tmp_path: Path, tiny_model: Path
):
    finish("seed", tmp_path / "seed")
    write_pairs(tmp_path / "pairs.jsonl", 3)
    (tmp_path / "answers.jsonl").write_text('{"prompt": "Why?", "reply": "So."}\n')
    (tmp_path / "odd.jsonl").write_text('{"colour": "red"}\n')
    places = {"seed": tmp_path / "seed", "there": tmp_path, "model": tiny_model}

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(one) for one in value]
        return value.format(**places) if isinstance(value, str) else value

    given = {"model": str(tiny_model)} | {name: filled(value) for name, value in inputs.items()}
    found = problems(check_step(recipe(tiny_model), step, str(tmp_path / "out"), given))
    assert len(found) == (message is not None), found
    assert message is None or message in found[0]
    assert not (tmp_path / "out").exists()


def test_the_judge_of_snapshots_is_looked_at(tmp_path: Path, tiny_model: Path):
    for step in ("pair", "seed"):
        finish(step, tmp_path / step)
    given = {"model": str(tiny_model), "pairs": str(tmp_path / "pair"), "validation": str(tmp_path / "seed")}
    wanted = recipe(tiny_model, training={"workers": 1, "select": "judged"})

    def looked_at(judge: str) -> list[Finding]:
        return check_step(wanted, "dpo", str(tmp_path / "out"), given | {"judge": judge})

    assert problems(looked_at(str(tiny_model))) == []
    endpoint = looked_at("http://127.0.0.1:9/v1#m")
    assert problems(endpoint) == []
    assert "http://127.0.0.1:9/v1#m, an endpoint, which is not asked" in [finding.text for finding in endpoint]
    (said,) = problems(looked_at(str(tmp_path / "gone")))
    assert str(tmp_path / "gone") in said


@pytest.mark.parametrize(
    ("weight", "inputs", "message"),
    [
        (0.1, {}, "dpo.eft_weight is above 0, which needs EFT rows: give --eft"),
        (0.0, {"eft": "x"}, "but dpo.eft_weight is 0; set it above 0, or leave out --eft"),
    ],
)
def test_dpo_has_eft_rows_where_it_trains_on_them_and_only_there(
    weight: float, inputs: dict[str, str], message: str, tmp_path: Path, tiny_model: Path
):
    finish("pair", tmp_path / "pairs")
    given = {"model": str(tiny_model), "pairs": str(tmp_path / "pairs"), **inputs}
    found = problems(check_step(recipe(tiny_model, dpo={"eft_weight": weight}), "dpo", None, given))
    assert any(message in text for text in found)


def test_a_storage_that_does_not_answer_is_a_problem_of_seconds(monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    """The rest is found nevertheless."""

    def hang(uri: str) -> Any:
        yield "began"
        time.sleep(60)

    monkeypatch.setattr("selfreward_ray.check.check.check_writable", hang)
    monkeypatch.setattr("selfreward_ray.check.findings.LIMIT_S", 1)
    began = time.monotonic()
    found = problems(check_run(recipe("nowhere"), "s3://bucket/run"))
    assert time.monotonic() - began < 30
    assert [text[:15] for text in found] == ["s3://bucket/run", "model 'nowhere'"]


def test_a_model_on_the_hub_that_does_not_answer_is_a_problem_of_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.check.models.validate", lambda *_, **__: time.sleep(60))
    monkeypatch.setattr("selfreward_ray.check.findings.LIMIT_S", 1)
    found = problems(check_run(recipe("owner/name"), None))
    assert "owner/name: the hub has not answered within 8 seconds" in found[0]


def test_a_busy_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    """What is looked at here needs a core for a moment, and others may have them."""

    def slow(*_: Any, **__: Any) -> list[str]:
        time.sleep(1)
        return ["of the model"]

    monkeypatch.setattr("selfreward_ray.check.models.validate", slow)
    monkeypatch.setattr("selfreward_ray.check.findings.LIMIT_S", 0.1)
    assert problems(check_run(recipe(tiny_model), None)) == ["of the model"]


def test_what_never_ends_here_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.check.findings.LIMIT_HERE_S", 0.1)
    (found,) = examine([Check("machine", partial(time.sleep, 5))])
    assert found == Finding("machine", "machine: took longer than 0.1 seconds", problem=True)


def test_a_fault_of_a_check_itself_is_not_swallowed():
    def broken() -> Any:
        raise ZeroDivisionError
        yield

    def found() -> Any:
        yield UserError("of another check")
        yield "a note"

    with pytest.raises(ZeroDivisionError) as raised:
        examine([Check("nothing", broken), Check("model", found)])
    assert raised.value.__notes__ == ["model: of another check"]


def test_an_error_of_storage_has_a_remedy():
    def found() -> Any:
        yield OSError("When listing objects:\nno network")

    (said,) = examine([Check("model", found)])
    assert said.text == "When listing objects: no network; check its address, the network and your credentials"


def test_a_model_whose_storage_does_not_answer_is_a_problem_of_the_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def offline(_: Folder) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(Folder, "infos", offline)
    found = check_run(recipe("s3://127.0.0.1/model?endpoint_override=127.0.0.1:1"), str(tmp_path / "run"))
    said = [finding for finding in found if finding.problem]
    assert [finding.about for finding in said] == ["model"]
    assert said[0].text == "no network; check its address, the network and your credentials"


def test_a_damaged_manifest_is_a_problem_of_the_runs_folder(tmp_path: Path, tiny_model: Path):
    seed = Path(RunLayout(str(tmp_path / "run")).seed().uri)
    seed.mkdir(parents=True)
    (seed / "manifest.json").write_text("{")
    found = [finding for finding in check_run(recipe(tiny_model), str(tmp_path / "run")) if finding.problem]
    assert {finding.about for finding in found} == {"run folder"}


def test_the_work_for_inputs_grows_with_the_steps(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    """Each step that proposes names all before it."""

    def looked_up(iterations: int) -> int:
        asked: list[str] = []
        monkeypatch.setattr("selfreward_ray.check.inputs.same_place", lambda uri: asked.append(uri) or uri)
        wanted = recipe(tiny_model, iterations=iterations)
        assert input_checks(wanted, plan(wanted, RunLayout("RUN"))) == []
        return len(asked)

    assert looked_up(60) < 2.2 * looked_up(30)


def test_a_problem_that_two_checks_find_is_said_once():
    def found() -> Any:
        yield UserError("the same")

    assert examine([Check("a", found), Check("b", found)]) == [Finding("a", "the same", True)]


@pytest.mark.parametrize(
    ("devices", "visible", "expected"),
    [
        (["null"], None, 0),
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], None, 2),
        (["nvidia0", "nvidia1"], "1", 1),
        (["nvidia0", "nvidia1"], "", 0),
        (["kfd"], None, None),
        (["dxg"], None, None),
    ],
)
def test_the_gpus_of_a_machine_are_counted(
    devices: list[str], visible: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in devices:
        (tmp_path / name).write_text("")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine_resources(tmp_path).get("GPU") == expected


def test_weights_are_counted_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a model on the hub takes is not asked for."""
    (tmp_path / "model").mkdir()
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"):
        (tmp_path / "model" / name).write_bytes(b"12345")
    assert places.weight_bytes(str(tmp_path / "model")) == 10
    assert places.weight_bytes("owner/model") == 0
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(Folder, "filesystem", lambda self: (store, "model"))
    assert places.weight_bytes("s3://bucket/model") == 10


def test_a_disk_without_room_for_the_models_is_a_problem(tmp_path: Path):
    with pytest.raises(UserError, match="and the 3 models of this run take 3000000000.0 GB; free some space"):
        places.check_room(str(tmp_path / "run"), 3, 10**18)
    places.check_room(str(tmp_path / "run"), 3, 1)
