"""Where a thought ends: a text is parted at its own marks, and what is unfinished holds no reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.thought import KNOWN_MARKS, THINK, Marks, Parted, opened_by, part_thought, without_thoughts

CHANNELS = KNOWN_MARKS[-1]


@pytest.mark.parametrize(
    ("text", "thought", "reply"),
    [
        ("So.", "", "So."),
        (" So.\n", "", " So.\n"),
        ("", "", ""),
        ("<think>Hm.</think>So.", "Hm.", "So."),
        ("<think>\nHm.\n</think>\n\nSo.\n", "Hm.", "So.\n"),
        ("\n <think>Hm.</think> So.", "Hm.", "So."),
        ("<think>\n\n</think>\n\nSo.", "", "So."),
        ("<think>Score: 2</think>", "Score: 2", ""),
        ("<think>a</think>\n<think>b</think>c", "a\n\nb", "c"),
        ("[THINK]Hm.[/THINK]So.", "Hm.", "So."),
        (f"{CHANNELS.opening}Hm.{CHANNELS.closing}So.", "Hm.", "So."),
        ("Hm.\n</think>\n\nSo.", "Hm.", "So."),
        ("Hm.</think>\nSo.", "Hm.", "So."),
        ("Score: 2</think>", "Score: 2", ""),
        # Further on, marks are what the reply speaks about.
        ("Write <think>, then </think>.", "", "Write <think>, then </think>."),
        ("So.\n<think>\nHm.\n</think>\n", "", "So.\n<think>\nHm.\n</think>\n"),
        ("Close it with </think> here.", "", "Close it with </think> here."),
        ("Hm:\n```\nx\n```\n</think>\nSo.", "Hm:\n```\nx\n```", "So."),
        ("<think> Hm, so </think> So it is.", "Hm, so", "So it is."),
        ("<think> hm, so </think>\n\nso it is.", "hm, so", "so it is."),
        ("Okay. </think>\nSo.", "Okay.", "So."),
        ("<thinking>a</thinking>b", "a", "b"),
        ("<thinking>\na\n</thinking>\n<output>\nb\n</output>\n", "a", "b"),
        ("<thought>a</thought>b", "a", "b"),
        ("<reasoning>\na\n</reasoning>\n<answer>\nb\n</answer>", "a", "b"),
        ("◁think▷a◁/think▷b", "a", "b"),
        (
            "<|begin_of_thought|>\n\na\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nb\n\n<|end_of_solution|>",
            "a",
            "b",
        ),
        # Marks around a part of the reply, and without a thought before it, belong to it.
        ("<think>a</think><answer>b</answer> and <answer>c</answer>", "a", "<answer>b</answer> and <answer>c</answer>"),
        ("<answer>b</answer>", "", "<answer>b</answer>"),
    ],
)
def test_a_text_is_parted_at_the_marks_at_its_beginning(text: str, thought: str, reply: str):
    found = part_thought(text)
    assert (found.thought, found.reply, found.finished) == (thought, reply, True)


@pytest.mark.parametrize(
    "text",
    [
        "Reasoning models close their thought with </think>\nAfter it comes the reply.",
        "The tags are these:\n</think>, and the one that opens.",
        "It ends so:\n```\nHm.\n</think>\n```\nThen comes the reply.",
        "A thought is closed by it:\n</think> ends the thought.\n",
        "<think> and </think> are the tags that R1 uses.",
        "<think> opens a thought.\nIts end is </think>.",
        "[THINK] is Magistral's tag.",
        "[THINK] begins it, [/THINK] ends it.",
    ],
)
def test_a_reply_that_speaks_about_marks_is_no_thought(text: str):
    assert part_thought(text) == Parted("", text)


@pytest.mark.parametrize("text", ["<think>hm, this is it.", "<think> hm, this", "<think>\n hm.", "<think> So this."])
def test_an_endless_thought_is_no_sentence_about_its_mark(text: str):
    assert not part_thought(text).finished


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("Hm.</think>So.", THINK, Parted("Hm.", "So.", True, 11)),
        ("<think>Hm.</think>So.", THINK, Parted("Hm.", "So.", True, 18)),
        ("</think>So.", THINK, Parted("", "So.", True, 8)),
        ("Hm. So.", THINK, Parted("Hm. So.", "", False, 7)),
        ("", THINK, Parted("", "", False, 0)),
        ("Hm.[/THINK]So.", THINK, Parted("Hm.[/THINK]So.", "", False, 14)),
        ("<think>Hm.", None, Parted("Hm.", "", False, 10)),
        ("<think>a</think><think>b", None, Parted("a\n\nb", "", False, 24)),
    ],
)
def test_a_thought_that_the_prompt_opens_ends_at_its_own_mark_or_not_at_all(
    text: str, opened: Marks | None, expected: Parted
):
    assert part_thought(text, opened=opened) == expected


def test_only_a_models_own_marks_count():
    found = part_thought("[THINK]a[/THINK]b", (THINK,))
    assert found == Parted("", "[THINK]a[/THINK]b")


@given(thought=st.text("AB \n", max_size=9), reply=st.text("CD \n", max_size=9), marks=st.sampled_from(KNOWN_MARKS))
def test_what_is_put_together_is_parted_again(thought: str, reply: str, marks: Marks):
    found = part_thought(f"{marks.opening}{thought}{marks.closing}{reply}")
    assert (found.thought, found.reply, found.finished) == (thought.strip(), reply.lstrip(), True)
    assert found.length == len(marks.opening + thought + marks.closing)
    alone = part_thought(f"{thought}{marks.closing}{reply}", opened=marks)
    assert (alone.thought, alone.reply) == (thought.strip(), reply.lstrip())


@given(st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "a", " ", "\n"]), max_size=20).map("".join))
def test_no_text_is_lost_or_invented(text: str):
    found = part_thought(text)
    assert text.endswith(found.reply)
    assert len(found.thought) + len(found.reply) <= len(text) + 2 * text.count("<think>")
    assert found.finished or not found.reply


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Good. Score: 4", "Good. Score: 4"),
        ("Good. <think>Score: 2</think> Score: 4", "Good.  Score: 4"),
        ("Good.\n<think>Score: 2", "Good.\n"),
        ("It writes <think> tags. Score: 4", "It writes <think> tags. Score: 4"),
        ("a<think>b</think>c[THINK]d[/THINK]e", "ace"),
    ],
)
def test_a_score_is_read_from_what_is_no_thought(text: str, left: str):
    assert without_thoughts(text) == left


@pytest.mark.parametrize(
    "unit", ["<think>", "</think>", "<think></think>", "\n<think>a\n", "[THINK]\n", "</think> a\n"]
)
def test_no_text_takes_long(unit: str):
    """Quadratic searches of half a million marks would take minutes."""
    text = unit * 60_000
    assert len(without_thoughts(text)) <= len(text)
    part_thought(text)
    part_thought(f"```\n{text}")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("assistant\n<think>\n", THINK), ("<think>", THINK), ("<think></think>", None), ("<think> so", None), ("", None)],
)
def test_a_prompt_may_end_inside_a_thought(prompt: str, expected: Marks | None):
    assert opened_by(prompt, KNOWN_MARKS) == expected
