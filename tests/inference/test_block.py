"""A block of rows on a replica: its output, failing rows, and retries."""

import errno
import re
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, block_of

from selfreward_ray.inference import block as block_module
from selfreward_ray.inference.block import BlockCounts, Job
from selfreward_ray.inference.engine import EngineDead
from selfreward_ray.inference.programs import LanguageModel
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import (
    Candidate,
    Comparison,
    Completion,
    Contender,
    Dropped,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    JudgedReply,
    JudgedSet,
    Prompt,
    RankedReply,
    RankedSet,
    ReplyPair,
    ReplyVerdicts,
    Usage,
    Verdict,
)
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_rows

PROMPTS = [Prompt("p0", "abc"), Prompt("p1", "de"), Prompt("p2", "f")]


async def echo(prompt: Prompt, model: LanguageModel) -> Prompt:
    given = await model.generate(model.encode(prompt.text), Sampling(), prompt.id)
    return Prompt(prompt.id, given.text)


def run(out: Path, answer: Any, prompts: list[Prompt] = PROMPTS) -> BlockCounts:
    return block_of(prompts, ScriptedModel(answer), Job("echo", echo, Prompt, Prompt, str(out), 1))


def written(out: Path) -> tuple[list[Prompt], list[Dropped]]:
    return read_rows(Folder(str(out)), Prompt), read_rows(Folder(str(out)), Dropped, "dropped")


def test_rows_are_written_and_tokens_counted(tmp_path: Path):
    """A token is a byte: 3 + 2 + 1 prompt tokens, and one generated token each."""
    assert run(tmp_path, lambda text, row: text[0]) == BlockCounts(rows=3, prompt_tokens=6, generated_tokens=3)
    assert written(tmp_path) == ([Prompt("p0", "a"), Prompt("p1", "d"), Prompt("p2", "f")], [])


def test_a_failing_row_is_dropped_with_its_error_and_the_others_are_kept(tmp_path: Path):
    block = run(tmp_path, lambda text, row: KeyError("boom") if row == "p1" else "x")
    assert block == BlockCounts(rows=3, dropped=1, prompt_tokens=4, generated_tokens=2)
    assert written(tmp_path) == (
        [Prompt("p0", "x"), Prompt("p2", "x")],
        [Dropped("p1", "echo", "KeyError: 'boom'")],
    )


def test_a_dead_engine_is_raised_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(EngineDead):
        run(tmp_path, lambda text, row: EngineDead("gone") if row == "p2" else "x")
    assert list(tmp_path.iterdir()) == []


def test_a_retried_block_replaces_what_its_first_attempt_kept_and_dropped(tmp_path: Path):
    run(tmp_path, lambda text, row: KeyError("boom") if row == "p1" else "first")
    run(tmp_path, lambda text, row: "second")
    assert written(tmp_path) == ([Prompt(f"p{i}", "second") for i in range(3)], [])
    run(tmp_path, lambda text, row: KeyError("boom"))
    assert written(tmp_path) == ([], [Dropped(f"p{i}", "echo", "KeyError: 'boom'") for i in range(3)])


def test_two_blocks_do_not_overwrite_each_other(tmp_path: Path):
    for part in (PROMPTS[:2], PROMPTS[2:]):
        run(tmp_path, lambda text, row: "x", part)
    assert {p.id for p in written(tmp_path)[0]} == {"p0", "p1", "p2"}


def test_an_empty_block_asks_and_writes_nothing(tmp_path: Path):
    assert run(tmp_path, lambda text, row: "x", []) == BlockCounts()
    assert list(tmp_path.iterdir()) == []


def test_tokens_that_the_engine_had_in_its_cache_are_counted(tmp_path: Path):
    """Of the prompts' 3 + 2 + 1 tokens, all but one each: 2 + 1 + 0."""
    given = run(tmp_path, lambda text, row: Completion("x", (1,), "stop", cached_tokens=len(text) - 1))
    assert (given.prompt_tokens, given.cached_tokens) == (6, 3)


def test_an_endpoints_own_counts_are_taken_and_unknown_ones_stay_unknown(tmp_path: Path):
    """The prompts of 3 + 2 + 1 bytes are not counted here, nor are tokens whose ids nobody has."""

    def answer(text: str, row: str) -> Completion:
        return Completion("x", (), "stop", None if row == "p1" else 4, Usage(100, 7))

    given = run(tmp_path, answer)
    assert (given.prompt_tokens, given.generated_tokens, given.cached_tokens) == (300, 21, None)
    assert (BlockCounts(cached_tokens=3) + given).cached_tokens is None


def test_blocks_add_up_count_by_count():
    assert BlockCounts(1, 2, 3, 4, 5, 6, 7, 8) + BlockCounts(10, 20, 30, 40, 50, 60, 70, 80) == BlockCounts(
        11, 22, 33, 44, 55, 66, 77, 88
    )


READ, AGAIN, INVALID = Verdict("a", "", 3.0, 1), Verdict("b", "", 0.0, 2), Verdict("c", "", None, 3)
NOT_ASKED = Verdict("d", "not asked: too long", None, 0)
RANKED = RankedSet("s", "?", (RankedReply("s/r0", "", 0, verdict="Score: 3"), RankedReply("s/r1", "", 1)))


def candidate(*verdicts: Verdict) -> Candidate:
    return Candidate("p/r0", "", (1, 2), True, verdicts)


@pytest.mark.parametrize(
    ("row", "verdicts", "invalid", "again", "scores"),
    [
        (
            JudgedPrompt("p", "?", (1,), (candidate(READ, AGAIN), candidate(INVALID, NOT_ASKED))),
            *(4, 2, 1 + 2, {"3": 1, "0": 1}),
        ),
        (JudgedPrompt("p", "?", (1,), (candidate(),)), 0, 0, 0, {}),
        (
            JudgedSet("s", RANKED, (ReplyVerdicts("s/r0", (READ,)), ReplyVerdicts("s/r1", (INVALID,)))),
            *(2, 1, 2, {"3": 1}),
        ),
        (
            Comparison(
                "c", ReplyPair("c", "?", Contender("l", ""), Contender("r", "")), (READ, READ), (AGAIN,), "neither"
            ),
            *(3, 0, 1, {"3": 2, "0": 1}),
        ),
        (
            EvaluatedSet("s", EvaluatedReply("a", "?", "", True), (JudgedReply("s/r0", "s", 0, 1.0, (INVALID, READ)),)),
            *(2, 1, 2, {"3": 1}),
        ),
        (Prompt("p", "?"), 0, 0, 0, {}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int | dict) else None,
)
def test_verdicts_are_counted_wherever_they_stand_in_a_row(
    tmp_path: Path, row: Any, verdicts: int, invalid: int, again: int, scores: dict[str, int]
):
    """The numbers of verdicts, of those without a score, of retries, and of each score."""

    async def program(prompt: Prompt, model: LanguageModel) -> Any:
        return row if prompt.id == "p0" else Dropped(prompt.id, "judge", "too few")

    job = Job("judge", program, Prompt, type(row), str(tmp_path), 1)
    given = block_of(PROMPTS[:2], ScriptedModel(lambda text, row: "x"), job)
    assert given == BlockCounts(
        rows=2,
        dropped=1,
        verdicts=verdicts,
        invalid_verdicts=invalid,
        verdicts_asked_again=again,
        scores=scores,
    )


class Failing:
    """Storage that fails `times` times and then writes."""

    def __init__(self, times: int, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> None:
        self.attempts = 0
        self._times = times
        self._error = error
        self._write = block_module.write_block
        monkeypatch.setattr(block_module, "write_block", self.write)
        monkeypatch.setattr(block_module, "RETRY_DELAYS_S", (0.0, 0.0))

    def write(self, *block: Any) -> None:
        self.attempts += 1
        if self.attempts <= self._times:
            raise self._error or OSError(f"attempt {self.attempts}")
        self._write(*block)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_block_that_storage_refuses_for_a_while_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
):
    storage = Failing(times, monkeypatch)
    assert run(tmp_path, lambda text, row: "x").rows == 3
    assert storage.attempts == times + 1
    assert written(tmp_path) == ([Prompt(p.id, "x") for p in PROMPTS], [])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError("AWS Error SLOW_DOWN during PutObject operation: reduce your request rate"),
    ],
)
def test_what_does_not_pass_or_was_waited_for_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
):
    storage = Failing(9, monkeypatch, error)
    with pytest.raises(OSError, match=re.escape(str(error))):
        run(tmp_path, lambda text, row: "x")
    assert storage.attempts == 1


def test_storage_that_goes_on_failing_is_raised_with_its_last_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Failing(9, monkeypatch)
    with pytest.raises(OSError, match="attempt 3"):
        run(tmp_path, lambda text, row: "x")


@pytest.mark.parametrize("refusal", [OSError(errno.ENOSPC, "full"), OSError("AWS Error ACCESS_DENIED")])
def test_storage_that_refuses_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: OSError):
    asked: list[str] = []

    def refuse(*block: Any) -> None:
        asked.append("write")
        raise refusal

    monkeypatch.setattr(block_module, "write_block", refuse)
    monkeypatch.setattr(block_module, "RETRY_DELAYS_S", (0.0, 0.0))
    with pytest.raises(OSError, match=str(refusal).split("]")[-1]):
        run(tmp_path, lambda text, row: "x")
    assert asked == ["write"]


def test_what_is_no_fault_of_storage_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def wrong(*block: Any) -> None:
        raise TypeError("not a Prompt")

    monkeypatch.setattr(block_module, "write_block", wrong)
    with pytest.raises(TypeError, match="not a Prompt"):
        run(tmp_path, lambda text, row: "x")
