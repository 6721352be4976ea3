"""Head-to-head comparison of two sets of replies."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted_model import ScriptedPools

from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.outcomes import win_rate_interval
from selfreward_ray.judging.head_to_head import ALONE, TOO_FEW_VERDICTS, TWICE
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Comparison, Dropped, EvaluatedReply, EvaluatedSet, JudgedPrompt, Prompt
from selfreward_ray.steps.compare import compare
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

VALUES: dict[str, Any] = {
    "model": "m0",
    "judge": {"verdicts": 2, "min_valid": 2, "retries": 0},
    "inference": {"rows_per_block": 2},
}
RECIPE = Recipe.model_validate(VALUES)
MARKS = {"good": 2, "also good": 2, "fair": 1, "bad": 0}


def choice(text: str, row: str) -> str:
    """Prefers the reply with the better mark, and the first one of equal marks; does not judge a riddle."""
    first, second = (text.split(f"<{name}_reply>\n")[1].split("\n")[0] for name in ("first", "second"))
    if "riddle" in (first, second):
        return "Hm."
    return "Better: first" if MARKS[first] >= MARKS[second] else "Better: second"


@pytest.fixture
def pool() -> ScriptedPools:
    return ScriptedPools(choice)


def file(path: Path, *replies: tuple[str, str]) -> str:
    path.write_text("".join(json.dumps({"prompt": prompt, "reply": reply}) + "\n" for prompt, reply in replies))
    return str(path)


def step(folder: Path, name: str, rows: list[Any]) -> str:
    made = Step(name, str(folder), {}, {})
    made.is_done()
    made.write(rows, type(rows[0]))
    made.finish(offered=len(rows))
    return str(folder)


def answers(folder: Path, *replies: tuple[str, str]) -> str:
    sets = [EvaluatedSet(f"s{i}", EvaluatedReply(f"s{i}/answer", *r, True), ()) for i, r in enumerate(replies)]
    return step(folder, "evaluate", sets)


def candidates(folder: Path, name: str, *replies: tuple[str, str]) -> str:
    """Each reply is the first of two."""
    rows = [
        JudgedPrompt(
            f"p{i}", prompt, (1,), (Candidate(f"p{i}/r0", text, (2,), True), Candidate(f"p{i}/r1", "worse", (3,), True))
        )
        for i, (prompt, text) in enumerate(replies)
    ]
    return step(folder, name, rows)


LEFT = [("a?", "good"), ("b?", "bad"), ("c?", "good"), ("d?", "riddle"), ("e?", "good"), ("a?", "bad")]
RIGHT = [("c?", "also good"), ("b?", "fair"), ("a?", "fair"), ("d?", "good"), ("f?", "bad")]


def test_wins_ties_and_what_could_not_be_compared_are_counted(tmp_path: Path, pool: ScriptedPools):
    """Left wins a, right wins b; of c the order decides; d cannot be judged; e and f stand alone, a second a too."""
    model, out = pool(), str(tmp_path / "out")
    manifest = pool.run(
        compare(RECIPE, model="judge", left=file(tmp_path / "l", *LEFT), right=file(tmp_path / "r", *RIGHT), out=out)
    )
    assert manifest.metrics["outcomes"] == {
        "left": 1, "right": 1, "ties": 1, "first_in_both": 1, "second_in_both": 0,
        "left_win_rate": 0.5, "left_win_interval": win_rate_interval([1, 0, 0.5]),
        "length_controlled_win_rate": None, "length_controlled_interval": None,
    }  # fmt: skip
    made = {c.pair.prompt: c for c in read_rows(Folder(out), Comparison)}
    assert {prompt: c.preferred for prompt, c in made.items()} == {"a?": "left", "b?": "right", "c?": "first"}
    assert (made["b?"].pair.left.id, made["b?"].pair.right.id) == ("given/p000001/r0", "given/p000001/r0")
    assert {(d.id, d.reason) for d in read_rows(Folder(out), Dropped, "dropped")} == {
        ("left/given/p000003/r0", TOO_FEW_VERDICTS),
        ("left/given/p000004/r0", ALONE["left"]),
        ("left/given/p000005/r0", TWICE["left"]),
        ("right/given/p000004/r0", ALONE["right"]),
    }
    assert (manifest.step, manifest.rows) == ("compare", {"offered": 4, "rows": 3})
    assert len(model.asked) == 4 * 2 * 2


@pytest.mark.parametrize("name", ["evaluate", "sample", "respond", "judge"])
def test_a_side_may_be_a_step(tmp_path: Path, pool: ScriptedPools, name: str):
    pool()
    replies = [("a?", "good"), ("b?", "bad")]
    left = answers(tmp_path / "l", *replies) if name == "evaluate" else candidates(tmp_path / "l", name, *replies)
    right, out = file(tmp_path / "r", ("a?", "fair"), ("b?", "fair")), str(tmp_path / "out")
    pool.run(compare(RECIPE, model="judge", left=left, right=right, out=out))
    made = sorted(read_rows(Folder(out), Comparison), key=lambda c: c.id)
    first = "s0/answer" if name == "evaluate" else "p0/r0"
    assert [(c.pair.prompt, c.pair.left.text, c.preferred) for c in made] == [
        ("a?", "good", "left"),
        ("b?", "bad", "right"),
    ]
    assert (made[0].id, made[0].pair.left.id) == (f"left/{first}", first)


def test_an_interrupted_comparison_goes_on_and_a_finished_one_is_not_done_again(tmp_path: Path, pool: ScriptedPools):
    left, right = file(tmp_path / "l", *LEFT), file(tmp_path / "r", *RIGHT)
    first = pool(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        pool.run(compare(RECIPE, model="judge", left=left, right=right, out=str(tmp_path / "out")))
    second = pool()
    manifest = pool.run(compare(RECIPE, model="judge", left=left, right=right, out=str(tmp_path / "out")))
    assert len(first.asked) == len(second.asked) == 2 * 2 * 2
    assert not set(first.asked) & set(second.asked)
    assert (manifest.rows, sum(manifest.dropped.values())) == ({"offered": 4, "rows": 3}, 4)
    third = pool()
    assert pool.run(compare(RECIPE, model="judge", left=left, right=right, out=str(tmp_path / "out"))) == manifest
    assert third.asked == []


def test_sides_without_a_common_prompt_start_no_engine(tmp_path: Path, pool: ScriptedPools):
    model = pool()
    left, right = file(tmp_path / "l", ("a?", "good"), ("c?", "good")), file(tmp_path / "r", ("b?", "good"))
    with pytest.raises(UserError, match="compare: every row failed, most often with: its prompt has a reply on"):
        pool.run(compare(RECIPE, model="judge", left=left, right=right, out=str(tmp_path / "out")))
    assert model.asked == []


def test_other_folders_and_files_are_refused_as_sides(tmp_path: Path, pool: ScriptedPools):
    pool()
    good, prompts = file(tmp_path / "l", ("a?", "good")), step(tmp_path / "p", "propose", [Prompt("p", "a?")])
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="holds a 'propose' step, but an 'evaluate', 'sample', 'respond' or 'judge'"):
        pool.run(compare(RECIPE, model="judge", left=prompts, right=good, out=out))
    run, evaluated = tmp_path / "run", [EvaluatedSet("s", EvaluatedReply("s/answer", "a?", "So.", True), ())]
    (run / "M1").mkdir(parents=True)
    (run / "recipe.yaml").write_text("model: m0")
    finished = Step("evaluate", str(run / "M2" / "evaluation"), {}, {})
    finished.is_done()
    finished.write(evaluated, EvaluatedSet)
    finished.finish(offered=1)
    for model in (run / "M1" / "model", run / "M2" / "model"):
        model.mkdir()
        (model / "config.json").write_text("{}")
    answers = re.escape(str(run / "M2" / "evaluation"))
    for wrong, message in (
        (run / "M2", f"M2 is the folder of a run's model, not its replies; .*: {answers}"),
        (f"{run}/M2/", f"M2/ is the folder of a run's model, not its replies; .*: {answers}"),
        (run / "M2" / "model", f"M2/model is a model, not its replies; .*: {answers}"),
        (run / "M1" / "model", "M1/model is a model, not its replies; make some with selfreward sample or evaluate"),
        (run, "run is a run; name the answers of one of its models: .*/run/M1/evaluation"),
    ):
        with pytest.raises(UserError, match=f"^--left: .*{message}"):
            pool.run(compare(RECIPE, model="judge", left=str(wrong), right=good, out=out))
    with pytest.raises(UserError, match="--right: cannot read .*/no.jsonl: there is no such file"):
        pool.run(compare(RECIPE, model="judge", left=good, right=str(tmp_path / "no.jsonl"), out=out))


def test_an_evaluation_of_an_earlier_version_is_said_to_be_one(tmp_path: Path):
    """Its judged replies had one verdict, in a field `verdict`."""
    made = Step("evaluate", str(tmp_path / "old"), {}, {})
    made.is_done()
    verdict = {"id": "v", "text": "Score: 3", "score": 3.0, "attempts": 1}
    judged = {"id": "r", "set_id": "s", "rank": 0.0, "human_score": None, "verdict": verdict}
    answer = {"id": "s/answer", "prompt": "a?", "text": "good", "finished": True}
    made.folder.write_bytes("started.json", b'""')
    (tmp_path / "old" / "rows").mkdir()
    row = {"id": "s", "answer": answer, "judged": [judged], "group": ""}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "old" / "rows" / "part-0.parquet")
    made.finish(offered=1)
    right = file(tmp_path / "r", ("a?", "good"))
    with pytest.raises(
        UserError, match=r"part-0.parquet: its rows are no EvaluatedSet .*verdicts.* make that step again"
    ):
        compare(RECIPE, model="judge", left=str(tmp_path / "old"), right=right, out=str(tmp_path / "out"))


def test_rows_of_a_side_that_cannot_be_used_are_dropped_with_their_side(tmp_path: Path, pool: ScriptedPools):
    pool()
    replies = [(f"{n}?", "good") for n in range(10)]
    left, right, out = file(tmp_path / "l", *replies), file(tmp_path / "r", *replies), str(tmp_path / "out")
    with Path(right).open("a") as more:
        more.write('{"prompt": "9?", "reply": null}\n')
    manifest = pool.run(compare(RECIPE, model="judge", left=left, right=right, out=out))
    assert manifest.rows == {"offered": 10, "rows": 10}
    assert read_rows(Folder(out), Dropped, "dropped") == [Dropped(f"right/{right}:11", "compare", "it has no reply")]


def test_the_outputs_of_alpaca_eval_are_sides_as_they_are(tmp_path: Path, pool: ScriptedPools):
    pool()
    for side, mark in (("l", "good"), ("r", "bad")):
        rows = [{"dataset": "d", "instruction": "a?", "output": mark, "generator": side}]
        (tmp_path / f"{side}.json").write_text(json.dumps(rows))
    sides = {"left": str(tmp_path / "l.json"), "right": str(tmp_path / "r.json")}
    manifest = pool.run(compare(RECIPE, model="judge", **sides, out=str(tmp_path / "out")))
    assert manifest.metrics["outcomes"]["left"] == 1


def test_a_comparison_says_what_was_compared(tmp_path: Path, pool: ScriptedPools, monkeypatch: pytest.MonkeyPatch):
    """A local side by its absolute path, so that a report in another folder can name it."""
    pool()
    monkeypatch.chdir(tmp_path)
    file(tmp_path / "l", ("a?", "good"))
    manifest = pool.run(compare(RECIPE, model="judge", left="l", right=f"{tmp_path}/l", out="out"))
    assert (manifest.metrics["left"], manifest.metrics["right"]) == (f"{tmp_path}/l", f"{tmp_path}/l")
    assert manifest.metrics["model"] == "judge"


@pytest.mark.parametrize("out", ["comparisons", "comparisons/", "comparisons/a/b"])
def test_a_comparison_of_a_run_has_a_name_under_which_its_report_finds_it(tmp_path: Path, out: str):
    """It is paid for, and would never be shown."""
    (tmp_path / "recipe.yaml").write_text("model: m0\n")
    with pytest.raises(UserError, match=r"shows only comparisons in .*/comparisons/NAME"):
        compare(RECIPE, model="judge", left="l", right="r", out=f"{tmp_path}/{out}")


def test_a_rubric_of_one_reply_can_not_compare(tmp_path: Path):
    recipe = Recipe.model_validate(VALUES | {"judge": {"pairwise_rubric": "checklist"}})
    with pytest.raises(UserError, match="rubric checklist has the placeholders {reply}; a rubric with {first}"):
        compare(recipe, model="judge", left="l", right="r", out=str(tmp_path / "out"))


def test_only_the_rubric_that_is_read_decides_whether_it_is_the_same_step(tmp_path: Path, pool: ScriptedPools):
    pool()
    side, out = file(tmp_path / "l", ("a?", "good")), str(tmp_path / "out")
    manifest = pool.run(compare(RECIPE, model="judge", left=side, right=side, out=out))
    other = Recipe.model_validate(VALUES | {"judge": VALUES["judge"] | {"rubric": "checklist"}})
    assert pool.run(compare(other, model="judge", left=side, right=side, out=out)) == manifest
