"""Scores, ratings and votes under other names, in other places and on other scales."""

import pytest

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped
from selfreward_ray.seed.readers import Reading
from selfreward_ray.store.user_files import RowError

ASKS = {"prompt": "Why?"}


def ranks(found):
    return [(one.text, one.rank, one.score) for one in found.replies]


@pytest.mark.parametrize(
    ("completions", "expected"),
    [
        pytest.param(
            [("a", {"fine-grained_score": 4.0, "overall_score": 2}), ("b", {"overall_score": 9.0})],
            [("a", 1, 2.0), ("b", 0, 9.0)],
            id="one measure for all",
        ),
        pytest.param(
            [("a", {"fine-grained_score": "N/A", "overall_score": 8}), ("b", {"overall_score": "9"})],
            [("a", 1, 8.0), ("b", 0, 9.0)],
            id="no score",
        ),
        pytest.param(
            [
                ("a", {"annotations": {"x": {"Rating": "5"}, "y": {"Rating": "N/A"}}, "overall_score": 1}),
                ("b", {"annotations": {"x": {"Rating": "4"}, "y": {"Rating": "5"}}, "overall_score": 2}),
            ],
            [("a", 0, 5.0), ("b", 1, 4.0)],
            id="the aspects that all have",
        ),
    ],
)
def test_the_replies_of_a_row_are_compared_on_one_scale(read, completions, expected):
    row = {"instruction": "Why?", "completions": [{"response": text, **rated} for text, rated in completions]}
    assert ranks(read(row)[0]) == expected


def test_a_completion_without_the_measure_of_the_others_is_dropped(read):
    rated = [{"fine-grained_score": 4.0}, {"fine-grained_score": 2.0}, {"overall_score": 9.0}]
    completions = [{"response": text, **scores} for text, scores in zip("abc", rated, strict=True)]
    dropped, found = read({"instruction": "Why?", "completions": completions})
    assert (dropped.reason, ranks(found)) == ("reply has no rank", [("a", 0, 4.0), ("b", 1, 2.0)])


def test_a_score_in_an_object_is_named_by_a_path(read):
    rows = [{**ASKS, "response": text, "rating": {"score": n, "by": "x"}} for text, n in (("a", 1), ("b", 5))]
    reading = Reading(SeedData())
    assert ranks(read(*rows, columns={"score": "rating.score"}, reading=reading)[0]) == [("a", 1, 1.0), ("b", 0, 5.0)]
    assert reading.figures()["reading"]["unused_columns"] == ["rating.by"]
    row = {**ASKS, "responses": [{"text": text, "rating": {"score": n}} for text, n in (("a", 1), ("b", 5))]}
    assert ranks(read(row, columns={"score": "rating.score"})[0]) == [("a", 1, 1.0), ("b", 0, 5.0)]
    annotated = [{"response": text, "annotations": {"overall": n}} for text, n in (("a", 1), ("b", 5))]
    row = {"instruction": "Why?", "completions": annotated}
    assert ranks(read(row, columns={"score": "annotations.overall"})[0]) == [("a", 1, 1.0), ("b", 0, 5.0)]


def test_what_a_path_leaves_of_an_object_is_not_lost(read):
    row = {"data": {"q": "Why?", "a": "So.", "system": "Be brief."}}
    named = {"prompt": "data.q", "response": "data.a"}
    with pytest.raises(RowError, match=r"column 'data.system' changes .*seed_data.columns={system: data.system} uses"):
        read(row, columns=named)
    assert read(row, columns={**named, "system": "data.system"})[0].history[0].text == "Be brief."
    assert read(row, columns=named, ignore=["data.system"])[0].history == ()


@pytest.mark.parametrize("nested", [False, True])
def test_attributes_of_other_names_score_a_reply(read, nested: bool):
    rated = [{"quality": 1, "safety": 5}, {"quality": 5, "safety": 0}]
    rows = [{**ASKS, "response": t, **({"r": one} if nested else one)} for t, one in zip("ab", rated, strict=True)]
    weights = {"r.quality" if nested else "quality": 1.0, "r.safety" if nested else "safety": 0.5}
    reading = Reading(SeedData())
    assert ranks(read(*rows, attributes=weights, reading=reading)[0]) == [("a", 1, 3.5), ("b", 0, 5.0)]
    assert (reading.format, reading.notes()) == ("helpsteer", [])


def test_attributes_that_no_row_has_are_an_error(read):
    with pytest.raises(
        RowError, match=r"seed_data.attributes: seed.jsonl:1 lacks one of 'response', 'qualty', and is "
    ):
        read({**ASKS, "response": "a", "quality": 1}, attributes={"qualty": 1})


FIRST, SECOND, TIE, BAD = [0, 1], [1, 0], [0, 0], [1, 1]


@pytest.mark.parametrize(
    ("columns", "vote", "expected"),
    [
        *(
            (("response_a", "response_b", "winner"), vote, FIRST)
            for vote in ("a", "A", "model_a", "response_a", "[[A]]")
        ),
        *((("response_a", "response_b", "winner"), vote, SECOND) for vote in ("b", "Model B", "second", "no")),
        *((("response_a", "response_b", "winner"), vote, TIE) for vote in ("tie", "draw", "both good")),
        *((("response_a", "response_b", "label"), vote, BAD) for vote in ("both bad", "bothbad", "neither")),
        (("answer_1", "answer_2", "preferred"), 2, SECOND),
        (("answer_1", "answer_2", "preferred"), "1", FIRST),
        (("answer_1", "answer_2", "preferred"), "answer_2", SECOND),
        (("response1", "response2", "choice"), 1.0, FIRST),
        (("output_0", "output_1", "better"), 0, FIRST),
        (("response_0", "response_1", "better_response_id"), 1, SECOND),
        (("responseA", "responseB", "choice"), "B", SECOND),
        (("first_response", "second_response", "preference"), "second", SECOND),
        (("left", "right", "preferred"), "left", FIRST),
        (("left", "right", "preferred"), "first", BAD),  # a place, not a reply
    ],
)
def test_a_vote_is_read_under_the_usual_names(read, columns, vote, expected):
    first, second, name = columns
    (found,) = read({**ASKS, first: "good", second: "no", name: vote})
    assert [one.rank for one in found.replies] == expected


@pytest.mark.parametrize(
    ("columns", "vote"),
    [
        (("response_a", "response_b", "label"), 1),
        (("response_a", "response_b", "winner"), 0),
        (("answer_1", "answer_2", "preferred"), 0),
        (("response_0", "response_1", "label"), 1),
        (("response_a", "response_b", "choice"), True),
    ],
)
def test_a_number_that_may_be_a_place_or_a_truth_value_is_not_guessed(read, columns, vote):
    first, second, name = columns
    row = {**ASKS, first: "good", second: "no", name: vote}
    with pytest.raises(RowError, match=rf"column '{name}' says .*seed_data.values={{{name}: {{1: first, 0: second}}}}"):
        read(row)
    (found,) = read(row, values={name: {vote: "first"}})
    assert [one.rank for one in found.replies] == FIRST


def test_of_two_votes_the_one_that_is_not_used_is_reported(read):
    reading = Reading(SeedData())
    row = {**ASKS, "response_a": "good", "response_b": "no", "winner": "a", "label": "b"}
    assert [one.rank for one in read(row, reading=reading)[0].replies] == FIRST
    assert reading.figures()["reading"]["unused_columns"] == ["label"]


def test_a_vote_for_nobody_known_is_a_bad_row(read):
    for vote in ("maybe", None):
        (found,) = read({**ASKS, "response_a": "a", "response_b": "b", "winner": vote})
        assert isinstance(found, Dropped)


def test_a_lone_score_below_the_middle_is_no_demonstration(read):
    scores = {"one": 1, "two": 2, "three": 3, "five": 5}
    rows = [{"prompt": f"{name}?", "response": name, "score": n} for name, n in scores.items()]
    reading = Reading(SeedData())
    found = {one.prompt: one.replies[0].rank for one in read(*rows, reading=reading)}
    assert found == {"one?": 1, "two?": 1, "three?": 0, "five?": 0}
    assert reading.notes() == [
        "seed_data.source: 2 sets have no two scores to compare, and theirs is below 3, the middle of 1 to 5 "
        "(seed_data.minimum_score sets another): their replies have rank 1, and IFT does not take them"
    ]
    found = {one.prompt: one.replies[0].rank for one in read(*rows, minimum_score=5)}
    assert [name for name, rank in found.items() if rank == 0] == ["five?"]


def test_a_low_score_that_is_compared_has_its_place(read):
    rows = [{"prompt": p, "response": text, "score": n} for p, text, n in (("p", "a", 1), ("p", "b", 2), ("q", "c", 5))]
    assert [ranks(one) for one in read(*rows)] == [[("a", 1, 1.0), ("b", 0, 2.0)], [("c", 0, 5.0)]]
    tied = [{"prompt": p, "responses": [{"text": t, "score": n} for t in "ab"]} for p, n in (("p", 1), ("q", 5))]
    assert [[one.rank for one in found.replies] for found in read(*tied)] == [BAD, TIE]


def test_a_label_may_have_other_values(read):
    rows = [{**ASKS, "completion": text, "label": label} for text, label in (("a", "good"), ("b", "BAD"))]
    (found,) = read(*rows, values={"label": {"good": True, "bad": False}})
    assert [one.rank for one in found.replies] == FIRST
