"""The pair step on blocks of judged prompts. Ray Data, which forms the blocks, is tested elsewhere."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.preferences.candidate_set import FLAGGED, SAME_MEAN
from selfreward_ray.preferences.flags import CONSTANT, EMPTY
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.recipe.schema import Judge, Recipe
from selfreward_ray.records import Candidate, Dropped, JudgedPrompt, Pair, Positive, Turn, Verdict
from selfreward_ray.steps.pair import _pair_block, pair
from selfreward_ray.store.arrow import to_table
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

RECIPE = Recipe(model="m0", judge=Judge(verdicts=2, min_valid=2))


def judged(number: int, *scores: tuple[float, ...]) -> JudgedPrompt:
    """A prompt with a candidate for each tuple of scores."""
    prompt = f"M2/p{number:06d}"
    candidates = tuple(
        with_verdicts(
            Candidate(f"{prompt}/r{i}", f"reply {i}", (number, i, 1), True),
            tuple(Verdict(f"{prompt}/r{i}/v{k}", "", score, 1) for k, score in enumerate(given)),
        )
        for i, given in enumerate(scores)
    )
    return JudgedPrompt(prompt, "Why?", (7, 8), candidates)


def block(out: Path, *prompts: JudgedPrompt) -> tuple[dict[str, int], list[Pair], list[Dropped]]:
    [counts] = _pair_block(to_table(list(prompts), JudgedPrompt), RECIPE, frozenset(), "judged", str(out)).to_pylist()
    del counts["counts"]
    return counts, read_rows(Folder(str(out)), Pair), read_rows(Folder(str(out)), Dropped, "dropped")


def test_the_best_and_the_worst_mean_become_a_pair_with_their_ids(tmp_path: Path):
    """Means 3.5, 4.5 and 2: the second is chosen, the third rejected, with the tokens that the engine saw."""
    counts, [pair], dropped = block(tmp_path, judged(4, (3, 4), (5, 4), (1, 3)))
    assert (counts, dropped) == ({"prompts": 1, "kept": 1}, [])
    assert (pair.id, pair.prompt, pair.prompt_ids) == ("M2/p000004/pair", "Why?", (7, 8))
    assert (pair.chosen.token_ids, pair.chosen.mean) == ((4, 1, 1), 4.5)
    assert (pair.rejected.token_ids, pair.rejected.mean) == ((4, 2, 1), 2.0)


def test_ties_are_dropped_with_their_reason_and_counted(tmp_path: Path):
    counts, pairs, dropped = block(tmp_path, judged(0, (4, 4), (1, 1)), judged(1, (3, 3), (2, 4)))
    assert counts == {"prompts": 2, "kept": 1}
    assert [p.id for p in pairs] == ["M2/p000000/pair"]
    assert dropped == [Dropped("M2/p000001", "pair", SAME_MEAN)]


def test_the_same_block_again_overwrites_and_another_one_adds(tmp_path: Path):
    first, second = judged(0, (4, 4), (1, 1)), judged(1, (5, 5), (1, 1))
    for prompts in ([first], [first], [second]):
        _, pairs, _ = block(tmp_path, *prompts)
    assert sorted(p.id for p in pairs) == ["M2/p000000/pair", "M2/p000001/pair"]


def stream(monkeypatch: pytest.MonkeyPatch, prompts: list[JudgedPrompt], size: int):
    """Replaces Ray Data: passes the prompts to the function in this order, in blocks of `size`."""
    batches = [to_table(prompts[i : i + size], JudgedPrompt) for i in range(0, len(prompts), size)]

    def streamed(_table: Any, function: Any, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        names = {name.partition(".")[0] for name in columns or ()}
        read = [batch.select(sorted(names)) if columns else batch for batch in batches]
        return (row for batch in read for row in function(batch).to_pylist())

    monkeypatch.setattr("selfreward_ray.steps.pair._Table.stream", streamed)


def respond(tmp_path: Path, prompts: list[JudgedPrompt], name: str = "respond") -> str:
    """The folder of a finished respond step, or of another one with such rows."""
    source = Step(name, str(tmp_path / "judged"), {}, {})
    source.is_done()
    source.write(prompts, JudgedPrompt)
    source.finish(offered=len(prompts))
    return source.folder.uri


def test_an_interrupted_step_is_made_again_without_leaving_a_pair_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ray decides which prompts share a block: the second attempt has other blocks."""
    prompts = [judged(i, (4, 4), (1, 1) if i else (4, 4)) for i in range(4)]
    source = respond(tmp_path, prompts)

    def attempt(order: list[JudgedPrompt], size: int) -> Manifest:
        stream(monkeypatch, order, size)
        return pair(RECIPE, judged=source, out=str(tmp_path / "out"))

    with pytest.raises(RuntimeError, match="was offered 4 rows but kept 2"):
        attempt(prompts[:3], 2)
    manifest = attempt(prompts[::-1], 3)
    assert (manifest.rows, manifest.dropped) == ({"rows": 3}, {SAME_MEAN: 1})


def saying(prompt: JudgedPrompt, *texts: str) -> JudgedPrompt:
    return replace(prompt, candidates=tuple(map(with_text, prompt.candidates, texts)))


def with_text(candidate: Candidate, text: str) -> Candidate:
    return replace(candidate, text=text)


def constant_replies() -> list[JudgedPrompt]:
    """20 prompts. "I cannot say" is best in 6 of them and worst in none, "No" best in 4; one reply says nothing.

    The share 0.25 makes 6 of 20 too many. In the last two prompts nothing but what is flagged could win.
    """
    prompts = [judged(i, (5, 5), (3, 3), (1, 1)) for i in range(20)]
    own = [f"own {i}" for i in range(20)]
    best = [
        "I cannot say.",
        "i CANNOT say",
        *["I cannot say."] * 2,
        *["No."] * 4,
        *own[8:18],
        *["I cannot say."] * 2,
    ]
    return [saying(p, best[i], "" if i in (18, 19) else f"middle {i}", f"worst {i}") for i, p in enumerate(prompts)]


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_a_text_that_answers_too_many_prompts_may_lose_but_not_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
):
    """For any block size."""
    prompts = constant_replies()
    stream(monkeypatch, prompts, size)
    recipe = RECIPE.model_copy(update={"pairs": Pairs(constant_share=0.25)})
    manifest = pair(recipe, judged=respond(tmp_path, prompts), out=str(tmp_path / "out"))
    out = Folder(str(tmp_path / "out"))
    chosen = {p.id.split("/")[1]: p.chosen.text for p in read_rows(out, Pair)}
    assert [chosen[f"p{i:06d}"] for i in range(10)] == [
        *(f"middle {i}" for i in range(4)),
        *["No."] * 4,
        "own 8",
        "own 9",
    ]
    assert manifest.rows == {"rows": 18, "flagged": 8}
    assert manifest.dropped == {FLAGGED: 2}
    assert manifest.metrics["flagged"] == {CONSTANT: 6, EMPTY: 2}
    flagged = read_rows(out, Dropped, "flagged")
    assert {c.id for c in flagged if c.reason == CONSTANT} == {f"M2/p{i:06d}/r0" for i in (0, 1, 2, 3, 18, 19)}
    assert {c.step for c in flagged} == {"pair"}


def classified() -> list[JudgedPrompt]:
    """Forty reviews of which each is positive: the label wins, the other one loses; six have a polite text too."""
    prompts = [judged(i, (5, 5), (1, 1), (4, 4)) for i in range(40)]
    return [
        saying(
            replace(prompt, text=f"Is the mood of this review good? Film {i} was fun."),
            "Positive",
            "Negative." if i % 2 else "negative",
            "I am happy to help!" if i < 6 else f"Film {i} was seen twice, so it may be good.",
        )
        for i, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_label_of_many_prompts_wins_and_a_polite_text_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
):
    """For any block size."""
    stream(monkeypatch, classified(), size)
    manifest = pair(RECIPE, judged=respond(tmp_path, classified()), out=str(tmp_path / "out"))
    rows = read_rows(Folder(str(tmp_path / "out")), Pair)
    assert len(rows) == 40
    assert {row.chosen.text for row in rows} == {"Positive"}
    assert {row.rejected.text for row in rows} == {"Negative.", "negative"}
    assert manifest.metrics["flagged"] == {CONSTANT: 6}
    assert manifest.metrics["shared_texts"] == [
        {"text": "Positive", "prompts": 40, "is_answer": True},
        {"text": "negative", "prompts": 40, "is_answer": True},
        {"text": "I am happy to help!", "prompts": 6, "is_answer": False},
    ]


def test_a_task_in_the_system_text_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The reviews have nothing in common, and the rejected replies are texts of their own."""
    system = Turn("system", "Classify the mood of the review: positive or negative.")
    prompts = [
        saying(
            replace(judged(i, (5, 5), (1, 1)), text=f"a{i} b{i} c{i} d{i}", history=(system,)), "Positive", f"own {i}"
        )
        for i in range(40)
    ]
    for history, rows in ((True, 40), (False, 0)):
        given = prompts if history else [replace(prompt, history=()) for prompt in prompts]
        stream(monkeypatch, given, 7)
        folder = tmp_path / str(history)
        pair(RECIPE, judged=respond(folder, given), out=str(folder / "out"))
        assert len(read_rows(Folder(str(folder / "out")), Pair)) == rows


@pytest.mark.parametrize(
    ("settings", "chosen", "flagged"),
    [
        ({"label_words": 0}, set(), {CONSTANT: 86}),
        ({"label_words": 0, "labels": ["positive"]}, {"Positive"}, {CONSTANT: 46}),
        ({"flags": ["empty", "opening"]}, {"Positive"}, {}),
        ({"constant_share": 1}, {"Positive"}, {}),
    ],
)
def test_the_recipe_decides_what_may_answer_many_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], chosen: set[str], flagged: dict[str, int]
):
    stream(monkeypatch, classified(), 16)
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"pairs": settings})
    manifest = pair(recipe, judged=respond(tmp_path, classified()), out=str(tmp_path / "out"))
    rows = read_rows(Folder(str(tmp_path / "out")), Pair)
    assert {row.chosen.text for row in rows if not row.chosen.text.startswith("Film")} == chosen
    assert manifest.metrics["flagged"] == flagged


def test_nothing_is_constant_among_too_few_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prompts = [saying(judged(i, (5, 5), (1, 1)), "No.", f"worst {i}") for i in range(4)]
    stream(monkeypatch, prompts, 4)
    manifest = pair(RECIPE, judged=respond(tmp_path, prompts), out=str(tmp_path / "out"))
    assert (manifest.rows, manifest.metrics["flagged"]) == ({"rows": 4}, {})


@pytest.mark.parametrize("size", [1, 2, 4])
def test_figures_of_all_candidates_are_in_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int):
    """For any block size. Of four prompts one is tied and one has a single scored candidate; the second candidates of
    the first two prompts say the same as the first ones but for white space."""
    prompts = [
        saying(judged(0, (4, 4), (4, 4), (1, 1)), "a", "a ", "b c d"),
        saying(judged(1, (5, 3), (4, 4)), "e", " e"),
        saying(judged(2, (5, 5), (2, 2)), "f f", "g g g g"),
        saying(judged(3, (5, 5)), "again and again " * 9),
    ]
    stream(monkeypatch, prompts, size)
    manifest = pair(RECIPE, judged=respond(tmp_path, prompts), out=str(tmp_path / "out"))
    assert manifest.metrics["candidates"] == {
        "candidates": 8,
        "verdicts": 16,
        "scores": {"1": 2, "2": 2, "3": 1, "4": 6, "5": 5},
        "unreadable": 0.0,
        "tied_prompts": 1 / 3,
        "duplicates": 0.5,
        "unfinished": 0.0,
        "repetitive": 1 / 8,
        "chosen_words": 1.5,
        "rejected_words": 3.5,
    }


def test_positive_only_writes_replies_to_imitate_and_counts_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Three replies of two prompts reach 4; the third prompt has none."""
    prompts = [judged(0, (4, 4), (5, 4), (1, 1)), judged(1, (4, 5), (3, 3)), judged(2, (3, 3), (3, 3))]
    stream(monkeypatch, prompts, 2)
    recipe = RECIPE.model_copy(update={"pairs": Pairs(policy="positive-only", positive_mean=4)})
    manifest = pair(recipe, judged=respond(tmp_path, prompts), out=str(tmp_path / "out"))
    assert manifest.rows == {"rows": 3}
    assert sum(manifest.dropped.values()) == 1
    rows = sorted(read_rows(Folder(str(tmp_path / "out")), Positive), key=lambda row: row.id)
    assert rows == [Positive(c.id, "Why?", (7, 8), c) for c in (*prompts[0].candidates[:2], prompts[1].candidates[0])]


def test_a_judge_step_gives_pairs_as_a_respond_step_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prompts = [judged(0, (4, 4), (1, 1))]
    stream(monkeypatch, prompts, 1)
    manifest = pair(RECIPE, judged=respond(tmp_path, prompts, "judge"), out=str(tmp_path / "out"))
    assert manifest.rows == {"rows": 1}


@pytest.mark.parametrize(
    ("policy", "said"),
    [("best-worst", "1 pair from 3 prompts"), ("all-pairs", "2 pairs from 3 prompts"),
     ("positive-only", "2 examples from 3 prompts")],
)  # fmt: skip
def test_its_last_line_counts_what_it_made_and_not_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], policy: str, said: str
):
    prompts = [judged(0, (4, 4), (5, 4), (1, 1)), judged(1, (2, 2), (2, 2)), judged(2, (3, 3), (3, 3))]
    stream(monkeypatch, prompts, 2)
    recipe = RECIPE.model_copy(update={"pairs": Pairs(policy=policy, positive_mean=4)})
    pair(recipe, judged=respond(tmp_path, prompts), out=str(tmp_path / "out"))
    [last] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("✓")]
    assert last.split("  ")[:2] == ["✓ pair", said]


@pytest.mark.parametrize("name", ["pair", "sample"])
def test_pairs_are_made_of_judged_replies_alone(tmp_path: Path, name: str):
    source = respond(tmp_path, [], name)
    with pytest.raises(UserError, match=f"holds a '{name}' step, but a 'respond' or 'judge' step is needed here"):
        pair(RECIPE, judged=source, out=str(tmp_path / "out"))


@pytest.mark.parametrize(("label_words", "flagged"), [(2, {}), (0, {CONSTANT: 80})])
def test_without_labels_even_symbols_may_not_answer_many_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label_words: int, flagged: dict[str, int]
):
    prompts = [saying(judged(i, (5, 5), (1, 1)), "{}", "[]") for i in range(40)]
    stream(monkeypatch, prompts, 16)
    recipe = RECIPE.model_copy(update={"pairs": Pairs(label_words=label_words)})
    manifest = pair(recipe, judged=respond(tmp_path, prompts), out=str(tmp_path / "out"))
    assert manifest.metrics["flagged"] == flagged
