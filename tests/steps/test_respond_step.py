from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, pool_of, run_on

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, JudgedPrompt, Prompt
from selfreward_ray.steps.respond import respond
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

PROMPTS = [Prompt(f"M2/p{i:06d}", f"Prompt {i}?") for i in range(5)]
VALUES: dict[str, Any] = {
    "model": "m0",
    "respond": {"candidates": 2},
    "judge": {"rubric": "checklist", "verdicts": 1, "min_valid": 1, "retries": 0},
    "inference": {"rows_per_block": 2},
}


def answer(text: str, row: str) -> Any:
    if row.startswith("M2/p000003/r1"):
        return ValueError("refused by the engine")
    return "Score: 4" if "/v" in row else f"reply {row[-1]}"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    offered = Step("propose", str(tmp_path / "prompts"), {}, {})
    offered.is_done()
    offered.write(PROMPTS, Prompt)
    offered.finish(offered=5)

    def step(model: ScriptedModel, values: dict[str, Any] = VALUES, stop_after: int | None = None) -> Any:
        recipe, prompts, out = Recipe.model_validate(values), str(tmp_path / "prompts"), str(tmp_path / "out")
        manifest = run_on(pool_of(model, stop_after), respond(recipe, model="m1", prompts=prompts, out=out))
        return manifest, read_rows(Folder(out), JudgedPrompt), read_rows(Folder(out), Dropped, "dropped")

    return step


def prompts_asked(model: ScriptedModel) -> set[str]:
    return {row[: len("M2/p000000")] for row in model.asked}


def test_every_prompt_is_judged_or_dropped_with_its_error(run: Any):
    manifest, rows, dropped = run(ScriptedModel(answer))
    assert {r.id for r in rows} == {p.id for p in PROMPTS} - {"M2/p000003"}
    assert {c.mean for r in rows for c in r.candidates} == {4.0}
    assert dropped == [Dropped("M2/p000003", "respond", "ValueError: refused by the engine")]
    assert (manifest.rows, sum(manifest.dropped.values())) == ({"rows": 4}, 1)


def test_tokens_are_counted(run: Any):
    """A token is a byte: 4 rows of 2 replies (7) and 2 verdicts (8), and the dropped row before its error."""
    manifest, _, _ = run(ScriptedModel(answer))
    assert 4 * 2 * (7 + 8) <= manifest.tokens <= 4 * 2 * (7 + 8) + 7 + 8
    assert manifest.metrics["generated_tokens"] == manifest.tokens


def test_an_interrupted_step_goes_on_with_the_rows_that_are_not_finished(run: Any, tmp_path: Path):
    first, second, third = ScriptedModel(answer), ScriptedModel(answer), ScriptedModel(answer)
    with pytest.raises(KeyboardInterrupt):
        run(first, stop_after=2)
    assert prompts_asked(first) == {p.id for p in PROMPTS[:4]}
    assert read_manifest(Folder(str(tmp_path / "out"))) is None
    manifest, rows, dropped = run(second)
    assert prompts_asked(second) == {PROMPTS[4].id}
    assert (len(rows), [d.id for d in dropped]) == (4, ["M2/p000003"])
    assert run(third)[0] == manifest
    assert third.asked == []


def test_another_judge_refuses_the_finished_step_and_begins_an_unfinished_one_anew(run: Any):
    other = VALUES | {"judge": VALUES["judge"] | {"verdicts": 2}}
    with pytest.raises(KeyboardInterrupt):
        run(ScriptedModel(answer), stop_after=2)
    _, rows, _ = run(ScriptedModel(answer), other)
    assert {len(c.verdicts) for r in rows for c in r.candidates} == {2}
    with pytest.raises(UserError, match="made from another recipe"):
        run(ScriptedModel(answer))


def test_a_rubric_that_the_step_does_not_read_is_no_part_of_it(run: Any):
    manifest, _, _ = run(ScriptedModel(answer))
    again = ScriptedModel(answer)
    assert run(again, VALUES | {"judge": VALUES["judge"] | {"pairwise_rubric": "mine.yaml"}})[0] == manifest
    assert again.asked == []


def test_another_pool_may_finish_the_step(run: Any):
    """The number of rows per block does not affect the rows."""
    with pytest.raises(KeyboardInterrupt):
        run(ScriptedModel(answer), stop_after=1)
    again = ScriptedModel(answer)
    _, rows, _ = run(again, VALUES | {"inference": {"rows_per_block": 3}})
    assert len(rows) == 4
    assert prompts_asked(again) == {p.id for p in PROMPTS[2:]}


def test_a_step_whose_every_row_failed_is_not_finished_and_can_be_done_again(run: Any):
    def refused(text: str, row: str) -> Any:
        return ValueError("context of 16 exceeded")

    with pytest.raises(UserError, match="every row failed, most often with: ValueError: context of 16 exceeded"):
        run(ScriptedModel(refused))
    manifest, rows, dropped = run(ScriptedModel(answer))
    assert (len(rows), len(dropped)) == (4, 1)
    assert manifest.rows == {"rows": 4}


def test_no_engine_is_started_when_every_row_is_there(run: Any, tmp_path: Path):
    run(ScriptedModel(answer))
    (tmp_path / "out" / "manifest.json").unlink()
    again = ScriptedModel(answer)
    manifest, _, _ = run(again)
    assert again.asked == []
    assert manifest.rows == {"rows": 4}
