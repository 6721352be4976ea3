"""What every pair policy keeps to, whatever its candidates."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged_prompts import CONSTANT, JUDGE, PROMPT, candidate_lists, candidate_set

from selfreward_ray.judging.aggregate import valid_scores
from selfreward_ray.preferences import POLICIES
from selfreward_ray.preferences.flags import flag_reason
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.records import Candidate, Dropped, Positive

pairs_sections = st.builds(
    Pairs,
    positive_mean=st.sampled_from([2.0, 4.0, 5.0]),
    band=st.sampled_from([0.0, 0.2, 0.45]),
    margin=st.sampled_from([0.5, 1.0, 3.0]),
    min_confidence=st.sampled_from([0.5, 0.75, 0.95]),
    weak=st.sampled_from(["drop", "soften"]),
)


@pytest.mark.parametrize("name", POLICIES)
@given(candidates=candidate_lists(), pairs=pairs_sections, rng=st.randoms(use_true_random=False))
def test_a_prompt_gives_valid_rows_or_one_reason(name: str, candidates: list[Candidate], pairs: Pairs, rng: Random):
    policy = POLICIES[name]
    outcome = policy.choose(candidate_set(*candidates), pairs)
    if isinstance(outcome, Dropped):
        assert (outcome.id, outcome.step) == (PROMPT, "pair")
        assert outcome.reason
    else:
        assert outcome
        assert all(type(row) is policy.record for row in outcome)
        assert len({row.id for row in outcome}) == len(outcome)
        for row in outcome:
            if isinstance(row, Positive):
                winner = next(c for c in candidates if c.id == row.id)
                assert (row.prompt, row.prompt_ids, row.reply) == ("Name a sea.", (7, 8), winner)
            else:
                winner = row.chosen
                assert winner.text.strip() != row.rejected.text.strip()
                assert winner.mean > row.rejected.mean
                assert len(valid_scores(row.rejected)) >= JUDGE.min_valid
                assert 0 <= row.label_smoothing <= 0.5
            assert winner.finished
            assert flag_reason(winner.text, "Name a sea.", CONSTANT) is None
            assert len(valid_scores(winner)) >= JUDGE.min_valid
    rng.shuffle(candidates)
    assert policy.choose(candidate_set(*candidates), pairs) == outcome


@given(candidates=candidate_lists(), pairs=pairs_sections)
def test_the_policies_of_one_pair_drop_what_best_worst_drops(candidates: list[Candidate], pairs: Pairs):
    """All pairs and preference strength may drop more, for reasons of their own."""
    dropped = {name: isinstance(POLICIES[name].choose(candidate_set(*candidates), pairs), Dropped) for name in POLICIES}
    assert dropped["length-controlled"] == dropped["best-worst"]
    for stricter in ("all-pairs", "preference-strength"):
        assert dropped[stricter] >= dropped["best-worst"]


@given(candidates=candidate_lists())
def test_a_flagged_reply_is_named_once_with_its_reason(candidates: list[Candidate]):
    expected = {c.id: flag_reason(c.text, "Name a sea.", CONSTANT) for c in candidates}
    flagged = candidate_set(*candidates).flagged
    assert {c.id: c.reason for c in flagged} == {name: reason for name, reason in expected.items() if reason}
    assert all(c.step == "pair" for c in flagged)
    assert len({c.id for c in flagged}) == len(flagged)
