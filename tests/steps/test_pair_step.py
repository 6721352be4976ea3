"""What judged prompts leave behind, block by block; Ray Data, which deals the blocks, is tested elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.preferences.best_worst import SAME_MEAN
from selfreward_ray.recipe import Judge, Recipe
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Pair, Verdict
from selfreward_ray.run_store import Manifest, Step, read_rows
from selfreward_ray.steps.pair import _pair_block, pair
from selfreward_ray.storage import Folder
from selfreward_ray.tables import to_table

RECIPE = Recipe(model="m0", judge=Judge(verdicts=2, min_valid=2))


def judged(number: int, *scores: tuple[float, ...]) -> JudgedPrompt:
    """A prompt with a candidate for each tuple of scores."""
    prompt = f"it1/p{number:06d}"
    candidates = tuple(
        with_verdicts(
            Candidate(f"{prompt}/r{i}", f"reply {i}", (number, i, 1), True),
            tuple(Verdict(f"{prompt}/r{i}/v{k}", "", score, 1) for k, score in enumerate(given)),
        )
        for i, given in enumerate(scores)
    )
    return JudgedPrompt(prompt, "Why?", (7, 8), candidates)


def block(out: Path, *prompts: JudgedPrompt) -> tuple[dict[str, int], list[Pair], list[Dropped]]:
    [counts] = _pair_block(to_table(list(prompts), JudgedPrompt), RECIPE, str(out)).to_pylist()
    return counts, read_rows(Folder(str(out)), Pair), read_rows(Folder(str(out)), Dropped, "dropped")


def test_the_best_and_the_worst_mean_become_a_pair_with_their_ids(tmp_path: Path):
    """Means 3.5, 4.5 and 2: the second is chosen, the third rejected, with the tokens that the engine saw."""
    counts, [pair], dropped = block(tmp_path, judged(4, (3, 4), (5, 4), (1, 3)))
    assert (counts, dropped) == ({"prompts": 1, "kept": 1}, [])
    assert (pair.id, pair.prompt, pair.prompt_ids) == ("it1/p000004/pair", "Why?", (7, 8))
    assert (pair.chosen.token_ids, pair.chosen.mean) == ((4, 1, 1), 4.5)
    assert (pair.rejected.token_ids, pair.rejected.mean) == ((4, 2, 1), 2.0)


def test_ties_are_dropped_with_their_reason_and_counted(tmp_path: Path):
    counts, pairs, dropped = block(tmp_path, judged(0, (4, 4), (1, 1)), judged(1, (3, 3), (2, 4)))
    assert counts == {"prompts": 2, "kept": 1}
    assert [p.id for p in pairs] == ["it1/p000000/pair"]
    assert dropped == [Dropped("it1/p000001", "pair", SAME_MEAN)]


def test_the_same_block_again_overwrites_and_another_one_adds(tmp_path: Path):
    first, second = judged(0, (4, 4), (1, 1)), judged(1, (5, 5), (1, 1))
    for prompts in ([first], [first], [second]):
        _, pairs, _ = block(tmp_path, *prompts)
    assert sorted(p.id for p in pairs) == ["it1/p000000/pair", "it1/p000001/pair"]


class Streamed:
    """Stands in for Ray Data's dataset: hands the prompts to the function in the order it is told."""

    def __init__(self, prompts: list[JudgedPrompt], size: int):
        self._batches = [prompts[i : i + size] for i in range(0, len(prompts), size)]

    def map_batches(self, function: Any, **_: Any) -> "Streamed":
        self._function = function
        return self

    def iter_rows(self) -> Iterator[dict[str, int]]:
        for batch in self._batches:
            yield from self._function(to_table(batch, JudgedPrompt)).to_pylist()


def test_an_interrupted_step_is_made_again_without_leaving_a_pair_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Which prompts share a block is up to Ray: the second attempt has them in other blocks."""
    prompts = [judged(i, (4, 4), (1, 1) if i else (4, 4)) for i in range(4)]
    source = Step("respond", str(tmp_path / "judged"), {}, {})
    source.is_done()
    source.write(prompts, JudgedPrompt)
    source.finish(offered=4)

    def attempt(order: list[JudgedPrompt], size: int) -> Manifest:
        monkeypatch.setattr("selfreward_ray.steps.pair.read_table", lambda *_: Streamed(order, size))
        return pair(RECIPE, judged=str(tmp_path / "judged"), out=str(tmp_path / "out"))

    with pytest.raises(RuntimeError, match="was offered 4 rows but kept 2"):
        attempt(prompts[:3], 2)
    manifest = attempt(prompts[::-1], 3)
    assert (manifest.rows, manifest.dropped) == ({"rows": 3}, {SAME_MEAN: 1})
