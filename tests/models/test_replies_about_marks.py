"""Replies that speak about the marks of thoughts, under templates that split texts at them."""

from pathlib import Path

import pytest
from chat_families import ALL_FAMILIES, write_family
from tiny_model import CHATML
from transformers import AutoTokenizer

from selfreward_ray.errors import UserError
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.template import ReplyChanged
from selfreward_ray.records import SftExample
from selfreward_ray.training.examples import fitting, sft_tokens

SPOKEN = (
    "R1 closes its thought with </think>, and then it replies.",
    "<think> and </think> are tags.",
    "Write so:\n```\n<think>\nHm.\n</think>\nSo.\n```\nThat is all.",
)


@pytest.mark.parametrize("name", ["qwen 3", "qwen 3.5", "deepseek r1", "deepseek v3.1", "nemotron", "chatml"])
@pytest.mark.parametrize("text", SPOKEN)
@pytest.mark.parametrize("thought", ["", "hm"])
def test_a_reply_that_speaks_about_marks_is_trained_and_read_whole(
    tiny_model: Path, tmp_path: Path, name: str, text: str, thought: str
):
    codec = ChatCodec(write_family(AutoTokenizer.from_pretrained(tiny_model), ALL_FAMILIES[name], tmp_path))
    prompt, target = codec.prompt_ids("why?"), codec.target_ids(text, "why?", thought=thought)
    found = codec.read(target, prompt)
    assert (found.text, found.finished) == (text, True)
    assert target == codec.target_ids(text, "why?", thought=thought)


def test_a_reply_that_the_template_changes_is_dropped_with_that_reason(tiny_model: Path, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = CHATML.replace("m['content']", "m['content'] | replace('wrong', 'right')").replace(
        "message['content']", "message['content'] | replace('wrong', 'right')"
    )
    tokenizer.save_pretrained(tmp_path)
    codec = ChatCodec(tmp_path)
    with pytest.raises(ReplyChanged, match=r"changes the text of the reply; leave the row out"):
        codec.target_ids("This is wrong.", "why?")
    rows = [SftExample(id, "ift", "why?", text) for id, text in (("a", "This is wrong."), ("b", "So."))]
    kept, (dropped,) = fitting(rows, lambda row: sft_tokens(row, codec), 99, "sft")
    assert [row.id for row in kept] == ["b"]
    assert (dropped.id, dropped.reason) == ("a", "the model's chat template changes the text of its reply")


@pytest.mark.parametrize(("mark", "target"), [("", "So."), ("{# </think> #}", "<think>\nhm\n</think>\n\nSo.")])
def test_a_thought_is_trained_in_the_text_of_a_reply_where_the_template_names_its_marks(
    tiny_model: Path, tmp_path: Path, mark: str, target: str
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = mark + CHATML
    tokenizer.save_pretrained(tmp_path)
    codec = ChatCodec(tmp_path)
    ids = codec.target_ids("So.", "why?", thought="hm")
    assert tokenizer.decode(ids) == target + "<|im_end|>"
    found = codec.read(ids, codec.prompt_ids("why?"))
    assert (found.text, found.thought) == ("So.", "hm" if mark else "")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.content }", r"is no valid Jinja: line 1: .*; mend its chat_template.jinja"),
        ("{{ messages | nofilter }}", r"is no valid Jinja: line 1: No filter named 'nofilter'"),
        ("{{ 1 / 0 }}", r"refuses the turns user, assistant: division by zero"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", r"refuses the turns user, assistant: maximum recursion"),
        ("Hello", r"shows a reply 0 times, not once; give the folder a chat_template.jinja that"),
    ],
)
def test_a_template_that_cannot_be_used_is_named_with_a_remedy(
    tiny_model: Path, tmp_path: Path, template: str, said: str
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=said):
        ChatCodec(tmp_path)
