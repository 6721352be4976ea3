"""Texts that are written in the marks of a chat template: parsed into messages, or refused; never taken literally.

Only the form of a text counts, not that it mentions a mark: it begins with the mark of a speaker, as a template writes
it, or it ends with an open one, or a reply goes on behind its end. A text in prose that names or quotes such marks is
prose.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from selfreward_ray.seed.readers import notations
from selfreward_ray.seed.readers.drafts import Role
from selfreward_ray.seed.readers.exchanges import Exchange, Spoken
from selfreward_ray.seed.readers.reading import BadRow

UNPARSED = "a text has speaker marks or control tokens that form no conversation; give its messages as a list"


def transcript(text: str) -> list[Spoken] | None:
    """The messages of a text in a template's marks, None for any other text.

    The assistant's header at the end, opened for the reply, is a last message without text. Raises `BadRow` where the
    marks form no conversation: a system message, if any, then user and assistant in turns.
    """
    for begins, parse in _PARSERS:
        if begins(text):
            spoken = parse(text)
            if spoken and spoken[-1].role == "assistant" and notations.NO_THOUGHT.fullmatch(spoken[-1].text):
                spoken[-1] = Spoken("assistant", "")
            if not _in_order(spoken) or _ends_open(spoken[-1].text):
                raise BadRow(UNPARSED)
            return spoken
    if _ends_open(text):
        raise BadRow(UNPARSED)  # it ends as a template ends a prompt, and begins as none does
    if notations.UNKNOWN.match(text) and not notations.ANALYSIS.match(text):  # that is a reply behind its thought
        raise BadRow(UNPARSED)
    return None


def _ends_open(text: str) -> bool:
    end = text.rstrip()[-notations.LONGEST_HEADER :]
    if not end.endswith((">", ":", "]", "assistant", "model")):  # as most texts do not
        return False
    inst = notations.INST_OPEN.search(end)
    if inst and ("[INST]" not in text or re.search(r"^\s*\[INST\]", text, re.MULTILINE)):
        return not inst["gap"] or "\n" in inst["gap"] or not notations.NAMING_BEFORE.fullmatch(inst["word"].lower())
    return any(style.open_end and style.open_end.search(end) for style in notations.STYLES) or bool(
        notations.ALPACA_OPEN.search(end)
    )


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
        if parsed and (thought := notations.OPEN_THOUGHT.search(asked[0].text)):
            opened = thought[0]
    else:
        before = tuple(map(_earlier, exchange.before))
    legacy = parsed and bool(notations.SEPARATOR.search(asked[0].text))
    speaker = notations.PLAIN_SPEAKER.match(asked[0].text) if parsed else None
    replies = []
    for one in exchange.replies:
        if speaker and re.search(rf"\n\s*{speaker[1]}:", one.text):
            raise BadRow(UNPARSED)
        text = _reply(notations.STOP.sub("", one.text) if legacy else one.text, parsed)
        inside = opened and not one.thought and "<think>" not in text
        replies.append(replace(one, text=opened + text if inside else text))
    return replace(exchange, before=before, replies=tuple(replies))


def _asked(system: tuple[Spoken, ...], asked: Spoken) -> tuple[tuple[Spoken, ...], bool]:
    """The messages of a prompt, and whether it was in a template's marks."""
    spoken = transcript(asked.text)
    if spoken is None and (separator := notations.SEPARATOR.search(asked.text)):
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
    return Spoken(one.role, _without_ends(notations.FIRST.sub("", one.text, count=1), reply=False), one.trained)


def _reply(text: str, parsed: bool) -> str:
    """A reply without marks; `parsed` says that its prompt had some."""
    if thought := notations.ANALYSIS.match(text):
        return thought[0] + _reply(text[thought.end() :], parsed)
    if parsed and (final := notations.FINAL.match(text)):
        text = text[final.end() :]
    spoken = transcript(text)
    if spoken is not None:
        if [one.role for one in spoken] != ["assistant"]:
            raise BadRow(UNPARSED)
        text, parsed = spoken[0].text, True
    bare = notations.FIRST.sub("", text, count=1)
    if notations.STRUCK.match(bare) or _goes_on(_endless(bare)):
        raise BadRow(UNPARSED)
    plain = _endless(bare) if parsed else _without_ends(bare, reply=True)
    if parsed and (notations.LEFTOVER.search(plain) or notations.LEFTOVER_WORDS.search(plain)):
        raise BadRow(UNPARSED)
    return plain.strip() if parsed or bare != text else plain


def _endless(text: str) -> str:
    """The text without the end tokens of a template behind it."""
    return notations.ENDS.sub("", text) if text.rstrip().endswith((">", "]")) else text


def _goes_on(text: str) -> bool:
    """Whether a message goes on behind its end: with an end token right behind a word, or with a speaker's mark there.

    In code, and behind a mark that prose names, it does not.
    """
    if not notations.MARKED.search(text):
        return False
    plain = notations.CODE.sub("", text) if "`" in text else text
    if notations.GOES_ON.search(plain):
        return True
    mark = notations.MARK.search(plain)
    if mark is None or (mark[0] == "</s>" and "<s>" in plain[: mark.start()]):  # HTML
        return False
    before, behind = plain[: mark.start()], notations.ENDS.sub("", plain[mark.start() :])
    if not behind or plain[mark.end() :][:1] in ("'", '"'):
        return False
    if mark["end"]:
        return before[-1:].isalnum() or before.endswith((*notations.SENTENCE_END, ")"))
    return before.rstrip(" ").endswith(notations.SENTENCE_END) if mark[0] == "[INST]" else _is_end(before)


def _is_end(before: str) -> bool:
    """Whether a speaker's mark behind this text is right behind a word, or on a line of its own behind a sentence."""
    return before[-1:].isalnum() or before.rstrip("\n").endswith(notations.SENTENCE_END)


def _without_ends(text: str, reply: bool) -> str:
    """The text without the end tokens of a template behind its last word, where they do not belong to what it says."""
    if not text.rstrip().endswith((">", "]")) or not (ends := notations.ENDS.search(text)):
        return text
    before, gap = text[: ends.start()], ends[0][: len(ends[0]) - len(ends[0].lstrip())]
    last = before[-1:]
    if not last or "\n" in gap:
        return before if reply else text
    if (ends[0].strip() == "</s>" and "<s>" in before) or notations.MARK.search(
        before
    ):  # HTML, or a template is quoted
        return text
    if last in "([=" or (last in "`'\"" and before.rpartition("\n")[2].count(last) % 2):
        return text
    if not gap and last != ":":
        return before
    word = before.split()[-1].strip("`'\"(").lower()
    if notations.NAMING_BEFORE.fullmatch(word) or (not reply and not before.endswith(notations.SENTENCE_END)):
        return text
    if reply and before.endswith(notations.SENTENCE_END):
        return before
    raise BadRow(UNPARSED)  # it may be the end, or what the sentence speaks of


def _in_order(spoken: Sequence[Spoken]) -> bool:
    roles = [one.role for one in spoken]
    said = roles[1:] if roles[:1] == ["system"] else roles
    in_turns = all(role == ("user", "assistant")[i % 2] for i, role in enumerate(said))
    return roles == ["assistant"] or (bool(said) and in_turns)


def _by_headers(style: notations.Style) -> Callable[[str], list[Spoken]]:
    def parse(text: str) -> list[Spoken]:
        marks = list(style.header.finditer(text))
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        return [
            Spoken(notations.ROLES[mark[1].lower()], _body(text[mark.end() : end], style.blanks))
            for mark, end in zip(marks, ends, strict=True)
        ]

    return parse


def _body(text: str, blanks: bool) -> str:
    plain = notations.ENDS.sub("", text)
    if notations.LEFTOVER.search(plain) or _goes_on(plain):
        raise BadRow(UNPARSED)
    return plain.strip() if blanks else plain.rstrip("\n")


def _vicuna(text: str) -> list[Spoken]:
    """Vicuna's, with its preamble as the system message."""
    preamble = notations.VICUNA_PREAMBLE.match(text)
    assert preamble is not None
    return [Spoken("system", preamble[1]), *_by_headers(notations.VICUNA)(text[preamble.end() :])]


def _deepseek(text: str) -> list[Spoken]:
    """DeepSeek's, where the system message has no mark."""
    preamble = notations.DEEPSEEK_PREAMBLE.match(text)
    assert preamble is not None
    spoken = transcript(text[preamble.end() :])
    return [Spoken("system", preamble[1].strip()), *(spoken or ())]


def _nemo(text: str) -> list[Spoken]:
    """NeMo's, where the first message of the user may stand without a mark, and the system's may be empty."""
    marks = list(notations.NEMO.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    first = text[: marks[0].start()].strip()
    found = [
        Spoken(notations.ROLES[m[1].lower()], text[m.end() : end].strip()) for m, end in zip(marks, ends, strict=True)
    ]
    found = [Spoken("user", first), *found] if first else found
    return found[1:] if found[0] == Spoken("system", "") else found


def _begins_alpaca(text: str) -> bool:
    return bool(notations.ALPACA_BEGINS.match(text)) or (
        "### Instruction:" in text and bool(notations.ALPACA_OPEN.search(text))
    )


def _alpaca(text: str) -> list[Spoken]:
    if reply := notations.ALPACA_REPLY.match(text):
        return [Spoken("assistant", _body(text[reply.end() :], blanks=True))]
    found = notations.ALPACA.match(text)
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
        turn = notations.INST_TURN.match(text, place)
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
    *((style.begins.match, _by_headers(style)) for style in notations.STYLES),
    (notations.VICUNA_PREAMBLE.match, _vicuna),
    (notations.DEEPSEEK_PREAMBLE.match, _deepseek),
    (lambda text: "<extra_id_" in text and notations.NEMO.search(text), _nemo),
    (_begins_alpaca, _alpaca),
    (notations.INST_BEGINS.match, _inst),
)
