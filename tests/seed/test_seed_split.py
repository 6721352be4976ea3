import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_ray.recipe import Seed
from selfreward_ray.records import Dropped, RankedReply, RankedSet
from selfreward_ray.seed.errors import SeedError
from selfreward_ray.seed.split import SeedSets, divide, split_seed


class Marks:
    def render(self, prompt: str, reply: str) -> str:
        return f"Judge <{reply}> for <{prompt}>"

    def read_score(self, text: str) -> float | None:
        return float(re.findall(r"\d", text)[-1])


def ranked(number: int, prompt: str | None = None, scores: tuple[int, ...] | None = (4, 1)) -> RankedSet:
    """A set of two replies or more, the first ranked best; without verdicts where `scores` is None."""
    verdicts = [None, None] if scores is None else [f"Score: {score}" for score in scores]
    replies = tuple(RankedReply(f"s{number}/r{i}", f"text {i}", i, None, v) for i, v in enumerate(verdicts))
    return RankedSet(f"s{number}", prompt or f"prompt {number}", replies)


@pytest.mark.parametrize(
    ("judged", "silent", "asked", "expected"),
    [
        (100, 0, (40, 20, 10), (40, 50, 10)),  # enough: EFT may choose among all that is left
        (100, 0, (85, 20, 10), (80, 10, 10)),  # EFT keeps one set for two rows
        (10, 0, (40, 20, 10), (4, 4, 2)),  # too few: a fifth is held out, then half and half
        (0, 20, (40, 20, 4), (16, 0, 4)),  # nothing to learn judging from: all for IFT
        (0, 20, (10, 20, 4), (10, 0, 4)),
        (10, 0, (40, 0, 0), (10, 0, 0)),
        (4, 0, (4, 4, 4), (2, 2, 0)),
        (1, 0, (4, 4, 4), (1, 0, 0)),
    ],
)
def test_the_deal(judged, silent, asked, expected):
    sets = [ranked(i) for i in range(judged)] + [ranked(judged + i, scores=None) for i in range(silent)]
    ift, eft, held_out = asked
    parts = divide(sets, Seed(ift=ift, eft=eft, held_out=held_out), rng_seed=0)
    assert (len(parts.ift), len(parts.eft), len(parts.held_out)) == expected


def test_sets_without_verdicts_serve_ift_before_others_do():
    silent = {f"s{i}" for i in range(30)}
    sets = [ranked(i, scores=None if f"s{i}" in silent else (4, 1)) for i in range(60)]
    parts = divide(sets, Seed(ift=40, eft=20, held_out=0), rng_seed=0)
    assert {s.id for s in parts.ift} >= silent
    assert len(parts.ift) == 40
    assert len(parts.eft) == 20


def test_held_out_sets_can_measure_a_judge():
    tied = [RankedSet(f"t{i}", f"tied {i}", (RankedReply(f"t{i}/r0", "text", 0),)) for i in range(15)]
    parts = divide([*tied, *(ranked(i) for i in range(5))], Seed(ift=20, eft=0, held_out=4), rng_seed=0)
    assert len(parts.held_out) == 4
    assert all(s.id.startswith("s") for s in parts.held_out)


def test_a_repeated_prompt_is_dropped_with_its_twin_named():
    parts = divide([ranked(0, "same"), ranked(1, "same")], Seed(ift=2, eft=0, held_out=0), rng_seed=0)
    (kept,) = parts.ift
    (gone,) = parts.dropped
    assert {kept.id, gone.id} == {"s0", "s1"}
    assert gone.reason == f"same prompt as {kept.id}"


def test_the_rng_seed_fixes_the_deal():
    sets, asked = [ranked(i) for i in range(50)], Seed(ift=10, eft=10, held_out=10)
    assert divide(sets, asked, 7) == divide(sets, asked, 7)
    assert divide(sets, asked, 7).held_out != divide(sets, asked, 8).held_out


@settings(deadline=None)  # the machine may be busy
@given(
    prompts=st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.booleans()), max_size=40),
    counts=st.tuples(*[st.integers(0, 12)] * 3),
    rng_seed=st.integers(0, 99),
)
def test_parts_share_no_prompt(prompts, counts, rng_seed):
    sets = [ranked(i, prompt, (4, 1) if judged else None) for i, (prompt, judged) in enumerate(prompts)]
    parts = divide(sets, Seed(ift=counts[0], eft=counts[1], held_out=counts[2]), rng_seed)
    dealt = [*parts.ift, *parts.eft, *parts.held_out]
    assert len({s.prompt for s in dealt}) == len(dealt)
    assert len(parts.dropped) == len(sets) - len({s.prompt for s in sets})
    assert len(parts.held_out) <= len({s.prompt for s in sets}) / 5
    assert len(parts.ift) <= counts[0]
    if counts[0] and prompts:
        assert parts.ift


def test_eft_stops_when_it_has_its_rows_and_keeps_the_last_set_whole():
    parts = SeedSets(ift=[ranked(0)], eft=[ranked(i, scores=(5, 3, 1)) for i in range(1, 9)], held_out=[], dropped=[])
    split = split_seed(parts, Seed(eft=4), Marks())
    assert [row.id for row in split.examples if row.kind == "eft"] == [
        f"s{i}/r{r}/eft" for i in (1, 2) for r in range(3)
    ]
    assert [row.id for row in split.examples if row.kind == "ift"] == ["s0/r0/ift"]
    assert split.dropped == []  # s3 to s8 were not needed, not given up


def test_what_disagrees_is_dropped_and_the_next_set_serves():
    before = Dropped("s9", "seed", "same prompt as s0")
    parts = SeedSets([ranked(0)], [ranked(1, scores=(1, 4)), ranked(2)], [ranked(3)], [before])
    split = split_seed(parts, Seed(eft=2), Marks())
    assert [row.id for row in split.examples] == ["s0/r0/ift", "s2/r0/eft", "s2/r1/eft"]
    assert split.dropped == [before, Dropped("s1", "seed", "the verdicts' scores do not agree with the ranking")]
    assert split.held_out == [ranked(3)]


def test_a_seed_without_ift_is_refused():
    with pytest.raises(SeedError, match=r"no IFT row; give more ranked sets"):
        split_seed(SeedSets([], [ranked(1)], [], []), Seed(), Marks())


def test_a_seed_without_the_eft_that_was_asked_for_is_refused():
    with pytest.raises(SeedError, match=r"no EFT row.*set seed_data.eft to 0"):
        split_seed(SeedSets([ranked(0)], [ranked(1, scores=(1, 4))], [], []), Seed(eft=2), Marks())
    assert len(split_seed(SeedSets([ranked(0)], [], [], []), Seed(eft=0), Marks()).examples) == 1
