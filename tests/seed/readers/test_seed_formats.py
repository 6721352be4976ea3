"""A row of each format that public data sets have: what is read of it, and that each of its columns is known."""

from typing import Any

import pytest

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet, Turn
from selfreward_ray.seed.readers import FORMATS, Reading


def say(
    *texts: str, names: tuple[str, str] = ("user", "assistant"), keys: tuple[str, str] = ("role", "content")
) -> Any:
    return [{keys[0]: names[i % 2], keys[1]: text} for i, text in enumerate(texts)]


def gpt(*texts: str) -> Any:
    return say(*texts, names=("human", "gpt"), keys=("from", "value"))


ASSISTANT = {"from": "gpt", "value": "good"}
MODELS = {"model_a": "x", "model_b": "y"}
HH = "\n\nHuman: Hi\n\nAssistant:"
Q, H = "Hi", (Turn("user", "Hi"), Turn("assistant", "Ho"))
GOOD_NO = (("good", 0, None), ("no", 1, None))
GOOD = (("good", 0, None),)

ROWS: list[tuple[str, str, dict[str, Any], tuple[Turn, ...], str, tuple[tuple[str, int, float | None], ...]]] = [
    (
        "ultrafeedback",
        "ultrafeedback",
        {
            "source": "s",
            "instruction": Q,
            "models": ["a", "b"],
            "correct_answers": ["None"],
            "incorrect_answers": [],
            "completions": [
                {"model": "a", "response": "no", "overall_score": 9.0, "fine-grained_score": 1.5, "annotations": {}},
                {"model": "b", "response": "good", "overall_score": 2.0, "fine-grained_score": 4.25, "critique": "c"},
            ],
        },
        (),
        Q,
        (("no", 1, 1.5), ("good", 0, 4.25)),
    ),
    (
        "ultrafeedback without a mean",
        "ultrafeedback",
        {
            "instruction": Q,
            "completions": [
                {
                    "response": "good",
                    "annotations": {
                        "honesty": {"Rating": "5"},
                        "truthfulness": {"Rating": "4"},
                        "helpfulness": {"Rating": "N/A"},
                    },
                },
                {"response": "no", "annotations": {"honesty": {"Rating": "1"}}, "overall_score": 10},
                {"response": "so", "overall_score": "3"},
            ],
        },
        (),
        Q,
        (("good", 0, 5.0), ("no", 1, 1.0)),
    ),
    (
        "nectar",
        "nectar",
        {
            "prompt": HH + " ",
            "answers": [{"answer": "good", "model": "m", "rank": 1.0}, {"answer": "no", "model": "n", "rank": 2.0}],
            "turns": 1,
            "num_responses": 2,
            "source": ["s"],
            "good_natured": True,
        },
        (),
        Q,
        GOOD_NO,
    ),
    (
        "ranked",
        "ranked",
        {"prompt": Q, "source": "s", "responses": [{"text": "good", "rank": 0}, {"text": "no", "rank": 1}]},
        (),
        Q,
        GOOD_NO,
    ),
    (
        "HelpSteer",
        "helpsteer",
        {
            "prompt": Q,
            "response": "good",
            "helpfulness": 4,
            "correctness": 4,
            "coherence": 4,
            "complexity": 2,
            "verbosity": 1,
        },
        (),
        Q,
        (("good", 0, pytest.approx(0.65 * 4 + 0.8 * 4 + 0.45 * 4 + 0.55 * 2 - 0.4)),),
    ),
    (
        "HelpSteer2 after earlier turns",
        "helpsteer",
        {
            "prompt": "Hi\n<extra_id_1>Assistant\nHo\n<extra_id_1>User\nmore",
            "response": "good",
            "helpfulness": 0,
            "correctness": 0,
            "coherence": 0,
            "complexity": 0,
            "verbosity": 0,
        },
        H,
        "more",
        (("good", 0, 0.0),),
    ),
    (
        "PKU-SafeRLHF",
        "pku-saferlhf",
        {
            "prompt": Q,
            "response_0": "no",
            "response_1": "good",
            "better_response_id": 1,
            "safer_response_id": 1,
            "is_response_0_safe": False,
            "is_response_1_safe": True,
            "response_0_severity_level": 1,
            "response_0_harm_category": {"Cybercrime": True},
            "prompt_source": "s",
            "response_0_sha256": "0f",
        },
        (),
        Q,
        (("no", 1, None), ("good", 0, None)),
    ),
    (
        "SHP",
        "shp",
        {
            "post_id": "x",
            "domain": "askbakers",
            "upvote_ratio": 0.9,
            "history": Q,
            "c_root_id_A": "a",
            "created_at_utc_A": 1,
            "score_A": 3,
            "score_B": 9,
            "human_ref_A": "no",
            "human_ref_B": "good",
            "labels": 0,
            "seconds_difference": 7.0,
            "score_ratio": 3.0,
        },
        (),
        Q,
        (("no", 1, 3.0), ("good", 0, 9.0)),
    ),
    (
        "HelpSteer3",
        "helpsteer3",
        {
            "domain": "code",
            "language": "python",
            "context": say("Hi", "Ho", "more"),
            "response1": "no",
            "response2": "good",
            "overall_preference": 2,
            "individual_preference": [{"score": 2, "reasoning": "r"}],
        },
        H,
        "more",
        (("no", 1, None), ("good", 0, None)),
    ),
    (
        "HelpSteer2's preferences",
        "helpsteer-preference",
        {
            "split": "train",
            "prompt": Q,
            "response_1": "good",
            "response_2": "no",
            "preference_strength": -1,
            "preference_statement": "s",
            "preference_elaboration": "e",
        },
        (),
        Q,
        GOOD_NO,
    ),
    (
        "arena",
        "arena",
        {
            **MODELS,
            "question_id": "q",
            "winner": "model_b",
            "judge": "arena_user_1",
            "conversation_a": say("Hi", "no"),
            "conversation_b": say("Hi", "good"),
            "turn": 1,
            "anony": True,
            "language": "English",
            "tstamp": 1.0,
            "openai_moderation": {"flagged": False},
            "toxic_chat_tag": {"flagged": False},
        },
        (),
        Q,
        (("no", 1, None), ("good", 0, None)),
    ),
    (
        "a vote of MT-Bench on the first of two turns",
        "arena",
        {
            **MODELS,
            "question_id": 81,
            "winner": "tie",
            "judge": ["author_1"],
            "turn": 1,
            "conversation_a": say("Hi", "good", "more", "x"),
            "conversation_b": say("Hi", "no", "more", "y"),
        },
        (),
        Q,
        (("good", 0, None), ("no", 0, None)),
    ),
    (
        "two bad replies",
        "arena",
        {**MODELS, "winner": "tie (bothbad)", "conversation_a": say("Hi", "good"), "conversation_b": say("Hi", "no")},
        (),
        Q,
        (("good", 1, None), ("no", 1, None)),
    ),
    (
        "votes in columns",
        "arena-votes",
        {
            "id": 7,
            **MODELS,
            "prompt": '["Hi", "more"]',
            "response_a": '["Ho", "good"]',
            "response_b": '["Ho", "no"]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        H,
        "more",
        GOOD_NO,
    ),
    ("KTO", "kto", {"prompt": Q, "completion": "good", "label": True}, (), Q, GOOD),
    (
        "KTO of messages",
        "kto",
        {"prompt": say("Hi"), "completion": say("good", names=("assistant", "")), "label": 0},
        (),
        Q,
        (("good", 1, None),),
    ),
    ("LLaMA-Factory's KTO", "kto-tag", {"messages": say("Hi", "good"), "kto_tag": "true"}, (), Q, GOOD),
    ("HH", "preference", {"chosen": HH + " good", "rejected": HH + " no"}, (), Q, GOOD_NO),
    (
        "binarized UltraFeedback",
        "preference",
        {
            "prompt": Q,
            "prompt_id": "0f",
            "chosen": say("Hi", "good"),
            "rejected": say("Hi", "no"),
            "messages": say("Hi", "good"),
            "score_chosen": 8.0,
            "score_rejected": 2.5,
        },
        (),
        Q,
        (("good", 0, 8.0), ("no", 1, 2.5)),
    ),
    (
        "Capybara",
        "preference",
        {
            "source": "s",
            "conversation": [{"input": "Hi", "output": "Ho"}],
            "original_response": "o",
            "generation_prompt": ["<|system|>"],
            "raw_generation_responses": ["a"],
            "chosen": say("Hi", "Ho", "more", "good"),
            "rejected": say("Hi", "Ho", "more", "no"),
            "rating_chosen": 5,
            "rating_rejected": 4,
            "chosen_model": "m",
            "rejected_model": "n",
        },
        H,
        "more",
        (("good", 0, 5.0), ("no", 1, 4.0)),
    ),
    ("Orca's pairs", "preference", {"system": "", "question": Q, "chosen": "good", "rejected": "no"}, (), Q, GOOD_NO),
    (
        "LLaMA-Factory's pairs",
        "preference",
        {"instruction": "Add.", "input": "1 1", "chosen": "good", "rejected": "no"},
        (),
        "Add.\n\n1 1",
        GOOD_NO,
    ),
    (
        "ShareGPT's pairs",
        "preference",
        {"conversations": gpt("Hi", "Ho", "more"), "chosen": ASSISTANT, "rejected": {"from": "gpt", "value": "no"}},
        H,
        "more",
        GOOD_NO,
    ),
    (
        "a vote",
        "vote",
        {"prompt": Q, "response_a": "good", "response_b": "no", "winner": "A", **MODELS},
        (),
        Q,
        GOOD_NO,
    ),
    ("a score", "scored", {"prompt": Q, "response": "good", "score": 4}, (), Q, (("good", 0, 4.0),)),
    ("chat", "chat", {"messages": say("Hi", "good"), "prompt": Q, "prompt_id": "0f"}, (), Q, GOOD),
    (
        "ShareGPT",
        "sharegpt",
        {"id": "abc_0", "conversations": gpt("Hi", "good"), "system": None, "tools": ""},
        (),
        Q,
        GOOD,
    ),
    (
        "pairs of a conversation",
        "conversation",
        {"source": "s", "conversation": [{"input": Q, "output": "good"}]},
        (),
        Q,
        GOOD,
    ),
    (
        "TRL's completions",
        "prompt-completion",
        {"prompt": say("Hi"), "completion": say("good", names=("assistant", ""))},
        (),
        Q,
        GOOD,
    ),
    ("responses", "prompt-response", {"prompt": Q, "response": "good"}, (), Q, GOOD),
    ("Orca", "orca", {"id": "flan.1", "system_prompt": "", "question": Q, "response": "good"}, (), Q, GOOD),
    (
        "questions and answers",
        "question-answer",
        {"question": Q, "context": "There.", "answer": "good"},
        (),
        "Hi\n\nThere.",
        GOOD,
    ),
    (
        "xLAM",
        "xlam",
        {"id": 7, "query": Q, "answers": '[{"name": "f", "arguments": {"a": 1}}]', "tools": '[{"name": "f"}]'},
        (),
        Q,
        (("", 0, None),),
    ),
    ("queries", "query-response", {"query": Q, "response": "good", "type": None}, (), Q, GOOD),
    (
        "Dolly",
        "dolly",
        {"instruction": Q, "context": "There.", "response": "good", "category": "open_qa"},
        (),
        "Hi\n\nThere.",
        GOOD,
    ),
    (
        "Alpaca",
        "instruction",
        {"instruction": "Add.", "input": "1 1", "output": "good", "text": "Below is …"},
        (),
        "Add.\n\n1 1",
        GOOD,
    ),
    ("Guanaco", "text", {"text": "### Human: Hi### Assistant: good"}, (), Q, GOOD),
]


@pytest.mark.parametrize(("name", "form", "row", "history", "prompt", "replies"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_of_each_format(read, name, form, row, history, prompt, replies):
    for named in (None, form):
        reading = Reading(SeedData())
        (found,) = [one for one in read(row, turns="any", format=named, reading=reading) if isinstance(one, RankedSet)]
        assert reading.format == form
        assert reading.notes() == []
        assert (found.history, found.prompt) == (history, prompt)
        assert tuple((one.text, one.rank, one.score) for one in found.replies) == replies


def test_each_format_has_a_row_here():
    trees = {"oasst-tree", "oasst-message"}  # whose tests are in test_trees
    assert {form for _, form, *_ in ROWS} | trees == {form.name for form in FORMATS}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"prompt": Q, "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1},
            "one of its replies is the",
        ),
        (
            {"prompt": Q, "response_0": "a", "response_1": "b", "better_response_id": 2},
            "field 'better_response_id' is neither 0 nor 1",
        ),
        ({"history": Q, "human_ref_A": "a", "human_ref_B": "b", "labels": None}, "field 'labels' is neither 0 nor 1"),
        ({"history": Q, "human_ref_A": "a", "human_ref_B": "a", "labels": 1}, "its replies are the same"),
        (
            {"context": Q, "response1": "a", "response2": "b", "overall_preference": None},
            "field 'overall_preference' is miss",
        ),
        (
            {"winner": "model_c", "conversation_a": say("Hi", "a"), "conversation_b": say("Hi", "b")},
            "its vote names neither reply and no tie; seed_data.values={winner: ",
        ),
        (
            {
                "winner": "model_a",
                "turn": 2,
                "conversation_a": say("Hi", "a", "m", "c"),
                "conversation_b": say("Hi", "b", "m", "d"),
            },
            "its replies do not answer the same messages",
        ),
        (
            {"winner": "model_a", "conversation_a": say("Hi"), "conversation_b": say("Hi")},
            "the last message is not the assis",
        ),
        (
            {"prompt": "p", "response_a": "a", "response_b": "b", "winner_model_a": 1, "winner_model_b": 1},
            "its winner is not",
        ),
        (
            {"prompt": '["p"]', "response_a": '["a", "b"]', "response_b": '["b"]', "winner_model_a": 1},
            "its prompts and respon",
        ),
        ({"prompt": Q, "completion": "a", "label": "maybe"}, "its label is neither true nor false"),
        ({"prompt": Q, "response": "a", "helpfulness": 4}, "field 'correctness' is missing or null"),
        ({"text": "Just a text."}, "its text is not a conversation in the marks of a known template"),
        ({"prompt": Q, "completion": say("Hi", "a")}, "field 'completion' is not one message of the assistant"),
    ],
)
def test_a_row_of_a_format_that_cannot_be_used(read, row, reason):
    (found,) = read(row)
    assert isinstance(found, Dropped)
    assert found.reason.startswith(reason)


def test_the_recipe_weighs_attributes(read):
    rows = [
        {"prompt": Q, "response": text, "helpfulness": h, "verbosity": v} for text, h, v in (("a", 4, 0), ("b", 3, 4))
    ]
    (found,) = read(*rows, attributes={"helpfulness": 1, "verbosity": 0.5})
    assert [(one.text, one.rank, one.score) for one in found.replies] == [("a", 1, 4.0), ("b", 0, 5.0)]


def test_what_is_no_text_is_left_out(read):
    picture = [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {}}]}]
    for row in ({"messages": [*picture, *say("x", "good")[1:]]}, {"images": ["a.png"], "messages": say("Hi", "good")}):
        assert read(row, bad_share=0) == [Dropped("seed.jsonl:1", "seed", "it holds images, sound or video")]
