from typing import Any

import pytest

from selfreward_ray.records import Dropped, RankedReply, RankedSet, Turn

LONG = "x" * 101


def ranked(*responses: dict[str, Any], prompt: str = "Why?", **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "responses": list(responses), **fields}


def reply(text: str = "So.", rank: int | None = 0, **fields: Any) -> dict[str, Any]:
    return {"text": text, **({} if rank is None else {"rank": rank}), **fields}


def say(*texts: str, roles: str = "ua") -> list[dict[str, str]]:
    """Messages of the roles `roles`, over and over: s, u, a."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": names[roles[i % len(roles)]], "content": text} for i, text in enumerate(texts)]


def one(prompt: str, *replies: str, history: tuple[Turn, ...] = (), name: str = "seed/000000") -> RankedSet:
    ranked = tuple(RankedReply(f"{name}/r{rank}", text, rank) for rank, text in enumerate(replies))
    return RankedSet(name, prompt, ranked, history)


U, A, S = (lambda text, role=role: Turn(role, text) for role in ("user", "assistant", "system"))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            ranked(reply("Pear", 1), reply("Fig", 0, verdict="Score: 4", score=4), id="a"),
            RankedSet("a", "Why?", (RankedReply("a/r0", "Pear", 1), RankedReply("a/r1", "Fig", 0, 4.0, "Score: 4"))),
            id="ranked, with verdict and id",
        ),
        pytest.param(
            ranked(reply("a", 1), reply("b", 1)),
            RankedSet(
                "seed/000000", "Why?", (RankedReply("seed/000000/r0", "a", 1), RankedReply("seed/000000/r1", "b", 1))
            ),
            id="equal ranks are ties",
        ),
        pytest.param({"messages": say("hi", "ho")}, one("hi", "ho"), id="chat"),
        pytest.param({"messages": say("hi", "ho"), "id": 17}, one("hi", "ho", name="17"), id="numbered row"),
        pytest.param(
            {"messages": say("be kind", "hi", "ho", roles="sua")}, one("hi", "ho", history=(S("be kind"),)), id="system"
        ),
        pytest.param({"messages": say(" ", "hi", "ho", roles="sua")}, one("hi", "ho"), id="empty system"),
        pytest.param({"prompt": "p", "chosen": "c", "rejected": "r"}, one("p", "c", "r"), id="preference of texts"),
        pytest.param(
            {"prompt": say("s", "p", roles="su"), "chosen": say("c", roles="a"), "rejected": say("r", roles="a")},
            one("p", "c", "r", history=(S("s"),)),
            id="preference of messages",
        ),
        pytest.param(
            {"chosen": say("p", "c"), "rejected": say("p", "r")}, one("p", "c", "r"), id="preference without prompt"
        ),
        pytest.param(
            {"prompt": "p", "chosen": say("p", "c"), "rejected": say("p", "r"), "messages": say("p", "c"), "score": 3},
            one("p", "c", "r"),
            id="preference with its prompt twice, and other fields",
        ),
        pytest.param({"instruction": "Add.", "input": "", "output": "2"}, one("Add.", "2"), id="no input"),
        pytest.param({"instruction": "Add.", "input": "1 1", "output": "2"}, one("Add.\n\n1 1", "2"), id="input"),
        pytest.param(
            {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}], "name": "sum"},
            one("Add.\n\n1 1", "2"),
            id="one instance",
        ),
        pytest.param(ranked(reply("nul \0 is text")), one("Why?", "nul \0 is text"), id="nul"),
        pytest.param(ranked(reply("x" * 100)), one("Why?", "x" * 100), id="as long as may be"),
    ],
)
def test_a_row_gives_a_set(read, row, expected):
    assert read(row, max_characters=100) == [expected]


def test_of_a_chat_the_later_exchanges_are_dropped_where_only_the_first_turn_is_taken(read):
    later = Dropped("seed/000000/t1", "seed", "its prompt does not open a conversation")
    assert read({"messages": say("hi", "ho", "more", "hm")}) == [one("hi", "ho"), later]


def test_each_instance_of_an_instruction_gives_a_set(read):
    found = read({"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"output": "3"}]})
    assert [(s.id, s.prompt, s.replies[0].text, s.conversation) for s in found] == [
        ("seed/000000/i0", "Add.\n\n1 1", "2", "seed/000000"),
        ("seed/000000/i1", "Add.", "3", "seed/000000"),
    ]


def test_each_exchange_of_a_chat_gives_a_set(read):
    found = read({"messages": say("s", "u0", "a0", "u1", "a1", roles="suaua")}, turns="any")
    assert found == [
        RankedSet(
            "seed/000000/t0",
            "u0",
            (RankedReply("seed/000000/t0/r0", "a0", 0),),
            (S("s"),),
            "seed/000000",
        ),
        RankedSet(
            "seed/000000/t1",
            "u1",
            (RankedReply("seed/000000/t1/r0", "a1", 0),),
            (S("s"), U("u0"), A("a0")),
            "seed/000000",
        ),
    ]


def test_a_later_exchange_may_be_preferred_where_any_turn_is_taken(read):
    row = {"chosen": say("u0", "a0", "p", "c"), "rejected": say("u0", "a0", "p", "r")}
    assert read(row, turns="any") == [one("p", "c", "r", history=(U("u0"), A("a0")))]
    assert read(row) == [Dropped("seed/000000", "seed", "its prompt does not open a conversation")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ranked(reply(), prompt="\n"), "prompt is empty"),
        (ranked(reply(), prompt=LONG), "prompt is longer than seed_data.max_characters"),
        (ranked(reply(), prompt="\ud800"), "prompt holds a lone surrogate"),
        (ranked(reply(" ")), "every reply is empty"),
        (ranked(reply("\u3000"), reply("", 1)), "every reply is empty"),
        (ranked(reply(rank=None), reply(rank=None)), "no reply is ranked"),
        (ranked(reply(rank=None), reply(" ")), "no reply is left"),
        ({"messages": []}, "the last message is not the assistant's"),
        ({"messages": say("hi")}, "the last message is not the assistant's"),
        ({"messages": say("s", roles="s")}, "the last message is not the assistant's"),
        ({"messages": say("hi", "ho", "well?")}, "the last message is not the assistant's"),
        ({"messages": say("ho", roles="a")}, "user and assistant do not take turns"),
        ({"messages": say("a", "b", "c", roles="uua")}, "user and assistant do not take turns"),
        ({"messages": say("a", "b", "c", roles="usa")}, "user and assistant do not take turns"),
        (
            {"messages": say("a", "b", "c", roles="uta")},
            "a message is neither the system's, the user's nor the assistant's",
        ),
        ({"messages": say(LONG, "u", "a", roles="sua")}, "a message before the prompt is longer than "),
        ({"messages": say("u", "\udfff")}, "every reply holds a lone surrogate"),
        ({"prompt": "p", "chosen": "c", "rejected": "c"}, "chosen and rejected are the same"),
        ({"prompt": "p", "chosen": say("p", "c"), "rejected": say("q", "r")}, "chosen and rejected do not answer"),
        ({"chosen": say("p", "c"), "rejected": say("q", "r")}, "chosen and rejected do not answer the same prompt"),
        ({"prompt": "q", "chosen": say("p", "c"), "rejected": say("p", "r")}, "chosen and rejected do not answer"),
        ({"prompt": [], "chosen": "c", "rejected": "r"}, "user and assistant do not take turns"),
        ({"chosen": say("p"), "rejected": say("p")}, "the last message is not the assistant's"),
        ({"instruction": "", "output": "2"}, "prompt is empty"),
        ({"instruction": "Add.", "output": "\t"}, "every reply is empty"),
    ],
)
def test_a_set_that_can_not_be_used_is_dropped_whole(read, row, reason):
    (dropped, kept) = read(row, {**row, **GOOD[next(kind for kind in GOOD if kind in row)]}, max_characters=100)
    assert isinstance(dropped, Dropped)
    assert (dropped.id, dropped.step) == ("seed/000000", "seed")
    assert dropped.reason.startswith(reason)
    assert kept.id == "seed/000001"


GOOD: dict[str, dict[str, Any]] = {
    "responses": {"prompt": "p", "responses": [reply()]},
    "messages": {"messages": say("u", "a")},
    "chosen": {"prompt": "p", "chosen": "c", "rejected": "r"},
    "instruction": {"instruction": "i", "output": "o"},
}


def test_the_others_of_a_set_are_kept_with_their_ranks(read):
    row = ranked(reply("\ud9ff", 0), reply("b", 1), reply(LONG, 2), reply("d", None), reply("e", 4), reply("", 5))
    *dropped, kept = read(row, max_characters=100)
    assert [(found.id, found.reason) for found in dropped] == [
        ("seed/000000/r0", "reply holds a lone surrogate"),
        ("seed/000000/r2", "reply is longer than seed_data.max_characters"),
        ("seed/000000/r3", "reply has no rank"),
        ("seed/000000/r5", "reply is empty"),
    ]
    assert [(found.id, found.rank) for found in kept.replies] == [("seed/000000/r1", 1), ("seed/000000/r4", 4)]


def test_a_dropped_row_keeps_its_number(read):
    bad, good = {"messages": say("hi")}, {"messages": say("hi", "ho")}
    assert [found.id for found in read(good, bad, good)] == ["seed/000000", "seed/000001", "seed/000002"]
