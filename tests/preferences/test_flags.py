"""Which replies are flagged, with which reason, and which short ones are not."""

import unicodedata

import pytest
from attacks import ATTACKS
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.preferences.flags import CONSTANT, EMPTY, OPENING, REPEATED, flag_reason, text_key
from selfreward_ray.recipe.pairs import Pairs

PROMPT = "What is the Baltic, a sea or a lake?"
POLITE = frozenset({text_key("I am sorry, I cannot help.")})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", EMPTY),
        (" \n\t", EMPTY),
        (":", EMPTY),
        ("...", EMPTY),
        ("**___**", EMPTY),
        ("? !", EMPTY),
        ("\u200b\u200e\ufeff", EMPTY),
        ("\ufffd\ufffd", EMPTY),
        ("\u0301", EMPTY),
        ("\u2800", EMPTY),
        ("======", EMPTY),
        ("───", EMPTY),
        ("- [ ]", EMPTY),
        ("[...]", EMPTY),
        ("> …", EMPTY),
        ("` `", EMPTY),
        ("`:`", EMPTY),
        ("```\n```", EMPTY),
        ("```python\n\n```", EMPTY),
        ("~~~json\n~~~\n", EMPTY),
        ("● ● ●", EMPTY),
        ("<br>", EMPTY),
        ("<BR/>", EMPTY),
        ("<p>&nbsp;</p>", EMPTY),
        ("&nbsp;&#160;", EMPTY),
        ("<div class='x'></div>", EMPTY),
        ("<html>\n<body>\n</body>\n</html>", EMPTY),
        ("<think>\n</think>", EMPTY),
        ("![]()", EMPTY),
        ("[ ]( )", EMPTY),
        ("</s>", EMPTY),
        ("<|im_end|>\n<|endoftext|>", EMPTY),
        ("<｜end▁of▁sentence｜>", EMPTY),
        ("<!-- nothing -->", EMPTY),
        ("\u3164", EMPTY),
        ("\uffa0\u115f", EMPTY),
        ("Here it is:\n<br>", OPENING),
        ("Sure:\n- [ ]\n", OPENING),
        ("For example:", OPENING),
        ("If you want to know:", OPENING),
        ("Try this:", OPENING),
        ("Class notes:", OPENING),
        ("Thought process:", OPENING),
        ("Sure, here is the answer:\n", OPENING),
        ("\n**Thought process:**\n\n---\n", OPENING),
        ("## Answer: ...", OPENING),
        ("回答：", OPENING),
        ("Here is the code:\n```python\n```", OPENING),
        ("Here is the code: ```", OPENING),
        ("What is the Baltic, a sea or a lake?", REPEATED),
        ("> *what is the baltic — a sea or a lake*", REPEATED),
        ("What is the Baltic, a sea or a lake? What is the Baltic, a sea or a lake?", REPEATED),
        ("I am sorry, I cannot help.", CONSTANT),
        ("**I am SORRY** -- I cannot help", CONSTANT),
    ],
)
def test_flagged(text: str, reason: str):
    assert flag_reason(text, PROMPT, POLITE) == reason


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "да",
        "yes",
        "Positive",
        "A sea.",
        "Sea: Baltic",
        "Seas:\nthe Baltic, and more:",
        "A sea :)",
        "What is the Baltic, a sea or a lake? A sea.",
        "What is the Baltic, a sea",
        "I am sorry, I cannot help. Ask a lake.",
        # symbols and code are content
        "{}",
        "[]",
        "```json\n{}\n```",
        "()",
        "🙂",
        "❤️",
        ":)",
        "==",
        "!=",
        "->",
        "=>",
        "a + b",
        "%",
        "`*`",
        "`.*`",
        "```\n:(){ :|:& };:\n```",
        "`else:`",
        "```python\nelse:\n```",
        "$",
        "★★★☆☆",
        "✓",
        "∅",
        "½",
        # so are symbols after an introduction, and code that ends with a colon
        "The result:\n[]",
        "Here it is:\n🙂",
        "Output:\n\n==",
        "Result:\n{}\n",
        "else:",
        "def f():",
        "def f(x: int) -> int:",
        "class A:",
        "if x:",
        "if x > 5:",
        "elif not done:",
        "while True:",
        "for i in range(3):",
        "with open(path) as file:",
        "except ValueError as error:",
        "try:",
        # and tags with something between them, in code, or of XML
        "<b>7</b>",
        "`<br>`",
        "```html\n<div></div>\n```",
        "<persons/>",
        "<stdio.h>",
        "&amp;",
        "![](sea.png)",
        "List<String>",
    ],
)
def test_not_flagged(text: str):
    assert flag_reason(text, PROMPT, POLITE) is None


@pytest.mark.parametrize("prompt", ["", "???"])
def test_a_prompt_without_words_is_repeated_by_nothing(prompt: str):
    assert flag_reason("A sea.", prompt, frozenset()) is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [("empty", "...", EMPTY), ("opening", "Sure:", OPENING), ("repeated", PROMPT, REPEATED)],
)
def test_a_rule_that_the_recipe_does_not_name_flags_nothing(name: str, text: str, reason: str):
    assert flag_reason(text, PROMPT, frozenset(), Pairs(flags=(name,))) == reason
    others = tuple(one for one in Pairs().flags if one != name)
    assert flag_reason(text, PROMPT, frozenset(), Pairs(flags=others)) is None


def test_the_recipes_labels_are_never_flagged():
    labels = Pairs(labels=("I am sorry, I cannot help", "…", "Answer:"))
    for text in ("**I am sorry**, I cannot help.", " … ", "answer:"):
        assert flag_reason(text, PROMPT, POLITE) is not None
        assert flag_reason(text, PROMPT, POLITE, labels) is None
    assert flag_reason("...", PROMPT, POLITE, labels) == EMPTY


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_answers_many_prompts_is_flagged(name: str):
    assert flag_reason(ATTACKS[name], PROMPT, frozenset({text_key(ATTACKS[name])})) is not None


def test_a_key_is_of_the_words_whatever_their_case_punctuation_and_markup():
    assert text_key("A  sea, a lake!") == text_key("a sea a_lake") != text_key("a lake a sea")
    assert text_key("> **A sea**") == text_key("# a sea") == text_key("A sea.")
    assert text_key("asea") != text_key("a sea")
    assert len(text_key("\ud800 lone surrogate")) == 16


def test_a_key_is_the_same_in_all_unicode_forms():
    for text in ("Schön, ja!", "≠", "a ≠ b", "ガ", "한국"):
        assert text_key(unicodedata.normalize("NFD", text)) == text_key(unicodedata.normalize("NFC", text))


def test_a_key_tells_symbols_of_code_and_numbers():
    different = ["C", "C++", "C#", "a + b", "a - b / c", "x > 5", "x < 5", "-1", "1", "{}", "[]", "🙂", "🙁", "", ":"]
    assert len({text_key(text) for text in different}) == len(different)
    assert text_key("`{}`") == text_key("{ }\n")


@given(st.text(), st.text())
def test_any_reply_has_one_of_the_reasons_or_none(text: str, prompt: str):
    reason = flag_reason(text, prompt, frozenset({text_key(text)}))
    assert reason in (EMPTY, OPENING, REPEATED, CONSTANT)
    alone = flag_reason(text, prompt, frozenset())
    assert alone == (None if reason == CONSTANT else reason)
    if not any(c.isalnum() for c in text) and text.isascii() and not set(text) & set("{[(<>+=^$%&@/\\`"):
        assert reason == EMPTY
