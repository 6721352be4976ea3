"""Words and lengths of texts in scripts with and without spaces between words."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.words import Length, composed, has_words, text_length, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Name a_sea, don't you?", ["name", "a", "sea", "don", "t", "you"]),
        ("Écris un poème", ["écris", "un", "poème"]),
        ("Straße 7", ["strasse", "7"]),
        ("写一首诗。", ["写", "一", "首", "诗"]),
        ("用Python写", ["用", "python", "写"]),
        ("カタカナー", ["カ", "タ", "カ", "ナ", "ー"]),
        ("한국의 바다", ["한국의", "바다"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # with vowel signs and a virama, at which Python's \w would cut
        ("ทะเล ที่", ["ท", "ะ", "เ", "ล", "ที่"]),  # the marks above belong to the last letter
        ("می‌خواهم", ["می‌خواهم"]),  # a zero-width non-joiner within a word
        ("… 🙂 !", []),
    ],
)
def test_words_of_a_script(text: str, found: list[str]):
    assert words(text) == found
    assert has_words(text) == bool(found)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Name a sea - now", Length(5, 0)),  # as `str.split` divides them
        ("为什么天空是蓝色的？", Length(0, 9)),
        ("用 Python 3 写一首诗。", Length(2, 5)),
        ("日本語と English 。", Length(1, 4)),
        ("Назови море", Length(2, 0)),
        ("", Length(0, 0)),
    ],
)
def test_a_length_is_of_words_and_of_characters(text: str, size: Length):
    assert text_length(text) == size


def test_a_length_in_words_counts_several_characters_as_one():
    assert Length(2, 6).in_words(1.5) == 6
    assert Length(2, 6).in_words(3) == 4


@given(st.text())
def test_every_letter_and_digit_is_in_a_word_and_nothing_else_begins_one(text: str):
    found = words(text)
    assert has_words(text) == any(c.isalnum() for c in text)
    assert sum(c.isalnum() for word in found for c in word) == sum(
        c.isalnum() for c in composed(composed(text).casefold())
    )
    assert all(word[0].isalnum() for word in found)


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_without_unspaced_characters_the_length_is_that_of_split(text: str):
    assert text_length(text) == Length(len(text.split()), 0)


@pytest.mark.parametrize(
    "text", ["Écris l'été à Paris", "한국의 수도는", "ガンダム", "Hãy viết một bài thơ", "Å≠B", "οἶκος"]
)
def test_unicode_forms_have_the_same_words(text: str):
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))
