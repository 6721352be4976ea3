"""Conversations with tools under templates of many kinds, against the tokenizer's own `apply_chat_template`."""

import json
from pathlib import Path
from typing import Any

import pytest
from chat_families import ONLY_THE_LAST_CALL, TOOL_FAMILIES, TOOLLESS, Family, write_family
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.template import NoTools, ReplyChanged, TurnsRefused
from selfreward_ray.records import ToolCall, ToolUse, Turn


class Model:
    """A family's codec beside its plain tokenizer, and the form in which its template takes arguments."""

    def __init__(self, folder: Path, family: Family):
        self.family, self.codec, self.tokenizer = family, ChatCodec(folder), AutoTokenizer.from_pretrained(folder)
        self.as_text = family is TOOL_FAMILIES["arguments as text"]

    def message(self, turn: Turn) -> dict[str, Any]:
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if turn.calls:
            message["tool_calls"] = [
                {
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": call.arguments if self.as_text else json.loads(call.arguments),
                    },
                }
                for call in turn.calls
            ]
        return message

    def own(self, turns: list[Turn], tools: str, *, prompt: bool) -> list[int]:
        """The tokenizer's own ids."""
        declared = json.loads(tools) if tools else None
        messages = list(map(self.message, turns))
        return list(
            self.tokenizer.apply_chat_template(
                messages, tools=declared, add_generation_prompt=prompt, return_dict=False
            )
        )


def opened(tiny_model: Path, family: Family, folder: Path) -> Model:
    return Model(write_family(AutoTokenizer.from_pretrained(tiny_model), family, folder), family)


@pytest.fixture(scope="session")
def every_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return {n: opened(tiny_model, f, tmp_path_factory.mktemp("family")) for n, f in TOOL_FAMILIES.items()}


ALPHABET = 'abcdefghijklmnopqrstuvwxyz 123.,!?<>|[]/_\n"{}:é水'
texts = st.text(st.sampled_from(ALPHABET), max_size=12)
names = st.text(st.sampled_from("abcdefgh_"), min_size=1, max_size=8)
values = st.recursive(
    texts | st.integers(-99, 99) | st.booleans() | st.sampled_from([0.5, -1.25]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def called(draw: st.DrawFn, single: bool) -> Turn:
    """A message of the assistant with calls."""
    several = draw(st.lists(st.tuples(names, st.dictionaries(names, values, max_size=3)), min_size=1, max_size=2))
    calls = tuple(ToolCall(name, json.dumps(said, ensure_ascii=False)) for name, said in several)
    return Turn("assistant", "", calls[:1]) if single else Turn("assistant", draw(texts), calls)


@st.composite
def conversations(draw: st.DrawFn, single: bool) -> tuple[list[Turn], list[Turn], Turn, str]:
    """Messages up to a user's, what was done with tools since, a reply, and the declared tools."""

    def results() -> list[Turn]:
        return [Turn("tool", draw(texts)) for _ in range(draw(st.integers(1, 2)))]

    before = [Turn("system", draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        before.append(Turn("user", draw(texts)))
        if draw(st.booleans()):
            before += [draw(called(single)), *results()]
        before.append(Turn("assistant", draw(texts)))
    since = [turn for _ in range(draw(st.integers(0, 2))) for turn in (draw(called(single)), *results())]
    reply = draw(called(single)) if draw(st.booleans()) else Turn("assistant", draw(texts))
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": draw(texts)}}}
    tools = [
        {"type": "function", "function": {"name": name, "description": draw(texts), "parameters": schema}}
        for name in draw(st.lists(names, max_size=2))
    ]
    return [*before, Turn("user", draw(texts))], since, reply, json.dumps(tools) if tools else ""


@pytest.mark.parametrize("name", TOOL_FAMILIES)
@settings(max_examples=25)
@given(data=st.data())
def test_the_ids_of_any_conversation_with_tools_are_the_tokenizers_own(
    every_model: dict[str, Model], name: str, data: st.DataObject
):
    model = every_model[name]
    family, codec = model.family, model.codec
    turns, since, reply, tools = data.draw(conversations(name == "one call"))
    assume(not any(token in repr((turns, since, reply, tools)) for token in (*family.control, *family.marks)))
    *history, last = turns
    use = ToolUse(tools, tuple(since), reply.calls)
    prompt = codec.prompt_ids(last.text, history, None, use)
    assert prompt == model.own([*turns, *since], tools, prompt=True)
    target = codec.target_ids(reply.text, last.text, history, tool_use=use)
    whole = model.own([*turns, *since, reply], tools, prompt=False)
    assert whole[: len(prompt)] == prompt
    said = target[: len(target) - family.no_end]
    assert whole[len(prompt) :][: len(said)] == said
    rest = model.tokenizer.decode(whole[len(prompt) + len(said) :])
    assert not rest.strip(), "nothing that the template writes of the reply is left untrained"


@pytest.mark.parametrize("name", TOOL_FAMILIES)
def test_no_text_of_tools_is_a_control_token_or_a_mark(every_model: dict[str, Model], name: str):
    """Not in declared tools, names, arguments or results, whose other ids do not change."""
    model = every_model[name]
    tokens = {**model.codec._speller.control}
    ids = set(tokens.values()) | {model.tokenizer.convert_tokens_to_ids(mark) for mark in model.family.marks}

    def encoded(said: str) -> tuple[list[int], list[int]]:
        tools = json.dumps([{"type": "function", "function": {"name": f"f{said}", "description": said}}])
        call = (ToolCall(f"f{said}", json.dumps({f"k{said}": [said, {"x": said}]})),)
        since = (Turn("assistant", "", call), Turn("tool", said))
        use = ToolUse(tools, since, call)
        history = (Turn("user", "a"), *since, Turn("assistant", "b"))
        prompt = model.codec.prompt_ids("c", history, None, use)
        return prompt, model.codec.target_ids("", "c", history, tool_use=use)

    spelt = "".join([*tokens, *model.family.marks])
    for attacked, calm in zip(encoded(f"x{spelt}y"), encoded("xy"), strict=True):
        assert [i for i in attacked if i in ids] == [i for i in calm if i in ids]
        assert spelt in model.tokenizer.decode(attacked)


@pytest.mark.parametrize(
    ("name", "prompt_end", "target"),
    [
        (
            "chatml with tools",
            "<tool_response>\ndry\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
            'So:<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>',
        ),
        (
            "thoughts with tools",
            "<|im_start|>assistant\n<think>\n",
            '\n</think>\n\nSo:<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>',
        ),
        ("arguments as text", "<tool_output>dry</tool_output>", 'So:<tool>look\n{"at": "sky"}</tool></s>'),
        (
            "another end",
            "<|start|>assistant",
            ' to=look<|channel|>commentary<|message|>So:{"at": "sky"}<|call|>',
        ),
        (
            "fields",
            "<|observation|>\ndry<|assistant|>",
            "\nSo:\n<tool_call>look\n<arg_key>at</arg_key>\n<arg_value>sky</arg_value>\n</tool_call><|endoftext|>",
        ),
    ],
)
def test_a_call_is_trained_on_as_the_model_writes_it_and_a_result_is_read(
    every_model: dict[str, Model], name: str, prompt_end: str, target: str
):
    model = every_model[name]
    call = (ToolCall("look", '{"at": "sky"}'),)
    use = ToolUse("", (Turn("assistant", "", call), Turn("tool", "dry")), call)
    assert model.tokenizer.decode(model.codec.prompt_ids("Rain?", (), None, use)).endswith(prompt_end)
    assert model.tokenizer.decode(model.codec.target_ids("So:", "Rain?", tool_use=use)) == target


@pytest.mark.parametrize(
    ("name", "begin"), [("thoughts with tools", "hm\n</think>\n\n<tool_call>"), ("chatml with tools", "<tool_call>")]
)
def test_a_thought_stands_before_a_call_where_it_has_a_place(every_model: dict[str, Model], name: str, begin: str):
    model = every_model[name]
    use = ToolUse(calls=(ToolCall("look", '{"at": "sky"}'),))
    ids = model.codec.target_ids("", "Rain?", thought="hm", tool_use=use)
    assert model.tokenizer.decode(ids).startswith(begin)
    calls = ToolUse(calls=use.calls * 2)
    assert len(model.codec.target_ids("", "Rain?", thought="hm", tool_use=calls)) > len(ids)


@pytest.mark.parametrize("name", TOOL_FAMILIES)
def test_a_template_that_shows_all_of_it_renders_tools(every_model: dict[str, Model], name: str):
    assert every_model[name].codec.renders_tools


@pytest.mark.parametrize("template", TOOLLESS.values(), ids=TOOLLESS)
def test_a_template_that_leaves_out_a_part_renders_no_tools(tiny_model: Path, tmp_path: Path, template: str):
    family = Family(template, ("<|im_start|>", "<|im_end|>"), "<|im_end|>")
    codec = opened(tiny_model, family, tmp_path).codec
    assert not codec.renders_tools
    with pytest.raises(NoTools, match="renders no tools; leave out"):
        codec.prompt_ids("Rain?", (), None, ToolUse())
    assert codec.prompt_ids("Rain?")


def test_a_call_that_the_template_leaves_out_is_missed_though_its_words_are_there(tiny_model: Path, tmp_path: Path):
    """The words of the first call are also in the prompt and in the declared tool."""
    family = Family(ONLY_THE_LAST_CALL, ("<|im_start|>", "<|im_end|>"), "<|im_end|>")
    codec = opened(tiny_model, family, tmp_path).codec
    assert codec.renders_tools
    calls = (ToolCall("look", '{"at": "Oslo"}'), ToolCall("look", '{"at": "Bergen"}'))
    tools = '[{"name": "look", "description": "Looks at one."}]'
    since = (Turn("assistant", "", calls), Turn("tool", "dry"), Turn("tool", "wet"))
    asked = "look at Oslo and at Bergen"
    with pytest.raises(TurnsRefused, match="does not show each message of user, assistant, tool, tool, with its"):
        codec.prompt_ids(asked, (), None, ToolUse(tools, since))
    with pytest.raises(TurnsRefused):
        codec.target_ids("", asked, tool_use=ToolUse(tools, calls=calls))
    twice = (calls[0], calls[0])
    with pytest.raises(TurnsRefused):
        codec.target_ids("", asked, tool_use=ToolUse(tools, calls=twice))
    assert codec.target_ids("", asked, tool_use=ToolUse(tools, calls=calls[:1]))


def test_a_text_beside_a_call_is_not_lost(every_model: dict[str, Model]):
    call = (ToolCall("look", "{}"),)
    with pytest.raises(ReplyChanged):
        every_model["one call"].codec.target_ids("I look.", "Rain?", tool_use=ToolUse(calls=call))
    use = ToolUse(since=(Turn("assistant", "I look.", call), Turn("tool", "dry")))
    with pytest.raises(TurnsRefused):
        every_model["one call"].codec.prompt_ids("Rain?", (), None, use)
    with pytest.raises(TurnsRefused, match="one call at a time"):
        every_model["one call"].codec.target_ids("", "Rain?", tool_use=ToolUse(calls=call * 2))
