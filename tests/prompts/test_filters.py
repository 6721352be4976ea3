"""The filters of proposed prompts: those of Self-Instruct, and what they do in other languages."""

import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.prompts.filters import (
    FILTER_OF,
    FILTERS,
    TooSimilar,
    admit,
    capability,
    english,
    first_refusal,
    length,
    program,
    punctuation,
)
from selfreward_ray.recipe.schema import FILTER_PRESETS, PromptFilter

ALL = FILTER_PRESETS["self-instruct"]
MINIMAL = FILTER_PRESETS["minimal"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [(3, "shorter than 4 words"), (4, None), (150, None), (151, "longer than 150 words"), (0, "shorter than 4 words")],
)
def test_length(words: int, reason: str | None) -> None:
    assert length(" ".join(["word"] * words)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("海为什么咸", "shorter than 6 characters"),
        ("海为什么咸的？", None),
        ("海" * 225, None),
        ("海" * 226, "longer than 225 characters"),
        ("เขียนบทกวี", None),
        ("用 Python 排序", "shorter than 6 characters"),  # a word and three characters, which count as two
        ("用 Python 写排序", "shorter than 6 characters"),
        ("用 Python 写出排序", None),
        ("Translate 海 please", "shorter than 4 words"),
        ("바다의 이름을 하나 말해", None),
        ("바다의 이름을 말해", "shorter than 4 words"),
    ],
)
def test_length_in_scripts_without_spaces(text: str, reason: str | None) -> None:
    assert length(text) == reason


NOUNS = ["image", "graph", "picture", "file", "map"]


@pytest.mark.parametrize("word", [*NOUNS, *(f"{noun}s" for noun in NOUNS), "draw", "plot", "go to", "go\nto", "IMAGE"])
def test_capability_words(word: str) -> None:
    assert capability(f"Please, {word}: do it.") == "asks for something that a text model cannot do"


@pytest.mark.parametrize(
    "text", ["Imagine a profile.", "Describe the paragraph.", "Withdraw.", "Let it go today.", "Mapping"]
)
def test_capability_words_are_whole(text: str) -> None:
    assert capability(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Décris les images de ce film.",
        "Wat doe je in een file?",
        "写一个 file 的说明",
        "Apa itu file PDF?",
        "Bagaimana membuka file PDF?",
        "Jelaskan image processing secara singkat",
        "Buatlah deskripsi image produk",
        "Ano ba ang file na PDF?",
        "Paano magbukas ng file?",
        "Gimana bikin file zip?",
        "Spiegami cosa significa image processing",
        "Cosa significa file?",
        "Explique plot twist brevemente",
        "Zeichne Image bitte mal",
        "Hvad betyder image?",
        "Kuvaile image selkeästi",
        "Unde gasesc file vechi?",
    ],
)
def test_capability_words_are_english(text: str) -> None:
    assert capability(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a program that sorts.", "begins with 'Write a program'"),
        ("write a program", "begins with 'Write a program'"),
        (" Write a\nprogram.", "begins with 'Write a program'"),
        ("Write a programme for the concert.", None),
        ("Explain how to write a program.", None),
    ],
)
def test_program(text: str, reason: str | None) -> None:
    assert program(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- name a sea", "begins with punctuation"),
        ("_Name_ a sea", "begins with punctuation"),
        ("  - name a sea", "begins with punctuation"),
        ("“Name a sea”", "begins with punctuation"),
        ("¿Cuál es el mar más grande?", None),
        ("《红楼梦》的作者是谁？", None),
        ("«Война и мир»: о чём роман?", None),
        ("« Les Misérables » : de quoi parle ce roman ?", None),
        ("„Faust“ – worum geht es darin?", None),
        ("“Don Quijote”: ¿de qué trata la novela?", None),
        ("“红楼梦”的作者是谁？", None),
        ("3 seas, please", None),
    ],
)
def test_punctuation(text: str, reason: str | None) -> None:
    assert punctuation(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Écris un poème", "begins with a non-English character"),
        ("海の名前", "begins with a non-English character"),
        ("\n海の名前", "begins with a non-English character"),
        ("3 seas, please", None),
        ("Translate 海 into English.", None),
    ],
)
def test_english(text: str, reason: str | None) -> None:
    assert english(text) == reason


def test_the_recipe_names_each_filter() -> None:
    assert {*FILTERS, "similar"} == set(get_args(PromptFilter))
    assert set(FILTER_OF.values()) == set(FILTERS)


@given(st.text(), st.frozensets(st.sampled_from(get_args(PromptFilter))))
def test_only_named_filters_refuse_and_each_reason_has_its_filter(text: str, names: frozenset[str]) -> None:
    reason = first_refusal(text, names)
    assert reason is None or FILTER_OF[reason] in names
    assert (reason is None) == all(FILTERS[name](text) is None for name in names - {"similar"})


def test_similarity_is_rouge_l_with_at_most_the_threshold() -> None:
    """Ten words against ten: 7 in common order give F = 14/20, which is still allowed; 8 give 16/20."""
    similar = TooSimilar(["a b c d e f g h i j"], threshold=0.7)
    assert similar("a b c d e f g x y z") is None
    assert similar("a b c d e f g h y z") == "ROUGE-L above 0.7 with an earlier prompt"


def test_similarity_asks_for_order_and_equal_length() -> None:
    """Four words in reverse: L = 1, F = 2/8. Four of twelve words: F = 8/16."""
    similar = TooSimilar(["one two three four"], threshold=0.6)
    assert similar("four three two one") is None
    assert similar("one two three four and then eight more that differ much") is None
    assert similar("one, TWO... three-four!") is not None


def test_similarity_with_kept_prompts() -> None:
    similar = TooSimilar([], threshold=0.7)
    assert similar("Name a sea of Europe.") is None
    similar.add("Name a sea of Europe.")
    assert similar("Name a sea of Asia.") is not None
    assert similar("NAME A SEA OF ASIA!") is not None


def test_prompts_without_words_are_not_alike() -> None:
    assert TooSimilar(["…"], threshold=0.7)("!") is None


@pytest.mark.parametrize("threshold", [1.0, None])
@pytest.mark.parametrize("text", ["海の名前を四つ", "… ?", "Name a sea of Europe."])
def test_an_exact_repeat_is_refused_in_any_script_and_at_any_threshold(text: str, threshold: float | None) -> None:
    """Where F1 = 1 is allowed, or nothing is compared by ROUGE-L."""
    repeat = "repeats an earlier prompt"
    assert TooSimilar([text], threshold)(f" {text}\n") == repeat
    similar = TooSimilar([], threshold)
    assert similar(text) is None
    similar.add(text)
    assert similar(text) == repeat
    assert similar(f"{text} 湖") is None


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("Name a sea.", "Name a sea!"),
        ("请介绍长江的形成过程。", "请介绍黄河的形成过程。"),
        ("Назови три реки России.", "Назови три реки Франции."),
        ("اكتب قصيدة عن البحر الأزرق", "اكتب قصيدة عن البحر الكبير"),
        ("भारत की तीन नदियों के नाम बताओ", "भारत की चार नदियों के नाम बताओ"),
        ("🍎+🍌=?", "🍎 + 🍌 = ?"),
    ],
)
def test_near_repeats_are_refused_in_any_script(text: str, near: str) -> None:
    assert TooSimilar([text], threshold=0.7)(near) == "ROUGE-L above 0.7 with an earlier prompt"


@pytest.mark.parametrize(
    "text",
    [
        "Écris un poème sur l'été à Paris",
        "한국의 수도는 어디입니까 지금",
        "ガンダムについて教えて",
        "Hãy viết một bài thơ về mùa",
    ],
)
def test_another_unicode_form_is_a_repeat(text: str) -> None:
    nfc, nfd = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert nfc != nfd
    for one, other in ((nfc, nfd), (nfd, nfc)):
        assert TooSimilar([one], None)(other) == "repeats an earlier prompt"
        assert TooSimilar([one], 0.9)(other) == "ROUGE-L above 0.9 with an earlier prompt"
        assert TooSimilar([one], 1.0)(other) == "repeats an earlier prompt"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("请介绍长江的形成过程。", "写一首关于春天的短诗。"),
        ("用Python写一个排序函数", "解释Python的装饰器是什么"),
        ("Назови три реки России.", "Почему море солёное?"),
    ],
)
def test_different_prompts_are_kept_in_any_script(text: str, other: str) -> None:
    assert TooSimilar([text], threshold=0.7)(other) is None


def test_first_reason_is_given() -> None:
    similar = TooSimilar(["Name a sea of Europe."], threshold=0.7)
    assert admit("Draw", "length", similar, ALL) == "cut off by the length limit"
    assert admit("Draw", "stop", similar, ALL) == "shorter than 4 words"
    assert admit("- draw a blue sea", "stop", similar, ALL) == "asks for something that a text model cannot do"
    assert admit("- name a sea of Europe", "stop", similar, ALL) == "begins with punctuation"
    assert admit("Name a sea of Europe!", "stop", similar, ALL) == "ROUGE-L above 0.7 with an earlier prompt"
    assert admit("Which rivers end in Asia?", "stop", similar, ALL) is None


def test_what_the_recipe_does_not_name_is_admitted() -> None:
    similar = TooSimilar(["Name a sea of Europe."], threshold=0.7)
    for text in ("Retell the plot of Hamlet in verse.", "为什么天空是蓝色的？", "- name some lakes, please"):
        assert admit(text, "stop", similar, ALL) is not None
        assert admit(text, "stop", similar, MINIMAL) is None
    assert admit("Sea?", "stop", similar, MINIMAL) == "shorter than 4 words"
    assert admit("Sea?", "stop", similar, ()) is None


def test_cut_off_and_empty_prompts_and_repeats_are_refused_without_any_filter() -> None:
    similar = TooSimilar(["Sea?"], threshold=None)
    assert admit("Why?", "length", similar, ()) == "cut off by the length limit"
    assert admit(" \n", "stop", similar, ()) == "empty"
    assert admit("Sea?", "stop", similar, ()) == "repeats an earlier prompt"
