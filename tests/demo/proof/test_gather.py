from dataclasses import replace
from pathlib import Path

from proof_examples import BEST, DEMO, MIDDLE, WORST, table

from selfreward_ray.demo.proof.figures import PairCount
from selfreward_ray.demo.proof.gather import count_pairs, judge_scores, shared
from selfreward_ray.demo.proof.layout import all_judged, own_answers
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, JudgedPrompt, Pair
from selfreward_ray.store.run import RunLayout


def pair(chosen: str, rejected: str) -> Pair:
    sides = (Candidate("c", chosen, (), True, mean=4.0), Candidate("r", rejected, (), True, mean=1.0))
    return Pair(f"{chosen} {rejected}", DEMO, (), *sides)


def test_pairs_are_right_tied_or_wrong(tmp_path: Path):
    candidates = tuple(Candidate(f"c{i}", text, (), True) for i, text in enumerate((BEST, WORST)))
    judged = table(tmp_path, [JudgedPrompt(f"p{i}", DEMO, (), candidates) for i in range(5)], step="respond")
    pairs = [pair(BEST, WORST), pair(BEST, MIDDLE), pair(MIDDLE, MIDDLE), pair(WORST, MIDDLE)]
    assert count_pairs(judged, pairs) == PairCount(prompts=5, pairs=4, agreed=2, tied=1)


def test_pairs_are_shared_where_both_texts_are_the_same_and_the_same_is_chosen():
    own = [pair(BEST, WORST), pair(BEST, MIDDLE), pair(MIDDLE, WORST)]
    turned = replace(pair(MIDDLE, BEST), id=own[1].id)
    assert shared({"M2": own}, {"M2": [pair(BEST, WORST), turned]}) == {"M2": 1}


def test_a_models_own_answers_are_those_that_the_loop_has_of_it_but_for_the_last_model(tmp_path: Path):
    run, recipe = RunLayout(str(tmp_path)), Recipe(model="m0", iterations=2)
    assert [own_answers(recipe, run, t).uri for t in (1, 2)] == [run.judged(t).uri for t in (2, 3)]
    assert own_answers(recipe, run, 3).uri not in {run.judged(t).uri for t in range(2, 5)}


def test_the_judges_scores_are_by_model_and_prompt_and_leave_out_what_could_not_be_read(tmp_path: Path):
    run = RunLayout(str(tmp_path))

    def judged(prompt: str, *means: float | None) -> JudgedPrompt:
        candidates = (Candidate(f"{prompt}/M{t}", "", (), True, (), mean) for t, mean in enumerate(means, start=1))
        return JudgedPrompt(prompt, "Why?", (), tuple(candidates))

    table(Path(all_judged(run).uri), [judged("a", 1.0, 0.0), judged("b", None, 4.0)], step="judge")
    assert judge_scores(run, ["M1", "M2"]) == {"M1": {"a": 1.0}, "M2": {"a": 0.0, "b": 4.0}}
