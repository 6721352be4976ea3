"""Texts that are written in the marks of a chat template: parsed into messages, or refused; never taken literally.

Only the form of a text counts, not that it mentions a mark: it begins with the mark of a speaker, as a template writes
it, or it ends with an open one, or a reply goes on behind its end. A text in prose that names or quotes such marks is
prose.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from selfreward_ray.seed.readers.drafts import Role
from selfreward_ray.seed.readers.exchanges import Exchange, Spoken
from selfreward_ray.seed.readers.reading import BadRow

UNPARSED = "a text has speaker marks or control tokens that form no conversation; give its messages as a list"

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    **dict.fromkeys(("user", "human", "prompter", "question", "instruction", "instruct", "102", "106", "问"), "user"),
    **dict.fromkeys(
        ("assistant", "model", "chatbot", "bot", "ai", "answer", "response", "output", "103", "107", "答"), "assistant"
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
_ENDS = re.compile(rf"(?:\s*{_END})+\s*\Z")
_BEHIND = r"(?:\A|\n|(?<=[^\s`'\"(\[:=]))"
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_SENTENCE_END = (".", "!", "?", "…", "。", "！", "？")
# Words beside which a mark is what a sentence speaks of.
_NAMING_BEFORE = re.compile(
    r"a|about|add|adds|after|an|and|append|appends|are|as|at|be|before|between|by|call|called|define|"
    r"delimiter|does|emit|emits|explain|follow|follows|for|from|in|is|like|mark|marker|markers|marks|mean|"
    r"means|named|not|of|on|or|output|outputs|print|prints|say|says|see|string|symbol|tag|tags|than|that|"
    r"the|then|this|to|token|tokens|type|until|use|uses|using|what|with|write|writes"
)
_NAMING_BEHIND = (
    r"\s+(?:and|appears?|are|as|at|begins?|but|by|can|closes?|comes?|denotes?|do|does|ends?|for|from|goes|has|in|"
    r"indicates?|is|marks?|means?|must|not|of|on|opens?|or|represents?|separates?|should|signals?|stands|starts?|tags?|"
    r"tells?|to|tokens?|vs|was|were|will|with|without)\b"
)
_FIRST = re.compile(rf"\s*(?:(?!<s>){_BEGIN}(?=[^\s<])|<s>(?=\s)(?!{_NAMING_BEHIND}))\s*")
"""The token that begins a text, right before its first word; behind ``<s>`` is a blank, or it is HTML."""
_STRUCK = re.compile(r"\s*<s>(?:(?!</?s>).)*[.!?]</s>\s*\Z", re.DOTALL)
"""A whole sentence: struck in HTML, or between two tokens."""
_LONGEST_HEADER = 100
"""More characters than the longest header of the assistant has, and what is before it."""
_LEFTOVER = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|start_of_role\|>|<\|im_end\|>"
    r"|<\|START_OF_TURN_TOKEN\|>|<\|start\|>|<\|channel\|>|<\|eot_id\|>|<end_of_turn>|\[/?SYSTEM_PROMPT\]"
)
_LEFTOVER_WORDS = re.compile(r"\n\n(?:Human|Assistant):|### ?(?:Human|Assistant|Instruction|Response):|\[/?INST\]")
_HEADER = (
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|start_of_role\|>"
    r"|<\|START_OF_TURN_TOKEN\|>|<\|start\|>|<｜(?:User|Assistant)｜>|<human>:|<bot>:|\[\|(?:Human|AI)\|\]"
    r"|<reserved_10[2367]>|<\|(?i:system|user|prompter|human|assistant|bot)\|>|\[INST\])"
)
_MARK = re.compile(rf"(?P<end>{_END})|{_HEADER}")
_GOES_ON = re.compile(
    r"(?<![:\s])\n\n(?:Human|User):.*?\n+(?:Assistant|AI):|[.!?]\n\nHuman:[^\n]*\s*\Z"
    r"|(?<![\s:#`'\"(])### ?(?:Human|User|Instruction):|[.!?]\n+### ?(?:Human|User|Instruction):"
    rf"|</s>\s*<s>\s*\[INST\]|[.!?]\s*\[/?INST\]|[.!?]\s*{_END}\s*(?:{_BEGIN}|{_HEADER})|[.!?]\n\s*###\s*\Z",
    re.DOTALL,
)
"""What a model writes that did not stop: the next turn, behind the end of a sentence."""
_OPEN_THOUGHT = re.compile(r"<think>\s*\Z")
_NO_THOUGHT = re.compile(r"\s*<think>(?:\s*</think>)?\s*\Z")
_FINAL = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>")
_ANALYSIS = re.compile(r"\s*<\|channel\|>analysis<\|message\|>.*?<\|channel\|>final<\|message\|>", re.DOTALL)
_SEPARATOR = re.compile(r"\n\s*###\s*\Z")
"""The line that older completion models were taught to answer behind."""
_STOP = re.compile(r"(?:\s+END|\s*\n\s*###)\s*\Z")


@dataclass(frozen=True)
class _Style:
    """One way to mark speakers. `header` has one group, the role."""

    header: re.Pattern[str]
    begins: re.Pattern[str]
    """Matches at the beginning of a text of this style."""
    open_end: re.Pattern[str] | None
    """Finds the assistant's header, opened and left empty, at the end of a text."""
    blanks: bool
    """Whether blanks around a message belong to the style."""


def _tokens(mark: str, assistant: str, behind: str = "", before: str = _BEHIND) -> _Style:
    """A style of control tokens. `mark` has a group for the role, `behind` is what divides it from the message, and may
    be missing at the end of a text; `assistant` is the assistant's mark."""
    begins = re.compile(rf"\s*(?:{_BEGIN}\s*)*{mark}{behind}")
    header = re.compile(rf"{mark}(?:{behind}|\s*\Z)" if behind else mark)
    return _Style(header, begins, re.compile(rf"{before}{assistant}\s*\Z"), blanks=False)


def _words(header: str, begins: str, open_end: str | None = None) -> _Style:
    """A style of words, in which blanks around messages mean nothing."""
    opened = None if open_end is None else re.compile(open_end)
    return _Style(re.compile(header), re.compile(begins, re.DOTALL), opened, blanks=True)


_PIPED = r"<\|((?i:system|user|prompter|human|assistant|model|bot))\|>"
_PIPED_ANSWER = r"<\|(?i:assistant|model|bot)\|>"
_VICUNA = _words(r"(?:\A|\s|(?<=</s>))(USER|ASSISTANT):", r"USER:.*\sASSISTANT:|ASSISTANT:", r"\sASSISTANT:\s*\Z")
_STYLES = (
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
    _words(r"(?:\A\s*|\n\s*)(System|User|Assistant):", r"\s*(?:System:.*\n\s*)?User:.*\n\s*Assistant:"),
    _words(r"(?:\A\s*|\n\s*)(Instruct|Instruction|Output):", r"\s*Instruct(?:ion)?:.*\n\s*Output:\s*\Z"),
    _words(r"\s*###\s?(Human|Assistant):", r"\s*###\s?(?:Human|Assistant):", r"###\s?Assistant:\s*\Z"),
    _words(
        r"(?:\A|(?<=\S))\s*###\s?(System|User|Question|Assistant|Answer|Response):",
        r"\s*(?:###\s?System:.*)?###\s?(?:User|Question):.*###\s?(?:Assistant|Answer|Response):",
        r"\n###\s?(?:Assistant|Answer):\s*\Z",
    ),
    _VICUNA,
)
_VICUNA_PREAMBLE = re.compile(r"\A(A chat between .{0,400}?)\s+(?=USER:)", re.DOTALL)
_DEEPSEEK_PREAMBLE = re.compile(r"\s*<｜begin▁of▁sentence｜>(?=[^<])(.+?)(?=<｜User｜>)", re.DOTALL)
_NEMO = re.compile(r"\n?<extra_id_[01]>(System|User|Assistant)\n")
_ALPACA = re.compile(
    r"\A(?P<before>.{0,600}?)### ?Instruction:[ \t]*\n?(?P<asked>.*?)(?:\n\s*### ?Input:[ \t]*\n?(?P<input>.*?))?"
    r"\n\s*### ?(?:Response|Output):[ \t]*\n?(?P<reply>.*)\Z",
    re.DOTALL,
)
_ALPACA_BEGINS = re.compile(
    r"\s*(?:### ?Instruction:|### ?Response:|Below is an instruction\b.*\n### ?Instruction:)", re.DOTALL
)
_ALPACA_REPLY = re.compile(r"\s*### ?Response:[ \t]*\n?")
_ALPACA_OPEN = re.compile(r"\n### ?(?:Response|Output):\s*\Z")
_INST_BEGINS = re.compile(
    r"\s*(?:<s>\s*\[(?:SYSTEM_PROMPT|INST|AVAILABLE_TOOLS)\]|\[SYSTEM_PROMPT\].*\[/SYSTEM_PROMPT\]|\[INST\].*\[/INST\]"
    rf"|\[INST\](?!{_NAMING_BEHIND})(?=\s*\S))",
    re.DOTALL,
)
_INST_TURN = re.compile(
    r"\s*(?:<s>\s*)?(?:\[SYSTEM_PROMPT\]\s*(?P<first>.*?)\s*\[/SYSTEM_PROMPT\]\s*)?"
    r"\[INST\]\s*(?:<<SYS>>\s*(?P<system>.*?)\s*<</SYS>>\s*)?(?P<asked>.*?)\s*\[/INST\]"
    r"\s*(?P<reply>.*?)\s*(?=</s>|<s>|\[INST\]|\Z)(?:</s>)?",
    re.DOTALL,
)
_INST_OPEN = re.compile(r"(?P<word>\S*[^\s`'\"(])(?P<gap>\s*)\[/INST\]\s*\Z")


def transcript(text: str) -> list[Spoken] | None:
    """The messages of a text in a template's marks, None for any other text.

    The assistant's header at the end, opened for the reply, is a last message without text. Raises `BadRow` where the
    marks form no conversation: a system message, if any, then user and assistant in turns.
    """
    for begins, parse in _PARSERS:
        if begins(text):
            spoken = parse(text)
            if spoken and spoken[-1].role == "assistant" and _NO_THOUGHT.fullmatch(spoken[-1].text):
                spoken[-1] = Spoken("assistant", "")
            if not _in_order(spoken) or _ends_open(spoken[-1].text):
                raise BadRow(UNPARSED)
            return spoken
    if _ends_open(text):
        raise BadRow(UNPARSED)  # it ends as a template ends a prompt, and begins as none does
    return None


def _ends_open(text: str) -> bool:
    end = text.rstrip()[-_LONGEST_HEADER:]
    if not end.endswith((">", ":", "]", "assistant", "model")):  # as most texts do not
        return False
    inst = _INST_OPEN.search(end)
    if inst and ("[INST]" not in text or re.search(r"^\s*\[INST\]", text, re.MULTILINE)):
        return not inst["gap"] or "\n" in inst["gap"] or not _NAMING_BEFORE.fullmatch(inst["word"].lower())
    return any(style.open_end and style.open_end.search(end) for style in _STYLES) or bool(_ALPACA_OPEN.search(end))


def is_formatted(text: str, role: Role) -> bool:
    """Whether a message is written in a template's marks. A user may begin with ``Assistant:``."""
    try:
        spoken = transcript(text)
    except BadRow:
        return True
    return spoken is not None and (role != "user" or [one.role for one in spoken] != ["assistant"])


def untangled(exchange: Exchange) -> Exchange:
    """The exchange with a prompt in a template's marks as the messages that it holds, and its replies without marks.

    Raises `BadRow` where marks cannot be resolved.
    """
    system = exchange.before[:1] if exchange.before and exchange.before[0].role == "system" else ()
    asked = exchange.before[len(system) :]
    parsed, opened = False, ""
    if len(asked) == 1 and asked[0].role == "user":
        before, parsed = _asked(system, asked[0])
        if parsed and (thought := _OPEN_THOUGHT.search(asked[0].text)):
            opened = thought[0]
    else:
        before = tuple(map(_earlier, exchange.before))
    legacy = parsed and bool(_SEPARATOR.search(asked[0].text))
    replies = []
    for one in exchange.replies:
        text = _reply(_STOP.sub("", one.text) if legacy else one.text, parsed)
        inside = opened and not one.thought and "<think>" not in text
        replies.append(replace(one, text=opened + text if inside else text))
    return replace(exchange, before=before, replies=tuple(replies))


def _asked(system: tuple[Spoken, ...], asked: Spoken) -> tuple[tuple[Spoken, ...], bool]:
    """The messages of a prompt, and whether it was in a template's marks."""
    spoken = transcript(asked.text)
    if spoken is None and (separator := _SEPARATOR.search(asked.text)):
        return (*map(_earlier, system), _earlier(replace(asked, text=asked.text[: separator.start()].rstrip()))), True
    if spoken is None or [one.role for one in spoken] == ["assistant"]:
        return (*map(_earlier, system), _earlier(asked)), False
    if spoken[-1].role == "assistant":
        if spoken[-1].text.strip():
            raise BadRow(UNPARSED)  # the reply would go on in the middle of a message
        spoken = spoken[:-1]
    if system and spoken[0].role == "system":
        raise BadRow(UNPARSED)
    return (*system, *spoken), True


def _earlier(one: Spoken) -> Spoken:
    """A message that is no reply, without the first and the last token of a template."""
    if one.role == "tool":
        return one
    if one.role == "assistant":
        return replace(one, text=_reply(one.text, parsed=False))
    if is_formatted(one.text, one.role):
        raise BadRow(UNPARSED)
    return Spoken(one.role, _without_ends(_FIRST.sub("", one.text, count=1), reply=False), one.trained)


def _reply(text: str, parsed: bool) -> str:
    """A reply without marks; `parsed` says that its prompt had some."""
    if thought := _ANALYSIS.match(text):
        return thought[0] + _reply(text[thought.end() :], parsed)
    if parsed and (final := _FINAL.match(text)):
        text = text[final.end() :]
    spoken = transcript(text)
    if spoken is not None:
        if [one.role for one in spoken] != ["assistant"]:
            raise BadRow(UNPARSED)
        text, parsed = spoken[0].text, True
    bare = _FIRST.sub("", text, count=1)
    if _STRUCK.match(bare) or _goes_on(_ENDS.sub("", bare)):
        raise BadRow(UNPARSED)
    plain = _ENDS.sub("", bare) if parsed else _without_ends(bare, reply=True)
    if parsed and (_LEFTOVER.search(plain) or _LEFTOVER_WORDS.search(plain)):
        raise BadRow(UNPARSED)
    return plain.strip() if parsed or bare != text else plain


def _goes_on(text: str) -> bool:
    """Whether a message goes on behind its end: with an end token right behind a word, or with a speaker's mark there.

    In code, and behind a mark that prose names, it does not.
    """
    plain = _CODE.sub("", text) if "`" in text else text
    if _GOES_ON.search(plain):
        return True
    mark = _MARK.search(plain)
    if mark is None or (mark[0] == "</s>" and "<s>" in plain[: mark.start()]):  # HTML
        return False
    before, behind = plain[: mark.start()], _ENDS.sub("", plain[mark.start() :])
    if not behind or plain[mark.end() :][:1] in ("'", '"'):
        return False
    if mark["end"]:
        return before[-1:].isalnum() or before.endswith((*_SENTENCE_END, ")"))
    return before.rstrip(" ").endswith(_SENTENCE_END) if mark[0] == "[INST]" else _is_end(before)


def _is_end(before: str) -> bool:
    """Whether a speaker's mark behind this text is right behind a word, or on a line of its own behind a sentence."""
    return before[-1:].isalnum() or before.rstrip("\n").endswith(_SENTENCE_END)


def _without_ends(text: str, reply: bool) -> str:
    """The text without the end tokens of a template behind its last word, where they do not belong to what it says."""
    if not text.rstrip().endswith((">", "]")) or not (ends := _ENDS.search(text)):
        return text
    before, gap = text[: ends.start()], ends[0][: len(ends[0]) - len(ends[0].lstrip())]
    last = before[-1:]
    if not last or "\n" in gap:
        return before if reply else text
    if (ends[0].strip() == "</s>" and "<s>" in before) or _MARK.search(before):  # HTML, or a template is quoted
        return text
    if last in "([=" or (last in "`'\"" and before.rpartition("\n")[2].count(last) % 2):
        return text
    if not gap and last != ":":
        return before
    word = before.split()[-1].strip("`'\"(").lower()
    if _NAMING_BEFORE.fullmatch(word) or (not reply and not before.endswith(_SENTENCE_END)):
        return text
    if reply and before.endswith(_SENTENCE_END):
        return before
    raise BadRow(UNPARSED)  # it may be the end, or what the sentence speaks of


def _in_order(spoken: Sequence[Spoken]) -> bool:
    roles = [one.role for one in spoken]
    said = roles[1:] if roles[:1] == ["system"] else roles
    in_turns = all(role == ("user", "assistant")[i % 2] for i, role in enumerate(said))
    return roles == ["assistant"] or (bool(said) and in_turns)


def _by_headers(style: _Style) -> Callable[[str], list[Spoken]]:
    def parse(text: str) -> list[Spoken]:
        marks = list(style.header.finditer(text))
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        return [
            Spoken(_ROLES[mark[1].lower()], _body(text[mark.end() : end], style.blanks))
            for mark, end in zip(marks, ends, strict=True)
        ]

    return parse


def _body(text: str, blanks: bool) -> str:
    plain = _ENDS.sub("", text)
    if _LEFTOVER.search(plain) or _goes_on(plain):
        raise BadRow(UNPARSED)
    return plain.strip() if blanks else plain.rstrip("\n")


def _vicuna(text: str) -> list[Spoken]:
    """Vicuna's, with its preamble as the system message."""
    preamble = _VICUNA_PREAMBLE.match(text)
    assert preamble is not None
    return [Spoken("system", preamble[1]), *_by_headers(_VICUNA)(text[preamble.end() :])]


def _deepseek(text: str) -> list[Spoken]:
    """DeepSeek's, where the system message has no mark."""
    preamble = _DEEPSEEK_PREAMBLE.match(text)
    assert preamble is not None
    spoken = transcript(text[preamble.end() :])
    return [Spoken("system", preamble[1].strip()), *(spoken or ())]


def _nemo(text: str) -> list[Spoken]:
    """NeMo's, where the first message of the user may stand without a mark, and the system's may be empty."""
    marks = list(_NEMO.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    first = text[: marks[0].start()].strip()
    found = [Spoken(_ROLES[m[1].lower()], text[m.end() : end].strip()) for m, end in zip(marks, ends, strict=True)]
    found = [Spoken("user", first), *found] if first else found
    return found[1:] if found[0] == Spoken("system", "") else found


def _begins_alpaca(text: str) -> bool:
    return bool(_ALPACA_BEGINS.match(text)) or ("### Instruction:" in text and bool(_ALPACA_OPEN.search(text)))


def _alpaca(text: str) -> list[Spoken]:
    if reply := _ALPACA_REPLY.match(text):
        return [Spoken("assistant", _body(text[reply.end() :], blanks=True))]
    found = _ALPACA.match(text)
    if found is None or "### Instruction:" in (found["reply"] or ""):
        raise BadRow(UNPARSED)
    system, asked, given = (found["before"].strip(), found["asked"].strip(), (found["input"] or "").strip())
    prompt = Spoken("user", f"{asked}\n\n{given}" if given else asked)
    spoken = [prompt, Spoken("assistant", _body(found["reply"] or "", blanks=True))]
    # The usual preamble says only that an instruction follows.
    return spoken if not system or system.startswith("Below is an instruction") else [Spoken("system", system), *spoken]


def _inst(text: str) -> list[Spoken]:
    """Those of Llama 2 and Mistral."""
    spoken: list[Spoken] = []
    place = 0
    while text[place:].strip():
        turn = _INST_TURN.match(text, place)
        if turn is None or (turn["first"] and turn["system"]):
            raise BadRow(UNPARSED)
        if system := turn["first"] or turn["system"]:
            if spoken:
                raise BadRow(UNPARSED)
            spoken.append(Spoken("system", system))
        spoken += [Spoken("user", turn["asked"]), Spoken("assistant", _body(turn["reply"], blanks=True))]
        place = turn.end()
    return spoken


_PARSERS: tuple[tuple[Callable[[str], object], Callable[[str], list[Spoken]]], ...] = (
    *((style.begins.match, _by_headers(style)) for style in _STYLES),
    (_VICUNA_PREAMBLE.match, _vicuna),
    (_DEEPSEEK_PREAMBLE.match, _deepseek),
    (lambda text: "<extra_id_" in text and _NEMO.search(text), _nemo),
    (_begins_alpaca, _alpaca),
    (_INST_BEGINS.match, _inst),
)
