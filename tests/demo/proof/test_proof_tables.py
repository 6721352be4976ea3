from pathlib import Path

import pytest
from proof_examples import BEST, DEMO, MIDDLE, WORST, table

from selfreward_ray.demo.proof.tables import (
    OWN_PROMPTS,
    further_examples,
    judged_by_truth,
    next_prompts,
    prompts_alone,
    random_pairs,
    side_by_side,
)
from selfreward_ray.demo.world import demo_prompts
from selfreward_ray.preferences.best_worst import best_worst
from selfreward_ray.preferences.candidate_set import build_candidate_set
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import (
    Candidate,
    EvaluatedReply,
    EvaluatedSet,
    JudgedPrompt,
    Pair,
    Prompt,
    RankedReply,
    RankedSet,
    SftExample,
    Verdict,
)
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.run import RunLayout
from selfreward_ray.store.tables import read_rows

RECIPE = Recipe.model_validate({"model": "m0", "judge": {"verdicts": 2, "min_valid": 2}})


@pytest.fixture
def out(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out"))


def pairs(count: int) -> list[Pair]:
    sides = Candidate("c", "good", (3,), True, mean=4.0), Candidate("r", "bad", (4,), True, mean=1.0)
    return [Pair(f"p{i}/pair", "Why?", (1, 2), *sides, label_smoothing=0.25) for i in range(count)]


def test_half_of_the_labels_are_flipped_and_nothing_else_changes(tmp_path: Path, out: Folder):
    """Of 400 pairs between 160 and 240, four standard deviations."""
    given = pairs(400)
    manifest = random_pairs(RECIPE, table(tmp_path / "pairs", given, step="pair"), out)
    assert (manifest.step, manifest.rows) == ("pair", {"rows": 400})
    turned = 0
    for before, after in zip(given, read_rows(out, Pair), strict=True):
        assert (after.id, after.prompt_ids, after.label_smoothing) == (before.id, before.prompt_ids, 0.25)
        assert {after.chosen, after.rejected} == {before.chosen, before.rejected}
        turned += after.chosen == before.rejected
    assert 160 < turned < 240


def test_flips_depend_on_the_seed_and_the_pairs_id(tmp_path: Path):
    source = table(tmp_path / "pairs", pairs(64), step="pair")
    few = table(tmp_path / "few", pairs(64)[32:], step="pair")

    def chosen(seed: int, given: Folder, name: str) -> list[str]:
        made = Folder(str(tmp_path / name))
        random_pairs(RECIPE.model_copy(update={"seed": seed}), given, made)
        return [pair.chosen.id for pair in read_rows(made, Pair)]

    first = chosen(0, source, "a")
    assert chosen(0, source, "b") == first
    assert chosen(1, source, "c") != first
    assert chosen(0, few, "d") == first[32:]


def test_the_verifier_judges_the_same_candidates_and_the_best_is_paired_with_the_worst(tmp_path: Path, out: Folder):
    """The model's own verdicts were the other way round."""
    wrong = {BEST: 0.0, MIDDLE: 2.0, WORST: 5.0}
    candidates = tuple(
        Candidate(f"p/r{i}", text, (i,), True, (Verdict(f"p/r{i}/v0", "", wrong[text], 1),), wrong[text], 0.0)
        for i, text in enumerate((MIDDLE, BEST, WORST))
    )
    source = table(tmp_path / "judged", [JudgedPrompt("p", DEMO, (1,), candidates)], step="respond")
    assert judged_by_truth(RECIPE, source, out).step == "judge"
    [row] = read_rows(out, JudgedPrompt)
    assert [(c.id, c.text, c.token_ids) for c in row.candidates] == [(c.id, c.text, c.token_ids) for c in candidates]
    assert [c.mean for c in row.candidates] == [3.0, 5.0, 0.0]
    assert [[v.score for v in c.verdicts] for c in row.candidates] == [[3, 3], [5, 5], [0, 0]]  # as many as are asked
    [pair] = best_worst(build_candidate_set(row, RECIPE.judge, frozenset()), RECIPE.pairs)
    assert (pair.chosen.text, pair.rejected.text) == (BEST, WORST)


def test_further_examples_go_on_where_the_last_stretch_ended_and_round(tmp_path: Path):
    """Three IFT rows and two EFT rows: the stretches 0–3 and 4–9 have each of them twice."""
    seed = table(tmp_path / "seed", [SftExample(f"s{i}/ift", "ift", "p", "t") for i in range(3)])
    eft = table(tmp_path / "eft", [SftExample(f"s{i}/eft", "eft", "p", "t") for i in range(2)], step="eft")
    found: list[str] = []
    for stretch in (range(4), range(4, 10)):
        made = Folder(str(tmp_path / f"from{stretch.start}"))
        assert further_examples(RECIPE, seed, eft, stretch, made).rows == {"rows": len(stretch)}
        found += [row.id for row in read_rows(made, SftExample)]
    assert found[:5] == found[5:]
    assert sorted(found[:5]) == ["s0/eft", "s0/ift", "s1/eft", "s1/ift", "s2/ift"]


def sets(count: int) -> list[RankedSet]:
    names = [f"{group}/{i:06d}" for group in ("topics", "words") for i in range(count // 2)]
    return [RankedSet(n, DEMO, (RankedReply(f"{n}/r0", BEST, 0, 5.0),), group=n.split("/")[0]) for n in names]


def test_held_out_prompts_stand_alone_to_be_answered(tmp_path: Path, out: Folder):
    source = table(tmp_path / "seed", sets(4), "held_out")
    assert prompts_alone(source, out).step == "propose"
    assert read_rows(out, Prompt) == [Prompt(s.id, DEMO) for s in sets(4)]


@pytest.mark.parametrize(("count", "asked"), [(300, OWN_PROMPTS), (6, 6)])
def test_the_last_model_has_prompts_that_no_iteration_had(out: Folder, count: int, asked: int):
    changed = {"iterations": 2, "prompts": RECIPE.prompts.model_copy(update={"count": count})}
    recipe = RECIPE.model_copy(update=changed)
    assert next_prompts(recipe, out).step == "propose"
    found = read_rows(out, Prompt)
    assert [p.id for p in found] == [f"M4/p{i:06d}" for i in range(asked)]
    had = {p.text for t in (1, 2) for p in demo_prompts(count, recipe.seed, t)}
    assert had.isdisjoint(p.text for p in found)


def test_answers_of_all_models_stand_side_by_side_as_replies_to_judge(tmp_path: Path, out: Folder):
    """However each evaluation happens to be ordered."""
    run = RunLayout(str(tmp_path))
    for t in (1, 2):
        sets = [EvaluatedSet(i, EvaluatedReply(f"{i}/answer", f"Why {i}?", f"M{t} {i}", i == "a"), ()) for i in "ab"]
        table(Path(run.evaluation(t).uri), sets[:: 3 - 2 * t], step="evaluate")
    manifest = side_by_side(RECIPE.model_copy(update={"iterations": 1}), run, out)
    assert manifest.step == "sample"
    assert read_rows(out, JudgedPrompt) == [
        JudgedPrompt(i, f"Why {i}?", (), tuple(Candidate(f"{i}/M{t}", f"M{t} {i}", (), i == "a") for t in (1, 2)))
        for i in "ab"
    ]
