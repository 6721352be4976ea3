"""What a model writes between its prompt and its reply, from what the template writes there."""

import re

import pytest

from selfreward_ray.models.alignment import Ending, NotAligned, ending, lead_after
from selfreward_ray.models.spelling import any_of
from selfreward_ray.thought import THINK

TOKENS = any_of(["<think>", "</think>", "<a>", "<ab>"])


@pytest.mark.parametrize(
    ("asked", "answered", "lead"),
    [
        ("<a>", "<a>", ""),
        ("<a>", "<a>\n", "\n"),
        ("[/INST]", "[/INST] ", " "),
        ("<a> ", "<a>", ""),
        ("<a>\n", "<a> ", ""),
        ("<a><think>\n", "<a>", "\n</think>\n\n"),
        ("<a><think>", "<a>", "</think>"),
        ("<a><think>\n", "<a><think></think>", "</think>"),
        ("<a><think>", "<a></think>", "</think>"),
        ("<a><think>\n", "<a><think>\n\n</think>\n\n", "\n</think>\n\n"),
        ("<a><think>\n", "<a>\n<think>\n\n</think>\n\n", "</think>\n\n"),
        ("<a><think></think>", "<a>", ""),
        ("<a><think>\n\n</think>\n\n", "<a><think></think>", ""),
    ],
)
def test_a_reply_goes_on_from_the_prompt_and_a_thought_is_closed(asked: str, answered: str, lead: str):
    assert lead_after(asked, answered, TOKENS, (THINK,)) == lead


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("<a>", "<ab>"), ("<a>bot", "<a>assistant"), ("<a><think>", "<a>well"), ("<a><think></think>", "<a>well")],
)
def test_headers_that_differ_are_not_aligned(asked: str, answered: str):
    with pytest.raises(NotAligned):
        lead_after(asked, answered, TOKENS, (THINK,))


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("<a>\n", Ending("", ("<a>",))),
        (" <a>\n", Ending(" ", ("<a>",))),
        ("<a><ab>", Ending("", ("<a>", "<ab>"))),
        ("<a>\n<ab>", Ending("", ("<a>",))),
        ("", Ending("", ())),
        ("\n\nend: <a>", Ending("\n\nend: ", ("<a>",))),
        ("\n</a>", Ending("\n</a>", ())),
        ("\n\n", Ending("", ())),
    ],
)
def test_a_reply_ends_in_its_first_token_or_in_eos_right_behind_it(after: str, expected: Ending):
    assert ending(after, re.compile("(<a>|<ab>)"), "<ab>") == expected
