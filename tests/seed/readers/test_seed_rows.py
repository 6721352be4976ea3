from typing import Any

import pytest

from selfreward_ray.records import Dropped, RankedReply, RankedSet, Turn
from selfreward_ray.seed.readers.drafts import NOT_FIRST

LONG = "x" * 101


def ranked(*responses: dict[str, Any], prompt: str = "Why?", **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "responses": list(responses), **fields}


def reply(text: str = "So.", rank: int | None = 0, **fields: Any) -> dict[str, Any]:
    return {"text": text, **({} if rank is None else {"rank": rank}), **fields}


def say(*texts: str, roles: str = "ua") -> list[dict[str, str]]:
    """Messages of the roles `roles`, over and over: s, u, a."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool", "x": "narrator"}
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
                "seed/000000", "Why?", (RankedReply("seed/000000/r0", "a", 0), RankedReply("seed/000000/r1", "b", 0))
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
            {
                "prompt": "p",
                "chosen": say("p", "c"),
                "rejected": say("p", "r"),
                "messages": say("p", "c"),
                "rated_by": 3,
            },
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
    later = Dropped("seed/000000/t1", "seed", NOT_FIRST)
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
    assert read(row) == [Dropped("seed.jsonl:1", "seed", NOT_FIRST)]


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
        ({"messages": []}, "field 'messages' is empty"),
        ({"messages": say("hi")}, "no message is the assistant's"),
        ({"messages": say("s", roles="s")}, "user and assistant do not take turns"),
        ({"messages": say("ho", roles="a")}, "user and assistant do not take turns"),
        ({"messages": say("a", "b", "c", roles="uua")}, "user and assistant do not take turns"),
        ({"messages": say("a", "b", "c", roles="usa")}, "user and assistant do not take turns"),
        ({"messages": say("a", "b", "c", roles="uta")}, "a tool's result follows no call that is read"),
        ({"messages": say("a", "b", roles="ux")}, "a message has the unknown role 'narrator'; seed_data.values="),
        ({"messages": say(LONG, "u", "a", roles="sua")}, "a message before the prompt is longer than "),
        ({"messages": say("u", "\udfff")}, "every reply holds a lone surrogate"),
        ({"prompt": "p", "chosen": "c", "rejected": "c"}, "its replies are the same"),
        (
            {"prompt": "p", "chosen": say("p", "c"), "rejected": say("q", "r")},
            "its replies do not answer the same messages",
        ),
        ({"chosen": say("p", "c"), "rejected": say("q", "r")}, "its replies do not answer the same messages"),
        (
            {"prompt": "q", "chosen": say("p", "c"), "rejected": say("p", "r")},
            "its replies do not answer the same messages",
        ),
        ({"prompt": [], "chosen": "c", "rejected": "r"}, "it has no prompt: "),
        ({"chosen": say("p"), "rejected": say("p")}, "the last message is not the assistant's"),
        ({"instruction": "", "output": "2"}, "prompt is empty"),
        ({"instruction": "Add.", "output": "\t"}, "every reply is empty"),
    ],
)
def test_a_set_that_can_not_be_used_is_dropped_whole(read, row, reason):
    (dropped, kept) = read(row, {**row, **GOOD[next(kind for kind in GOOD if kind in row)]}, max_characters=100)
    assert isinstance(dropped, Dropped)
    assert (dropped.id, dropped.step) == ("seed.jsonl:1", "seed")
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
    assert [found.id for found in read(good, bad, good)] == ["seed/000000", "seed.jsonl:2", "seed/000002"]


def test_a_question_that_nobody_answered_leaves_the_exchanges_before_it(read):
    first, left_out = read({"messages": say("hi", "ho", "well?")}, turns="any")
    assert (first.id, first.replies[0].text) == ("seed/000000/t0", "ho")
    assert left_out == Dropped("seed/000000/t1", "seed", "nobody answered its last message")


def test_a_reply_of_weight_0_is_only_what_was_said_before(read):
    """Whether the weight is written as a number, or as a mark of whether to train."""
    for mark in ({"weight": 0}, {"train": False}):
        messages = say("u0", "bad", "u1", "good")
        messages[1] |= mark
        messages[3] |= {"weight": 1}
        dropped, kept = read({"messages": messages}, turns="any")
        assert dropped == Dropped("seed/000000/t0", "seed", "reply has weight 0")
        assert (kept.prompt, kept.replies[0].text, kept.history) == ("u1", "good", (U("u0"), A("bad")))


def test_messages_of_any_usual_form_are_read(read):
    """Roles and texts of ShareGPT, pairs, content in parts, a single object as a reply, texts in turns."""
    forms = [
        [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": "ho"}],
        [{"input": "hi", "output": "ho"}],
        [["hi", "ho"]],
        ["hi", "ho"],
        [{"role": "Human", "content": "hi", "tool_calls": None}, {"role": "model", "content": "ho", "tool_calls": []}],
    ]
    found = read(*({"messages": form, "id": "same"} for form in forms), ignore=["id"])
    assert [(item.prompt, item.replies[0].text) for item in found] == [("hi", "ho")] * len(forms)


def test_a_system_text_of_its_own_column_opens_the_conversation(read):
    rows = [
        {"system": "be kind", "prompt": "p", "chosen": "c", "rejected": "r"},
        {"system_prompt": "be kind", "prompt": "q", "chosen": "c", "rejected": "r"},
        {
            "system": "be kind",
            "chosen": say("be kind", "o", "c", roles="sua"),
            "rejected": say("be kind", "o", "r", roles="sua"),
        },
    ]
    for row in rows:
        (found,) = read(row)
        assert found.history == (S("be kind"),)
    (dropped,) = read({"system": "be rude", "messages": say("be kind", "u", "a", roles="sua")})
    assert dropped.reason == "it has two system messages"


def test_a_history_stands_before_the_prompt(read):
    expected = (S("s"), U("u0"), A("a0"))
    for history in (
        [["u0", "a0"]],
        say("u0", "a0"),
        [{"from": "human", "value": "u0"}, {"from": "gpt", "value": "a0"}],
    ):
        row = {"system": "s", "history": history, "instruction": "now", "output": "yes"}
        (found,) = read(row, turns="any")
        assert (found.history, found.prompt) == (expected, "now")
        assert read(row) == [Dropped("seed.jsonl:1", "seed", NOT_FIRST)]


def test_ranks_count_from_the_best_of_the_row(read):
    """Whatever number a source gives its best, and however it writes it."""
    for ranks in ([0, 1, 1], [1, 2, 2], [1.0, 2.0, 2.0], ["1", "2", "2"], [3, 4, 4]):
        (found,) = read(ranked(*(reply(f"r{i}", rank) for i, rank in enumerate(ranks))))
        assert [one.rank for one in found.replies] == [0, 1, 1]


def test_scores_rank_replies_that_have_no_ranks(read):
    scores = [{"text": "a", "score": 2}, {"text": "b", "score": 4.5}, {"text": "c", "score": 2}, {"text": "d"}]
    *dropped, found = read(ranked(*scores))
    assert [(one.text, one.rank, one.score) for one in found.replies] == [("a", 1, 2), ("b", 0, 4.5), ("c", 1, 2)]
    assert [one.reason for one in dropped] == ["reply has no rank"]
    (beside,) = read({"query": "q", "responses": ["a", "b"], "scores": [0.1, 0.7]})
    assert [(one.text, one.rank, one.score) for one in beside.replies] == [("a", 1, 0.1), ("b", 0, 0.7)]


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("score_chosen", "score_rejected"),
        ("chosen_score", "rejected_score"),
        ("rating_chosen", "rating_rejected"),
        ("chosen_rating", "rejected_rating"),
        ("chosen-rating", "rejected-rating"),
    ],
)
def test_scores_beside_a_label_are_kept_make_a_tie_or_leave_it_out(read, chosen: str, rejected: str):
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    (kept,) = read({**row, chosen: 9, rejected: 2})
    assert [(one.rank, one.score) for one in kept.replies] == [(0, 9), (1, 2)]
    (tie,) = read({**row, chosen: 7.5, rejected: 7.5})
    assert [(one.rank, one.score) for one in tie.replies] == [(0, 7.5), (0, 7.5)]
    (against,) = read({**row, chosen: 1, rejected: 2})
    assert against == Dropped("seed.jsonl:1", "seed", "the rejected reply has the higher score")


def test_a_thought_is_not_the_reply(read):
    """Whether it stands in the text, between marks, or apart from it; those of earlier messages are left out."""
    apart = say("u0", "a0", "u1", "a1")
    apart[1]["reasoning_content"] = apart[3]["reasoning_content"] = "Hm."
    inside = say("u0", "<think>Hm.</think>\n\na0", "u1", "<think>Hm.</think>\n\na1")
    for messages in (apart, inside):
        first, second = read({"messages": messages}, turns="any")
        assert [(one.replies[0].text, one.replies[0].thought) for one in (first, second)] == [
            ("a0", "Hm."),
            ("a1", "Hm."),
        ]
        assert second.history == (U("u0"), A("a0"))
    (ignored, _) = read({"messages": apart}, turns="any", ignore=["messages.reasoning_content"])
    assert ignored.replies[0].thought == ""
    row = {"prompt": "p", "chosen": [{**apart[1]}], "rejected": "<think>So.</think>r"}
    assert [(one.text, one.thought) for one in read(row)[0].replies] == [("a0", "Hm."), ("r", "So.")]


SAID = {"role": "assistant", "content": "So.", "reasoning_content": "Hm."}
OTHER = {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "completion": [SAID]},
        {"prompt": "p", "completion": [SAID], "label": True},
        {"messages": [*say("p"), SAID], "kto_tag": True},
        {"prompt": "p", "response": SAID, "score": 3},
        {"prompt": "p", "chosen": [SAID], "rejected": [OTHER]},
        {"prompt": "p", "chosen": [OTHER], "rejected": [SAID]},
        {"conversation_a": [*say("p"), SAID], "conversation_b": [*say("p"), OTHER], "winner": "model_a"},
        {"conversation_a": [*say("p"), OTHER], "conversation_b": [*say("p"), SAID], "winner": "tie"},
    ],
)
def test_the_thought_of_a_message_stays_with_its_reply_in_every_format(read, row: dict[str, Any]):
    (found,) = read(row)
    assert {(one.text, one.thought) for one in found.replies} <= {("So.", "Hm."), ("No.", "")}
    assert "Hm." in [one.thought for one in found.replies]


def test_a_thought_without_an_end_is_no_reply(read):
    row = {"instruction": "i", "output": "<think>Hm. Score: 2"}
    assert read(row) == [Dropped("seed.jsonl:1", "seed", "the thought before a reply has no end")]
