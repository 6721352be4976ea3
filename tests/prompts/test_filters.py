"""The filters of Self-Instruct."""

import pytest

from selfreward_ray.prompts.filters import TooSimilar, admit, beginning, capability, cut_off, length


@pytest.mark.parametrize(
    ("words", "reason"),
    [(3, "shorter than 4 words"), (4, None), (150, None), (151, "longer than 150 words"), (0, "shorter than 4 words")],
)
def test_length(words: int, reason: str | None) -> None:
    assert length(" ".join(["word"] * words)) == reason


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
    ("text", "reason"),
    [
        ("Write a program that sorts.", "begins with 'Write a program'"),
        ("write a program", "begins with 'Write a program'"),
        (" Write a\nprogram.", "begins with 'Write a program'"),
        ("Write a programme for the concert.", None),
        ("Explain how to write a program.", None),
        ("- name a sea", "begins with punctuation"),
        ("_Name_ a sea", "begins with punctuation"),
        ("  - name a sea", "begins with punctuation"),
        ("“Name a sea”", "begins with punctuation"),
        ("Écris un poème", "begins with a non-English character"),
        ("海の名前", "begins with a non-English character"),
        ("\n海の名前", "begins with a non-English character"),
        ("3 seas, please", None),
        ("Translate 海 into English.", None),
    ],
)
def test_beginning(text: str, reason: str | None) -> None:
    assert beginning(text) == reason


def test_cut_off() -> None:
    assert cut_off("stop") is None
    assert cut_off("length") == "cut off by the length limit"


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


@pytest.mark.parametrize("text", ["海の名前を四つ", "… ?", "Name a sea of Europe."])
def test_an_exact_repeat_is_refused_in_any_script_and_at_any_threshold(text: str) -> None:
    """Where ROUGE-L has no words to compare, or F1 = 1 is allowed."""
    repeat = "repeats an earlier prompt"
    assert TooSimilar([text], threshold=1.0)(f" {text}\n") == repeat
    similar = TooSimilar([], threshold=1.0)
    assert similar(text) is None
    similar.add(text)
    assert similar(text) == repeat
    assert similar(f"{text} 湖") is None


def test_a_repeat_with_words_is_refused_by_rouge_l() -> None:
    assert TooSimilar(["Name a sea."], threshold=0.7)("Name a sea.") == "ROUGE-L above 0.7 with an earlier prompt"
    assert TooSimilar(["海の名前"], threshold=0.7)("海の名前") == "repeats an earlier prompt"


def test_first_reason_is_given() -> None:
    similar = TooSimilar(["Name a sea of Europe."], threshold=0.7)
    assert admit("Draw", "length", similar) == "cut off by the length limit"
    assert admit("Draw", "stop", similar) == "shorter than 4 words"
    assert admit("- draw a blue sea", "stop", similar) == "asks for something that a text model cannot do"
    assert admit("- name a sea of Europe", "stop", similar) == "begins with punctuation"
    assert admit("Name a sea of Europe!", "stop", similar) == "ROUGE-L above 0.7 with an earlier prompt"
    assert admit("Which rivers end in Asia?", "stop", similar) is None
