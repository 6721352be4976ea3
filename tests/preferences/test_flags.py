"""Which replies are flagged, with which reason, and which short ones are not."""

import pytest

from selfreward_ray.preferences.flags import CONSTANT, EMPTY, OPENING, REPEATED, flag_reason, text_key

PROMPT = "What is the Baltic, a sea or a lake?"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", EMPTY),
        (" \n\t", EMPTY),
        (":", EMPTY),
        ("...", EMPTY),
        ("**___**", EMPTY),
        ("🙂", EMPTY),
        ("Thought process:", OPENING),
        ("Sure, here is the answer:\n", OPENING),
        ("\n**Thought process:**\n\n---\n", OPENING),
        ("## Answer: ...", OPENING),
        ("回答：", OPENING),
        ("What is the Baltic, a sea or a lake?", REPEATED),
        ("> *what is the baltic — a sea or a lake*", REPEATED),
        ("What is the Baltic, a sea or a lake? What is the Baltic, a sea or a lake?", REPEATED),
        ("I am sorry, I cannot help.", CONSTANT),
        ("**I am SORRY** -- I cannot help", CONSTANT),
    ],
)
def test_flagged(text: str, reason: str):
    assert flag_reason(text, PROMPT, frozenset({text_key("I am sorry, I cannot help.")})) == reason


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "да",
        "A sea.",
        "Sea: Baltic",
        "Seas:\nthe Baltic, and more:",
        "A sea :)",
        "What is the Baltic, a sea or a lake? A sea.",
        "What is the Baltic, a sea",
        "I am sorry, I cannot help. Ask a lake.",
    ],
)
def test_not_flagged(text: str):
    assert flag_reason(text, PROMPT, frozenset({text_key("I am sorry, I cannot help.")})) is None


@pytest.mark.parametrize("prompt", ["", "???"])
def test_a_prompt_without_words_is_repeated_by_nothing(prompt: str):
    assert flag_reason("A sea.", prompt, frozenset()) is None


def test_a_key_is_of_the_words_alone():
    assert text_key("A  sea, a lake!") == text_key("a sea a_lake") != text_key("a lake a sea")
    assert text_key("asea") != text_key("a sea")
    assert len(text_key("\ud800 lone surrogate")) == 16
