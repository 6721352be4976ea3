"""How templates and people mark who speaks in a text: the patterns of the known notations.

What is done with a text in such marks is said in `transcripts`.
"""

import re
from dataclasses import dataclass

from selfreward_ray.seed.readers.drafts import Role

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    **dict.fromkeys(
        ("user", "human", "prompter", "question", "q", "instruction", "instruct", "102", "106", "问"), "user"
    ),
    **dict.fromkeys(
        ("assistant", "model", "chatbot", "bot", "ai", "answer", "a", "response", "output", "103", "107", "答"),
        "assistant",
    ),
}

_END = (
    r"(?:<\|im_end\|>|<\|eot_id\|>|<\|eom_id\|>|<\|eot\|>|<end_of_turn>|<\|end\|>|<\|return\|>|<\|endoftext\|>"
    r"|<\|end_of_text\|>|<\|end_of_turn\|>|<\|END_OF_TURN_TOKEN\|>|<\|eos\|>|<｜end▁of▁sentence｜>|</s>|<eos>|<eo[ah]>"
    r"|<pad>|<\|pad\|>|(?<=[.!?\s>\]])\[(?:EOS|PAD)\])"
)
_BEGIN = (
    r"(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|<\|startoftext\|>|<BOS_TOKEN>|<｜begin▁of▁sentence｜>"
    r"|\[gMASK\]\s*<sop>)"
)
ENDS = re.compile(rf"(?:\s*{_END})+\s*\Z")
_BEHIND = r"(?:\A|\n|(?<=[^\s`'\"(\[:=]))"
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
SENTENCE_END = (".", "!", "?", "…", "。", "！", "？")
# Words beside which a mark is what a sentence speaks of.
NAMING_BEFORE = re.compile(
    r"a|about|add|adds|after|an|and|append|appends|are|as|at|be|before|between|by|call|called|define|"
    r"delimiter|does|emit|emits|explain|follow|follows|for|from|in|is|like|mark|marker|markers|marks|mean|"
    r"means|named|not|of|on|or|output|outputs|print|prints|say|says|see|string|symbol|tag|tags|than|that|"
    r"the|then|this|to|token|tokens|type|until|use|uses|using|what|with|write|writes"
)
NAMING_BEHIND = (
    r"\s+(?:and|appears?|are|as|at|begins?|but|by|can|closes?|comes?|denotes?|do|does|ends?|for|from|goes|has|in|"
    r"indicates?|is|marks?|means?|must|not|of|on|opens?|or|represents?|separates?|should|signals?|stands|starts?|tags?|"
    r"tells?|to|tokens?|vs|was|were|will|with|without)\b"
)
FIRST = re.compile(rf"\A\s*(?:(?!<s>){_BEGIN}(?=[^\s<])|<s>(?=\s)(?!{NAMING_BEHIND}))\s*")
"""The token that begins a text, right before its first word; behind ``<s>`` is a blank, or it is HTML."""
STRUCK = re.compile(r"\s*<s>(?:(?!</?s>).)*[.!?]</s>\s*\Z", re.DOTALL)
"""A whole sentence: struck in HTML, or between two tokens."""
LONGEST_HEADER = 100
"""More characters than the longest header of the assistant has, and what is before it."""
LEFTOVER = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|start_of_role\|>|<\|im_end\|>"
    r"|<\|START_OF_TURN_TOKEN\|>|<\|start\|>|<\|channel\|>|<\|eot_id\|>|<end_of_turn>|\[/?SYSTEM_PROMPT\]"
)
LEFTOVER_WORDS = re.compile(r"\n\n(?:Human|Assistant):|### ?(?:Human|Assistant|Instruction|Response):|\[/?INST\]")
_HEADER = (
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|start_of_role\|>"
    r"|<\|START_OF_TURN_TOKEN\|>|<\|start\|>|<｜(?:User|Assistant)｜>|<human>:|<bot>:|\[\|(?:Human|AI)\|\]"
    r"|<reserved_10[2367]>|<\|(?i:system|user|prompter|human|assistant|bot)\|>|\[INST\])"
)
MARK = re.compile(rf"(?P<end>{_END})|{_HEADER}")
GOES_ON = re.compile(
    r"(?<![:\s])\n\n(?:Human|User):.*?\n+(?:Assistant|AI):|[.!?]\n\nHuman:[^\n]*\s*\Z"
    r"|(?<![\s:#`'\"(])### ?(?:Human|User|Instruction):|[.!?]\n+### ?(?:Human|User|Instruction):"
    rf"|</s>\s*<s>\s*\[INST\]|[.!?]\s*\[/?INST\]|[.!?]\s*{_END}\s*(?:{_BEGIN}|{_HEADER})|[.!?]\n\s*###\s*\Z",
    re.DOTALL,
)
"""What a model writes that did not stop: the next turn, behind the end of a sentence."""
OPEN_THOUGHT = re.compile(r"<think>\s*\Z")
NO_THOUGHT = re.compile(r"\s*<think>(?:\s*</think>)?\s*\Z")
FINAL = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>")
ANALYSIS = re.compile(r"\s*<\|channel\|>analysis<\|message\|>.*?<\|channel\|>final<\|message\|>", re.DOTALL)
SEPARATOR = re.compile(r"\n\s*###\s*\Z")
"""The line that older completion models were taught to answer behind."""
PLAIN_SPEAKER = re.compile(r"\s*(?:System:.*\n\s*)?(User|Human|Question|Q):", re.DOTALL)
"""The mark of the user in a prompt of plain words. A reply that has it at the beginning of a line asks on."""
STOP = re.compile(r"(?:\s+END|\s*\n\s*###)\s*\Z")


@dataclass(frozen=True)
class Style:
    """One way to mark speakers. `header` has one group, the role."""

    header: re.Pattern[str]
    begins: re.Pattern[str]
    """Matches at the beginning of a text of this style."""
    open_end: re.Pattern[str] | None
    """Finds the assistant's header, opened and left empty, at the end of a text."""
    blanks: bool
    """Whether blanks around a message belong to the style."""


def _tokens(mark: str, assistant: str, behind: str = "", before: str = _BEHIND) -> Style:
    """A style of control tokens. `mark` has a group for the role, `behind` is what divides it from the message, and may
    be missing at the end of a text; `assistant` is the assistant's mark."""
    begins = re.compile(rf"\s*(?:{_BEGIN}\s*)*{mark}{behind}")
    header = re.compile(rf"{mark}(?:{behind}|\s*\Z)" if behind else mark)
    return Style(header, begins, re.compile(rf"{before}{assistant}\s*\Z"), blanks=False)


def _words(header: str, begins: str, open_end: str | None = None) -> Style:
    """A style of words, in which blanks around messages mean nothing."""
    opened = None if open_end is None else re.compile(open_end)
    return Style(re.compile(header), re.compile(begins, re.DOTALL), opened, blanks=True)


_NO_OPTIONS = r"(?!.*\sB[:.)])"
"""Of a question with options to choose from, ``A:`` is the first option."""
_NOT_NAMED = r"(?<!\ba)(?<!\ban)(?<!\bthe)(?<!\band)(?<!\bor)"


def _on_one_line(asks: str, answers: str, before: str) -> Style:
    """A question and its answer on one line, `before` between them: one of each, and neither of the marks is what a
    sentence speaks of."""
    mark = rf"(?:{asks}|{answers}):"
    return _words(
        rf"(?:\A\s*|\s)({asks}|{answers}):",
        rf"\s*{asks}:(?!{NAMING_BEHIND})(?=\s*\S)(?:(?!\b{mark}).)+{before}\s+{answers}:(?!{NAMING_BEHIND})"
        rf"(?!.*\b{mark})",
    )


_PIPED = r"<\|((?i:system|user|prompter|human|assistant|model|bot))\|>"
_PIPED_ANSWER = r"<\|(?i:assistant|model|bot)\|>"
VICUNA = _words(r"(?:\A|\s|(?<=</s>))(USER|ASSISTANT):", r"USER:.*\sASSISTANT:|ASSISTANT:", r"\sASSISTANT:\s*\Z")
STYLES = (
    _tokens(
        r"<\|im_start\|>(system|user|assistant)",
        r"<\|im_start\|>assistant(?:<\|im_sep\|>)?",
        r"(?:\n|<\|im_sep\|>)",
    ),
    _tokens(
        r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\n*",
        r"<\|start_header_id\|>assistant<\|end_header_id\|>",
    ),
    _tokens(
        r"<\|header_start\|>(system|user|assistant)<\|header_end\|>\n*", r"<\|header_start\|>assistant<\|header_end\|>"
    ),
    _tokens(r"<start_of_turn>(user|model)", r"<start_of_turn>model", r"\n"),
    _tokens(
        r"<\|start_of_role\|>(system|user|assistant)<\|end_of_role\|>", r"<\|start_of_role\|>assistant<\|end_of_role\|>"
    ),
    _tokens(
        r"<\|start\|>(system|developer|user|assistant)",
        r"<\|start\|>assistant",
        r"(?:<\|channel\|>final)?<\|message\|>",
    ),
    _tokens(
        r"<\|START_OF_TURN_TOKEN\|><\|(SYSTEM|USER|CHATBOT)_TOKEN\|>", r"<\|START_OF_TURN_TOKEN\|><\|CHATBOT_TOKEN\|>"
    ),
    _tokens(r"<｜(User|Assistant)｜>", r"<｜Assistant｜>", before=""),
    _words(r"<\|(User|Bot)\|>:", r"\s*(?:<s>)?\s*<\|User\|>:", r"<\|Bot\|>:\s*\Z"),
    _tokens(_PIPED, _PIPED_ANSWER, r"(?:\n|(?=\S))"),
    _words(
        rf"(?:\A\s*|\n\s*|{_END}\s*){_PIPED}",
        rf"\s*{_PIPED} .*(?:\n|{_END})\s*{_PIPED_ANSWER}",
        rf"\n{_PIPED_ANSWER}\s*\Z",
    ),
    _words(r"<reserved_(10[2367])>", r"\s*<reserved_10[26]>", r"<reserved_10[37]>\s*\Z"),
    _words(r"\[\|(Human|AI)\|\]:?", r"\s*\[\|(?:Human|AI)\|\]\s*\S", r"\[\|AI\|\]:?\s*\Z"),
    _words(r"(?:\A\s*|\s+)<(human|bot)>:", r"\s*<(?:human|bot)>:", r"\s<bot>:\s*\Z"),
    _words(r"\s*(?:\[Round \d+\]\s*)?(问|答)：", r"\s*\[Round \d+\]\s*问："),
    _words(
        r"(?:\A\s*(?:<s>)?\s*|<\|end_of_turn\|>\s*)GPT4 Correct (User|Assistant):",
        r"\s*(?:<s>)?\s*GPT4 Correct (?:User|Assistant):",
    ),
    _words(r"\n\n(Human|Assistant):", r"\s*\n\n(?:Human|Assistant):", r"\n\nAssistant:\s*\Z"),
    _words(r"(?:\A\s*|\n\s*)(Human|Assistant):", r"\s*(?:Human:.*\n\s*Assistant:|Assistant:)"),
    _words(r"(?:\A\s*|\n\s*)(Human|AI):", r"\s*Human:.*\n\s*AI:"),
    _words(
        r"(?:\A\s*|\n\s*)(System|User|Assistant|AI|Bot):",
        r"\s*(?:System:.*\n\s*)?User:.*\n\s*(?:Assistant|AI|Bot):",
    ),
    _on_one_line("User", "Assistant", _NOT_NAMED),
    _words(r"(?:\A\s*|\n\s*)(Question|Answer):", r"\s*Question:.*\n\s*Answer:"),
    _on_one_line("Question", "Answer", _NOT_NAMED),
    _words(r"(?:\A\s*|\n\s*)(Q|A):", rf"\s*Q:{_NO_OPTIONS}.*\n\s*A:"),
    _on_one_line(f"Q(?=:{_NO_OPTIONS})", "A", r"[^\w\s]"),
    _words(r"(?:\A\s*|\n\s*)(Instruct|Instruction|Output):", r"\s*Instruct(?:ion)?:.*\n\s*Output:\s*\Z"),
    _words(r"\s*###\s?(Human|Assistant):", r"\s*###\s?(?:Human|Assistant):", r"###\s?Assistant:\s*\Z"),
    _words(
        r"(?:\A|(?<=\S))\s*###\s?(System|User|Question|Assistant|Answer|Response):",
        r"\s*(?:###\s?System:.*)?###\s?(?:User|Question):.*###\s?(?:Assistant|Answer|Response):",
        r"\n###\s?(?:Assistant|Answer):\s*\Z",
    ),
    VICUNA,
)
VICUNA_PREAMBLE = re.compile(r"\A(A chat between .{0,400}?)\s+(?=USER:)", re.DOTALL)
DEEPSEEK_PREAMBLE = re.compile(r"\s*<｜begin▁of▁sentence｜>(?=[^<])(.+?)(?=<｜User｜>)", re.DOTALL)
NEMO = re.compile(r"\n?<extra_id_[01]>(System|User|Assistant)\n")
_ANY_MARK = r"(?:<[|｜][^|｜\s<>]{1,40}[|｜]>|\[\|\w{1,20}\|\]|<seed:bos>|<\|turn>)"
_ANY_ANSWER = (
    r"(?:<[|｜][^|｜\s<>]{0,30}(?i:assistant|model|bot)[^|｜\s<>]{0,10}[|｜]>|\[\|assistant\|\]"
    rf"|{_ANY_MARK}\s*(?:assistant|model|bot)\b)"
)
_NOT_MEANT = rf"(?!{NAMING_BEHIND})(?!\s*[,.;?`'\"])"
UNKNOWN = re.compile(rf"\s*{_ANY_MARK}{_NOT_MEANT}.*{_ANY_ANSWER}{_NOT_MEANT}", re.DOTALL)
"""Matches a text that begins with a control token and has one of an assistant behind it, as templates of families that
are not known here write conversations."""
ALPACA = re.compile(
    r"\A(?P<before>.{0,600}?)### ?Instruction:[ \t]*\n?(?P<asked>.*?)(?:\n\s*### ?Input:[ \t]*\n?(?P<input>.*?))?"
    r"\n\s*### ?(?:Response|Output):[ \t]*\n?(?P<reply>.*)\Z",
    re.DOTALL,
)
ALPACA_BEGINS = re.compile(
    r"\s*(?:### ?Instruction:|### ?Response:|Below is an instruction\b.*\n### ?Instruction:)", re.DOTALL
)
ALPACA_REPLY = re.compile(r"\s*### ?Response:[ \t]*\n?")
ALPACA_OPEN = re.compile(r"\n### ?(?:Response|Output):\s*\Z")
INST_BEGINS = re.compile(
    r"\s*(?:<s>\s*\[(?:SYSTEM_PROMPT|INST|AVAILABLE_TOOLS)\]|\[SYSTEM_PROMPT\].*\[/SYSTEM_PROMPT\]|\[INST\].*\[/INST\]"
    rf"|\[INST\](?!{NAMING_BEHIND})(?=\s*\S))",
    re.DOTALL,
)
INST_TURN = re.compile(
    r"\s*(?:<s>\s*)?(?:\[SYSTEM_PROMPT\]\s*(?P<first>.*?)\s*\[/SYSTEM_PROMPT\]\s*)?"
    r"\[INST\]\s*(?:<<SYS>>\s*(?P<system>.*?)\s*<</SYS>>\s*)?(?P<asked>.*?)\s*\[/INST\]"
    r"\s*(?P<reply>.*?)\s*(?=</s>|<s>|\[INST\]|\Z)(?:</s>)?",
    re.DOTALL,
)
INST_OPEN = re.compile(r"(?P<word>\S*[^\s`'\"(])(?P<gap>\s*)\[/INST\]\s*\Z")
