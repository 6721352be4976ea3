import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from reported_run import RECIPE, finish, with_policy, write_run
from rich.console import Console
from scripted_model import ScriptedModel, ScriptedRounds
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.errors import UserError
from selfreward_ray.plan import plan
from selfreward_ray.prompts.few_shot import demonstration_prompt
from selfreward_ray.records import (
    Candidate,
    Dropped,
    JudgedPrompt,
    Pair,
    Positive,
    Prompt,
    RankedReply,
    RankedSet,
    SftExample,
    Verdict,
)
from selfreward_ray.steps.lineage import demonstrations_of
from selfreward_ray.steps.proposal_rounds import Proposer
from selfreward_ray.steps.propose import propose
from selfreward_ray.steps.show import show
from selfreward_ray.store.rejection import Rejection, write_rejection
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.run_recipe import claim_run
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows, write_part


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    """M3 has prompts and nothing else yet."""
    return write_run(tmp_path_factory.mktemp("run"), until=2)


def shown(layout: RunLayout, name: str) -> str:
    console = Console(file=StringIO(), width=80)
    show(layout.uri, name, console)
    return console.file.getvalue().replace(layout.uri, "RUN")


def error(layout: RunLayout, name: str) -> str:
    with pytest.raises(UserError) as caught:
        shown(layout, name)
    return str(caught.value).replace(layout.uri, "RUN")


def a_pair(layout: RunLayout) -> Pair:
    return read_rows(layout.pairs(2), Pair)[0]


def test_a_pair_is_followed_from_its_prompt_to_the_model_that_was_trained_on_it(run: RunLayout):
    pair = a_pair(run)
    prompt = pair.id.removesuffix("/pair")
    lines = shown(run, pair.id).splitlines()
    assert lines[:2] == [f"{pair.id}: a pair", f"  chosen: {pair.chosen.id}"]
    assert f"    {pair.chosen.text}" in lines
    assert f"    {pair.rejected.text}" in lines
    assert f"  prompt {int(prompt[-3:]) + 1} of prompts.source = model" in lines
    (asked,) = (row for row in read_rows(run.prompts(2), Prompt) if row.id == prompt)
    assert f"  {asked.text}" in lines
    (judged,) = (row for row in read_rows(run.judged(2), JudgedPrompt) if row.id == prompt)
    assert "replies by M1, RUN/M1/model" in lines
    for reply in judged.candidates:
        scores = ", ".join("unreadable" if v.score is None else f"{v.score:g}" for v in reply.verdicts)
        mean = "none" if reply.mean is None else f"{reply.mean:g}"
        assert any(line.startswith(f"  {reply.id}: mean score {mean} ({scores})") for line in lines)
    preferred = f"  {pair.id}: {pair.chosen.id} is preferred to {pair.rejected.id}"
    assert f"{preferred}; M2 was trained on it, by DPO" in lines
    steps = [line.partition(":")[0].strip() for line in lines if " is finished: " in line]
    assert steps == ["M2 · prompts", "M2 · respond and judge", "M2 · pairs", "M2 · DPO"]
    assert sum(line.startswith("    versions: selfreward-ray ") for line in lines) == 4


def test_a_reply_and_a_verdict_are_shown_whole(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    verdicts = (
        Verdict("M2/p000900/r0/v0", "Fine.\n\x1b[2JScore: 5", 5.0, 2, "hm"),
        Verdict("M2/p000900/r0/v1", "?", None, 3),
    )
    long = " ".join(["word"] * 100)
    reply = Candidate("M2/p000900/r0", long, (1,), False, verdicts, 5.0, 0.0, "a thought")
    other = Candidate("M2/p000900/r1", long, (1,), True, (replace(verdicts[1], id="M2/p000900/r1/v0"),))
    write_part(
        layout.judged(2), "rows", [JudgedPrompt("M2/p000900", "Why?", (1,), (reply, other))], JudgedPrompt, "more"
    )
    write_part(layout.pairs(2), "flagged", [Dropped(reply.id, "pair", "too good")], Dropped, "more")
    lines = shown(layout, "M2/p000900/r0/v0").splitlines()
    assert lines[:5] == [
        "M2/p000900/r0/v0: a verdict by M1, RUN/M1/model",
        "  M2/p000900/r0/v0: score 5, 2 attempts",
        "  thought: hm",
        "    Fine.",
        "    ␛[2JScore: 5",
    ]
    assert lines[5:9] == [
        "M2/p000900/r0: the reply",
        "  mean score 5 (5, unreadable); not finished; flagged, and so not to be chosen: too good",
        "  thought: a thought",
        f"    {long}",
    ]
    assert not any("v1: score" in line for line in lines)
    text = shown(layout, "M2/p000900/r0")
    assert "M2/p000900/r0/v1: score none, 3 attempts\n    ?\n" in text
    assert "M2/p000900/r1: mean score none (unreadable)\n    word word" in text
    assert "… (339 more characters)" in text


def test_what_was_dropped_is_shown_with_the_reason(run: RunLayout):
    text = shown(run, "M2/p000039")
    assert "none: the prompt was dropped" in text
    assert "M2/p000039 was dropped by respond: the prompt is too long" in text
    (dropped, *_) = read_rows(run.pairs(2), Dropped, "dropped")
    assert f"{dropped.id} was dropped by pair: {dropped.reason}" in shown(run, dropped.id)
    said = error(run, f"{dropped.id}/pair")
    assert said.startswith(
        f"RUN has no {dropped.id}/pair; pair dropped {dropped.id}: {dropped.reason}; of {dropped.id}"
    )
    assert said.endswith(f"it has {dropped.id}/r0, {dropped.id}/r1, {dropped.id}/r2")


def test_a_pair_that_the_training_left_out_is_not_said_to_be_trained_on(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    pair = a_pair(layout)
    write_part(layout.training(2), "dropped", [Dropped(pair.id, "dpo", "too long")], Dropped, "pair-000000")
    text = shown(layout, pair.id)
    assert f"{pair.id} was dropped by dpo: too long" in text
    assert "was trained on it" not in text


def test_steps_that_are_not_finished_are_said_to_be(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    layout.training(2).remove("manifest.json")
    assert "; M2 · DPO is not finished\n" in shown(layout, a_pair(layout).id)
    text = shown(layout, "M3/p000000")
    assert "none: M3 · respond and judge is not finished" in text
    assert "  M3 · pairs is not finished\n" in text
    layout.prompts(3).delete()
    said = error(layout, "M3/p000000")
    assert said == "RUN has no M3/p000000: its step M3 · prompts is not finished, and has no M3/p000000 yet"


def test_positive_replies(tmp_path: Path):
    layout = write_run(tmp_path, with_policy("positive-only"), until=2)
    row = read_rows(layout.pairs(2), Positive)[0]
    text = shown(layout, row.id)
    assert text.startswith(f"{row.id}: a reply by M1, RUN/M1/model\n")
    assert f"{row.id}: a reply to train on; M2 was trained on it, by SFT" in text


def test_replies_of_a_rejected_model_are_not_mixed_with_those_that_were_trained_on(tmp_path: Path):
    layout = write_run(tmp_path)
    write_rejection(layout.root, Rejection(2, 3, "collapse", "M2 · evaluate", 1.0, 0.5, "It is worse."))
    (row,) = (row for row in read_rows(layout.judged(3), JudgedPrompt) if row.id == "M3/p000001")
    second = replace(row, candidates=tuple(replace(c, text=f"again {c.text}") for c in row.candidates))
    finish("respond", layout.current().judged(3), [second], JudgedPrompt)
    text = shown(layout, "M3/p000001")
    assert "replies by M1, RUN/M1/model" in text
    assert "RUN/M3/judged has others with the same ids, by a rejected model" in text
    assert text.count(row.candidates[0].text) == text.count(f"again {row.candidates[0].text}") == 1
    assert "rejected after M2 · evaluate: It is worse." in shown(layout, "M2")


def test_models(run: RunLayout):
    lines = shown(run, "M2").splitlines()
    pairs = len(read_rows(run.pairs(2), Pair))
    assert lines[:4] == [
        "M2: a model of the run",
        "  weights: RUN/M2/model",
        "  made from: M1, RUN/M1/model",
        f"  made from: M2 · pairs, RUN/M2/pairs ({pairs} rows)",
    ]
    assert lines[4:5] == ["made by"]
    assert [line.partition(",")[0] for line in lines[lines.index("used by") + 1 :]] == [
        "  M2 · evaluate: RUN/M2/evaluation",
        "  M3 · respond and judge: RUN/M3/judged",
        "  M3 · DPO: RUN/M3/training",
    ]
    text = shown(run, "M0")
    assert text.startswith("M0: the model that the run starts from\n  weights: m0\n")
    assert "  M1 · SFT: RUN/M1/training, is finished" in text
    assert error(run, "M4") == "RUN makes the models M1 to M3, and no M4"


def test_what_a_step_was_made_with_is_told_from_its_manifest(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    part = {"judge": {"verdicts": 7, "min_valid": 2, "thinking": None}, "rubric": {"text": "long " * 50}, "seed": 0}
    judged = layout.judged(2)
    made_from = {"recipe": part, "inputs": {"model": "0123456789abcdef"}}
    judged.write_json("manifest.json", judged.read_json("manifest.json") | {"made_from": made_from})
    lines = shown(layout, "M2/p000000").splitlines()
    assert "    model: M1, RUN/M1/model, fingerprint 0123456789ab" in lines
    recipe = next(line for line in lines if "judge.verdicts" in line)
    assert re.fullmatch(
        r" +recipe: judge.verdicts=7, rubric.text=long [long ]+… .*, seed=0; all else are defaults", recipe
    )
    judged.write_json("manifest.json", judged.read_json("manifest.json") | {"made_from": {}, "versions": {}})
    text = shown(layout, "M2/p000000")
    assert "recipe: not recorded by the version that made it\n    versions: not recorded\n" in text


def test_ids_of_seed_data_and_of_held_out_sets_are_found_in_every_step(tmp_path: Path):
    layout = write_run(tmp_path)
    seed = Step("seed", layout.seed().uri, {}, {})
    ranked = RankedSet("set/1", "Why?", (RankedReply("set/1/r0", "So.", 0), RankedReply("set/1/r1", "No.", 1)))
    seed.write([ranked], RankedSet, "eft")
    seed.write([SftExample(f"set/{n}/r0/ift", "ift", "Why?", "So.") for n in (1, 10)], SftExample)
    text = shown(layout, "set/1")
    assert "M1 · seed data: RUN/M1/seed/eft\nset/1\n" in text
    assert "M1 · seed data: RUN/M1/seed/rows\nset/1/r0/ift\n" in text
    assert "  trained on: set/1/r0/ift\n" in text
    assert "set/10" not in text
    assert "RUN/M1/seed/eft\nset/1\n" in shown(layout, "set/1/r1")
    write_part(layout.training(1), "dropped", [Dropped("set/1/r0/ift", "sft", "too long")], Dropped, "seed-000000")
    text = shown(layout, "set/1")
    assert "trained on" not in text
    assert "reason: too long" in text
    held_out = shown(layout, "h3/answer")
    for t in (1, 2, 3):
        assert f"M{t} · evaluate: RUN/M{t}/evaluation/rows\n  by M{t}, RUN/M{t}/model\nh3\n" in held_out
    assert "M3 · against M1: RUN/M3/against-M1/rows\nh3\n" in held_out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("M2/p000777", "there is no prompt M2/p000777; `selfreward rows RUN/M2/prompts` prints those that are"),
        ("M2/q000001", "there is no prompt M2/q000001; "),
        ("M2/p000000/r9", "RUN has no M2/p000000/r9; of M2/p000000 it has M2/p000000/r0, "),
        ("M2/p000000/r0/v9", "RUN has no M2/p000000/r0/v9; of M2/p000000 it has "),
        ("M2/p000000/pair-r0-r1", "RUN has no M2/p000000/pair-r0-r1; "),
        ("M7/p000000", "RUN has no M7/p000000: prompts are made for M2 to M3"),
        ("M1/p000000", "RUN has no M1/p000000: prompts are made for M2 to M3"),
        ("M2/pairs", "RUN has nothing with the id M2/pairs; ids are such as M2, "),
        ("", "RUN has nothing with the id ; "),
        ("it1/p000017", "RUN has nothing with the id it1/p000017; "),
    ],
)
def test_an_unknown_id_is_told_with_those_that_there_are(run: RunLayout, name: str, said: str):
    assert said in error(run, name)


def test_a_damaged_table_is_named(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    (path, *_) = sorted((tmp_path / "M2" / "judged" / "rows").iterdir())
    path.write_bytes(path.read_bytes()[:-20])
    assert re.search(
        rf"{path.name} is damaged .*; put back a copy of the file, or remove RUN/M2/judged", error(layout, "M2/p000000")
    )


def proposed(folder: Path) -> tuple[RunLayout, dict[str, str]]:
    """A run whose M0 has proposed prompts of M2, in several rounds, and what each request showed."""
    recipe = RECIPE.model_copy(
        update={
            "iterations": 1,
            "prompts": RECIPE.prompts.model_copy(
                update={
                    "count": 6,
                    "requests_per_round": 4,
                    "seed_demonstrations": 3,
                    "max_rouge_l": 1.0,
                    "max_requests": 40,
                }
            ),
        }
    )
    layout, asked = RunLayout(str(folder)), {}
    claim_run(layout.root, recipe)
    seeds = [SftExample(f"s{i}/ift", "ift", f"Tell me about the number {i} in detail.", "…") for i in range(7)]
    finish("seed", layout.seed(), seeds, SftExample)

    def answer(text: str, row: str) -> str:
        asked[row] = text
        return "no" if row.endswith(("1", "6")) else f"Name the rivers of the land {row.replace('/', ' ')} by length."

    with Proposer(recipe, open_rounds=ScriptedRounds(ScriptedModel(answer))) as proposer:
        propose(recipe, seed_data=layout.seed().uri, iteration=1, out=layout.prompts(2).uri, proposer=proposer)
    return layout, asked


def test_the_demonstrations_of_a_proposal_are_those_that_its_request_showed(tmp_path: Path):
    layout, asked = proposed(tmp_path)
    recipe = layout.recipe()
    (step,) = (step for step in plan(recipe, layout) if step.name == "propose")
    assert len(asked) == 8
    for name, text in asked.items():
        assert demonstration_prompt([shown for _, shown in demonstrations_of(name, recipe, step) or []]) == text
    later = demonstrations_of("M2/q000005", recipe, step) or []
    assert {name[:3] for name, _ in later} == {"M2/", *(name[:3] for name, _ in later if name[0] == "s")}
    text = shown(layout, "M2/q000005")
    assert "  proposed by m0, request 5 of its iteration\n" in text
    assert all(f"    {name}  {demonstration}\n" in text for name, demonstration in later)
    refused = shown(layout, "M2/q000006")
    assert refused.startswith("M2/q000006: a prompt\n    no\n")
    assert "M2/q000006 was dropped by propose: " in refused
    layout.prompts(2).remove("manifest.json")
    assert "can be told once the step is finished" in shown(layout, "M2/q000005")


def test_the_command(run: RunLayout):
    done = CliRunner().invoke(app, ["show", run.uri, "M2/p000000/r0"])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"M2/p000000/r0: a reply by M1, {run.uri}/M1/model")
    refused = CliRunner().invoke(app, ["show", run.uri, "zzz"])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    inside = CliRunner().invoke(app, ["show", f"{run.uri}/M2", "M2"])
    assert f"the run's folder is {run.uri}" in inside.stderr
