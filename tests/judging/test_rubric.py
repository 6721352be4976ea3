"""Rubrics: what the judge is shown, how a rubric file is checked, and the pattern of whole verdicts."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.judging import rubric as rubric_module
from selfreward_ray.judging.rubric import RubricError, load_pairwise, load_rubric

PACKAGED = [
    *("additive", "checklist", "multiple-choice", "pairwise"),
    *("mt-bench", "mt-bench-pairwise", "prometheus", "json"),
]
FIELDS = {
    "template": "<q>{prompt}</q><a>{reply}</a>",
    "min_score": 1,
    "max_score": 10,
    "score_pattern": r"Grade: (\d+)",
}


def write(folder: Path, **changes: object) -> str:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**FIELDS, **changes}))
    return str(path)


def test_checklist_shows_both_texts_between_short_tags() -> None:
    assert load_rubric("checklist").render("Name a sea.", "The Baltic.") == (
        "<instruction>Name a sea.</instruction>\n"
        "<reply>The Baltic.</reply>\n"
        "Check the topic and each rule in turn, then give the score."
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("additive", "Score: k"),
        ("multiple-choice", "Choice: letter"),
        ("mt-bench", "Rating: [[k]]"),
        ("prometheus", "Feedback: your feedback [RESULT] k"),
        ("json", '{"reasons": "your reasons", "score": k}'),
    ],
)
def test_reasons_are_asked_for_before_the_score(name: str, line: str) -> None:
    question = load_rubric(name).render("Name a sea.", "The Baltic.")
    assert "<instruction>\nName a sea.\n</instruction>" in question
    assert "<reply>\nThe Baltic.\n</reply>" in question
    reasons = re.search("reasons|Explain|feedback", question[question.index("The Baltic.") :])
    assert reasons is not None
    assert question.index("The Baltic.") + reasons.start() < question.index(line)
    assert question.endswith(line)


def test_pairwise_shows_both_replies_in_their_order() -> None:
    question = load_pairwise("pairwise").render("Name a sea.", "The Baltic.", "{first}")
    assert "<first_reply>\nThe Baltic.\n</first_reply>" in question
    assert "<second_reply>\n{first}\n</second_reply>" in question
    assert question.index("Name a sea.") < question.index("The Baltic.") < question.index("compare the replies")
    assert question.endswith("Better: answer")


@pytest.mark.parametrize(
    "text", ["{reply}", "{prompt}", "{{reply}}", "{}", "{0}", "%s", r"\1 \g<0>", "a < b > c", "<b>x</b>"]
)
def test_text_is_shown_as_it_is(text: str) -> None:
    rendered = load_rubric("checklist").render(text, "SECRET")
    assert f"<instruction>{text}</instruction>" in rendered
    assert rendered.count("SECRET") == 1
    assert f"<reply>{text}</reply>" in load_rubric("checklist").render("SECRET", text)


def test_rubric_of_a_file(tmp_path: Path) -> None:
    rubric = load_rubric(write(tmp_path))
    assert rubric.name == "own"
    assert rubric.read_score("Grade: 10") == 10
    assert rubric.read_score("Grade: 0") is None
    assert rubric.render("1?", "</a>") == "<q>1?</q><a>&lt;/a></a>"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"template": "<a>{reply}</a>"}, "template", "{prompt} must stand between tags"),
        ({"template": "<q>{prompt}</q>"}, "template", "{reply} must stand between tags"),
        ({"template": "<q>{prompt}</q> {reply}"}, "template", "{reply} must stand between tags"),
        ({"template": "<q>{prompt}</q><a>{reply}</a>{reply}"}, "template", "{reply} must stand between tags"),
        ({"score_pattern": "Grade: ("}, "score_pattern", "not a regular expression"),
        ({"score_pattern": "Grade"}, "score_pattern", "must have exactly one group, the score, but has 0"),
        ({"score_pattern": r"(Grade): (\d)"}, "score_pattern", "must have exactly one group, the score, but has 2;"),
        ({"score_pattern": "(a{99999999999})"}, "score_pattern", "not a regular expression"),
        ({"min_score": 11}, "", "min_score 11 must be below max_score 10"),
        ({"max_score": float("nan")}, "max_score", "must be a finite number (got nan)"),
        ({"max_score": "many"}, "max_score", "must be a number (got 'many')"),
        ({"maximum": 5}, "unknown field maximum", "known: template, min_score, max_score, score_pattern, reading"),
        ({"read": {}}, "unknown field read", "did you mean reads?"),
        ({"template": 5}, "template", "must be text; put it in quotation marks (got 5)"),
        ({"endings": "Grade: 1"}, "endings", "must be a list (got 'Grade: 1')"),
        ({"scores": ["A"]}, "scores", "must be a mapping (got ['A'])"),
        ({"template": "<q>{prompt}</q><a>{reply}</a><b>{second}</b>"}, "template", "{second} cannot be used together"),
        ({"template": "<q>{prompt}</q><a>{first}</a><b>{reply}</b>"}, "template", "{reply} cannot be used together"),
        ({"template": "<q>{prompt}</q><a>{first}</a>"}, "template", "{second} must stand between tags"),
        (
            {"template": "<q>{prompt}</q><a>{first}</a><b>{second}</b>"},
            "",
            "must have min_score 0 (the second is better)",
        ),
        ({"scores": {"A": 1, "B": 11}}, "scores", "B is 11, which is not between min_score and max_score"),
        ({"scores": {"A": 1, "a": 2}}, "scores", "differ only in case"),
        ({"scores": {"A": "best"}}, "scores: A", "must be a number (got 'best')"),
        ({"endings": ["\nGrade: 11"]}, "endings", "no score can be read from a verdict that ends with '\\nGrade: 11'"),
        ({"endings": ["\nGrade: 1", "\nGrade:"]}, "endings", "ends with '\\nGrade:'"),
        ({"endings": ["Grade: 1"], "score_pattern": r"\bGrade: (\d+)"}, "endings", "ends with 'Grade: 1'"),
    ],
)
def test_wrong_field_is_named(tmp_path: Path, changes: dict[str, object], field: str, message: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(RubricError) as error:
        load_rubric(path)
    assert str(error.value).startswith(f"rubric {path}: {field}")
    assert message in str(error.value)


def test_a_rubric_of_the_other_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(RubricError, match="pairwise has the placeholders {first} and {second}; .* with {reply} is"):
        load_rubric("pairwise")
    path = write(tmp_path)
    with pytest.raises(RubricError, match="has the placeholders {reply}; .* with {first} and {second} is") as error:
        load_pairwise(path)
    assert path in str(error.value)


def test_number_of_texts_must_be_that_of_the_template() -> None:
    with pytest.raises(ValueError, match="shorter"):
        load_pairwise("pairwise").render("Hm?", "one reply")


@pytest.mark.parametrize("name", PACKAGED)
@given(text=st.text(max_size=30).filter(lambda text: text.isascii() or len(text) <= 7))
def test_every_verdict_of_the_constrained_pattern_has_a_score(name: str, text: str) -> None:
    rubric = load_pairwise(name) if name.endswith("pairwise") else load_rubric(name)
    pattern = rubric.constrained_pattern(30)
    assert len(rubric.endings) >= 3
    for ending in rubric.endings:
        assert re.fullmatch(pattern, text + ending)
        assert rubric.read_score(text + ending) is not None
    for longer_or_other in (
        text.ljust(31 + len(rubric.endings[0])),
        "x" * 31 + rubric.endings[0],
        rubric.endings[0] + "!",
    ):
        assert not re.fullmatch(pattern, longer_or_other)


@pytest.mark.parametrize(
    ("endings", "pattern"),
    [
        (["\nGrade: 3", "\nGrade: 4"], r"(\nGrade: 3|\nGrade: 4)"),
        (["\n(Grade: 3)."], r"(\n\(Grade: 3\)\.)"),
    ],
)
def test_constrained_pattern_spelt_out(tmp_path: Path, endings: list[str], pattern: str) -> None:
    texts = r"([\x00-\x7f]{0,9}|[\s\S]{0,2})"
    assert load_rubric(write(tmp_path, endings=endings)).constrained_pattern(9) == texts + pattern


@given(text=st.text(min_size=1))
def test_a_constrained_verdict_has_no_more_bytes_than_tokens(text: str) -> None:
    """A tokenizer that has no token for a character takes one for each of its bytes."""
    rubric = load_rubric("additive")
    if len(text.encode()) > 30:
        assert not re.fullmatch(rubric.constrained_pattern(30), text + rubric.endings[0])


def test_a_rubric_without_endings_can_not_be_constrained(tmp_path: Path) -> None:
    with pytest.raises(RubricError, match="judge.constrained .* rubric own has none"):
        load_rubric(write(tmp_path)).constrained_pattern(100)


def test_missing_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("template: <q>{prompt}</q><a>{reply}</a>")
    with pytest.raises(RubricError, match="min_score is missing; max_score is missing; score_pattern is missing"):
        load_rubric(str(tmp_path / "own.yml"))


def test_unknown_name_lists_the_packaged() -> None:
    with pytest.raises(
        RubricError, match=f"unknown rubric 'aditive'; packaged: {', '.join(sorted(PACKAGED))}; or give"
    ):
        load_rubric("aditive")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"- a\n- b", "must be a mapping"),
        (b"a: [", "not YAML"),
        (b"\xff\xfe\xff", "not YAML"),
        (b"min_score: 0b_", "not YAML"),
        (b"[" * 3000, "not YAML"),
    ],
)
def test_unusable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RubricError, match=message) as error:
        load_rubric(str(path))
    assert str(path) in str(error.value)


def test_a_key_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**FIELDS, 5: 5}))
    with pytest.raises(RubricError, match=r"own.yaml: 5: is no name of a field \(got 5\)"):
        load_rubric(str(tmp_path / "own.yaml"))


def test_every_packaged_rubric_is_listed_here_and_states_what_it_reads() -> None:
    packaged = Path(rubric_module.__file__).parent / "rubrics"
    assert sorted(PACKAGED) == sorted(path.stem for path in packaged.iterdir())
    for path in packaged.iterdir():
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert values["reading"] in {"pattern", "prose"}
        assert len([score for score in values["reads"].values() if score is not None]) >= 2
        assert None in values["reads"].values()


def test_the_manual_shows_verdicts_that_are_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rubrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z`, -]+`) \| `(.+)` \| ([\d.]+) \|", page, re.MULTILINE)
    shown = [(name, verdict, float(score)) for names, verdict, score in rows for name in re.findall("`(.+?)`", names)]
    assert {name for name, _, _ in shown} == set(PACKAGED)
    for name, verdict, score in shown:
        rubric = load_pairwise(name) if name.endswith("pairwise") else load_rubric(name)
        assert rubric.read_score(verdict) == score
