import re
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from finished_step import finished_step
from reported_run import write_run
from rich.console import Console
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.errors import UserError
from selfreward_ray.records import Candidate, JudgedPrompt, Prompt, Verdict
from selfreward_ray.steps.rows import print_rows
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows, write_block, write_part


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    return write_run(tmp_path_factory.mktemp("run"), until=2)


def shown(source: str, *where: str, sample: int | None = None, width: int = 0) -> list[str]:
    """The printed lines; a terminal of `width` columns, or none."""
    console = Console(file=StringIO(), force_terminal=bool(width), width=width or 80, color_system=None)
    print_rows(source, where, sample, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def ids(lines: list[str]) -> list[str]:
    return [line for line in lines[:-1] if re.fullmatch(r"\S+", line)]


def candidate(name: str, mean: float | None, text: str = "yes", score: float | None = 1.0) -> Candidate:
    return Candidate(name, text, (1, 2, 3), True, (Verdict(f"{name}/v0", "Score: 1", score, 1),), mean)


def judged(tmp_path: Path) -> str:
    rows = [
        JudgedPrompt("a", "Name a sea.", (1,), (candidate("a/r0", 1.0), candidate("a/r1", 5.0))),
        JudgedPrompt("b", "Name a\x1b[31m lake.", (1,), (candidate("b/r0", 3.0, "Two\nlines", None),)),
        JudgedPrompt("c", "Name TEA.", (1,), (candidate("c/r0", None),)),
    ]
    return finished_step(tmp_path, "judge", rows)


def test_a_row_is_shown_with_every_field_that_is_not_empty_and_with_harmless_texts(tmp_path: Path):
    assert shown(judged(tmp_path), "id=b") == [
        "b",
        "  text: Name a␛[31m lake.",
        "  token ids: 1 token",
        "  candidates 0: b/r0",
        "    text:",
        "      Two",
        "      lines",
        "    token ids: 3 tokens",
        "    finished: true",
        "    verdicts 0: b/r0/v0",
        "      text: Score: 1",
        "      attempts: 1",
        "    mean: 3",
        "    thought tokens: 0",
        "",
        "1 of 3 rows",
    ]


def test_a_terminal_wraps_long_texts_behind_their_indentation(tmp_path: Path):
    step = finished_step(tmp_path, "propose", [Prompt("a", " ".join(["word"] * 30))])
    assert {len(line) - len(line.lstrip()) for line in shown(step, width=40)[2:5]} == {4}
    assert len(shown(step)[2]) > 140  # for grep each line of a text is one line


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["candidates.mean>=3"], "ab"),
        (["candidates.mean<3"], "a"),
        (["candidates.mean=null"], "c"),
        (["candidates.mean!=null"], "ab"),
        (["candidates.verdicts.score=null"], "b"),
        (["text~tea"], "c"),
        (["text ~ name a"], "ab"),
        (["id!=a", "id<=b"], "b"),
        (["candidates.finished=false"], ""),
        (["candidates.token_ids=3", "candidates.verdicts.attempts>0"], "abc"),
    ],
)
def test_conditions(tmp_path: Path, where: list[str], found: str):
    assert ids(shown(judged(tmp_path), *where)) == list(found)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("candidates.meen>3", "have no field candidates.meen; did you mean candidates.mean?"),
        ("zzz>3", "have no field zzz; they have id, text, "),
        ("candidates.mean>much", "holds numbers; compare it with a number"),
        ("candidates.mean~3", "holds numbers; compare it with a number"),
        ("candidates.mean>null", "null can only be compared by = and !="),
        ("candidates.finished=1", "write =true or =false"),
        ("mean", "is not of the form 'FIELD OP VALUE'"),
    ],
)
def test_a_condition_that_cannot_be_fulfilled_is_told_with_the_remedy(tmp_path: Path, where: str, said: str):
    with pytest.raises(UserError, match=re.escape(said)):
        shown(judged(tmp_path), where)


def test_a_sample_has_different_rows_that_fulfil_the_conditions_in_the_tables_order(run: RunLayout):
    every = ids(shown(run.judged(2).uri, "candidates.mean>=4"))
    drawn = [ids(shown(run.judged(2).uri, "candidates.mean>=4", sample=3)) for _ in range(8)]
    assert all(len(set(some)) == 3 and some == [name for name in every if name in some] for some in drawn)
    assert len({tuple(some) for some in drawn}) > 1
    assert ids(shown(run.judged(2).uri, sample=1000)) == ids(shown(run.judged(2).uri))
    assert shown(run.judged(2).uri, sample=2)[-1] == "2 of 39 rows"


def test_a_condition_reads_its_own_column_and_then_the_groups_of_rows_that_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    step = finished_step(tmp_path, "propose", [Prompt(f"p{i:04d}", "Why?") for i in range(1000)])
    reads = []
    read = pq.ParquetFile.read_row_group

    def spied(self: pq.ParquetFile, group: int, columns: list[str] | None = None, **more: bool) -> object:
        reads.append((group, columns))
        return read(self, group, columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spied)
    assert ids(shown(step, "id=p0300")) == ["p0300"]
    assert reads == [*((group, ["id"]) for group in range(4)), (1, None)]
    reads.clear()
    assert len(ids(shown(step, sample=1))) == 1
    assert [columns for _, columns in reads] == [None]


def test_other_tables_of_a_step_are_named_by_their_folders(run: RunLayout):
    assert shown(f"{run.judged(2).uri}/dropped")[-2:] == ["", "1 of 1 row"]
    training = run.training(2).uri
    with pytest.raises(UserError, match=f"the step {training} is finished and has no rows$"):
        shown(training)


def test_an_unfinished_step_shows_the_rows_that_it_has(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    layout.judged(2).remove("manifest.json")
    assert len(ids(shown(layout.judged(2).uri))) == 39
    layout.pairs(2).remove("manifest.json")
    (layout.pairs(2) / "rows").delete()
    with pytest.raises(UserError, match="is not finished and has as yet no rows; its tables are: .*/pairs/dropped"):
        shown(layout.pairs(2).uri)


def test_a_step_at_work_shows_the_rows_of_its_blocks(tmp_path: Path):
    step = Step("judge", str(tmp_path / "out"), {}, {})
    step.is_done()
    for prompt in read_rows(Folder(judged(tmp_path)), JudgedPrompt):
        write_block(step.folder, [prompt.id], [prompt], JudgedPrompt, [])
    for source in (step.folder.uri, f"{step.folder.uri}/rows"):
        assert ids(shown(source)) == ["a", "b", "c"]
        assert shown(source, "id=b")[-1] == "1 of 3 rows"


@pytest.mark.parametrize("source", ["nowhere", "M2", "recipe.yaml", "M2/pairs/rows/nothing"])
def test_what_is_no_table_is_told(run: RunLayout, source: str):
    with pytest.raises(UserError, match="is no step's folder and no table of one; give a folder such as RUN/M2/pairs"):
        shown(f"{run.uri}/{source}")


def test_lost_and_damaged_rows_are_named(tmp_path: Path):
    layout = write_run(tmp_path, until=2)
    pairs = layout.pairs(2)
    (path,) = (tmp_path / "M2" / "pairs" / "rows").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match=f"{path.name} is damaged .*make that step again"):
        shown(pairs.uri)
    path.write_bytes(content[:4] + bytes(400) + content[404:])
    with pytest.raises(UserError, match=f"{path.name} is damaged .*make that step again"):
        shown(pairs.uri)
    path.write_bytes(content)
    write_part(pairs, "rows", [Prompt("p", "t")], Prompt, "more")
    with pytest.raises(UserError, match="rows that the step counted"):
        shown(pairs.uri)


def test_the_command(run: RunLayout):
    done = CliRunner().invoke(app, ["rows", f"{run.uri}/M2/prompts", "--where", "id=M2/p000003", "--sample", "1"])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "M2/p000003")
    refused = CliRunner().invoke(app, ["rows", f"{run.uri}/M2"])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
