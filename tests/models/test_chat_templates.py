"""Conversations of any length under templates of many kinds, against the tokenizer's own `apply_chat_template`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chat_families import ALL_FAMILIES, FAMILIES, Family, write_family
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_model import CHATML
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from selfreward_ray.errors import UserError
from selfreward_ray.models.chat import ChatCodec, TurnsRefused
from selfreward_ray.records import Turn

ALPHABET = "abcdefghijklmnopqrstuvwxyz INST123.,!?<>|[]/_\n"


@dataclass(frozen=True)
class Model:
    """A folder's codec beside its plain tokenizer."""

    family: Family
    codec: ChatCodec
    tokenizer: Any

    def own(self, turns: list[Turn], *, prompt: bool, **variables: Any) -> list[int]:
        """The tokenizer's own ids."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False, **variables)
        return list(ids)

    def text(self, turns: list[Turn], *, prompt: bool) -> str:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False))


def opened(folder: Path, family: Family) -> Model:
    return Model(family, ChatCodec(folder), AutoTokenizer.from_pretrained(folder))


def with_newlines() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which two line breaks are one token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["so\n\nit\n\nis\n\n\n"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core)


def sentencepiece(**parts: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of the kind that SentencePiece's models are converted to."""
    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    normalizer, pre_tokenizer = parts.get("normalizer"), parts.get("pre_tokenizer")
    trainer = trainers.BpeTrainer(
        vocab_size=250,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=[*ALPHABET, "▁"],
        show_progress=False,
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    core.train_from_iterator(["so it is, and what is not so?", "name a river or a sea and say why it is so"], trainer)
    core.normalizer, core.pre_tokenizer = normalizer, pre_tokenizer
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


OTHER_KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "newlines": with_newlines,
    # `legacy: false`: a space before the whole text alone
    "sp": lambda: sentencepiece(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    # `legacy: true`: a space before each text between control tokens
    "sp legacy": lambda: sentencepiece(
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    ),
}


SOME = ("llama 2", "mistral, system before the last user", "qwen 3.5", "phi")


@pytest.fixture(scope="session")
def every_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Each family with a byte-level tokenizer, and some with others."""
    made = {}
    for name, family in ALL_FAMILIES.items():
        folder = tmp_path_factory.mktemp("family")
        made[name] = opened(write_family(AutoTokenizer.from_pretrained(tiny_model), family, folder), family)
    for kind, make in OTHER_KINDS.items():
        for name in SOME:
            family, folder = ALL_FAMILIES[name], tmp_path_factory.mktemp("family")
            made[f"{name}, {kind}"] = opened(write_family(make(), family, folder), family)
    return made


MODELS = [*ALL_FAMILIES, *(f"{name}, {kind}" for kind in OTHER_KINDS for name in SOME)]
texts = st.text(st.sampled_from(ALPHABET), max_size=12)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Turn], str]:
    """One to nine turns that end with the user's, after a system text in half of the cases, and a reply."""
    system = [Turn("system", draw(texts))] if draw(st.booleans()) else []
    exchanges = draw(st.integers(0, 4))
    turns = [Turn("assistant" if n % 2 else "user", draw(texts)) for n in range(2 * exchanges + 1)]
    return [*system, *turns], draw(texts)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25)
@given(drawn=conversations())
def test_the_ids_of_any_conversation_are_the_tokenizers_own(every_model: dict[str, Model], name: str, drawn: Any):
    model, (turns, reply) = every_model[name], drawn
    family, codec = model.family, model.codec
    if turns[0].role == "system" and not family.has_system:
        turns = turns[1:]
    said = [reply, *(turn.text for turn in turns)]
    assume(not any(token in text for text in said for token in (*codec._speller.control, *family.marks)))
    *history, last = turns
    prompt = codec.prompt_ids(last.text, history)
    assert prompt == model.own(turns, prompt=True)
    target = codec.target_ids(reply, last.text, history)
    assert target[-1] == codec.end_id == model.tokenizer.convert_tokens_to_ids(family.end)
    whole = model.own([*turns, Turn("assistant", reply)], prompt=False)
    if whole[: len(prompt)] == prompt:
        assert whole[len(prompt) :][: len(target) - family.no_end] == target[: len(target) - family.no_end]
    # Where the template writes another header, or a token reaches over the border, by what the model would write.
    asked = model.text(turns, prompt=True)
    lead = family.lead.rstrip() if family.no_end and not reply.strip() else family.lead
    written = asked + lead + family.shown(reply) + family.trail + family.end
    decoded = model.tokenizer.decode([*prompt, *target])
    expected = model.tokenizer.decode(model.tokenizer(written, add_special_tokens=False)["input_ids"])
    assert decoded == expected


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25)
@given(drawn=conversations())
def test_a_reply_is_read_as_it_was_encoded(every_model: dict[str, Model], name: str, drawn: Any):
    model, (turns, reply) = every_model[name], drawn
    assume("think>" not in reply.lower())  # a mark at its beginning is read as one
    turns = [turn for turn in turns if turn.role != "system"]
    *history, last = turns
    prompt = model.codec.prompt_ids(last.text, history)
    said = model.codec.read(model.codec.target_ids(reply, last.text, history), prompt)
    assert (said.thought, said.finished) == ("", True)
    assert said.text.split() == reply.split()


@pytest.mark.parametrize("name", MODELS)
def test_texts_are_no_control_tokens_and_all_else_is_as_it_was(every_model: dict[str, Model], name: str):
    """Spelled tokens are the same characters; the ids of the other messages and of the template do not change."""
    model = every_model[name]
    family, codec = model.family, model.codec
    control = set(codec._speller.control.values()) - {model.tokenizer.unk_token_id}
    tokens = [*family.control, *family.marks]
    spelt = " x ".join(tokens)
    history = (Turn("user", "why?"), Turn("assistant", f"so {' '.join(family.control)} it"))
    plain = (Turn("user", "why?"), Turn("assistant", "so it"))
    attacked, calm = codec.prompt_ids(f"a {spelt} b", history), codec.prompt_ids("a b", plain)
    marks = {model.tokenizer.convert_tokens_to_ids(mark) for mark in family.marks}
    assert [i for i in attacked if i in control | marks] == [i for i in calm if i in control | marks]
    assert "".join(spelt.split()) in "".join(model.tokenizer.decode(attacked).split())
    target = codec.target_ids(f"a {' '.join(family.control)} b", "why?")
    quiet = codec.target_ids("a b", "why?")
    assert [i for i in target if i in control] == [i for i in quiet if i in control]


def test_a_spelled_token_keeps_its_surroundings(every_model: dict[str, Model]):
    """Without a space that the tokenizer would put before the whole text alone, and without the white space that a
    control token takes."""
    sp = every_model["qwen 3.5, sp"]
    clean = sp.own([Turn("user", "a")], prompt=True)
    end = clean.index(sp.codec.end_id)
    assert sp.codec.prompt_ids("a </s>")[:end] == clean[:end]
    phi = every_model["phi"]
    newline = phi.tokenizer("\n", add_special_tokens=False)["input_ids"]
    user = phi.tokenizer.convert_tokens_to_ids("<|user|>")
    ids = phi.codec.prompt_ids("a </s>")
    assert ids[ids.index(user) + 1 :][: len(newline)] != newline
    legacy = every_model["qwen 3.5, sp legacy"]
    clean = legacy.own([Turn("user", "a")], prompt=True)
    end = clean.index(legacy.codec.end_id)
    assert legacy.codec.prompt_ids("a </s>")[:end] == clean[:end]


def test_a_token_that_takes_the_white_space_before_it_takes_that_of_a_spelled_text(tiny_model: Path, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens([AddedToken("<|end|>", special=True, normalized=False, lstrip=True)], special_tokens=True)
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "<|end|>")
    tokenizer.save_pretrained(tmp_path)
    model = opened(tmp_path, FAMILIES["chatml"])
    assert model.own([Turn("user", "a \n")], prompt=True) == model.own([Turn("user", "a")], prompt=True)
    assert model.codec.prompt_ids("a <|end|> \n") == model.codec.prompt_ids("a <|end|>")


def test_a_token_over_the_border_is_generated_anew(every_model: dict[str, Model]):
    """Two line breaks are one token of the whole, but the engine is given the first of them."""
    model = every_model["qwen 3.5, newlines"]
    pair = model.tokenizer.convert_tokens_to_ids("ĊĊ")
    single = model.tokenizer.convert_tokens_to_ids("Ċ")
    whole = model.own([Turn("user", "a"), Turn("assistant", "so")], prompt=False)
    prompt, target = model.codec.prompt_ids("a"), model.codec.target_ids("so", "a")
    close = model.tokenizer.convert_tokens_to_ids("</think>")
    assert whole[whole.index(close) - 1] == pair
    assert prompt == model.own([Turn("user", "a")], prompt=True)
    assert (prompt[-1], target[:2]) == (single, [single, close])
    assert [*prompt[:-1], pair, *target[1:]] == whole[: len(prompt) + len(target) - 1]


def test_what_is_generated_anew_begins_without_a_space_of_the_tokenizer(tmp_path: Path):
    """It puts one before every text that it encodes."""
    family = ALL_FAMILIES["qwen 3.5"]
    tokenizer = sentencepiece(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False))
    tokenizer.add_tokens([AddedToken("\n\n", special=False, normalized=False)])
    model = opened(write_family(tokenizer, family, tmp_path), family)
    single, pair, close = (model.tokenizer.convert_tokens_to_ids(text) for text in ("\n", "\n\n", "</think>"))
    assert pair in model.own([Turn("user", "a"), Turn("assistant", "so")], prompt=False)
    assert model.codec.prompt_ids("a")[-1] == single
    assert model.codec.target_ids("so", "a")[:3] == [single, close, pair]


def test_a_reply_after_an_empty_thought_may_hold_the_marks_of_thoughts(every_model: dict[str, Model]):
    """Though the template writes them before it, they are no control tokens there."""
    model = every_model["qwen 3"]
    said = [Turn("user", "why?"), Turn("assistant", "a <think> begins it")]
    whole, prompt = model.own(said, prompt=False), model.codec.prompt_ids("why?")
    target = model.codec.target_ids(said[1].text, "why?")
    assert [*prompt, *target] == whole[: len(prompt) + len(target)]


def test_a_thought_that_the_template_opens_before_each_reply_is_closed(tiny_model: Path, tmp_path: Path):
    """A reply of that template holds its thought. One without a thought would be trained inside of it."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = CHATML.replace("assistant\\n", "assistant\\n<think>\\n").replace(
        "message['role'] + '\\n'", "message['role'] + ('\\n<think>\\n' if message['role'] == 'assistant' else '\\n')"
    )
    tokenizer.save_pretrained(tmp_path)
    codec = ChatCodec(tmp_path)
    assert tokenizer.decode(codec.prompt_ids("why?")).endswith("assistant\n<think>\n")
    assert tokenizer.decode(codec.target_ids("so", "why?")) == "\n</think>\n\nso<|im_end|>"


def test_the_system_text_goes_where_the_template_puts_it(every_model: dict[str, Model]):
    """Before the last user's text: neither does it become the first turn nor the user's question the reply."""
    for name in ("mistral, system before the last user", "mistral, system before the last message"):
        model = every_model[name]
        history = (Turn("system", "be brief"), Turn("user", "one?"), Turn("assistant", "two"))
        ids = model.codec.prompt_ids("three?", history)
        assert model.tokenizer.decode(ids) == "<s>[INST] one?[/INST] two</s>[INST] be brief\n\nthree?[/INST]"
        target = model.codec.target_ids("four", "three?", history)
        assert model.tokenizer.decode(target) == " four</s>"


@pytest.mark.parametrize(
    ("name", "thinking", "prompt_end", "target"),
    [
        ("qwen 3", None, "assistant\n", "<think>\n\n</think>\n\nso<|im_end|>"),
        ("qwen 3", True, "assistant\n", "<think>\n\n</think>\n\nso<|im_end|>"),
        ("qwen 3", False, "<think>\n\n</think>\n\n", "so<|im_end|>"),
        ("qwen 3.5", None, "<think>\n", "\n</think>\n\nso<|im_end|>"),
        ("qwen 3.5", False, "<think>\n\n</think>\n\n", "so<|im_end|>"),
        ("deepseek r1", None, "<think>\n", "\n</think>\n\nso</s>"),
        ("deepseek v3.1", None, "<|Assistant|></think>", "so</s>"),
        ("deepseek v3.1", True, "<|Assistant|><think>", "</think>so</s>"),
        ("nemotron", None, "<think>\n", "</think>so<|im_end|>"),
        ("nemotron", False, "<think></think>", "so<|im_end|>"),
        ("gpt-oss", None, "<|start|>assistant", "<|channel|>final<|message|>so<|return|>"),
        ("glm", None, "<|assistant|>", "\n<think></think>\nso<|endoftext|>"),
        ("glm", False, "<|assistant|>\n<think></think>", "\nso<|endoftext|>"),
        ("cohere", None, "<|bot|>", "<|START_RESPONSE|>so<|END_RESPONSE|><|turn_end|>"),
        ("phi", None, "<|assistant|>", "so<|end|>"),
    ],
)
def test_a_reply_goes_on_from_its_prompt(
    every_model: dict[str, Model], name: str, thinking: bool | None, prompt_end: str, target: str
):
    model = every_model[name]
    prompt = model.codec.prompt_ids("why?", thinking=thinking)
    variables = {} if thinking is None else {model.codec.template.require_switch(): thinking}
    assert prompt == model.own([Turn("user", "why?")], prompt=True, **variables)
    assert model.tokenizer.decode(prompt).endswith(prompt_end)
    assert model.tokenizer.decode(model.codec.target_ids("so", "why?", thinking=thinking)) == target


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("qwen 3", "<think>\nhm\n</think>\n\nso<|im_end|>"),
        ("qwen 3.5", "hm\n</think>\n\nso<|im_end|>"),
        ("deepseek r1", "hm\n</think>\n\nso</s>"),
        ("nemotron", "hm\n</think>\nso<|im_end|>"),
        ("gpt-oss", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>"),
        ("deepseek v3.1", "so</s>"),
        ("chatml", "so<|im_end|>"),
    ],
)
def test_a_thought_stands_where_the_model_writes_it(every_model: dict[str, Model], name: str, target: str):
    """Without a place for it the reply is trained alone."""
    model = every_model[name]
    ids = model.codec.target_ids("so", "why?", thought="hm")
    assert model.tokenizer.decode(ids) == target
    said = model.codec.read(ids, model.codec.prompt_ids("why?"))
    assert (said.text, said.thought, said.finished) == ("so", "hm" if "hm" in target else "", True)
    assert model.tokenizer.decode(ids[said.thought_tokens :]).strip() == "so" + model.family.end
    if name.startswith("qwen"):
        assert model.tokenizer.decode(model.codec.target_ids("so", "why?", thought="hm", thinking=False)) == (
            "so<|im_end|>"
        )


def test_with_thinking_off_no_thought_is_trained(tiny_model: Path, tmp_path: Path):
    """Not even where the switch is elsewhere, and the template would show the thought."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    shown = "{{ '<think>' + message['reasoning_content'] + '</think>' if message['reasoning_content'] else '' }}"
    before = "{{ '<|im_start|>system\\nthink<|im_end|>' if enable_thinking is defined and enable_thinking else '' }}"
    template = before + CHATML.replace("+ message['content'] +", "}}" + shown + "{{ message['content'] +")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    codec = ChatCodec(tmp_path)
    for thinking, expected in ((True, "<think>hm</think>so<|im_end|>"), (False, "so<|im_end|>")):
        ids = codec.target_ids("so", "why?", thought="hm", thinking=thinking)
        assert tokenizer.decode(ids) == expected


def test_earlier_thoughts_are_left_to_the_template(every_model: dict[str, Model]):
    for name in ("qwen 3", "qwen 3.5", "deepseek r1"):
        model = every_model[name]
        turns = [Turn("user", "one?"), Turn("assistant", "<think>\nhm\n</think>\n\ntwo"), Turn("user", "three?")]
        ids = model.codec.prompt_ids("three?", turns[:2])
        assert ids == model.own(turns, prompt=True)
        assert "hm" not in model.tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("name", "written", "text", "thought", "finished"),
    [
        ("qwen 3", "<think>\nhm\n</think>\n\nso<|im_end|>", "so", "hm", True),
        ("qwen 3", "so<|im_end|>", "so", "", True),
        ("qwen 3", "<think>\nhm<|im_end|>", "", "hm", False),
        ("qwen 3.5", "hm\n</think>\n\nso<|im_end|>", "so", "hm", True),
        ("qwen 3.5", "so<|im_end|>", "", "so", False),
        ("deepseek v3.1", "so</s>", "so", "", True),
        ("gpt-oss", "<|channel|>final<|message|>so<|return|>", "so", "", True),
        (
            "gpt-oss",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>",
            "so", "hm", True,
        ),
        ("gpt-oss", "<|channel|>analysis<|message|>hm", "", "hm", False),
        ("cohere", "<|START_RESPONSE|>so<|END_RESPONSE|><|turn_end|>", "so", "", True),
        ("glm", "\n<think>hm</think>\nso<|user|>", "so", "hm", True),
        ("chatml", "so <think> it is<|im_end|>", "so <think> it is", "", True),
    ],
)  # fmt: skip
def test_what_a_model_wrote_is_parted_by_its_own_marks(
    every_model: dict[str, Model], name: str, written: str, text: str, thought: str, finished: bool
):
    model = every_model[name]
    ids = model.tokenizer(written, add_special_tokens=False)["input_ids"]
    said = model.codec.read(ids, model.codec.prompt_ids("why?"))
    assert (said.text, said.thought, said.finished) == (text, thought, finished)
    if not finished:
        assert said.thought_tokens == len(ids)


def test_a_template_without_a_switch_says_so(every_model: dict[str, Model]):
    for name, reason in {
        "chatml": "no variable that turns thinking on and off",
        "gpt-oss": "reasoning_effort sets how much the model thinks, and cannot turn it off",
    }.items():
        codec = every_model[name].codec
        for thinking in (True, False):
            with pytest.raises(UserError, match="has no switch for thinking: .*" + reason):
                codec.prompt_ids("why?", thinking=thinking)


ODD = {
    "{{ messages[0]['content'] }}": "shows a reply 0 times",
    CHATML + "{{ messages[-1]['content'] }}": "shows a reply 2 times",
    CHATML.replace("assistant\\n", "bot\\n"): "replies cannot be trained with the chat template of .*'bot",
    CHATML.replace("assistant\\n", "assistant\\n<tool>\\n"): "replies cannot be trained with the chat template of",
}


@pytest.mark.parametrize(("template", "reason"), ODD.items())
def test_a_template_that_cannot_be_followed_is_refused_by_name(
    tiny_model: Path, tmp_path: Path, template: str, reason: str
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TurnsRefused, match=reason) as error:
        ChatCodec(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_tokenizer_without_template_or_end_is_refused_by_name(tiny_model: Path, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "no template")
    with pytest.raises(UserError, match="no template' has no chat template; add a chat_template.jinja"):
        ChatCodec(tmp_path / "no template")
    tokenizer.chat_template, tokenizer.eos_token = FAMILIES["chatml"].template, None
    tokenizer.save_pretrained(tmp_path / "no end")
    with pytest.raises(UserError, match="no end' has no end token; .*eos_token in its tokenizer_config.json"):
        ChatCodec(tmp_path / "no end")


def test_characters_that_are_normalized_to_a_control_token_are_text(tiny_model: Path, tmp_path: Path):
    """The tokenizer itself takes them for the token."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True, normalized=True)], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    model = opened(tmp_path, FAMILIES["chatml"])
    end = model.tokenizer.convert_tokens_to_ids("<|end|>")
    said = "so \uff1c|end|\uff1e it"
    assert end in model.own([Turn("user", said)], prompt=True)
    ids = model.codec.prompt_ids(said)
    assert end not in ids
    assert model.tokenizer.decode(ids).endswith("user\nso <|end|> it<|im_end|>\n<|im_start|>assistant\n")
    assert end not in model.codec.target_ids(said, "why?")
