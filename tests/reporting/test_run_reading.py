"""What is read from the folder of a run; `reported_run` writes one."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reported_run import RECIPE, finish, with_policy, write_run, write_training

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, JudgedPrompt, Pair, Positive, Prompt, Turn
from selfreward_ray.reporting.drawings import training_drawings
from selfreward_ray.reporting.judged import ShownPrompt
from selfreward_ray.reporting.reading import read_evaluated, read_iteration, read_model, read_training, rubric_scale
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows
from selfreward_ray.tracking.json_lines import JsonLines
from selfreward_ray.tracking.tracker import TrackedRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    return write_run(tmp_path_factory.mktemp("run"), thought="Let me see.")


def prompts(layout: RunLayout, recipe: Recipe = RECIPE, t: int = 2) -> dict[str, ShownPrompt]:
    return {prompt.id: prompt for prompt in read_iteration(layout, recipe, t)}


def test_every_prompt_of_an_iteration_is_there_once_with_its_lineage(run: RunLayout):
    found = prompts(run)
    assert list(found) == sorted(found)
    assert set(found) == {prompt.id for prompt in read_rows(run.prompts(2), Prompt)}
    for judged in read_rows(run.judged(2), JudgedPrompt):
        shown = found[judged.id]
        assert shown.text == judged.text
        assert [(r.id, r.text, r.mean, r.finished) for r in shown.replies] == [
            (c.id, c.text, c.mean, c.finished) for c in judged.candidates
        ]
        assert [r.verdicts for r in shown.replies] == [
            tuple((v.score, v.text, v.thought) for v in c.verdicts) for c in judged.candidates
        ]
        assert {(r.thought, r.thought_tokens) for r in shown.replies} == {("Let me see.", 3)}


def test_pairs_have_their_roles_and_margins_and_the_others_their_reasons(run: RunLayout):
    found = prompts(run)
    pairs = read_rows(run.pairs(2), Pair)
    assert len(pairs) > 10
    for pair in pairs:
        shown = found[pair.id.removesuffix("/pair")]
        assert (shown.outcome, shown.best.id, shown.worst.id) == ("pair", pair.chosen.id, pair.rejected.id)
        assert shown.margin == pair.chosen.mean - pair.rejected.mean
        assert Counter(r.role for r in shown.replies) == {"chosen": 1, "rejected": 1, "": 1}
    dropped = read_rows(run.pairs(2), Dropped, "dropped")
    assert dropped
    for row in dropped:
        assert (found[row.id].outcome, found[row.id].margin) == (row.reason, None)
    (late,) = read_rows(run.judged(2), Dropped, "dropped")
    assert (found[late.id].outcome, found[late.id].replies) == ("the prompt is too long", ())
    assert found[late.id].text.startswith("Say something about")


def test_several_pairs_of_a_prompt_are_one_prompt(tmp_path: Path):
    recipe = with_policy("all-pairs")
    layout = write_run(tmp_path, recipe, until=2)
    pairs = Counter(pair.id.rpartition("/")[0] for pair in read_rows(layout.pairs(2), Pair))
    assert max(pairs.values()) > 1
    found = prompts(layout, recipe)
    assert {name for name, prompt in found.items() if prompt.outcome == "pair"} == set(pairs)
    for pair in read_rows(layout.pairs(2), Pair):
        margin = found[pair.id.rpartition("/")[0]].margin
        assert margin is not None
        assert margin >= pair.chosen.mean - pair.rejected.mean
    assert "chosen and rejected" in {reply.role for prompt in found.values() for reply in prompt.replies}


def test_positive_replies_have_no_margin(tmp_path: Path):
    recipe = with_policy("positive-only", Recipe.model_validate({**RECIPE.model_dump(), "pairs": {"positive_mean": 4}}))
    layout = write_run(tmp_path, recipe, until=2)
    positive = {row.id for row in read_rows(layout.pairs(2), Positive)}
    found = prompts(layout, recipe)
    assert positive
    assert {r.id for p in found.values() for r in p.replies if r.role == "trained on"} == positive
    assert {p.outcome for p in found.values() if p.replies and any(r.role for r in p.replies)} == {"trained on by SFT"}
    assert all(prompt.margin is None for prompt in found.values())


def test_prompts_that_are_not_paired_yet_say_so_and_those_not_judged_are_not_there(run: RunLayout, tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    Path(layout.pairs(2).uri, "manifest.json").unlink()
    assert Counter(p.outcome for p in prompts(layout).values()) == {
        "pairs are not made yet": len(read_rows(layout.judged(2), JudgedPrompt)),
        "the prompt is too long": 1,
    }
    assert prompts(layout, t=3) == {}


def test_a_model_has_the_figures_of_its_evaluation(run: RunLayout):
    first, second = read_model(run, 1), read_model(run, 2)
    assert first is not None
    assert second is not None
    assert first.pairs is None
    assert second.pairs == len(read_rows(run.pairs(2), Pair))
    assert first.score == pytest.approx(35, abs=5)
    assert (second.score_low, second.score_high) == (pytest.approx(65, abs=6), pytest.approx(67, abs=6))
    assert first.verdicts == 36
    assert read_model(run, 4) is None


def test_an_evaluation_is_read_by_prompts(run: RunLayout):
    found = read_evaluated(run, 3)
    assert found is not None
    assert set(found.scores) == {f"h{number}/answer" for number in range(12)}
    assert set(found.spearmans) == set(found.ranked) == {f"h{number}" for number in range(12)}
    assert all(pairs == 3 for _, pairs in found.ranked.values())
    assert read_evaluated(run, 4) is None


def test_a_log_is_read_as_far_as_it_is_written(tmp_path: Path):
    made = RunLayout(str(tmp_path)).model_layout(2)
    assert read_training("M2 · DPO", "M2/dpo", made, str(tmp_path)) is None
    write_training(made, dpo=True, steps=6)
    found = read_training("M2 · DPO", "M2/dpo", made, str(tmp_path))
    assert found is not None
    assert (found.steps, found.skipped, found.finished) == (6, (4,), True)
    assert [step for step, _ in found.curves["loss"]] == [1, 2, 3, 5, 6]
    assert found.curves["learning_rate"][0] == (1, 1e-6)
    assert not {"step", "skipped"} & found.curves.keys()
    assert found.left_out == ""
    log = made.training.read_bytes("steps.jsonl")
    made.training.write_bytes("steps.jsonl", log.replace(b'"loss": 2.0', b'"loss": NaN') + b'{"step": 6, "lo')
    Path(made.training.uri, "manifest.json").unlink()
    found = read_training("M2 · DPO", "M2/dpo", made, str(tmp_path))
    assert found is not None
    assert (found.steps, found.finished) == (6, False)
    assert [step for step, _ in found.curves["loss"]] == [2, 3, 5, 6]


def test_a_training_says_how_many_thoughts_it_left_out(tmp_path: Path):
    made = RunLayout(str(tmp_path)).model_layout(2)
    write_training(made, dpo=True, left_out_thoughts={"there is no place": 3, "off": 1})
    found = read_training("M2 · DPO", "M2/dpo", made, str(tmp_path))
    assert found is not None
    assert found.left_out == "3 thoughts are not trained: there is no place. 1 thought is not trained: off."
    _, note, _ = training_drawings(found)
    assert note.endswith(f" {found.left_out}")


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([None] * 5, ""),
        ([3] * 5, ""),
        ([3, 3, 2, 2, 3], "Trained by 3 workers; from step 3 on 2; from step 5 on 3."),
        ([None, None, 1, 1, 2], "Trained by 1 workers; from step 5 on 2."),
    ],
)
def test_a_training_says_when_workers_were_lost_and_came_back(workers: list[int | None], said: str, tmp_path: Path):
    made = RunLayout(str(tmp_path)).model_layout(2)
    write_training(made, dpo=True, steps=5)
    rows = [json.loads(line) for line in made.training.read_bytes("steps.jsonl").splitlines()]
    rows = [row | ({} if count is None else {"workers": count}) for row, count in zip(rows, workers, strict=True)]
    made.training.write_bytes("steps.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    found = read_training("M2 · DPO", "M2/dpo", made, str(tmp_path))
    assert found is not None
    assert found.workers == said
    _, note, _ = training_drawings(found)
    assert note.endswith(said or "finite.")


def test_a_training_under_way_has_the_curves_of_its_live_metrics(tmp_path: Path):
    """It was interrupted after step 4, and goes on from the checkpoint at step 2."""
    layout = RunLayout(str(tmp_path))
    made = layout.model_layout(2)
    for losses, first in (([4.0, 3.0, 9.0, 9.0], 1), ([2.0], 3)):
        tracker = JsonLines(TrackedRun(layout.uri, "1", "toy", "p", {}))
        for step, loss in enumerate(losses, start=first):
            tracker.metrics("M1/sft", {"loss": 7.0}, step, 0.0)
            tracker.metrics("M2/dpo", {"loss": loss, "skipped": float(step == 2)}, step, 0.0)
        tracker.close()
    read = partial(read_training, "M2 · DPO", "M2/dpo", made, layout.uri)
    assert read() is None, "of a training that is not begun, or whose folder was removed"
    Step("dpo", made.training.uri, {}, {}).is_done()
    found = read()
    assert found is not None
    assert (found.steps, found.finished, found.skipped) == (3, False, (2,))
    assert found.curves == {"loss": ((1, 4.0), (2, 3.0), (3, 2.0))}


def test_the_scale_is_the_rubrics(tmp_path: Path):
    assert rubric_scale(RECIPE) == (0, 5)
    elsewhere = RECIPE.model_copy(update={"judge": RECIPE.judge.model_copy(update={"rubric": "/elsewhere/mine.yaml"})})
    assert rubric_scale(elsewhere) is None


def test_a_prompt_is_shown_with_the_messages_before_it_if_there_are_any(tmp_path: Path):
    """Also one that was dropped before it was judged. Tables of earlier versions have no such column."""
    layout = RunLayout(str(tmp_path))
    before = (Turn("system", "Answer in French."),)
    asked = [Prompt("M2/p0", "Why?", before), Prompt("d0", "Too odd?", before), Prompt("M2/p1", "How?")]
    finish("propose", layout.prompts(2), asked, Prompt)
    judged = [JudgedPrompt(p.id, p.text, (1,), (), p.history) for p in asked if p.id != "d0"]
    finish("respond", layout.judged(2), judged, JudgedPrompt, dropped=1)
    shown = "System: Answer in French.\n\nUser: "
    assert {p.id: p.text for p in read_iteration(layout, RECIPE, 2)} == {
        "M2/p0": f"{shown}Why?", "M2/p1": "How?", "d0": f"{shown}Too odd?",
    }  # fmt: skip
    for folder in (layout.prompts(2), layout.judged(2)):
        old = Path(folder.uri, "rows", "part-0.parquet")
        pq.write_table(pq.read_table(old).drop_columns(["history"]), old)
    assert {p.text for p in read_iteration(layout, RECIPE, 2)} == {"Why?", "How?", "Too odd?"}


def test_a_run_without_judged_prompts_has_none(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    finish("propose", layout.prompts(2), [Prompt("p", "t")], Prompt)
    assert list(read_iteration(layout, RECIPE, 2)) == []
