"""Sampling and judging as separate steps, with replies of a step or of a file."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted_model import ScriptedPools

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Prompt
from selfreward_ray.steps import given
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.sample import sample
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows, write_part

PROMPTS = [Prompt(f"M2/p{i:06d}", f"Prompt {i}?") for i in range(3)]
VALUES: dict[str, Any] = {
    "model": "m0",
    "respond": {"candidates": 2},
    "judge": {"rubric": "checklist", "verdicts": 2, "min_valid": 1, "retries": 0},
    "inference": {"rows_per_block": 2},
}
RECIPE = Recipe.model_validate(VALUES)


def answer(text: str, row: str) -> str:
    return f"Score: {row[-4]}" if "/v" in row else f"reply {row[-1]}"


@pytest.fixture
def pool() -> ScriptedPools:
    return ScriptedPools(answer)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    step = Step("propose", str(tmp_path / "prompts"), {}, {})
    step.is_done()
    step.write(PROMPTS, Prompt)
    step.finish(offered=3)
    return step.folder.uri


def rows(out: Path, table: str = "rows") -> list[JudgedPrompt]:
    return sorted(read_rows(Folder(str(out)), JudgedPrompt, table), key=lambda row: row.id)


def test_sample_then_judge_makes_the_rows_of_respond(tmp_path: Path, pool: ScriptedPools, prompts: str):
    sampling, sampled = pool(), str(tmp_path / "sampled")
    manifest = pool.run(sample(RECIPE, model="m1", prompts=prompts, out=sampled))
    assert (manifest.step, manifest.rows) == ("sample", {"rows": 3})
    assert sorted(sampling.asked) == [f"{p.id}/r{i}" for p in PROMPTS for i in (0, 1)]
    judging = pool()
    manifest = pool.run(judge(RECIPE, model="m2", replies=sampled, out=str(tmp_path / "judged")))
    assert (manifest.step, manifest.rows) == ("judge", {"rows": 3})
    assert len(judging.asked) == 3 * 2 * 2
    pool()
    pool.run(respond(RECIPE, model="m1", prompts=prompts, out=str(tmp_path / "at-once")))
    assert rows(tmp_path / "judged") == rows(tmp_path / "at-once")
    assert {c.mean for row in rows(tmp_path / "judged") for c in row.candidates} == {0.5}


def test_another_number_of_candidates_is_another_sample_step_and_another_judge_is_not(
    tmp_path: Path, pool: ScriptedPools, prompts: str
):
    pool()
    out = str(tmp_path / "sampled")
    manifest = pool.run(sample(RECIPE, model="m1", prompts=prompts, out=out))
    other = Recipe.model_validate(VALUES | {"judge": {"verdicts": 5}})
    assert pool.run(sample(other, model="m1", prompts=prompts, out=out)) == manifest
    with pytest.raises(UserError, match="made from another recipe"):
        pool.run(
            sample(Recipe.model_validate(VALUES | {"respond": {"candidates": 3}}), model="m1", prompts=prompts, out=out)
        )


@pytest.mark.parametrize("name", ["respond", "judge"])
def test_replies_that_were_judged_are_judged_anew(tmp_path: Path, pool: ScriptedPools, prompts: str, name: str):
    pool()
    source = str(tmp_path / "before")
    pool.run(respond(RECIPE, model="m1", prompts=prompts, out=source))
    if name == "judge":
        pool.run(judge(RECIPE, model="m1", replies=source, out=str(tmp_path / "between")))
        source = str(tmp_path / "between")
    again = Recipe.model_validate(VALUES | {"judge": VALUES["judge"] | {"verdicts": 3}})
    pool.run(judge(again, model="m1", replies=source, out=str(tmp_path / "out")))
    assert {c.mean for row in rows(tmp_path / "out") for c in row.candidates} == {1.0}  # of 0, 1 and 2


GIVEN = [
    {"prompt": "Why?", "reply": "So.", "source": "mine"},
    {"prompt": "Why?", "reply": ""},
    {"prompt": "How?", "replies": ["Thus.", "Thus."]},
]


def offered(number: int, prompt: str, *texts: str) -> JudgedPrompt:
    name = f"given/p{number:06d}"
    return JudgedPrompt(name, prompt, (), tuple(Candidate(f"{name}/r{i}", t, (), True) for i, t in enumerate(texts)))


def lines(*given: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in given)


def write(folder: Path, form: str) -> str:
    """GIVEN in a file, or over the files of a folder."""
    folder.mkdir()
    match form:
        case "jsonl":
            (folder / "a.jsonl").write_bytes(lines(*GIVEN))
        case "gz":
            (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines(*GIVEN)))
        case "parquet":
            pq.write_table(
                pa.Table.from_pylist([{"reply": None, "replies": None} | row for row in GIVEN]), folder / "a.parquet"
            )
        case "folder":
            (folder / "a.jsonl").write_bytes(lines(*GIVEN[:1]))
            (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines(*GIVEN[1:])))
    return str(folder) if form == "folder" else str(next(folder.iterdir()))


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("form", ["jsonl", "gz", "parquet", "folder"])
def test_rows_of_anybody_are_judged_each_by_its_place(
    tmp_path: Path, pool: ScriptedPools, form: str, scheme: str, monkeypatch: pytest.MonkeyPatch
):
    """Independent of the parts in which they are written."""
    monkeypatch.setattr(given, "_ROWS_PER_PART", 2)
    pool()
    source = scheme + write(tmp_path / "given", form)
    manifest = pool.run(judge(RECIPE, model="m1", replies=source, out=str(tmp_path / "out")))
    expected = [offered(0, "Why?", "So."), offered(1, "Why?", ""), offered(2, "How?", "Thus.", "Thus.")]
    assert rows(tmp_path / "out", "offered") == expected
    made = rows(tmp_path / "out")
    assert [(row.id, [(c.id, c.text, c.token_ids, c.mean) for c in row.candidates]) for row in made] == [
        (row.id, [(c.id, c.text, (), 0.5) for c in row.candidates]) for row in expected
    ]
    assert manifest.rows == {"offered": 3, "rows": 3}


@pytest.mark.parametrize("step", [sample, respond])
def test_prompts_may_be_rows_of_a_file(tmp_path: Path, pool: ScriptedPools, step: Any):
    model = pool()
    (tmp_path / "alpaca_eval.json").write_text(json.dumps([{"instruction": "Why?"}, {"instruction": "How?"}]))
    source, out = str(tmp_path / "alpaca_eval.json"), tmp_path / "out"
    manifest = pool.run(step(RECIPE, model="m1", prompts=source, out=str(out)))
    assert [(row.id, row.text) for row in rows(out)] == [("given/p000000", "Why?"), ("given/p000001", "How?")]
    assert [c.id for c in rows(out)[1].candidates] == ["given/p000001/r0", "given/p000001/r1"]
    assert manifest.rows == {"offered": 2, "rows": 2}
    asked = len(model.asked)
    assert pool.run(step(RECIPE, model="m1", prompts=source, out=str(out))) == manifest
    assert len(model.asked) == asked


def test_an_interrupted_step_asks_only_for_what_is_not_judged(tmp_path: Path, pool: ScriptedPools):
    source, out = write(tmp_path / "given", "jsonl"), str(tmp_path / "out")
    first = pool(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        pool.run(judge(RECIPE, model="m1", replies=source, out=out))
    assert {row[:13] for row in first.asked} == {"given/p000000", "given/p000001"}
    # As if it had been stopped while it wrote the replies down, in other parts than now.
    write_part(Folder(out), "offered", [offered(0, "Why?", "So.")], JudgedPrompt, "000001")
    second = pool()
    manifest = pool.run(judge(RECIPE, model="m1", replies=source, out=out))
    assert {row[:13] for row in second.asked} == {"given/p000002"}
    assert manifest.rows == {"offered": 3, "rows": 3}
    third = pool()
    assert pool.run(judge(RECIPE, model="m1", replies=source, out=out)) == manifest
    assert third.asked == []


def test_a_file_that_was_changed_is_another_step(tmp_path: Path, pool: ScriptedPools):
    pool()
    source, out = write(tmp_path / "given", "jsonl"), str(tmp_path / "out")
    pool.run(judge(RECIPE, model="m1", replies=source, out=out))
    Path(source).write_bytes(lines(*GIVEN[:2]))
    with pytest.raises(UserError, match="other inputs"):
        pool.run(judge(RECIPE, model="m1", replies=source, out=out))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"{", "1 × is the last line, and cut off (first: "),
        (
            lines({"prompt": "Why?", "reply": "a", "replies": ["b"]}),
            "a.jsonl:2: column 'replies' stands beside 'reply'",
        ),
        (lines({"reply": "So."}), "--replies: 1 of 2 rows cannot be used"),
        (lines({"prompt": "Why?"}), "1 × it has no reply (first: "),
        (lines({"prompt": "Why?", "replies": ["a", 5]}), "1 × field 'replies' is not a text (first: "),
    ],
)
def test_a_row_that_is_no_prompt_with_replies_is_named_before_any_is_judged(
    tmp_path: Path, pool: ScriptedPools, row: bytes, message: str
):
    model, source = pool(), tmp_path / "a.jsonl"
    source.write_bytes(lines(GIVEN[0]) + row)
    with pytest.raises(UserError) as error:
        pool.run(judge(RECIPE, model="m1", replies=str(source), out=str(tmp_path / "out")))
    assert message in str(error.value)
    assert model.asked == []


@pytest.mark.parametrize("name", ["sample", "judge"])
def test_a_few_rows_that_cannot_be_used_are_dropped_with_file_and_line(tmp_path: Path, pool: ScriptedPools, name: str):
    """Also after an interruption; the others keep the ids of their places."""
    column = {"sample": {}, "judge": {"reply": "So."}}[name]
    given = [{"prompt": f"Why {n}?"} | column for n in range(11)]
    given[3] = {"prompt": None} | column
    source, out = tmp_path / "a.jsonl", str(tmp_path / "out")
    source.write_bytes(lines(*given))

    def step() -> Any:
        if name == "sample":
            return sample(RECIPE, model="m1", prompts=str(source), out=out)
        return judge(RECIPE, model="m1", replies=str(source), out=out)

    pool(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        pool.run(step())
    pool()
    manifest = pool.run(step())
    assert manifest.rows == {"offered": 10, "rows": 10}
    assert manifest.metrics["reading"]["bad_rows"] == 1
    assert [row.id for row in rows(tmp_path / "out")] == [f"given/p{n:06d}" for n in range(11) if n != 3]
    (dropped,) = read_rows(Folder(out), Dropped, "dropped")
    assert (dropped.id, dropped.step) == (f"{source}:4", name)
    assert manifest.dropped == {dropped.reason: 1}


def test_a_file_that_is_read_by_other_columns_is_another_step(tmp_path: Path, pool: ScriptedPools):
    pool()
    source, out = tmp_path / "a.jsonl", str(tmp_path / "out")
    source.write_bytes(lines({"prompt": "Why?", "q": "How?", "reply": "So."}))
    pool.run(judge(RECIPE, model="m1", replies=str(source), out=out))
    other = Recipe.model_validate(VALUES | {"prompts": {"columns": {"prompt": "q"}}})
    with pytest.raises(UserError, match="made from another recipe"):
        pool.run(judge(other, model="m1", replies=str(source), out=out))
    pool.run(judge(other, model="m1", replies=str(source), out=str(tmp_path / "other")))
    assert [row.text for row in rows(tmp_path / "other")] == ["How?"]


def test_a_source_that_holds_nothing_is_named(tmp_path: Path, pool: ScriptedPools):
    pool()
    (tmp_path / "a.jsonl").write_text("\n")
    for source, message in (("a.jsonl", "a.jsonl holds no rows; write one"), ("b.jsonl", "there is no such file")):
        with pytest.raises(UserError, match=f"--replies: .*{message}"):
            pool.run(judge(RECIPE, model="m1", replies=str(tmp_path / source), out=str(tmp_path / "out")))


def test_a_step_that_is_not_finished_or_has_no_replies_is_refused(tmp_path: Path, pool: ScriptedPools, prompts: str):
    pool(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        pool.run(sample(RECIPE, model="m1", prompts=prompts, out=str(tmp_path / "begun")))
    needed = "'sample', 'respond' or 'judge' step"
    with pytest.raises(UserError, match=f"begun holds no finished {needed}"):
        pool.run(judge(RECIPE, model="m1", replies=str(tmp_path / "begun"), out=str(tmp_path / "out")))
    with pytest.raises(UserError, match=f"holds a 'propose' step, but a {needed} is needed here"):
        pool.run(judge(RECIPE, model="m1", replies=prompts, out=str(tmp_path / "out")))


def test_the_thought_of_a_reply_in_a_file_is_no_part_of_it(tmp_path: Path, pool: ScriptedPools):
    source = tmp_path / "replies.jsonl"
    source.write_bytes(
        lines({"prompt": "Why?", "reply": "<think>Hm.</think>\n\nSo."}, {"prompt": "How?", "reply": "<think>Hm."})
    )
    shown: list[str] = []
    pools = ScriptedPools(lambda text, row: shown.append(text) or "Score: 4")
    pools()
    pools.run(judge(RECIPE, model="m1", replies=str(source), out=str(tmp_path / "out")))
    first, second = (row.candidates[0] for row in rows(tmp_path / "out"))
    assert (first.text, first.thought, first.finished) == ("So.", "Hm.", True)
    assert (second.text, second.thought, second.finished) == ("", "Hm.", False)
    assert not any("Hm." in text for text in shown)
