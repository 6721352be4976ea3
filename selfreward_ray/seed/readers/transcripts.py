"""Texts that are written in the marks of a chat template: parsed into messages, or refused; never taken literally.

Only the form of a text counts, not that it mentions a mark: it begins with the mark of a speaker, as a template writes
it, or it ends with an open one. A question about such marks in prose is prose.
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
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
}

_END = (
    r"(?:<\|im_end\|>|<\|eot_id\|>|<\|eot\|>|<end_of_turn>|<\|end\|>|<\|return\|>|<\|endoftext\|>|<\|end_of_text\|>"
    r"|<\|end_of_turn\|>|<\|END_OF_TURN_TOKEN\|>|<｜end▁of▁sentence｜>|</s>|<eos>)"
)
_BEGIN = r"(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|<\|startoftext\|>|<BOS_TOKEN>|<｜begin▁of▁sentence｜>)"
_CLOSED = re.compile(rf"(?:\s*{_END})+\s*\Z")
# Right behind a word; after a blank or a quote it is prose that names the token.
_WORD = r"(?<=[^\s`'\"(\[:=])"
_BEHIND = rf"(?:\A|\n|{_WORD})"
_TAIL = re.compile(rf"{_WORD}(?:{_END})+\s*\Z")
_LAST_LINE = re.compile(rf"(?:\A|\n)(?:{_END})+\s*\Z")
_LONGEST_HEADER = 100
"""More characters than the longest header of the assistant has, and what is before it."""
_LEFTOVER = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|start_of_role\|>|<\|im_end\|>"
    r"|<\|START_OF_TURN_TOKEN\|>|<\|start\|>|<\|channel\|>|<\|eot_id\|>|<end_of_turn>"
)
_LEFTOVER_WORDS = re.compile(r"\n\n(?:Human|Assistant):|### ?(?:Human|Assistant|Instruction|Response):|\[/?INST\]")


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


def _tokens(header: str, assistant: str, before: str = _BEHIND) -> _Style:
    """A style of control tokens; `header` has a group for the role, `assistant` is the assistant's header."""
    begins = re.compile(rf"\s*{_BEGIN}?\s*{header}")
    return _Style(re.compile(header), begins, re.compile(rf"{before}{assistant}\s*\Z"), blanks=False)


def _words(header: str, begins: str, open_end: str | None = None) -> _Style:
    """A style of words, in which blanks around messages mean nothing."""
    opened = None if open_end is None else re.compile(open_end)
    return _Style(re.compile(header), re.compile(begins, re.DOTALL), opened, blanks=True)


_VICUNA = _words(r"(?:\A|\s|(?<=</s>))(USER|ASSISTANT):", r"USER:.*\sASSISTANT:|ASSISTANT:", r"\sASSISTANT:\s*\Z")
_STYLES = (
    _tokens(r"<\|im_start\|>(system|user|assistant)(?:\n|<\|im_sep\|>)", r"<\|im_start\|>assistant(?:<\|im_sep\|>)?"),
    _tokens(
        r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\n*",
        r"<\|start_header_id\|>assistant<\|end_header_id\|>",
    ),
    _tokens(
        r"<\|header_start\|>(system|user|assistant)<\|header_end\|>\n*", r"<\|header_start\|>assistant<\|header_end\|>"
    ),
    _tokens(r"<start_of_turn>(user|model)\n", r"<start_of_turn>model"),
    _tokens(
        r"<\|start_of_role\|>(system|user|assistant)<\|end_of_role\|>", r"<\|start_of_role\|>assistant<\|end_of_role\|>"
    ),
    _tokens(
        r"<\|start\|>(system|developer|user|assistant)(?:<\|channel\|>final)?<\|message\|>", r"<\|start\|>assistant"
    ),
    _tokens(
        r"<\|START_OF_TURN_TOKEN\|><\|(SYSTEM|USER|CHATBOT)_TOKEN\|>", r"<\|START_OF_TURN_TOKEN\|><\|CHATBOT_TOKEN\|>"
    ),
    _tokens(r"<｜(User|Assistant)｜>", r"<｜Assistant｜>", before=""),
    _tokens(r"<\|(system|user|assistant)\|>(?:\n|(?=\S))", r"<\|assistant\|>"),
    _words(
        r"(?:\A\s*(?:<s>)?\s*|<\|end_of_turn\|>\s*)GPT4 Correct (User|Assistant):",
        r"\s*(?:<s>)?\s*GPT4 Correct (?:User|Assistant):",
    ),
    _words(r"\n\n(Human|Assistant):", r"\s*\n\n(?:Human|Assistant):", r"\n\nAssistant:\s*\Z"),
    _words(r"(?:\A\s*|\n\s*)(Human|Assistant):", r"\s*(?:Human:.*\n\s*Assistant:|Assistant:)"),
    _words(r"\s*###\s?(Human|Assistant):", r"\s*###\s?(?:Human|Assistant):", r"###\s?Assistant:\s*\Z"),
    _VICUNA,
)
_VICUNA_PREAMBLE = re.compile(r"\A(A chat between .{0,400}?)\s+(?=USER:)", re.DOTALL)
_NEMO = re.compile(r"\n?<extra_id_[01]>(System|User|Assistant)\n")
_ALPACA = re.compile(
    r"\A(?P<before>.{0,600}?)### ?Instruction:[ \t]*\n(?P<asked>.*?)(?:\n\s*### ?Input:[ \t]*\n(?P<input>.*?))?"
    r"\n\s*### ?Response:[ \t]*(?:\n(?P<reply>.*))?\Z",
    re.DOTALL,
)
_ALPACA_BEGINS = re.compile(
    r"\s*(?:### ?Instruction:|### ?Response:|Below is an instruction\b.*\n### ?Instruction:)", re.DOTALL
)
_ALPACA_REPLY = re.compile(r"\s*### ?Response:[ \t]*\n?")
_ALPACA_OPEN = re.compile(r"\n### ?Response:\s*\Z")
_INST_BEGINS = re.compile(r"\s*(?:<s>\s*)?\[INST\].*\[/INST\]", re.DOTALL)
_INST_TURN = re.compile(
    r"\s*(?:<s>\s*)?\[INST\]\s*(?:<<SYS>>\s*(?P<system>.*?)\s*<</SYS>>\s*)?(?P<asked>.*?)\s*\[/INST\]"
    r"\s*(?P<reply>.*?)\s*(?=</s>|<s>|\[INST\]|\Z)(?:</s>)?",
    re.DOTALL,
)


def transcript(text: str) -> list[Spoken] | None:
    """The messages of a text in a template's marks, None for any other text.

    The assistant's header at the end, opened for the reply, is a last message without text. Raises `BadRow` where the
    marks form no conversation: a system message, if any, then user and assistant in turns.
    """
    for begins, parse in _PARSERS:
        if begins(text):
            spoken = parse(text)
            if not _in_order(spoken):
                raise BadRow(UNPARSED)
            return spoken
    if _ends_open(text):
        raise BadRow(UNPARSED)  # it ends as a template ends a prompt, and begins as none does
    return None


def _ends_open(text: str) -> bool:
    end = text.rstrip()[-_LONGEST_HEADER:]
    if not end.endswith((">", ":", "assistant", "model")):  # as most texts do not
        return False
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
    if len(asked) == 1 and asked[0].role == "user":
        before, parsed = _asked(system, asked[0])
    else:
        before, parsed = tuple(map(_earlier, exchange.before)), False
    replies = tuple(replace(one, text=_reply(one.text, parsed)) for one in exchange.replies)
    return Exchange(before, replies, exchange.part)


def _asked(system: tuple[Spoken, ...], asked: Spoken) -> tuple[tuple[Spoken, ...], bool]:
    """The messages of a prompt, and whether it was in a template's marks."""
    spoken = transcript(asked.text)
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
    """A message that is no reply, without an end token of a template."""
    if one.role == "assistant":
        return Spoken("assistant", _reply(one.text, parsed=False), one.trained)
    if is_formatted(one.text, one.role):
        raise BadRow(UNPARSED)
    return Spoken(one.role, _without_end(one.text), one.trained)


def _reply(text: str, parsed: bool) -> str:
    """A reply without marks; `parsed` says that its prompt had some."""
    spoken = transcript(text)
    if spoken is not None:
        if [one.role for one in spoken] != ["assistant"]:
            raise BadRow(UNPARSED)
        text, parsed = spoken[0].text, True
    plain = _without_ends(text, _CLOSED) if parsed else _without_ends(_without_end(text), _LAST_LINE)
    if (parsed or plain != text) and _LEFTOVER.search(plain):
        raise BadRow(UNPARSED)
    if parsed and _LEFTOVER_WORDS.search(plain):
        raise BadRow(UNPARSED)
    return plain.strip() if parsed else plain


def _without_end(text: str) -> str:
    """The text without the end token of a template right behind its last word."""
    if text.rstrip().endswith("</s>") and "<s>" in text:  # HTML
        return text
    return _without_ends(text, _TAIL)


def _without_ends(text: str, ends: re.Pattern[str]) -> str:
    return ends.sub("", text) if text.rstrip().endswith(">") else text  # as every end token does


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
    plain = _without_ends(text, _CLOSED)
    if _LEFTOVER.search(plain):
        raise BadRow(UNPARSED)
    return plain.strip() if blanks else plain.rstrip("\n")


def _vicuna(text: str) -> list[Spoken]:
    """Vicuna's, with its preamble as the system message."""
    preamble = _VICUNA_PREAMBLE.match(text)
    assert preamble is not None
    return [Spoken("system", preamble[1]), *_by_headers(_VICUNA)(text[preamble.end() :])]


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
        if turn is None or (turn["system"] and spoken):
            raise BadRow(UNPARSED)
        if turn["system"]:
            spoken.append(Spoken("system", turn["system"]))
        spoken += [Spoken("user", turn["asked"]), Spoken("assistant", _body(turn["reply"], blanks=True))]
        place = turn.end()
    return spoken


_PARSERS: tuple[tuple[Callable[[str], object], Callable[[str], list[Spoken]]], ...] = (
    *((style.begins.match, _by_headers(style)) for style in _STYLES),
    (_VICUNA_PREAMBLE.match, _vicuna),
    (lambda text: "<extra_id_" in text and _NEMO.search(text), _nemo),
    (_begins_alpaca, _alpaca),
    (_INST_BEGINS.match, _inst),
)
