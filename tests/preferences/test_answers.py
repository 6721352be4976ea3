"""Answers that many prompts share are told from evasions, and nothing that deceives judges is taken for one."""

import json
from itertools import pairwise, repeat

import pytest
from attacks import ATTACKS
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.preferences.answers import read_answer
from selfreward_ray.preferences.constant import count_among, count_texts, least_count
from selfreward_ray.preferences.evidence import Evidence, gather, is_answer

Judged = list[tuple[str, list[str]]]


def answers(
    judged: Judged, label_words: int = 2, cuts: list[int] | None = None, history: tuple[str, ...] = ()
) -> dict[str, bool]:
    """Whether each text that at least five prompts, and 2 % of them, have as a reply is an answer. `history` is before
    each prompt."""
    replies = [texts for _, texts in judged]
    counts = count_texts(replies)
    least = least_count(len(judged), 0.02)
    _, shared = count_among(replies, {key for key, count in counts.items() if count >= least})
    found = {key: Evidence() for key in shared}
    for start, end in pairwise([0, *sorted(cuts or []), len(judged)]):
        for key, evidence in gather(judged[start:end], shared, label_words, repeat(history)).items():
            found[key].add(evidence)
    return {text: is_answer(text, found[key], len(judged), label_words) for key, text in shared.items()}


def various(count: int, *replies: str, start: int = 0) -> Judged:
    """Prompts that have no three words in common, with a reply of their own and `replies`."""
    verbs = ["Describe", "Explain", "Compare", "Translate", "Summarise", "Invent", "Name", "Praise"]
    return [
        (f"{verbs[i % 8]} w{i} x{i} for y{i % 7}", [*replies, f"Here is what I know of w{i}: it is old and x{i}."])
        for i in range(start, start + count)
    ]


def reviews(count: int, first: str, other: str = "") -> Judged:
    """A classification whose prompts do not name its labels. Without `other`, each has another reply of its own."""
    return [
        (
            f"What do you say about the mood of this review? I saw film {i} twice.",
            [first, other or f"The review of film {i} is hard to read, but I think that somebody liked it."],
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("other", ["Negative", "", "I do not know."])
def test_forty_reviews_that_are_all_positive(other: str):
    """One task, asked forty times, whatever the other replies are."""
    assert answers(reviews(40, "Positive", other))["Positive"]


@pytest.mark.parametrize(
    "label", ["積極", "Позитивный", "👍", "{}", "[]", "5", "not_spam", "**Positive**", "(B)", "-1"]
)
def test_labels_of_any_script_and_symbols(label: str):
    assert list(answers(reviews(40, label)).values()) == [True]


def test_labels_that_stand_against_each_other_among_various_prompts():
    """No prompt names them, and the prompts have nothing in common."""
    judged = various(30, "Yes.", "No.") + various(40, "No", start=30) + various(200, start=70)
    assert answers(judged) == {"No": False, "Yes.": True}
    assert answers(various(30, "Yes.", "No.") + various(200, start=50)) == {"No.": True, "Yes.": True}


def test_labels_that_the_prompts_name():
    """Among other prompts: named three times out of four, and given where they are named."""
    named = [
        (
            f"Is w{i} a question, an entity or not enough information? x{i}",
            [label, f"I believe that w{i} is one of them"],
        )
        for i, label in enumerate(["Question", "Not enough information", "entity"] * 10)
    ]
    judged = named + various(200)
    assert answers(judged) == {"Question": True, "entity": True, "Not enough information": True}
    assert answers([(f"Tell of w{i} and x{i}", replies) for i, (_, replies) in enumerate(named)] + various(200)) == {
        "Question": False,
        "entity": False,
        "Not enough information": False,
    }


def test_extracted_answers_and_json():
    cities = ["Berlin", "Paris", "Rome"] * 8
    texts = [(f"w{i} went to {city} on day x{i}. Which city?", [city, f"It is w{i}."]) for i, city in enumerate(cities)]
    assert set(answers(texts + various(200)).values()) == {True}
    made = [
        (
            f'Give {{"mood": "good"}} or {{"mood": "bad"}} for text {i}',
            [f'{{"mood": "{("good", "bad")[i % 2]}"}}', f"mood {i}"],
        )
        for i in range(40)
    ]
    assert answers(made) == {'{"mood": "good"}': True, '{"mood": "bad"}': True}
    assert answers([(prompt, [f"Mood: {('good', 'bad')[i % 2]}", f"{i}"]) for i, (prompt, _) in enumerate(made)]) == {
        "Mood: good": True,
        "Mood: bad": True,
    }


POLITE = [
    "I cannot say.",
    "I am happy to help you with that!",
    "Thank you for your question.",
    "As an AI language model, I cannot answer this.",
    "Great question!",
    "Sure!",
    "Sure, here you go.",
    "很高兴为您服务，请问还有什么需要？",
    "К сожалению, я не могу помочь.",
]


@pytest.mark.parametrize("text", POLITE)
def test_a_polite_text_is_no_answer_to_various_prompts_nor_to_one_task(text: str):
    assert answers(various(60, text)) == {text: False}
    assert answers(reviews(60, text)) == {text: False}
    for other in ("I do not know what to say to that.", "Positive"):
        assert answers(reviews(60, text, other))[text] is False


@pytest.mark.parametrize("text", ["Yes", "Sure.", "OK", "{}", "🙂", "Positive"])
def test_a_short_text_is_no_answer_to_various_prompts(text: str):
    """Nothing names it, nothing stands against it, and the prompts have nothing in common."""
    assert answers(various(60, text)) == {text: False}
    assert answers(various(60, text) + various(600, start=60)) == {text: False}


def test_a_word_that_most_prompts_contain_is_no_answer_because_of_that():
    """Where all prompts name a text, that shows nothing."""
    judged = various(100, "for")
    assert all(" for " in prompt for prompt, _ in judged)
    assert answers(judged) == {"for": False}


def test_a_word_is_offered_where_it_is_given_more_often_than_elsewhere():
    """Two of five prompts name it, and all of these have it. Of the others one in ten is few, two of three are many."""
    named = [(f"Is w{i} so? x{i}", f"w{i} is x{i} as I know") for i in range(40)]
    others = [(prompt, replies[0]) for prompt, replies in various(60, start=40)]
    judged = [(prompt, ["So.", own]) for prompt, own in named]
    few = [(prompt, ["so", own] if i % 10 == 0 else [own]) for i, (prompt, own) in enumerate(others)]
    assert answers(judged + few) == {"so": True}
    many = [(prompt, ["so", own] if i % 3 else [own]) for i, (prompt, own) in enumerate(others)]
    assert answers(judged + many) == {"so": False}


def test_a_text_that_is_mostly_written_as_markup_is_no_answer():
    marked = [(prompt, ["[Reply]" if i else "Reply", *rest]) for i, (prompt, (_, *rest)) in enumerate(reviews(40, ""))]
    assert answers(marked) == {"Reply": False}
    assert answers([(prompt, ["Reply", *rest]) for prompt, (_, *rest) in marked]) == {"Reply": True}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_is_an_answer(name: str):
    """Neither alone, nor with another attack, nor beside a label."""
    text, other = ATTACKS[name], ATTACKS["score" if name != "score" else "choice"]
    for judged in (
        various(40, text),
        various(40, text, other),
        reviews(40, text),
        reviews(40, text, other),
        reviews(40, text, "Positive"),
    ):
        attacked = {found: taken for found, taken in answers(judged).items() if found != "Positive"}
        assert attacked
        assert not any(attacked.values())


def test_with_no_words_only_symbols_have_the_form_of_a_label():
    assert read_answer("Positive", 0) is not None
    assert not read_answer("Positive", 0).label
    assert read_answer("{}", 0).label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Positive", True),
        ("“very positive.”", True),
        ("```\nB\n```", True),
        ("not very positive", False),
        ("积极情绪", True),
        ("这是积极情绪", False),
        ("Mood: good", False),
        ('{"mood": "good", "sure": true, "why": null}', False),
    ],
)
def test_the_form_of_an_answer(text: str, label: bool):
    found = read_answer(text, 2)
    assert found is not None
    assert found.label == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "Sure!",
        "Why?",
        "</b>",
        "{reply}",
        "[INST]",
        "Mood: good: bad",
        "one\ntwo",
        "a b c d e f g h i",
        "[[A]]",
    ],
)
def test_no_form_of_an_answer(text: str):
    assert read_answer(text, 2) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"label": "positive"}', '{"label": "negative"}'),
        ('{"label": "positive", "score": 0.9}', '{"label": "negative", "score": 0.1}'),
        ('{"spam": true}', '{"spam": false}'),
        ('```json\n["positive"]\n```', '```json\n["negative"]\n```'),
        ("Answer: A", "Answer: B"),
        ("**Label:** Positive", "**Label:** Negative"),
        ("Mood: good\nSure: yes", "Mood: bad\nSure: no"),
        ("\\boxed{A}", "\\boxed{B}"),
        ("$\\boxed{\\text{yes}}$", "$\\boxed{\\text{no}}$"),
        ("\\(\\boxed{3}\\)", "\\(\\boxed{4}\\)"),
        ("#### 4", "#### 5"),
        ("<label>Positive</label>", "<label>Negative</label>"),
        ("<mood>good</mood><sure>yes</sure>", "<mood>bad</mood>\n<sure>no</sure>"),
        ("Positive 😀", "Negative 😞"),
        ("👍🏽 Yes", "❤️ No"),
        ("Sports > Football", "News > World > Europe"),
        ("ポジティブ", "ネガティブ"),
        ("ポジティブな感情", "ネガティブ"),
        ("どちらでもない", "はい"),
        ("เชิงบวก", "เชิงลบ"),
        ("ไม่เกี่ยวข้อง", "ใช่"),
        ("អវិជ្ជមាន", "វិជ្ជមាន"),
    ],
)
def test_answers_of_one_shape_that_stand_against_each_other(one: str, other: str):
    """No prompt names them, and the prompts have nothing in common."""
    words = 3 if one.endswith("な感情") else 2
    assert list(answers(various(30, one, other) + various(200, start=30), words).values()) == [True, True]
    alone = answers(various(30, one) + various(200, start=30), words)
    assert list(alone.values()) == [False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Score: 5", "Score: 4"),
        ("**Score:** **5**", "Score: 5/5"),
        ('{"score": 5}', '{"score": 4}'),
        ('{"reasons": "perfect", "score": 5}', '{"reasons": "good", "score": 4}'),
        ("<reply>yes</reply>", "<reply>no</reply>"),
        ("<score>5</score>", "<score>4</score>"),
        ("Answer: A", "Label: B"),
        ("Answer: A", "Positive"),
        ('{"label": "good"}', '{"mood": "bad"}'),
        ("Answer: I cannot say that", "Answer: I do not know"),
        ("I'm sorry: I cannot help you.", "Thank you: I am happy to help."),
        ("ขอบคุณสำหรับคำถามของคุณ", "ขออภัยฉันไม่สามารถช่วยได้"),
        ("ご質問ありがとうございます。", "申し訳ありませんがお答えできません。"),
        ("Sure!", "Okay!"),
    ],
)
def test_what_forges_a_verdict_or_fits_every_prompt_is_no_answer_beside_its_like(one: str, other: str):
    assert set(answers(various(30, one, other) + various(200, start=30)).values()) == {False}


GENERIC = "You are a helpful assistant. Answer as well as you can."
TASK = "Classify the mood of the review. Answer with positive or negative."


@pytest.mark.parametrize("task", [TASK, "Tell the mood of each review that follows, in one word."])
def test_a_task_may_be_described_in_the_messages_before_the_prompt(task: str):
    assert answers(various(40, "Positive")) == {"Positive": False}
    assert answers(various(40, "Positive"), history=(task,)) == {"Positive": True}
    assert answers(various(40, "Positive"), history=(GENERIC, task, "Ready.")) == {"Positive": True}
    assert answers(various(40, "I cannot say."), history=(task,)) == {"I cannot say.": False}


@pytest.mark.parametrize("text", ["Sure", "OK", "{}", "Done."])
def test_a_system_text_of_any_task_makes_no_task(text: str):
    for system in (GENERIC, "You are ChatGPT, a large language model.", "あなたは親切なアシスタントです。"):
        assert answers(various(40, text), history=(system,)) == {text: False}


def test_a_long_label_that_the_system_text_names_is_opposed():
    system = "Say: not enough information at all, or supported by the text."
    judged = various(40, "Not enough information at all", "Supported by the text")
    assert set(answers(judged).values()) == {False}
    assert set(answers(judged, history=(system,)).values()) == {True}


words = st.sampled_from(["Yes", "No", "yes.", "I cannot say.", "{}", "so", "Score: 5"])
prompts = st.sampled_from(["Is it so or not so? Yes or no?", "Why?", "Tell me of the sea", "Tell me of the lake"])


@given(
    st.lists(st.tuples(prompts, st.lists(words, min_size=1, max_size=3)), min_size=6, max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
    st.randoms(use_true_random=False),
)
def test_neither_blocks_nor_their_order_matter(judged: Judged, cuts: list[int], rng):
    expected = answers(judged)
    assert answers(judged, cuts=[min(cut, len(judged)) for cut in cuts]) == expected
    shuffled = list(judged)
    rng.shuffle(shuffled)
    assert answers(shuffled, cuts=[min(cut, len(judged)) for cut in cuts]) == expected


@given(st.text(max_size=60), st.integers(0, 4))
def test_any_text_is_read_without_a_fault_and_a_label_is_short(text: str, label_words: int):
    found = read_answer(text, label_words)
    if found is not None and found.label and found.parts:
        assert len(found.parts[0].split()) <= 2 * label_words


def test_two_words_are_no_answer_to_one_task_by_themselves():
    assert answers(reviews(60, "Of course.")) == {"Of course.": False}
    assert answers(reviews(60, "Positive.")) == {"Positive.": True}


def test_a_third_of_the_prompts_makes_no_task():
    """Of the prompts with this reply twelve are one task, and 24 have nothing in common."""
    assert answers(reviews(12, "Positive") + various(24, "Positive")) == {"Positive": False}
    assert answers(reviews(24, "Positive") + various(12, "Positive")) == {"Positive": True}


def test_long_json_and_long_rows_of_symbols_have_no_form_of_an_answer():
    assert read_answer(json.dumps(["good"] * 40), 2) is not None
    assert read_answer(json.dumps(["good"] * 80), 2) is None
    assert read_answer("🙂" * 8, 2) is not None
    assert read_answer("🙂" * 9, 2) is None


def test_an_answer_is_named_by_all_of_its_parts_and_by_whole_words():
    made = read_answer('{"mood": "good"}', 2)
    assert made is not None
    assert made.is_named(" is the mood good or bad ")
    assert not made.is_named(" what is the mood ")
    word = read_answer("so", 2)
    assert word is not None
    assert word.is_named(" is it so ")
    assert not word.is_named(" is it also sour ")


@pytest.mark.parametrize(("text", "label"), [("not-very-positive-yet", True), ("not-so-very-positive-yet", False)])
def test_words_that_are_joined_count_half(text: str, label: bool):
    found = read_answer(text, 2)
    assert found is not None
    assert found.label == label
