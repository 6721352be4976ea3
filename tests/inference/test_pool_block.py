"""A block of rows on a replica: what is written, what one bad row costs, what a retry leaves behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel

from selfreward_ray.inference.engine import EngineDead
from selfreward_ray.inference.pool import Block, Job, run_block
from selfreward_ray.inference.programs import LanguageModel
from selfreward_ray.recipe import Sampling
from selfreward_ray.records import Dropped, Prompt
from selfreward_ray.run_store import read_rows
from selfreward_ray.storage import Folder

PROMPTS = [Prompt("p0", "abc"), Prompt("p1", "de"), Prompt("p2", "f")]


async def echo(prompt: Prompt, model: LanguageModel) -> Prompt:
    given = await model.generate(model.encode(prompt.text), Sampling(), prompt.id)
    return Prompt(prompt.id, given.text)


def run(out: Path, answer: Any, prompts: list[Prompt] = PROMPTS) -> Block:
    return asyncio.run(run_block(prompts, ScriptedModel(answer), Job("echo", echo, Prompt, Prompt, str(out), 0)))


def written(out: Path) -> tuple[list[Prompt], list[Dropped]]:
    return read_rows(Folder(str(out)), Prompt), read_rows(Folder(str(out)), Dropped, "dropped")


def test_rows_are_written_and_tokens_counted(tmp_path: Path):
    """A token is a byte: 3 + 2 + 1 of prompts, and one generated for each."""
    assert run(tmp_path, lambda text, row: text[0]) == Block(rows=3, prompt_tokens=6, generated_tokens=3)
    assert written(tmp_path) == ([Prompt("p0", "a"), Prompt("p1", "d"), Prompt("p2", "f")], [])


def test_a_failing_row_is_dropped_with_its_error_and_the_others_are_kept(tmp_path: Path):
    block = run(tmp_path, lambda text, row: KeyError("boom") if row == "p1" else "x")
    assert block == Block(rows=3, prompt_tokens=4, generated_tokens=2)
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
    assert run(tmp_path, lambda text, row: "x", []) == Block(0, 0, 0)
    assert list(tmp_path.iterdir()) == []
