"""Judged prompts for the tests of pair policies, and Hypothesis strategies that generate them."""

from hypothesis import strategies as st

from selfreward_ray.judging.aggregate import with_verdicts
from selfreward_ray.preferences.candidate_set import CandidateSet, build_candidate_set
from selfreward_ray.preferences.flags import text_key
from selfreward_ray.recipe.schema import Judge
from selfreward_ray.records import Candidate, JudgedPrompt, Verdict

JUDGE = Judge(verdicts=3, min_valid=2)
PROMPT = "M2/p000000"
CONSTANT_TEXT = "I cannot say."
CONSTANT = frozenset({text_key(CONSTANT_TEXT)})


def candidate(name: str, text: str, *scores: float | None, finished: bool = True, tokens: int = 1) -> Candidate:
    name = f"{PROMPT}/{name}"
    verdicts = tuple(Verdict(f"{name}/v{k}", "", score, 1) for k, score in enumerate(scores))
    return with_verdicts(Candidate(name, text, (1,) * tokens, finished), verdicts)


def candidate_set(*candidates: Candidate) -> CandidateSet:
    return build_candidate_set(JudgedPrompt(PROMPT, "Name a sea.", (7, 8), candidates), JUDGE, CONSTANT)


_scores = st.lists(st.none() | st.integers(0, 5), min_size=3, max_size=3)
_texts = st.sampled_from(["", ":", "Sea:", "name a sea", CONSTANT_TEXT, "x", "x\n", "y", "z"])
_replies = st.tuples(_texts, _scores, st.booleans(), st.integers(1, 4))


@st.composite
def candidate_lists(draw: st.DrawFn) -> list[Candidate]:
    drawn = draw(st.lists(_replies, max_size=5))
    return [
        candidate(f"r{i}", text, *marks, finished=done, tokens=tokens)
        for i, (text, marks, done, tokens) in enumerate(drawn)
    ]
