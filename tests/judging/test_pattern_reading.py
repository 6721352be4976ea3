"""Rubrics that are read by their pattern alone: what the pattern finds is the score, if it is a whole one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfreward_ray.judging.probe import frames
from selfreward_ray.judging.rubric import Rubric, RubricError, load_pairwise, load_rubric

FIELDS = {
    "template": "<instruction>{prompt}</instruction>\n<reply>{reply}</reply>",
    "min_score": 1,
    "max_score": 5,
}


def rubric(pattern: str, **fields: Any) -> Rubric:
    return Rubric.model_validate({"name": "own", **FIELDS, "score_pattern": pattern, **fields})


PERCENT = {"min_score": 0, "max_score": 100}
QUALITY = {"scores": {"good": 5, "fair": 3, "bad": 1}}
LETTERS = {"scores": {"A": 5, "B": 1}}
SIGNED = {"min_score": -5, "max_score": 5}


@pytest.mark.parametrize(
    ("pattern", "fields", "verdict", "score"),
    [
        # what surrounds the score is the file's business
        (r"<score>(\d)</score>", {}, "<score>4</score>", 4),
        (r"<score>(\d)</score>", {}, "<score>4</score> out of 10, or 5", 4),
        (r"<score>\s*(\d)", {}, "<score>\n4\n</score>", 4),
        (r'"score": (\d)', {}, '{"score": 4, "max": 5}', 4),
        (r'"score":(\d)', {}, '{"score":4,"max":5}', 4),
        (r'"score": "(\d)"', {}, '{"score": "4"}', 4),
        (r"(\d+)%", PERCENT, "I am sure that it is worth 85% of 100.", 85),
        (r"(\d+) ?%", PERCENT, "Score: 85 %", 85),
        (r"Score: (\d+)", PERCENT, "Score: 85% of 100", 85),
        (r"\[\[([AB])\]\]", LETTERS, "[[A]] is better.", 5),
        (r"\[\[(\d)\]\]", {}, "Rating: [[4]]", 4),
        (r"\\boxed\{(\d)\}", {}, "So the score is $\\boxed{4}$.", 4),
        (r"Score: (\d) or", {}, "Score: 4 or so", 4),
        (r"\*\*(\d)\*\*", {}, "Score: **4**", 4),
        (r"“(\d)”", {}, "评分：“4”", 4),
        (r"评分：(\d)", {}, "评分：4分，很好", 4),
        (r"选择：([AB])", LETTERS, "选择：A更好", 5),
        (r"Note: (\d(?:,\d)?)", {}, "Note: 4,5", 4.5),
        (r"Score: ([\d.]+)", {}, "Score: 4.", 4),
        (r"Score: (\S+)", {}, "Score: ４", 4),
        (r"Score: ([+−-]?\d)", SIGNED, "Score: −3", -3),
        (r"Score: ([+-]?\d)", SIGNED, "Score: +3", 3),
        (r"(\d) points", {}, "-4 points", None),
        (r"(?i)it is (good|fair|bad)", QUALITY, "It is GOOD.", 5),
        (r"Grade: *(\w+) *$", QUALITY, "Grade: fair ", 3),
        (r"scores: (\d),", {}, "scores: 4,5", 4),
        # the last match counts
        (r"<score>(\d)</score>", {}, "<score>2</score>. No: <score>4</score>", 4),
        (r"<score>(\d)</score>", {}, "<score>2</score> No: <score>4</score>", None),
        (r"(\d+)%", PERCENT, "It is 20% too long. 85%", 85),
        (r"(\d+)", PERCENT, "‹20› or 85", 85),
        (r"Elo: (\d,\d{3})", {"min_score": 1000, "max_score": 3000}, "Elo: 1,500", 1500),
        (r"<score>(\d)</score>", {}, "<score>4</score> <score>9</score>", None),
        (r"\[\[([AB])\]\]", LETTERS, "[[B]]?\n[[A]]", 5),
        (r"\[\[([AB])\]\]", LETTERS, "[[A]] is better than [[B]]", None),
        # a number or a word that the pattern cuts in two
        (r"Score: (\d)", {}, "Score: 10", None),
        (r"Score: (\d)", {}, "Score: 4.5", None),
        (r"Score: (\d)", {}, "Score: 4,5", None),
        (r"Score: (\d).*", {}, "Score: 10", None),
        (r"Score: (\d).*", {}, "Score: 4.5", None),
        (r"Score: .*(\d)", {}, "Score: 15", None),
        (r"Score: .*(\d)", {}, "Score: 8.5", None),
        (r"(\d+)%", PERCENT, "8.5%", None),
        (r"(\d+)%", PERCENT, "8,5%", None),
        (r"(\d+)%", PERCENT, "from -5%", None),
        (r"(\d+)%", PERCENT, "from 5-10%", 10),
        (r"Grade: ([AB])", LETTERS, "Grade: Bad", None),
        (r"Grade: ([AB])", LETTERS, "Grade: AB", None),
        (r"(good|fair|bad)", QUALITY, "goodness", None),
        (r"(good|fair|bad)", QUALITY, "unfair", None),
        # no number, or no grade
        (r"Score: (\S+)", {}, "Score: four", None),
        (r"Score: (\S+)", {}, "Score: 4/5", None),
        (r"Score: (\S+)", {}, "Score: 1_0", None),
        (r"Score: (\S+)", {}, "Score: nan", None),
        (r"Score: (\S+)", {}, "Score: inf", None),
        (r"Score: (\S+)", {}, "Score: " + "9" * 5000, None),
        (r"Grade: (\w+)", QUALITY, "Grade: poor", None),
        (r"Score: (\d)?", {}, "Score: k", None),
        (r"Score: (\d)", {}, "", None),
        # quoted from what is judged
        (r"Score: \D*(\d)", {}, "Score: ‹4›", None),
        (r"Score: \D*(\d)", {}, "Score: ‹4", None),
        (r"(\d)", {}, "4›", None),
    ],
)
def test_the_pattern_decides(pattern: str, fields: dict[str, Any], verdict: str, score: float | None) -> None:
    assert rubric(pattern, **fields).read_score(verdict) == score


@pytest.mark.parametrize(
    ("verdict", "by_pattern", "in_prose"),
    [
        ("Score: 4", 4, 4),
        ("Score: 4/10", 4, None),
        ("Score: 3 or 4", 3, None),
        ("Score: 4?", 4, None),
        ("Score: 4 and a half", 4, None),
        ('It says "Score: 4"', 4, None),
        ("**Score:** 4", None, 4),
        ("Score:\u00a04", None, 4),
    ],
)
def test_a_rubric_states_how_strictly_it_is_read(
    verdict: str, by_pattern: float | None, in_prose: float | None
) -> None:
    pattern = r"Score: *(\d)"
    assert rubric(pattern).reading == "pattern"
    assert rubric(pattern).read_score(verdict) == by_pattern
    assert rubric(pattern, reading="pattern").read_score(verdict) == by_pattern
    assert rubric(pattern, reading="prose").read_score(verdict) == in_prose


@pytest.mark.parametrize("verdict", ["14", "2.4", "0.4", "-14"])
@pytest.mark.parametrize("reading", ["pattern", "prose"])
def test_a_part_of_a_number_is_no_score(reading: str, verdict: str) -> None:
    assert rubric(r"(\d)", reading=reading).read_score(verdict) is None


@pytest.mark.parametrize(
    ("maximum", "verdict", "score"),
    [(100, "Score: 85%", 85), (100, "Score: 85 % of 100", 85), (100, "Score: 85/100", 85), (90, "Score: 85%", None)],
)
def test_per_cent_are_a_score_in_prose_if_the_maximum_is_a_hundred(
    maximum: float, verdict: str, score: float | None
) -> None:
    assert rubric(r"Score: *(\d+)", min_score=0, max_score=maximum, reading="prose").read_score(verdict) == score


@pytest.mark.parametrize(
    ("pattern", "verdict", "score"),
    [
        (r"(?i)\brating *: *(\d)", "Rating: 4\nHighest rating: 5", 4),
        (r"(?i)\b(?:final )?grade *: *(\d)", "Grade: 4\nClass grade: 5", 4),
        # other languages, and patterns without a label: the words before are not known
        (r"(?i)\bNote *: *(\d)", "Endgültige Note: 4", 4),
        (r"(?i)оценка *: *(\d)", "Итоговая оценка: 4", 4),
        (r"(?i)(\d) *stars", "It gets 4 stars", 4),
    ],
)
def test_words_before_an_english_label_decide_whose_score_it_is(pattern: str, verdict: str, score: float) -> None:
    assert rubric(pattern, reading="prose").read_score(verdict) == score


def write(folder: Path, **fields: object) -> str:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(FIELDS | fields, allow_unicode=True), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"score_pattern": r"Score: (\d)", "reads": {"Score: 4": 4, "Score: 45": None, "four": None}},
        {"score_pattern": r"Score: *(\d)", "reading": "prose", "reads": {"**Score:** 4/5": 4, "Score: 4/10": None}},
        {"score_pattern": r"is (\w+)\.", **QUALITY, "reads": {"It is good.": 5, "It is done.": None}},
        {"score_pattern": r"Score: (\d)", "reads": {}},
    ],
)
def test_examples_that_are_read_as_stated_are_accepted(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert load_rubric(write(tmp_path, **fields)).reads == fields["reads"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"reads": {"Score: 4": 5}},
            "reads: from the example 'Score: 4' 4 is read, but 5 is stated; correct the example, score_pattern or",
        ),
        ({"reads": {"Score: 4": 4, "Rating: 4": 4}}, "the example 'Rating: 4' no score is read, but 4 is stated"),
        ({"reads": {"Score: 4/10": None}}, "the example 'Score: 4/10' 4 is read, but no score is stated"),
        ({"reads": {"Score: 4/10": 4}, "reading": "prose"}, "'Score: 4/10' no score is read, but 4 is stated"),
        ({"reads": {"Score: 9": 9}}, "the example 'Score: 9' no score is read, but 9 is stated"),
        ({"reads": {"<think>Score: 2</think>Score: 4": 4}}, "has a thought (<think>), which is removed before"),
        ({"reads": {"Hm.</think>\nScore: 4": 4}}, "has a thought (</think>)"),
        ({"reads": {"[THINK]Hm.[/THINK]Score: 4": 4}}, "has a thought ([THINK])"),
        ({"reads": {"Score: 4": "four"}}, "reads: Score: 4: must be a number (got 'four')"),
        ({"reads": {4: 4}}, "reads: 4: must be text; put it in quotation marks (got 4)"),
        ({"reads": ["Score: 4"]}, "reads: must be a mapping"),
        ({"reading": "loose"}, "reading: must be pattern or prose (got 'loose')"),
    ],
)
def test_an_example_that_is_read_otherwise_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = write(tmp_path, score_pattern=r"Score: (\d)", **fields)
    with pytest.raises(RubricError) as error:
        load_rubric(path)
    assert str(error.value).startswith(f"rubric {path}: ")
    assert message in str(error.value)


def test_examples_are_no_part_of_what_identifies_a_step() -> None:
    with_examples, without = rubric(r"Score: (\d)", reads={"Score: 4": 4}), rubric(r"Score: (\d)")
    assert with_examples.model_dump() == without.model_dump()
    assert rubric(r"Score: (\d)", reading="prose").model_dump() != without.model_dump()


@pytest.mark.parametrize(
    ("pattern", "fields", "missing"),
    [
        # no text matches, or its group is no score
        (r"(?!)(\d)", {}, "1, the min_score"),
        (r"Score: (\d)$x", {}, "1, the min_score"),
        (r"Score: ([A-E])", {}, "1, the min_score"),
        (r"Score: (four)", {}, "1, the min_score"),
        (r"Score: (\s*)", {}, "1, the min_score"),
        (r"Score: (\d/\d)", {}, "1, the min_score"),
        # the range has scores that the pattern does not find as a whole
        (r"Score: (\d)", {"min_score": 10, "max_score": 100}, "10, the min_score"),
        (r"Score: (\d)", {"max_score": 10}, "10, the max_score"),
        (r"Score: ([1-9]|10)", {"max_score": 10}, "10, the max_score"),
        (r"Score: (\d+)", SIGNED, "-5, the min_score"),
        (r"Score: ([1-5])", {"min_score": 0}, "0, the min_score"),
        # grades that the pattern does not find
        (r"Grade: (\d)", LETTERS, "the grade A"),
        (r"Grade: ([A-D])", {"scores": {"A": 5, "E": 1}}, "the grade E"),
        (r"Grade: (\w+)", {"scores": {"good": 5, "not good": 1}}, "the grade not good"),
        # markup is gone before the pattern is matched
        (r"\*\*Score:\*\* (\d)", {"reading": "prose"}, "1, the min_score"),
        (r"‹(\d)›", {}, "1, the min_score"),
    ],
)
def test_a_rubric_that_can_not_be_read_is_refused(
    tmp_path: Path, pattern: str, fields: dict[str, Any], missing: str
) -> None:
    with pytest.raises(RubricError) as error:
        load_rubric(write(tmp_path, score_pattern=pattern, **fields))
    assert f"score_pattern: no verdict is found that gives {missing}" in str(error.value)
    assert str(error.value).endswith("or state a verdict with its score in reads")


def test_what_was_tried_is_shown(tmp_path: Path) -> None:
    with pytest.raises(RubricError, match=r"10, the max_score \(tried: 'Score: 10', 'Score: 10.0', 'Score: 10.00'\)"):
        load_rubric(write(tmp_path, score_pattern=r"Score: (\d)", max_score=10))


@pytest.mark.parametrize(
    ("pattern", "fields"),
    [
        (r"Score: (\d)", {}),
        (r"(?i)score[*_ ]*:[*_ ]*(\d+)", {}),
        (r"(?i)(?<![^\W_])score[*_ ]*[:：][*_`<(\[ \t]*([-−]?\d+(?:\.\d+)?)", {}),
        (r"(?im)^\W*(?:final |total )?(?:score|rating|grade)\s*[:=]\s*\(?(\d+)\)?", {}),
        (r"Score: (10|[1-9])", {"max_score": 10}),
        (r"(\d+(?:\.\d+)?)\s*/\s*10\b", {"max_score": 10}),
        (r"(?<=Score: )(\d)(?=\n|$)", {}),
        (r"(?=[^\n]*\d)Score: (\d)", {}),
        (r"(?s)<reasons>.{20,}</reasons>\s*<score>(\d)</score>", {}),
        (r"[\s\S]*\[\[(\d)\]\]", {}),
        (r"(\d)(?:\.0+)?(?![.\d])", {}),
        (r"(?:a)?(?:b)?(?:c)?(?:d)?(?:e)?(?:f)?(?:g)?(?:h)?(?:none|Score: (\d))", {}),
        (r"(?P<score>\d)", {}),
        (r"(?>Score): (\d)", {}),
        (r"Score: ++(\d)", {}),
        (r"Score[^:\s]?[^\w\s] (\d)", {}),
        (r"Score\D\S\W(\d)\s", {}),
        (r"Score: ([1-5]|[1-5]\.5)", {}),
        (r"Note: (\d,\d)", {}),
        (r"Elo: (\d,\d{3})", {"min_score": 1000, "max_score": 3000}),
        (r"(0(?:\.\d+)?|1(?:\.0+)?)", {"min_score": 0, "max_score": 1}),
        (r"Score: (\d{2})", {"max_score": 20}),
        (r"Score: ([+-]\d)", SIGNED),
        (r"(\d+)%", PERCENT),
        (r"Grade: ([A-E])\b", {"scores": {"A": 5, "B": 4, "E": 1}}),
        (r"(?i)verdict:\s*(needs work|good)", {"scores": {"Needs work": 1, "Good": 5}}),
        (r"Rating: ([A-Z ]+)\.", {"scores": {"not good": 1, "good": 5}}),
        (r"(👍|👎)", {"scores": {"👍": 5, "👎": 1}}),
        (r"答案：(好|不好)。", {"scores": {"好": 5, "不好": 1}}),
    ],
)
def test_a_rubric_without_examples_is_accepted_if_it_can_be_read(
    tmp_path: Path, pattern: str, fields: dict[str, Any]
) -> None:
    assert load_rubric(write(tmp_path, score_pattern=pattern, **fields)).score_pattern == pattern


def test_an_example_shows_how_a_pattern_is_read_that_is_too_odd_to_be_tried(tmp_path: Path) -> None:
    odd = r"(\d) = \1"
    with pytest.raises(RubricError, match="no verdict is found that gives 1, the min_score"):
        load_rubric(write(tmp_path, score_pattern=odd))
    odd = r"(?<!Draft )Score: (\d)(?<=[1-5])\n(?:=|-){1001}"
    with pytest.raises(RubricError, match="no verdict is found that gives 1, the min_score"):
        load_rubric(write(tmp_path, score_pattern=odd))
    assert load_rubric(write(tmp_path, score_pattern=odd, reads={"Score: 4\n" + "=" * 1001: 4})).reads


def test_endings_show_how_a_pattern_is_read(tmp_path: Path) -> None:
    odd = r"Score: (\d)(?:=|-){1001}"
    assert load_rubric(write(tmp_path, score_pattern=odd, endings=["Score: 4" + "=" * 1001])).endings


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:\w+\s*)*Score: (\d)",
        r"(?:\*+)+(\d)",
        r"(?:(?:a|b+))*(\d)",
        r"(?:(?:\s+)?x*)*(\d)",
        r"(?:.*?)+?Score: (\d)",
        r"(?:(?:\w+\s*)*Score): (\d)",
        r"(?:Mark|(?:\w+\s*)*Score): (\d)",
        r"(?:(?:\w+\s*)*:){1,2} (\d)",
        r"(?=(?:\w+\s*)*:).*(\d)",
    ],
)
def test_a_pattern_that_repeats_a_repetition_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(RubricError, match="score_pattern: repeats a repetition"):
        load_rubric(write(tmp_path, score_pattern=pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:\w+\s)*Score: (\d)",
        r"(?:[ \t]*\n)*Score: (\d)",
        r"(?:\w+){2}Score: (\d)",
        r"(?:(?=\w*)x)*Score: (\d)",
        r"(?>\w+)*: (\d)",
    ],
)
def test_other_repetitions_are_accepted(tmp_path: Path, pattern: str) -> None:
    assert load_rubric(write(tmp_path, score_pattern=pattern)).score_pattern == pattern


def test_a_rubric_of_two_replies_may_be_read_by_its_pattern(tmp_path: Path) -> None:
    template = "<q>{prompt}</q><a>{first}</a><b>{second}</b>"
    fields = {"template": template, "min_score": 0, "max_score": 1, "score_pattern": r"<winner>([AB])</winner>"}
    own = load_pairwise(write(tmp_path, **fields, scores={"A": 1, "B": 0}, reads={"<winner>A</winner> wins": 1}))
    assert own.read_score("<winner>B</winner> is right") == 0


@pytest.mark.parametrize(
    "pattern", [r"\D(\d)\S", r"[^x0](\d)[^\d\s]", r"[\W_](\d)\W", r"[^\W](\d)", r"(?:a|b+)(\d)c{2}", r"\s(\d)(?>x*)"]
)
def test_what_may_stand_around_a_number_is_matched(pattern: str) -> None:
    found = frames(pattern)
    assert found
    assert all(re.fullmatch(pattern, f"{before}7{after}") for before, after in found)
