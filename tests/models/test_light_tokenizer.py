"""What a template writes without transformers is what it writes with it, for the templates of many families."""

import json
from pathlib import Path

import pytest
from chat_families import FAMILIES, write_family
from transformers import AutoTokenizer

from selfreward_ray.errors import UserError
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.light_tokenizer import LightTokenizer
from selfreward_ray.models.template import ChatTemplate, Message

ASKED: list[Message] = [{"role": "user", "content": " Why?\n"}]
TALK: list[Message] = [*ASKED, {"role": "assistant", "content": "So."}, {"role": "user", "content": "<b>'\"ü水</b>"}]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_template_writes_the_same_without_transformers(tiny_model: Path, tmp_path: Path, name: str):
    folder = write_family(AutoTokenizer.from_pretrained(tiny_model), FAMILIES[name], tmp_path)
    ours = ChatTemplate(name, LightTokenizer(folder, name))
    theirs = ChatTemplate(name, AutoTokenizer.from_pretrained(folder))
    assert (ours.switch, ours.marks, ours.source) == (theirs.switch, theirs.marks, theirs.source)
    for messages in (ASKED, TALK):
        assert ours.render(messages, prompt=True) == theirs.render(messages, prompt=True)
    assert ours.around_reply(TALK, "\ue000") == theirs.around_reply(TALK, "\ue000")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", json.dumps({"model": {"type": "Unheard"}})),
        ("tokenizer_config.json", json.dumps({"tokenizer_class": "NoSuchTokenizer", "eos_token": "<|im_end|>"})),
    ],
)
def test_a_tokenizer_that_cannot_be_loaded_is_one_line(tiny_model: Path, tmp_path: Path, name: str, text: str):
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        if file == name or name == "tokenizer_config.json":
            (tmp_path / file).write_text(text if file == name else "{}")
    with pytest.raises(UserError) as error:
        ChatCodec(tmp_path)
    assert str(error.value).startswith(f"the tokenizer of model '{tmp_path}' cannot be loaded (")
    assert str(error.value).count("\n") == 0
