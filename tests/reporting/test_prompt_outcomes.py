from pathlib import Path

import pytest

from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Dropped, Pair, Positive
from selfreward_ray.reporting.prompt_outcomes import PromptOutcome, read_dropped, read_outcomes
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step


def reply(name: str) -> Candidate:
    return Candidate(name, "So.", (1,), True)


@pytest.mark.parametrize("policy", ["best-worst", "positive-only"])
def test_each_prompt_has_what_became_of_it_and_its_replies(tmp_path: Path, policy: str):
    step = Step("pair", str(tmp_path), {}, {})
    step.is_done()
    pairs = [Pair(f"M2/q0/{n}", "Why?", (1,), reply("M2/q0/r1"), reply(f"M2/q0/r{n}")) for n in (0, 2)]
    if policy == "best-worst":
        step.write(pairs, Pair)
    else:
        step.write([Positive("M2/q0/r1", "Why?", (1,), reply("M2/q0/r1"))], Positive)
    step.write([Dropped("M2/q1", "pair", "tied")], Dropped, "dropped")
    step.write([Dropped("M2/q0/r3", "pair", "empty"), Dropped("M2/q1/r0", "pair", "empty")], Dropped, "flagged")
    step.finish(offered=2, kept=1)
    found = read_outcomes(Folder(str(tmp_path)), Recipe.model_validate({"model": "m", "pairs": {"policy": policy}}))
    paired = [("M2/q0/r1", "M2/q0/r0"), ("M2/q0/r1", "M2/q0/r2")] if policy == "best-worst" else []
    positive = set() if policy == "best-worst" else {"M2/q0/r1"}
    assert found.made
    assert found.of("M2/q0") == PromptOutcome(paired, positive, {"M2/q0/r3": "empty"})
    assert found.of("M2/q1") == PromptOutcome(flagged={"M2/q1/r0": "empty"}, dropped="tied")
    assert found.of("M2/q2") == PromptOutcome()
    assert read_dropped(Folder(str(tmp_path))).of("M2/q1") == PromptOutcome(dropped="tied")


def test_without_a_finished_step_nothing_is_known(tmp_path: Path):
    found = read_outcomes(Folder(str(tmp_path)), Recipe(model="m"))
    assert (found.made, found.of("M2/q0")) == (False, PromptOutcome())
