"""The index of near-duplicates gives the same answers as comparison with every text."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

from selfreward_ray.prompts.similarity import RougeIndex, rouge_words

SCORER = RougeScorer(["rougeL"])


def rouge_l(a: str, b: str) -> float:
    return SCORER.score(a, b)["rougeL"].fmeasure


def exact_rouge_l(a: list[str], b: list[str]) -> Fraction:
    """F1 = 2L / (m + n), with L from the textbook's table, a row at a time."""
    row = [0] * (len(b) + 1)
    for word in a:
        above, row = row, [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
    return Fraction(2 * row[-1], len(a) + len(b)) if a and b else Fraction(0)


@st.composite
def prompts(draw: st.DrawFn) -> list[list[str]]:
    """Texts of few words that recur, some of them edits of an earlier text: F1 is anything from 0 to 1."""
    word = st.sampled_from([chr(ord("a") + i) for i in range(draw(st.integers(1, 20)))])
    texts: list[list[str]] = []
    for _ in range(draw(st.integers(2, 14))):
        text = draw(st.lists(word, max_size=12))
        if texts and draw(st.booleans()):
            earlier = draw(st.sampled_from(texts))
            text = earlier[: draw(st.integers(0, 12))] + text[: draw(st.integers(0, 4))]
        texts.append(text)
    return texts


@given(prompts(), st.sampled_from([0.05, 0.25, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0]), st.integers(0, 6))
def test_answers_as_comparing_with_every_text(texts: list[list[str]], threshold: float, seeds: int) -> None:
    """Asking and adding in turn; from no seed on, fourteen texts bring three rebuilds."""
    limit = Fraction(str(threshold))
    index = RougeIndex([" ".join(text) for text in texts[:seeds]], threshold)
    for known in range(seeds, len(texts)):
        new = " ".join(texts[known])
        scores = [exact_rouge_l(text, texts[known]) for text in texts[:known]]
        assert index.is_near(new) == any(score > limit for score in scores)
        for text, score in zip(texts[:known], scores, strict=True):
            assert rouge_l(" ".join(text), new) == pytest.approx(float(score), abs=1e-12)
        index.add(new)


def test_answers_as_rouge_score_on_a_family_of_long_prompts() -> None:
    """120 prompts of a skewed vocabulary, most of them edits of another; punctuation and case as they come."""
    rng = random.Random("families")
    words = [f"w{i}" for i in range(400)]
    texts: list[list[str]] = []
    for _ in range(120):
        new = rng.choices(words, [1 / (i + 2) for i in range(400)], k=rng.randint(4, 40))
        source = rng.choice(texts) if texts and rng.random() < 0.7 else new
        kept = rng.uniform(0.5, 1)
        texts.append([word if rng.random() < kept else rng.choice(new) for word in source])
    prompts = [rng.choice([" ", ", ", "-"]).join(rng.choice([w, w.upper()]) for w in text) + "." for text in texts]
    index = RougeIndex(prompts[:40], 0.7)
    near = []
    for i in range(40, 120):
        near.append(index.is_near(prompts[i]))
        # Exactly 7/10 is rounded to either side by rouge-score; any other F1 is at least 1 / (10 * 80) away.
        assert near[-1] == any(rouge_l(prompts[i], earlier) > 0.7 + 1e-9 for earlier in prompts[:i])
        index.add(prompts[i])
    assert 20 < sum(near) < 60


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_exactly_the_threshold_is_not_near(threshold: float) -> None:
    """Each m + n <= 60 and L with 2L / (m + n) the threshold itself; with L + 1 the pair is near."""
    part, whole = Fraction(str(threshold)).as_integer_ratio()
    pairs = 0
    for total in range(2, 61):
        common, rest = divmod(part * total, 2 * whole)
        for m in range(common + 1, total - common) if rest == 0 else []:
            shared = [f"s{i}" for i in range(common)]
            known = [*shared, *(f"a{i}" for i in range(m - common))]
            new = [*shared, *(f"b{i}" for i in range(total - m - common))]
            index = RougeIndex([" ".join(known)], threshold)
            assert not index.is_near(" ".join(new))
            assert index.is_near(" ".join([*new[:common], "a0", *new[common + 1 :]]))
            pairs += 1
    assert pairs > 5


def test_order_counts_not_only_the_words() -> None:
    """The same 20 words: backwards L = 1, in two halves exchanged L = 10 and F1 = 0.5."""
    words = [f"w{i}" for i in range(20)]
    index = RougeIndex([" ".join(words)], 0.7)
    assert index.is_near(" ".join(words))
    assert not index.is_near(" ".join(reversed(words)))
    assert not index.is_near(" ".join(words[10:] + words[:10]))
    assert RougeIndex([" ".join(words)], 0.49).is_near(" ".join(words[10:] + words[:10]))


def test_one_common_word_can_be_enough() -> None:
    assert RougeIndex(["sea"], 0.7).is_near("Sea!")
    assert RougeIndex(["deep blue sea"], 0.4).is_near("sea")
    assert not RougeIndex(["deep blue sea"], 0.5).is_near("sea")


def test_a_vocabulary_beyond_sixteen_bits() -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(700)) for i in range(100)]
    index = RougeIndex(texts, 0.7)
    assert all(index.is_near(text) for text in texts)
    assert not index.is_near(" ".join(f"w{i}x1" for i in range(100)))


def test_an_empty_text_is_near_to_none() -> None:
    index = RougeIndex(["", " "], 0.1)
    index.add("\n")
    assert not index.is_near("")
    assert not index.is_near("name a sea")


SCRIPTS = ["长江海山水火", "морекилс", "ابتثجح", "ทะเลคน", "कखगघ", "한국바다", "αβγδ", "abcd", "🍎🍌🍇"]


@given(st.data(), st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_answers_as_comparing_with_every_text_in_any_script(data: st.DataObject, threshold: float) -> None:
    """Texts of one script and of several, with and without spaces; the words are those of `rouge_words`."""
    alphabet = "".join(data.draw(st.lists(st.sampled_from(SCRIPTS), min_size=1, max_size=2))) + " "
    texts = data.draw(st.lists(st.text(alphabet, min_size=1, max_size=20), min_size=2, max_size=8))
    limit = Fraction(str(threshold))
    index = RougeIndex(texts[:1], threshold)
    for known in range(1, len(texts)):
        scores = [exact_rouge_l(rouge_words(text), rouge_words(texts[known])) for text in texts[:known]]
        assert index.is_near(texts[known]) == any(score > limit for score in scores)
        index.add(texts[known])


@given(st.text(st.characters(max_codepoint=0x24F)))
def test_words_in_latin_letters_are_those_of_rouge_score(text: str) -> None:
    """Also where letters have accents, at which `rouge-score` divides."""
    assert rouge_words(text) == (tokenize(text, None) or [c for c in text.lower() if not c.isspace()])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Why is π in a naïve proof?", ["why", "is", "in", "a", "na", "ve", "proof"]),
        ("Что значит π?", ["что", "значит", "π"]),
        ("Translate 海", ["translate", "海"]),
        ("用 Python 写诗", ["用", "python", "写", "诗"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("… 🙂", ["…", "🙂"]),
    ],
)
def test_words_of_other_scripts_count_where_they_are_a_quarter(text: str, found: list[str]) -> None:
    assert rouge_words(text) == found
