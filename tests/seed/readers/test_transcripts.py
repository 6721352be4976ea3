"""Texts in the marks of chat templates are parsed or refused; texts about such marks are left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_ray.records import Dropped, Turn
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken
from selfreward_ray.seed.readers.reading import BadRow
from selfreward_ray.seed.readers.transcripts import UNPARSED, is_formatted, transcript, untangled

CHATML = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
SYSTEM, HI, OPEN = Spoken("system", "Be brief."), Spoken("user", "Hi"), Spoken("assistant", "")


def say(*texts: str) -> list[Spoken]:
    return [Spoken("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        pytest.param(CHATML, [SYSTEM, HI, OPEN], id="ChatML"),
        pytest.param("<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>", [HI, OPEN], id="Phi-4"),
        pytest.param(LLAMA3, [SYSTEM, HI, OPEN], id="Llama 3"),
        pytest.param(
            "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n",
            say("Hi", "Ho"),
            id="Gemma",
        ),
        pytest.param("<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\n", [SYSTEM, HI, OPEN], id="Zephyr"),
        pytest.param("<|user|>Hi<|end|><|assistant|>Ho<|end|>", say("Hi", "Ho"), id="Phi"),
        pytest.param("<s>[INST] Hi [/INST] Ho</s>[INST] more [/INST]", [*say("Hi", "Ho", "more"), OPEN], id="Mistral"),
        pytest.param(
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Ho </s>", [SYSTEM, *say("Hi", "Ho")], id="Llama 2"
        ),
        pytest.param(
            "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>Ho<|return|>",
            say("Hi", "Ho"),
            id="gpt-oss",
        ),
        pytest.param(
            "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>Ho<｜end▁of▁sentence｜>", say("Hi", "Ho"), id="DeepSeek"
        ),
        pytest.param(
            "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: more\n\nAssistant:", [*say("Hi", "Ho", "more"), OPEN], id="HH"
        ),
        pytest.param("\n\nHuman: Hi", [HI], id="HH, a question alone"),
        pytest.param("Human: Hi\nAssistant: Ho", say("Hi", "Ho"), id="HH without line ends"),
        pytest.param("### Human: Hi### Assistant: Ho### Human: more", say("Hi", "Ho", "more"), id="Guanaco"),
        pytest.param("USER: Hi ASSISTANT: Ho</s>USER: more ASSISTANT:", [*say("Hi", "Ho", "more"), OPEN], id="Vicuna"),
        pytest.param(
            "A chat between a user and a helper. USER: Hi ASSISTANT:",
            [Spoken("system", "A chat between a user and a helper."), HI, OPEN],
            id="Vicuna with its preamble",
        ),
        pytest.param(
            "Below is an instruction for a task.\n\n### Instruction:\nAdd.\n\n### Input:\n1 1\n\n### Response:\n2",
            say("Add.\n\n1 1", "2"),
            id="Alpaca",
        ),
        pytest.param("### Instruction:\nHi\n\n### Response:", [HI, OPEN], id="Alpaca without preamble"),
        pytest.param(
            "Be brief.\n\n### Instruction:\nHi\n\n### Response:\n",
            [SYSTEM, HI, OPEN],
            id="Alpaca with another preamble",
        ),
        pytest.param("Hi\n<extra_id_1>Assistant\nHo\n<extra_id_1>User\nmore", say("Hi", "Ho", "more"), id="HelpSteer"),
        pytest.param("<|user|>\nHi<|end|>\n<|assistant|>", [HI, OPEN], id="Phi with its end stripped"),
        pytest.param("[gMASK]<sop><|user|>\nHi<|assistant|>", [HI, OPEN], id="GLM"),
        pytest.param(
            "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜><think>\n", [SYSTEM, HI, OPEN], id="DeepSeek R1"
        ),
        pytest.param("<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]", [SYSTEM, HI, OPEN], id="Mistral v7"),
        pytest.param("User: Hi\nAssistant:", [HI, OPEN], id="User and Assistant"),
        pytest.param("Instruct: Hi\nOutput:", [HI, OPEN], id="Phi 2"),
        pytest.param("### Instruction: Hi\n### Response:", [HI, OPEN], id="Alpaca on one line"),
        pytest.param("<|start|>user<|message|>Hi<|end|><|start|>assistant", [HI, OPEN], id="gpt-oss, open"),
        pytest.param("<|user|> Hi<|end|> <|assistant|>", [HI, OPEN], id="Phi with blanks"),
        pytest.param("[Round 1]\n\n问：Hi\n\n答：", [HI, OPEN], id="ChatGLM"),
        pytest.param("GPT4 Correct User: Hi<|end_of_turn|>GPT4 Correct Assistant:", [HI, OPEN], id="OpenChat"),
        pytest.param("Human: Hi\nAI: Ho", say("Hi", "Ho"), id="Human and AI in words"),
        pytest.param("User: Hi\nBot: Ho\nUser: more", say("Hi", "Ho", "more"), id="User and Bot"),
        pytest.param("User: Hi Assistant: Ho", say("Hi", "Ho"), id="User and Assistant on one line"),
        pytest.param("User: Hi Assistant:", [HI, OPEN], id="User and Assistant on one line, open"),
        pytest.param("Question: Why?\nAnswer: So.", say("Why?", "So."), id="Question and Answer in words"),
        pytest.param("Question: Why? Answer:", [Spoken("user", "Why?"), OPEN], id="Question and Answer on one line"),
        pytest.param("Question: Which?\nA) 1\nB) 2\nAnswer: B", say("Which?\nA) 1\nB) 2", "B"), id="options"),
        pytest.param("Q: 1?\nA: 1\n\nQ: 2?\nA:", [*say("1?", "1", "2?"), OPEN], id="Q and A, several"),
        pytest.param("Q: Why? A: So.", say("Why?", "So."), id="Q and A on one line"),
    ],
)
def test_a_text_in_the_marks_of_a_template_is_a_conversation(text, spoken):
    assert transcript(text) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "What does <|im_start|>user mean in ChatML?",
        "<|im_start|> is a control token. Why?",
        "<|user|> and <|assistant|> are marks of which model?",
        "<|im_user|>, <|im_assistant|>: which model has these?",
        "[|user|] and [|assistant|] are marks.",
        "Explain this:\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\nWhat comes next?",
        "[INST] opens the user's turn.",
        "Llama 2 writes [INST] Hi [/INST].",
        "Humans: are they apes?",
        "Human: a species of ape. Explain.",
        "Write a dialogue.\n\nHuman: begins it.",
        "### Instructions\n\nMix flour and water.",
        "Which preamble has Alpaca? Below is an instruction that describes a task.",
        "User: what is this?",
        "A chat between friends.",
        "What is <extra_id_1> in T5?",
        "What is [/INST]",
        "Llama 2 writes [INST] Hi [/INST]",
        "### Question: a heading without an answer",
        "Instruct: a verb. Output: a noun.",
        "Q: Which is right?\nA: 3\nB: 4",
        "Q: Which is right? A: 3 B: 4",
        "Q: What is vitamin A: a fat?",
        "Q: and A: stand for what?",
        "What do Q: and A: mean in a FAQ?",
        "User: and Assistant: are marks of which model?",
        "User: a person, or an Assistant: a program?",
        "Question: what is an Answer: type?",
        "Passage: It rains.\nQuestion: Why?\nAnswer:",
        "A: So.",
        "Answer: 42",
        "",
    ],
)
def test_a_text_about_marks_is_prose(text):
    assert transcript(text) is None
    assert not is_formatted(text, "user")


@pytest.mark.parametrize(
    "text", ["Write <s> before it.", "It is written as <bos>word.", "Two of them, <|endoftext|>so, stand in one file."]
)
def test_a_token_that_begins_texts_is_kept_within_one(text):
    exchange = Exchange((Spoken("user", text),), (Given(text),))
    assert untangled(exchange) == exchange


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\nHi again<|im_end|>\n",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>tool\n42<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nHi<|im_start|>\n",
        "Be brief.\n<|im_start|>assistant\n",
        "\n\nHuman: Hi\n\nHuman: still there?\n\nAssistant:",
        "Some question\n\nAssistant:",
        "### Instruction:\nDo it.",
        "### Instruction:\na\n\n### Response:\nb\n\n### Instruction:\nc",
        "<|system|>\nBe brief.</s>\n<|assistant|>\n",
        "[INST] Why?",
        "Why? [/INST]",
        "<s>[INST] opens",
        "<|user|>\nHi<|end|>\nmore<|end|>\n",
        "<|im_user|>user<|im_middle|>Hi<|im_end|><|im_assistant|>assistant<|im_middle|>",
        "<｜hy_User｜>Hi<｜hy_Assistant｜>",
        "[|user|]Hi\n[|assistant|]",
        "<seed:bos>user\nHi<seed:eos><seed:bos>assistant\n",
        "<|role_start|>user<|role_end|>Hi<|stop|><|role_start|>assistant<|role_end|>Ho",
    ],
)
def test_marks_that_form_no_conversation_are_refused(text):
    with pytest.raises(BadRow, match=UNPARSED):
        transcript(text)
    assert is_formatted(text, "user")


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="<|>#[]:\x85\u2028\u2029"),
    min_size=1,
)


@given(st.lists(words.map(str.strip).filter(bool), min_size=1, max_size=7))
def test_what_chatml_writes_is_read_back(texts):
    spoken = say(*texts)
    text = "".join(f"<|im_start|>{one.role}\n{one.text}<|im_end|>\n" for one in spoken)
    assert transcript(text) == spoken
    assert transcript(text + "<|im_start|>assistant\n" if len(texts) % 2 else text) == (
        [*spoken, OPEN] if len(texts) % 2 else spoken
    )


@given(words)
def test_words_without_marks_are_no_transcript(text):
    assert transcript(text) is None


# How each template writes a message of the system, of the user, and of the assistant.
WRITTEN = {
    "ChatML": (
        "<|im_start|>system\n{}<|im_end|>\n",
        "<|im_start|>user\n{}<|im_end|>\n",
        "<|im_start|>assistant\n{}<|im_end|>\n",
    ),
    "Gemma": (None, "<start_of_turn>user\n{}<end_of_turn>\n", "<start_of_turn>model\n{}<end_of_turn>\n"),
    "Llama 3": tuple(
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{{}}<|eot_id|>" for role in ("system", "user", "assistant")
    ),
    "Llama 4": tuple(
        f"<|header_start|>{role}<|header_end|>\n\n{{}}<|eot|>" for role in ("system", "user", "assistant")
    ),
    "Granite": tuple(
        f"<|start_of_role|>{role}<|end_of_role|>{{}}<|end_of_text|>\n" for role in ("system", "user", "assistant")
    ),
    "Cohere": tuple(
        f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>{{}}<|END_OF_TURN_TOKEN|>" for role in ("SYSTEM", "USER", "CHATBOT")
    ),
    "gpt-oss": (
        "<|start|>developer<|message|>{}<|end|>",
        "<|start|>user<|message|>{}<|end|>",
        "<|start|>assistant<|channel|>final<|message|>{}<|end|>",
    ),
    "Phi": ("<|system|>\n{}<|end|>\n", "<|user|>\n{}<|end|>\n", "<|assistant|>\n{}<|end|>\n"),
    "GLM": ("<|system|>\n{}", "<|user|>\n{}", "<|assistant|>\n{}"),
    "StableLM": ("<|SYSTEM|>{}\n", "<|USER|>{}", "<|ASSISTANT|>{}"),
    "OpenAssistant": (None, "<|prompter|>{}<|endoftext|>", "<|assistant|>{}<|endoftext|>"),
    "InternLM": (None, "<|User|>:{}<eoh>\n", "<|Bot|>:{}<eoa>\n"),
    "Baichuan": (None, "<reserved_106>{}", "<reserved_107>{}"),
    "DeepSeek": ("<｜begin▁of▁sentence｜>{}", "<｜User｜>{}", "<｜Assistant｜>{}<｜end▁of▁sentence｜>"),
    "Mistral": ("<s>[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]", "[INST]{}[/INST]", "{}</s>"),
    "human and bot": (None, "<human>: {}\n", "<bot>: {}\n"),
    "Human and AI": (None, "[|Human|]{}\n", "[|AI|]{}\n"),
    "User and Assistant": ("System: {}\n\n", "User: {}\n\n", "Assistant: {}\n\n"),
    "Question and Answer": (None, "### Question: {}\n", "### Answer: {}\n"),
    "Question and Answer in words": (None, "Question: {}\n", "Answer: {}\n"),
    "Q and A": (None, "Q: {}\n", "A: {}\n\n"),
    "Orca": ("### System:\n{}\n\n", "### User:\n{}\n\n", "### Assistant:\n{}\n\n"),
}
turns = st.text("abcdé ?.,é中 ", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize("written", [pytest.param(one, id=name) for name, one in WRITTEN.items()])
@settings(max_examples=15)
@given(system=st.none() | turns, exchanges=st.lists(st.tuples(turns, turns), min_size=1, max_size=3))
def test_what_a_template_writes_is_read_back(written, system, exchanges):
    told, asked, said = written
    system = system if told else None
    spoken = say(*(text for pair in exchanges for text in pair))
    text = (told.format(system) if system else "") + "".join(asked.format(q) + said.format(a) for q, a in exchanges)
    assert transcript(text) == ([Spoken("system", system)] if system else []) + spoken


MARKS = [
    "<|im_end|>",
    "</s>",
    "<|user|>",
    "<|assistant|>",
    "[INST]",
    "[/INST]",
    "<|eot_id|>",
    "<|im_start|>",
    "<bos>",
    "<human>",
]


@given(st.sampled_from(MARKS), st.lists(st.sampled_from(["the", "Model", "writes", "Human", "so", "why"]), min_size=2))
def test_prose_with_a_mark_inside_a_sentence_is_left_as_it_is(mark, said):
    text = " ".join([*said[:1], mark, *said[1:]]) + "."
    assert transcript(text) is None
    told = untangled(Exchange((Spoken("user", text),), (Given(text),)))
    assert told == Exchange((Spoken("user", text),), (Given(text),))


U, A, S = (lambda text, role=role: Turn(role, text) for role in ("user", "assistant", "system"))


@pytest.mark.parametrize(
    ("row", "history", "prompt", "replies"),
    [
        (
            {"prompt": CHATML, "chosen": "good<|im_end|>", "rejected": "no<|im_end|>\n"},
            (S("Be brief."),),
            "Hi",
            ["good", "no"],
        ),
        (
            {
                "prompt": "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: All.\n\nAssistant:",
                "chosen": " good",
                "rejected": " No.",
            },
            (U("Hi"), A("Ho")),
            "All.",
            ["good", "No."],
        ),
        (
            {"chosen": "\n\nHuman: Hi\n\nAssistant: good", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
            (),
            "Hi",
            ["good", "No."],
        ),
        (
            {
                "prompt": "\n\nHuman: Hi\n\nAssistant:",
                "chosen": "\n\nHuman: Hi\n\nAssistant: good",
                "rejected": "\n\nHuman: Hi\n\nAssistant: No.",
            },
            (),
            "Hi",
            ["good", "No."],
        ),
        ({"prompt": "Hi", "chosen": "good<|eot_id|>", "rejected": "no</s>"}, (), "Hi", ["good", "no"]),
        (
            {"prompt": "Hi", "chosen": "Assistant: good", "rejected": "<|im_start|>assistant\nno<|im_end|>"},
            (),
            "Hi",
            ["good", "no"],
        ),
        (
            {"system": "Be brief.", "prompt": "### Human: Hi### Assistant:", "chosen": "a", "rejected": "b"},
            (S("Be brief."),),
            "Hi",
            ["a", "b"],
        ),
        # Of prose that names a token nothing is taken.
        (
            {"prompt": "How does ChatML end a turn?", "chosen": "With <|im_end|>", "rejected": "`</s>`"},
            (),
            "How does ChatML end a turn?",
            ["With <|im_end|>", "`</s>`"],
        ),
        *(
            ({"prompt": text, "chosen": "good", "rejected": "no"}, (), text, ["good", "no"])
            for text in ("Explain this:\n<|im_start|>user\nHi<|im_end|>", "Explain <|im_end|>")
        ),
        (
            {"prompt": "Quote it.", "chosen": "So:\n<|im_start|>user\nHi<|im_end|>", "rejected": "`a<|im_end|>` b"},
            (),
            "Quote it.",
            ["So:\n<|im_start|>user\nHi<|im_end|>", "`a<|im_end|>` b"],
        ),
        # Tokens before and behind a sentence are no part of it.
        *(
            ({"prompt": "Hi", "chosen": text, "rejected": "no"}, (), "Hi", ["good.", "no"])
            for text in (
                *("good. </s>", "good. <|endoftext|>", "good.<|eom_id|>", "good.<pad><pad>", "<s> good.</s>"),
                *("<bos>good.", "good.[EOS]", "good.<|endoftext|><|endoftext|>"),
            )
        ),
        (
            {"prompt": "Hi\n\n###\n\n", "chosen": " good END", "rejected": " no END"},
            (),
            "Hi",
            ["good", "no"],
        ),
        (
            {
                "prompt": "<|start|>user<|message|>Hi<|end|><|start|>assistant",
                "chosen": "<|channel|>analysis<|message|>Hm.<|end|>"
                "<|start|>assistant<|channel|>final<|message|>good<|return|>",
                "rejected": "<|channel|>final<|message|>no<|return|>",
            },
            (),
            "Hi",
            ["good", "no"],
        ),
        ({"prompt": "Strike it.", "chosen": "<s>it</s>", "rejected": "it"}, (), "Strike it.", ["<s>it</s>", "it"]),
        # Tokens that a sentence shows, right behind what opens a quotation.
        (
            {"prompt": "How?", "chosen": 'Write "</s>', "rejected": "Write [</s>"},
            (),
            "How?",
            ['Write "</s>', "Write [</s>"],
        ),
    ],
)
def test_a_row_is_read_without_the_marks_of_its_texts(read, row, history, prompt, replies):
    (found,) = read(row, turns="any")
    assert (found.history, found.prompt, [one.text for one in found.replies]) == (history, prompt, replies)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": CHATML, "chosen": "good<|im_end|>\n<|im_start|>user\nmore", "rejected": "no"},
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "good\n\nHuman: more", "rejected": "no"},
        {"prompt": "Q: Hi\nA:", "chosen": " good\nQ: more\nA: yes", "rejected": "no"},
        {"prompt": CHATML, "chosen": "good, and <|im_start|>user", "rejected": "no"},
        {"prompt": "### Instruction:\nHi\n\n### Response:", "chosen": "good ### Response: yes", "rejected": "no"},
        {"prompt": "Question: Hi\nAnswer:", "chosen": "good\n\nQuestion: more", "rejected": "no"},
        {"prompt": "Q: Hi\nA: Ho", "chosen": "good", "rejected": "no"},
        {"prompt": "\n\nHuman: Hi\n\nAssistant: Ho", "chosen": "good", "rejected": "no"},
        {
            "prompt": "Hi",
            "chosen": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\ngood",
            "rejected": "no<|im_start|>assistant\n",
        },
        {"system": "Be kind.", "prompt": CHATML, "chosen": "good", "rejected": "no"},
        {
            "messages": [
                {"role": "system", "content": CHATML},
                *({"role": r, "content": r} for r in ("user", "assistant")),
            ]
        },
    ],
)
def test_a_row_whose_marks_cannot_be_resolved_is_a_bad_one(read, row):
    assert read(row, turns="any") == [Dropped("seed.jsonl:1", "seed", UNPARSED)]


@pytest.mark.parametrize(
    "reply",
    [
        "So.<|im_end|>\n<|im_start|>user\nmore",
        "So.</s><s>[INST] more [/INST] yes</s>",
        "So.\n\nHuman: more\n\nAssistant: yes",
        "So.### Human: more",
        "So.\n\n### Instruction:\nMore",
        "So.<|user|>\nmore",
        "So.\n<human>: more",
        "So.<|endoftext|>\n\nQuestion: more",
        "So.[/INST]",
        "Paris </s>",  # may be what it speaks of
        "<s>Rivers carry salt.</s>",
    ],
)
def test_a_reply_that_goes_on_behind_its_end_is_a_bad_one(read, reply):
    row = {"prompt": "Hi", "completion": reply}
    assert read(row) == [Dropped("seed.jsonl:1", "seed", UNPARSED)]


def test_a_thought_that_the_prompt_opens_is_part_of_the_reply(read):
    prompt = "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n"
    (found,) = read({"prompt": prompt, "completion": "hm</think>So."})
    assert (found.prompt, found.replies[0].text) == ("Hi", "So.")


def test_messages_of_a_tree_with_marks_are_not_used(read):
    row = {"message_id": "m", "message_tree_id": "m", "text": "u", "role": "prompter"}
    reply = {**row, "message_id": "n", "parent_id": "m", "role": "assistant", "rank": 0, "text": CHATML}
    assert read(row, reply) == [Dropped("m", "seed", "every reply has the marks of a chat template")]


@pytest.mark.parametrize("token", ["<|endoftext|>", "<bos>", "<|begin_of_text|>"])
def test_a_token_that_begins_texts_stays_where_it_stands_within_one(token):
    """It was taken out of the middle, so that two texts became one."""
    asked = Spoken("user", f"Why does {token}Hello begin so?")
    assert untangled(Exchange((asked,), (Given("So."),))).before == (asked,)
    with pytest.raises(BadRow, match=UNPARSED):
        untangled(Exchange((HI,), (Given("Ho.<|endoftext|>Question: more?"),)))
