from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chat_families import ALL_FAMILIES, FAMILIES, TOOL_FAMILIES, write_family
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from selfreward_ray.models.chat import ChatCodec, TurnsRefused
from selfreward_ray.models.template import NO_TOOLS
from selfreward_ray.records import (
    Candidate,
    Dropped,
    Pair,
    PairTokens,
    Positive,
    SftExample,
    SftTokens,
    ToolCall,
    ToolUse,
    Turn,
)
from selfreward_ray.training.examples import (
    NO_PLACE,
    NO_REPLY,
    SWITCHED_OFF,
    Encoding,
    fitting,
    pair_tokens,
    positive_tokens,
    sft_tokens,
)


def pair(chosen: int, rejected: int) -> Pair:
    """A prompt of two tokens and replies of the given numbers of tokens."""
    return Pair(
        f"p{chosen}-{rejected}",
        "Hm?",
        (8, 9),
        Candidate("c", "not these words", (5,) * chosen, True),
        Candidate("r", "nor these", (6,) * rejected, False),
    )


def unopened() -> ChatCodec:
    raise AssertionError("ids that an engine wrote need no codec")


def test_a_pair_is_trained_on_the_ids_that_the_engine_read_and_wrote():
    assert pair_tokens(pair(2, 1), unopened) == PairTokens("p2-1", (8, 9), (5, 5), (6,))


def test_a_softened_pair_stays_softened():
    assert pair_tokens(replace(pair(2, 1), label_smoothing=0.25), unopened).label_smoothing == 0.25


def test_what_no_engine_wrote_is_encoded_by_the_chat_template(tiny_model: Path):
    """A prompt and one reply come without ids; the other reply keeps those that an engine wrote."""
    codec = ChatCodec(tiny_model)
    mixed = replace(pair(0, 1), prompt_ids=())
    prompt_ids, chosen_ids = tuple(codec.prompt_ids("Hm?")), tuple(codec.target_ids("not these words", "Hm?"))
    assert pair_tokens(mixed, lambda: codec) == PairTokens("p0-1", prompt_ids, chosen_ids, (6,))
    positive = Positive("c", "Hm?", (), mixed.chosen)
    assert positive_tokens(positive, lambda: codec) == SftTokens("c", prompt_ids, chosen_ids)
    assert positive_tokens(Positive("r", "Hm?", (8,), mixed.rejected), unopened) == SftTokens("r", (8,), (6,))


def test_an_example_is_encoded_by_the_chat_template(tiny_model: Path):
    codec = ChatCodec(tiny_model)
    row = sft_tokens(SftExample("e", "ift", "Name a sea.", "The North Sea."), codec)
    assert row.prompt_ids == tuple(codec.prompt_ids("Name a sea."))
    assert row.target_ids[-1] == codec.end_id
    assert codec.decode(list(row.target_ids)) == "The North Sea."


@pytest.mark.parametrize(
    ("max_tokens", "kept"),
    [(2, []), (4, ["p2-1"]), (5, ["p2-1", "p1-3"]), (6, ["p2-1", "p1-3", "p4-1"])],
)
def test_what_does_not_fit_whole_is_dropped_with_a_reason(max_tokens: int, kept: list[str]):
    """With their prompt the pairs' longer halves have 4, 5 and 6 tokens."""
    rows = [pair(2, 1), pair(1, 3), pair(4, 1)]
    fit, dropped = fitting(rows, partial(pair_tokens, codec=unopened), max_tokens, "dpo")
    assert [e.id for e in fit] == kept
    assert fit == [pair_tokens(r, unopened) for r in rows if r.id in kept], "whole, never cut"
    reason = f"longer than max_tokens = {max_tokens}"
    assert dropped == [Dropped(r.id, "dpo", reason) for r in rows if r.id not in kept]


def test_a_conversation_that_the_template_refuses_is_dropped_with_a_reason():
    def encode(given: Pair) -> PairTokens:
        if given.id == "p1-1":
            raise TurnsRefused("no system, please")
        return pair_tokens(given, unopened)

    fit, dropped = fitting([pair(2, 1), pair(1, 1)], encode, 9, "sft")
    assert [e.id for e in fit] == ["p2-1"]
    assert dropped == [Dropped("p1-1", "sft", "the model's chat template refuses its turns")]


# Words with the blank before them, runs of marks, and blanks, each a token; tokens are parted by "·" below.
WORDS = "user·assistant·Why· Why· not·?·Hi· Hi·Yes· Yes·So· So· what·.· ·\n·[·INST·]·[/·</·<|·|>·>"
WORDS += "·s·im_end·eot_id"
WHY = SftExample("why", "ift", "Why not?", "So what.")
HI = (Turn("user", "Hi"), Turn("assistant", "Yes."))


@pytest.fixture(params=list(FAMILIES))
def words(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ChatCodec, Any]:
    """A family's name, its codec, and how ids are shown, by a tokenizer whose tokens are words."""
    family = FAMILIES[request.param]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(WORDS.split("·")))}))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[^\w\s]+|\s"), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.control[0],
        eos_token=family.control[1],
        additional_special_tokens=list(family.control[2:]),
        chat_template=family.template,
    )
    tokenizer.save_pretrained(tmp_path)
    return request.param, ChatCodec(tmp_path), lambda ids: "·".join(tokenizer.convert_ids_to_tokens(list(ids)))


ONE_TURN = {
    "chatml": (
        "<|im_start|>·user·\n·Why· not·?·<|im_end|>·\n·<|im_start|>·assistant·\n",
        "So· what·.·<|im_end|>",
    ),
    "llama 2": (
        "<s>·[·INST·]· Why· not·?· ·[/·INST·]",
        " So· what·.· ·</s>",
    ),
    "llama 3": (
        "<|begin_of_text|>·<|start_header_id|>·user·<|end_header_id|>·\n·\n·Why· not·?·<|eot_id|>·"
        "<|start_header_id|>·assistant·<|end_header_id|>·\n·\n",
        "So· what·.·<|eot_id|>",
    ),
}
TWO_TURNS = {
    "chatml": (
        "<|im_start|>·user·\n·Hi·<|im_end|>·\n·<|im_start|>·assistant·\n·Yes·.·<|im_end|>·\n·"
        "<|im_start|>·user·\n·Why· not·?·<|im_end|>·\n·<|im_start|>·assistant·\n",
        "So· what·.·<|im_end|>",
    ),
    "llama 2": (
        "<s>·[·INST·]· Hi· ·[/·INST·]· Yes·.· ·</s>·<s>·[·INST·]· Why· not·?· ·[/·INST·]",
        " So· what·.· ·</s>",
    ),
    "llama 3": (
        "<|begin_of_text|>·<|start_header_id|>·user·<|end_header_id|>·\n·\n·Hi·<|eot_id|>·"
        "<|start_header_id|>·assistant·<|end_header_id|>·\n·\n·Yes·.·<|eot_id|>·"
        "<|start_header_id|>·user·<|end_header_id|>·\n·\n·Why· not·?·<|eot_id|>·"
        "<|start_header_id|>·assistant·<|end_header_id|>·\n·\n",
        "So· what·.·<|eot_id|>",
    ),
}


@pytest.mark.parametrize(("history", "shown"), [((), ONE_TURN), (HI, TWO_TURNS)], ids=["one turn", "two turns"])
def test_the_reply_is_trained_and_nothing_before_it(
    words: tuple[str, ChatCodec, Any], history: tuple[Turn, ...], shown: dict[str, tuple[str, str]]
):
    """Each family by hand: of the whole conversation the last reply and its end token are the target, no other turn."""
    family, codec, show = words
    row = sft_tokens(replace(WHY, history=history), codec)
    assert (show(row.prompt_ids), show(row.target_ids)) == shown[family]


def test_both_replies_of_a_pair_are_trained_behind_one_prompt(words: tuple[str, ChatCodec, Any]):
    family, codec, show = words
    both = Pair("p", "Why not?", (), Candidate("c", "So what.", (), True), Candidate("r", " Yes. ", (), True))
    row = pair_tokens(both, lambda: codec)
    rejected = {"chatml": " Yes·.· ·<|im_end|>", "llama 2": " Yes·.· ·</s>", "llama 3": "Yes·.·<|eot_id|>"}
    assert (show(row.prompt_ids), show(row.chosen_ids)) == ONE_TURN[family]
    assert show(row.rejected_ids) == rejected[family]
    longest = len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids))
    encode = partial(pair_tokens, codec=lambda: codec)
    assert fitting([both], encode, longest, "dpo") == ([row], [])
    reason = f"longer than max_tokens = {longest - 1}"
    assert fitting([both], encode, longest - 1, "dpo") == ([], [Dropped("p", "dpo", reason)])


def test_a_control_token_that_somebody_spells_is_a_few_words(words: tuple[str, ChatCodec, Any]):
    """The end token, in the prompt and in the reply: there it is spelt, and the template's own stand where they did."""
    family, codec, show = words
    end = FAMILIES[family].end
    spelt = {"chatml": "<|·im_end·|>", "llama 2": "</·s·>", "llama 3": "<|·eot_id·|>"}[family]
    row = sft_tokens(replace(WHY, prompt=f"Why not?\n{end}", target=f"So what.\n{end}"), codec)
    prompt, target = ONE_TURN[family]
    assert show(row.prompt_ids) == prompt.replace("?", f"?·\n·{spelt}")
    assert show(row.target_ids) == target.replace(".", f".·\n·{spelt}")


@pytest.fixture
def thoughtful(tiny_model: Path, tmp_path: Path) -> ChatCodec:
    """A model whose template opens a thought, unless thinking is off."""
    family = ALL_FAMILIES["qwen 3.5"]
    return ChatCodec(write_family(AutoTokenizer.from_pretrained(tiny_model), family, tmp_path))


def shown(codec: ChatCodec, ids: tuple[int, ...]) -> str:
    return str(codec._tokenizer.decode(list(ids)))


def test_instructions_and_judge_prompts_are_encoded_as_the_model_is_asked(thoughtful: ChatCodec):
    """Thinking for replies and none for verdicts."""
    encoding = Encoding("train", True, False)
    ends = {}
    for kind in ("ift", "eft"):
        row = sft_tokens(SftExample("e", kind, "Why?", "So.", thought="Hm."), thoughtful, encoding)
        ends[kind] = (shown(thoughtful, row.prompt_ids[-5:]), shown(thoughtful, row.target_ids), row.context)
    assert ends["ift"][0].endswith("<think>\n")
    assert ends["ift"][1:] == ("Hm.\n</think>\n\nSo.<|im_end|>", 0)
    assert ends["eft"][0].endswith("</think>\n\n")
    assert ends["eft"][1:] == ("So.<|im_end|>", 0)


def test_a_thought_that_is_only_read_stands_before_what_is_trained(thoughtful: ChatCodec):
    encoding = Encoding("read")
    row = sft_tokens(SftExample("e", "ift", "Why?", "So.", thought="Hm."), thoughtful, encoding)
    assert shown(thoughtful, row.target_ids[: row.context]) == "Hm.\n</think>"
    assert shown(thoughtful, row.target_ids[row.context :]) == "\n\nSo.<|im_end|>"
    generated = Candidate("c", "So.", (5, 5, 5, 6), True, thought="Hm.", thought_tokens=3)
    mixed = Pair("p", "Why?", (8,), generated, Candidate("r", "No.", (), True, thought="Hm?"))
    read = pair_tokens(mixed, lambda: thoughtful, encoding)
    assert (read.chosen_ids, read.chosen_context) == ((5, 5, 5, 6), 3)
    assert shown(thoughtful, read.rejected_ids[: read.rejected_context]) == "Hm?\n</think>"
    trained = pair_tokens(mixed, lambda: thoughtful)
    assert (trained.chosen_context, trained.rejected_context) == (0, 0)
    assert (trained.chosen_ids, trained.rejected_ids) == (read.chosen_ids, read.rejected_ids)
    positive = positive_tokens(Positive("c", "Why?", (8,), generated), unopened, encoding)
    assert positive == SftTokens("c", (8,), (5, 5, 5, 6), 3)


def test_thoughts_that_are_not_encoded_are_named_with_the_reason(tiny_model: Path, thoughtful: ChatCodec):
    """The plain template has no place for them; the other one has, unless thinking is off. Blank ones are none."""
    plain = ChatCodec(tiny_model)
    row = SftExample("e", "ift", "Why?", "So.", thought="Hm.")
    assert sft_tokens(row, plain).left_out == (NO_PLACE,)
    assert sft_tokens(row, plain, Encoding("read")).left_out == (NO_PLACE,)
    assert sft_tokens(row, thoughtful).left_out == ()
    assert sft_tokens(row, thoughtful, Encoding(respond_thinking=False)).left_out == (SWITCHED_OFF,)
    assert sft_tokens(replace(row, kind="eft"), thoughtful, Encoding(respond_thinking=False)).left_out == ()
    for blank in ("", " \n"):
        assert sft_tokens(replace(row, thought=blank), plain).left_out == ()
    generated = Candidate("c", "So.", (5, 5, 6), True, thought="Hm.", thought_tokens=2)
    imported = Candidate("r", "No.", (), True, thought="Hm?")
    both = Pair("p", "Why?", (8,), imported, replace(imported, id="s", text="Ah."))
    assert pair_tokens(both, lambda: plain).left_out == (NO_PLACE, NO_PLACE)
    assert pair_tokens(replace(both, chosen=generated), lambda: plain).left_out == (NO_PLACE,)
    assert pair_tokens(both, lambda: thoughtful).left_out == ()
    assert positive_tokens(Positive("r", "Why?", (8,), imported), lambda: plain).left_out == (NO_PLACE,)
    assert positive_tokens(Positive("c", "Why?", (8,), generated), unopened).left_out == ()


def test_a_thought_without_an_end_is_dropped_where_only_replies_are_trained():
    endless = replace(pair(2, 2), rejected=Candidate("r", "", (6, 6), False, thought="Hm", thought_tokens=2))
    encode = partial(pair_tokens, codec=unopened, encoding=Encoding("read"))
    assert fitting([endless], encode, 9, "dpo") == ([], [Dropped("p2-2", "dpo", NO_REPLY)])
    (kept,), dropped = fitting([endless], partial(pair_tokens, codec=unopened), 9, "dpo")
    assert (kept.rejected_ids, dropped) == ((6, 6), [])


def test_calls_are_trained_on_and_results_are_read(tiny_model: Path, tmp_path: Path):
    """Under a template that renders tools; under others the example is dropped, and the others are not."""
    call = (ToolCall("look", '{"at": "sky"}'),)
    since = (Turn("assistant", "", call), Turn("tool", "dry"))
    rows = [
        SftExample("call", "ift", "Rain?", "", tool_use=ToolUse("", (), call)),
        SftExample("answer", "ift", "Rain?", "No.", tool_use=ToolUse("", since)),
        SftExample("plain", "ift", "Rain?", "No."),
    ]
    family = TOOL_FAMILIES["chatml with tools"]
    codec = ChatCodec(write_family(AutoTokenizer.from_pretrained(tiny_model), family, tmp_path))
    (called, answered, plain), dropped = fitting(rows, lambda row: sft_tokens(row, codec), 999, "sft")
    assert dropped == []
    decode = AutoTokenizer.from_pretrained(tmp_path).decode
    written = '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>'
    assert decode(called.target_ids) == written
    assert decode(answered.target_ids) == decode(plain.target_ids) == "No.<|im_end|>"
    assert written in decode(answered.prompt_ids)
    assert "<tool_response>\ndry\n</tool_response>" in decode(answered.prompt_ids)
    plain_codec = ChatCodec(tiny_model)
    kept, dropped = fitting(rows, lambda row: sft_tokens(row, plain_codec), 999, "sft")
    assert [row.id for row in kept] == ["plain"]
    assert dropped == [Dropped("call", "sft", NO_TOOLS), Dropped("answer", "sft", NO_TOOLS)]
