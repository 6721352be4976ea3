import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedReply, RankedSet, Turn
from selfreward_ray.seed.readers import Reading
from selfreward_ray.seed.readers.drafts import NOT_FIRST
from selfreward_ray.seed.readers.trees import flat_messages, nested_trees
from selfreward_ray.store.user_files import Row

Fields = dict[str, Any]
Found = list[RankedSet | Dropped]


def node(name: str, *replies: Fields, role: str | None = None, **fields: Any) -> Fields:
    """A message; those whose name begins with ``a`` are the assistant's."""
    role = role or ("assistant" if name.startswith("a") else "prompter")
    return {"message_id": name, "text": f"text of {name}", "role": role, "replies": list(replies), **fields}


def tree(prompt: Fields, **fields: Any) -> Fields:
    return {"message_tree_id": prompt["message_id"], "tree_state": "ready_for_export", "prompt": prompt, **fields}


def flat(row: Fields) -> list[Fields]:
    """The messages of a tree, each a row of its own."""
    kept = {name: value for name, value in row.items() if name != "prompt"}
    rows, waiting = [], [(row["prompt"], None)]
    while waiting:
        message, parent = waiting.pop(0)
        fields = {name: value for name, value in message.items() if name != "replies"}
        rows.append({**kept, **fields, "parent_id": parent})
        waiting += [(reply, message["message_id"]) for reply in message["replies"]]
    return rows


def placed(rows: list[Fields]) -> list[Row]:
    return [Row(f"seed.jsonl:{number}", fields) for number, fields in enumerate(rows, start=1)]


def from_nested(*rows: Fields, **options: Any) -> Found:
    return list(nested_trees(placed(list(rows)), Reading(SeedData(**options))))


def from_flat(*rows: Fields, **options: Any) -> Found:
    return list(flat_messages(placed(list(rows)), Reading(SeedData(**options))))


def unordered(found: Found) -> tuple[Any, Any]:
    """What was found without its order."""
    sets = {item.id: (item, set(item.replies)) for item in found if isinstance(item, RankedSet)}
    kept = {name: (item.prompt, replies, item.history, item.conversation) for name, (item, replies) in sets.items()}
    assert len(kept) == sum(isinstance(item, RankedSet) for item in found)
    return kept, Counter(item for item in found if isinstance(item, Dropped))


def reasons(found: Found) -> dict[str, str]:
    return {item.id: item.reason for item in found if isinstance(item, Dropped)}


def kept(found: Found) -> dict[str, list[str]]:
    return {item.id: [reply.id for reply in item.replies] for item in found if isinstance(item, RankedSet)}


TALK = tree(
    node(
        "u0",
        node("a0", rank=1),
        node("a1", node("u1", node("a2", rank=0)), node("u2"), rank=0),
    )
)


def test_each_prompt_with_replies_is_a_set_with_what_was_said_before_it():
    first = RankedSet(
        "u0",
        "text of u0",
        (RankedReply("a0", "text of a0", 1), RankedReply("a1", "text of a1", 0)),
        conversation="u0",
    )
    later = RankedSet(
        "u1",
        "text of u1",
        (RankedReply("a2", "text of a2", 0),),
        (Turn("user", "text of u0"), Turn("assistant", "text of a1")),
        "u0",
    )
    left_out = Dropped("u1", "seed", NOT_FIRST)
    assert from_nested(TALK) == from_flat(*flat(TALK)) == [first, left_out]
    assert from_nested(TALK, turns="any") == from_flat(*flat(TALK), turns="any") == [first, later]


@pytest.mark.parametrize(
    ("row", "options", "sets", "dropped"),
    [
        pytest.param(tree(node("u")), {}, {}, {}, id="a prompt nobody answered"),
        pytest.param(tree(node("u", node("a0"))), {}, {}, {"u": "no reply is ranked"}, id="a lone unranked reply"),
        pytest.param(
            tree(node("u", node("a0", rank=0), node("a1"))),
            {},
            {"u": ["a0"]},
            {"a1": "reply has no rank"},
            id="an unranked reply beside a ranked one",
        ),
        pytest.param(
            tree(node("u", node("a0", rank=2), node("a1", rank=2))),
            {},
            {},
            {"u": "two replies have the same rank"},
            id="doubled ranks",
        ),
        pytest.param(
            tree(node("u", node("a0", rank=0, deleted=True), node("a1", rank=0))),
            {},
            {"u": ["a1"]},
            {"a0": "reply is deleted"},
            id="doubled ranks of which one is left out",
        ),
        pytest.param(
            tree(
                node(
                    "u",
                    node("a0", rank=0, deleted=True),
                    node("a1", rank=1, synthetic=True),
                    node("a2", rank=2, lang="de"),
                    node("a3", rank=3, review_result=False),
                    node("a4", rank=4, text=" "),
                    node("a5", rank=5, text="\ud800"),
                    node("a6", rank=6, text="x" * 51),
                    node("a7", rank=7, lang="en", review_result=None, deleted=None, synthetic=None),
                    lang="en",
                )
            ),
            {},
            {"u": ["a7"]},
            {
                "a0": "reply is deleted",
                "a1": "reply is synthetic",
                "a2": "reply is in another language",
                "a3": "reply failed its review",
                "a4": "reply is empty",
                "a5": "reply holds a lone surrogate",
                "a6": "reply is longer than seed_data.max_characters",
            },
            id="every reason to leave a reply out",
        ),
        pytest.param(
            tree(node("u", node("a0", rank=0, deleted=True), node("a1", rank=1, synthetic=True), lang="de")),
            {"deleted": True, "synthetic": True, "language": None},
            {"u": ["a0", "a1"]},
            {},
            id="all that was asked for",
        ),
        pytest.param(
            tree(node("u", node("a0", rank=0, synthetic=True), node("a1", rank=1, synthetic=True))),
            {},
            {},
            {"u": "every reply is synthetic"},
            id="no reply that may be used",
        ),
        pytest.param(
            tree(node("u", node("a0", node("u1", node("a1", rank=0)), node("u2"), rank=0), deleted=True)),
            {},
            {},
            {"u": "prompt is deleted", "u1": "a message before the prompt is deleted"},
            id="a deleted prompt takes what follows with it",
        ),
        pytest.param(
            tree(node("u", node("a0", node("u1", node("a2", rank=0)), rank=0, lang="fr"), node("a1", rank=1))),
            {},
            {"u": ["a1"]},
            {"a0": "reply is in another language", "u1": "a message before the prompt is in another language"},
            id="a reply in another language takes what follows with it",
        ),
        pytest.param(
            tree(node("u", node("a0", node("u1", node("a1", rank=0))))),
            {},
            {"u1": ["a1"]},
            {"u": "no reply is ranked"},
            id="an unranked reply may stand before a prompt",
        ),
        pytest.param(
            tree(node("u", node("a0", rank=0)), tree_state="aborted_low_grade"),
            {},
            {},
            {"u": "tree is not ready for export"},
            id="an unfinished tree",
        ),
        pytest.param(tree(node("u", node("a0", rank=0)), tree_state=None), {}, {"u": ["a0"]}, {}, id="no state"),
        pytest.param(
            tree(node("a0", node("u", node("a1", rank=0)))),
            {},
            {},
            {
                "a0": "user and assistant do not take turns",
                "u": "an earlier message of its conversation cannot be placed",
                "a1": "an earlier message of its conversation cannot be placed",
            },
            id="the assistant opens",
        ),
        pytest.param(
            tree(node("u", node("u1", node("a1", rank=0)), node("a0", node("a2", rank=0), rank=0))),
            {},
            {"u": ["a0"]},
            {
                "u1": "user and assistant do not take turns",
                "a1": "an earlier message of its conversation cannot be placed",
                "a2": "user and assistant do not take turns",
            },
            id="two messages of one side in a row",
        ),
        pytest.param(
            tree(node("u", node("a0", rank=0), node("a1", node("u1", node("a2", rank=0)), rank=1), node("a1", rank=2))),
            {},
            {"u": ["a0"]},
            {
                "a1": "another message has the same id",
                "u1": "an earlier message of its conversation cannot be placed",
                "a2": "an earlier message of its conversation cannot be placed",
            },
            id="two messages with one id",
        ),
    ],
)
def test_what_a_tree_gives(row, options, sets, dropped):
    options = {"turns": "any", "max_characters": 50, **options}
    for found in (from_nested(row, **options), from_flat(*flat(row), **options)):
        assert (kept(found), reasons(found)) == (sets, dropped)


def test_a_message_of_an_earlier_tree_is_not_taken_again():
    again = tree(node("u", node("a1", rank=0), node("a0", node("u1", node("a2", rank=0)), rank=1)))
    found = from_nested(tree(node("v", node("a0", rank=0))), again, turns="any")
    assert kept(found) == {"v": ["a0"], "u": ["a1"]}
    assert reasons(found)["a0"] == "another message has the same id"
    assert set(reasons(found)) == {"a0", "u1", "a2"}
    assert unordered(found) == unordered(
        from_flat(*flat(tree(node("v", node("a0", rank=0)))), *flat(again), turns="any")
    )


def link(name: str, parent: str | None, **fields: Any) -> Fields:
    message = node(name, **fields)
    del message["replies"]
    return {**message, "parent_id": parent, "message_tree_id": "u", "rank": 0}


GOOD = [link("u", None), link("a", "u")]
HANGS = "an earlier message of its conversation cannot be placed"


@pytest.mark.parametrize(
    ("rows", "dropped"),
    [
        ([link("u1", "gone"), link("a1", "u1")], {"u1": "its parent is missing", "a1": HANGS}),
        ([link("u1", "u1")], {"u1": "its parents form a circle"}),
        ([link("u1", "a1"), link("a1", "u1")], dict.fromkeys(["u1", "a1"], "its parents form a circle")),
        (
            [link("a2", "u1"), link("u1", "a1"), link("a1", "u1")],
            dict.fromkeys(["a2", "u1", "a1"], "its parents form a circle"),
        ),
        (
            [link("u1", "a1"), link("a1", "u1"), link("u1", "a")],
            {"u1": "another message has the same id", "a1": HANGS},
        ),
        ([{**link("a1", "u"), "message_tree_id": "v"}], {"a1": "its parent is missing"}),
    ],
)
def test_messages_that_have_no_place_are_dropped_with_what_hangs_on_them(rows, dropped):
    found = from_flat(*GOOD, *rows, turns="any")
    assert (kept(found), reasons(found)) == ({"u": ["a"]}, dropped)


def test_one_unready_message_makes_a_tree_unready():
    rows = [{**GOOD[0], "tree_state": "ready_for_export"}, {**GOOD[1], "tree_state": "growing"}]
    assert reasons(from_flat(*rows)) == {"u": "tree is not ready for export"}


def test_a_conversation_may_be_long():
    prompt = message = node("u0")
    for i in range(1, 3000):
        message["replies"] = [node(f"{'ua'[i % 2]}{i}", rank=0)]
        message = message["replies"][0]
    assert len(from_nested(tree(prompt), turns="any")) == 1500


marks = st.fixed_dictionaries(
    {},
    optional={
        "rank": st.integers(0, 3),
        "deleted": st.booleans(),
        "synthetic": st.booleans(),
        "lang": st.sampled_from(["en", "de"]),
        "review_result": st.booleans(),
        "text": st.sampled_from(["", "fine", "\ud800"]),
    },
)


@st.composite
def trees(draw: st.DrawFn, number: int = 0) -> Fields:
    nodes = [node(f"u{number}.0", **draw(marks))]
    for i, fields in enumerate(draw(st.lists(marks, max_size=12)), start=1):
        above = draw(st.sampled_from(nodes))
        side = "a" if above["role"] == "prompter" else "u"
        above["replies"].append(node(f"{side}{number}.{i}", **fields))
        nodes.append(above["replies"][-1])
    return tree(nodes[0], tree_state=draw(st.sampled_from(["ready_for_export", "ready_for_export", None, "growing"])))


options = st.fixed_dictionaries({"turns": st.sampled_from(["first", "any"]), "synthetic": st.booleans()})


@given(st.tuples(trees(0), trees(1)), options, st.randoms(use_true_random=False))
def test_gathering_flat_rows_is_reading_trees_whatever_their_order(rows, options, rng: random.Random):
    messages = [message for row in rows for message in flat(row)]
    rng.shuffle(messages)
    assert unordered(from_flat(*messages, **options)) == unordered(from_nested(*rows, **options))


@given(trees())
def test_every_message_is_in_exactly_one_place(row):
    found = from_nested(row, turns="any")
    dropped = Counter(item.id for item in found if isinstance(item, Dropped))
    if row["tree_state"] == "growing":
        assert found == [Dropped("u0.0", "seed", "tree is not ready for export")]
        return
    replies = [reply for names in kept(found).values() for reply in names]
    for message in flat(row):
        name = message["message_id"]
        answered = any(other["parent_id"] == name for other in flat(row))
        places = (name in kept(found)) + replies.count(name) + dropped[name]
        if message["role"] == "prompter":
            assert places == answered
        else:
            assert places + (dropped[message["parent_id"]] > 0) == 1


names = st.sampled_from(["u0", "u1", "u2", "a0", "a1", "a2", "a3"])
links = st.builds(link, names, st.none() | names | st.just("gone"), role=st.sampled_from(["prompter", "assistant"]))


@given(st.lists(links, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_any_messages_are_sets_or_dropped_whatever_their_order(rows, rng: random.Random):
    rows = [{**row, "rank": rank} for rank, row in enumerate(rows)]
    found = from_flat(*rows, turns="any")
    ids = Counter(row["message_id"] for row in rows)
    for item in found:
        if isinstance(item, RankedSet):
            roles = [turn.role for turn in item.history]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert all(ids[name] == 1 for name in (item.id, *(reply.id for reply in item.replies)))
    for name, count in ids.items():
        if count > 1:
            assert found.count(Dropped(name, "seed", "another message has the same id")) == count
    assert unordered(from_flat(*rng.sample(rows, len(rows)), turns="any")) == unordered(found)


def one_row(name: str, parent: str | None, text: str, **more: object) -> dict[str, object]:
    role = "assistant" if parent else "prompter"
    return {"message_id": name, "message_tree_id": "t", "parent_id": parent, "text": text, "role": role, **more}


def test_the_rules_of_all_formats_hold_for_messages_too(read):
    """Thoughts are no replies, rows of another split or of weight 0 are left out, languages have several names."""
    rows = [
        one_row("ask", None, "Why?", lang="en-US"),
        one_row("good", "ask", "<think>hm</think>So.", rank=0, lang="English"),
        one_row("worse", "ask", "<think>hm", rank=1),
        one_row("other", "ask", "No.", rank=2, lang="Telugu"),
        one_row("test", "ask", "Never.", rank=3, split="test"),
        one_row("zero", "ask", "Nothing.", rank=4, weight=0),
    ]
    *dropped, found = read(*rows)
    assert [(reply.id, reply.text, reply.thought) for reply in found.replies] == [("good", "So.", "hm")]
    assert sorted(one.reason for one in dropped) == [
        "it belongs to another split",
        "it has weight 0",
        "reply has a thought without an end",
        "reply is in another language",
    ]


def test_a_row_with_an_id_of_its_message_alone_is_of_another_format(read):
    (found,) = read({"message_id": "m1", "prompt": "Why?", "response": "So."})
    assert (found.prompt, found.replies[0].text) == ("Why?", "So.")
