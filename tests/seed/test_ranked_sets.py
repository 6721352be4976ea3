import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_ray.records import RankedReply, RankedSet
from selfreward_ray.seed.ranked_sets import SeedError, read_ranked_sets, to_json

GOOD = {"prompt": "Why is the sky blue?", "responses": [{"text": "Light scatters.", "rank": 0}]}


def read(*rows: object) -> list[RankedSet]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return list(read_ranked_sets(lines, "seed.jsonl"))


def test_a_row_becomes_a_ranked_set():
    row = {
        "prompt": "Name a fruit.",
        "responses": [{"text": "Pear", "rank": 1}, {"text": "An apple.", "rank": 0, "verdict": "Score: 4", "score": 4}],
    }
    assert read(GOOD, "\n", row)[1] == RankedSet(
        "seed/000001",
        "Name a fruit.",
        (
            RankedReply("seed/000001/r0", "Pear", 1),
            RankedReply("seed/000001/r1", "An apple.", 0, score=4.0, verdict="Score: 4"),
        ),
    )


def test_an_explicit_id_is_kept():
    (ranked_set,) = read({**GOOD, "id": "oasst/7"})
    assert (ranked_set.id, ranked_set.replies[0].id) == ("oasst/7", "oasst/7/r0")


REPLY = {"text": "Light scatters.", "rank": 0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{'prompt': 1}", "is not JSON"),
        ("[]", "the row: input should be an object"),
        ({"responses": [REPLY]}, "field 'prompt' is missing; add it"),
        ({"prompt": "Why?"}, "field 'responses' is missing; add it"),
        ({"promt": "Why?", "responses": [REPLY]}, "unknown field 'promt'; correct its name"),
        ({"prompt": "Why?", "responses": [{"text": "So."}]}, "field 'responses.0.rank' is missing"),
        (
            {"prompt": "Why?", "responses": [{"text": "So.", "rank": "0"}]},
            "'responses.0.rank': input should be a valid i",
        ),
        ({"prompt": "Why?", "responses": [{"text": "So.", "rank": -1}]}, "'responses.0.rank': input should be greater"),
        (
            {"prompt": "Why?", "responses": [{**REPLY, "score": "4"}]},
            "'responses.0.score': input should be a valid num",
        ),
        ({"prompt": "Why?", "responses": [{**REPLY, "verdit": "x"}]}, "unknown field 'responses.0.verdit'"),
        (
            {"prompt": "Why?", "responses": [REPLY, {"text": " ", "rank": 1}]},
            "'responses.1.text': text is empty; write",
        ),
        ({"prompt": "\n", "responses": [REPLY]}, "field 'prompt': text is empty; write it"),
        ({"prompt": "Why?", "responses": []}, "field 'responses': list should have at least 1 item"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(row, message):
    with pytest.raises(SeedError) as error:
        read(GOOD, "", row)
    assert str(error.value).startswith("seed.jsonl:3: ")
    assert message in str(error.value)


def test_every_fault_of_a_row_is_told():
    with pytest.raises(SeedError, match=r"'responses' is missing; add it; unknown field 'replies'"):
        read({"prompt": "Why?", "replies": []})


@pytest.mark.parametrize("other", ["a", "seed/000001"])
def test_a_doubled_id_names_both_lines(other):
    with pytest.raises(SeedError, match=rf"seed.jsonl:2: id '{other}' stands in line 1 too; rename one"):
        read({**GOOD, "id": other}, {**GOOD, "id": "a"} if other == "a" else GOOD)


@pytest.mark.parametrize("lines", [[], ["", "  \n"]])
def test_a_file_without_rows_is_refused(lines):
    with pytest.raises(SeedError, match=r"seed.jsonl: holds no ranked sets; write one JSON object"):
        list(read_ranked_sets(lines, "seed.jsonl"))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
replies = st.tuples(texts, st.integers(0, 9), st.none() | st.floats(-5, 5), st.none() | texts)


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.tuples(texts, texts, st.lists(replies, min_size=1, max_size=3)), min_size=1, unique_by=lambda x: x[0])
)
def test_writing_is_the_inverse_of_reading(rows):
    sets = [
        RankedSet(i, prompt, tuple(RankedReply(f"{i}/r{n}", *reply) for n, reply in enumerate(found)))
        for i, prompt, found in rows
    ]
    # splitlines also splits at the Unicode line ends that a text may hold
    lines = "\n".join(map(to_json, sets)).splitlines()
    assert list(read_ranked_sets(lines, "seed.jsonl")) == sets
