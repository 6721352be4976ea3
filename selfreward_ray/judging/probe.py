"""What can be known of a rubric's pattern before any verdict is there: texts that it matches, and whether it may take
for ever."""

import importlib
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

# Python has no public parser of regular expressions; the tests hold what is used of this one.
_parser: Any = importlib.import_module("re._parser")

_MARK = "\ue000"
_MOST = 64
"""Maximum number of texts that are made of a part of a pattern."""
_LONGEST = 1000
"""Maximum length of such a text."""
_CHARACTERS = " xA0:-*\n"
"""Representatives of characters, of which a class in square brackets is given two that it matches."""
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": lambda letter: letter.isalnum() or letter == "_",
}


def frames(pattern: str) -> list[tuple[str, str]]:
    """What may stand before and after the only group of `pattern` in a text that it matches.

    The texts are candidates: conditions on what surrounds a match, such as look-behinds, may still refuse them. The
    list is short, and empty for patterns that no text is found for.
    """
    texts = (text for text in _texts(_parser.parse(pattern)) if text.count(_MARK) == 1)
    return [(before, after) for before, _, after in (text.partition(_MARK) for text in dict.fromkeys(texts))]


def _texts(items: Iterable[tuple[Any, Any]]) -> list[str]:
    """Texts that a sequence of parsed items matches, with `_MARK` in the place of the group."""
    texts = [""]
    for code, argument in items:
        longer = [text + option for option in _options(code.name, argument) for text in texts]
        longer.sort(key=lambda text: -text.count(_MARK))  # of more than `_MOST`, those with the group
        texts = [text for text in longer[:_MOST] if len(text) <= _LONGEST]
    return texts


def _options(code: str, argument: Any) -> list[str]:
    match code:
        case "LITERAL":
            return [chr(argument)]
        case "NOT_LITERAL":
            return [letter for letter in _CHARACTERS if ord(letter) != argument][:1]
        case "ANY":
            return ["x"]
        case "IN":
            return _members(argument)
        case "BRANCH":
            return list(chain.from_iterable(map(_texts, argument[1])))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, body = argument
            counts = [low, low + 1] if high > low else [low]
            return [text * count for text in _texts(body) for count in counts if len(text) * count <= _LONGEST]
        case "SUBPATTERN":
            return [_MARK] if argument[0] == 1 else _texts(argument[-1])
        case "ATOMIC_GROUP":
            return _texts(argument)
        case "ASSERT":  # what surrounds it may fulfil it already
            return ["", *_texts(argument[1])]
    return [""]


def _members(items: list[tuple[Any, Any]]) -> list[str]:
    """One or two characters of a class in square brackets."""
    named = [chr(argument) for code, argument in items if code.name == "LITERAL"]
    named += [chr(argument[0]) for code, argument in items if code.name == "RANGE"]
    return [letter for letter in [*named, *_CHARACTERS] if _is_member(letter, items)][:2]


def _is_member(letter: str, items: list[tuple[Any, Any]]) -> bool:
    negated, found = False, False
    for code, argument in items:
        match code.name:
            case "NEGATE":
                negated = True
            case "LITERAL":
                found |= ord(letter) == argument
            case "RANGE":
                found |= argument[0] <= ord(letter) <= argument[1]
            case "CATEGORY":
                *_, name = argument.name.split("_")
                found |= _CATEGORIES[name](letter) != ("_NOT_" in argument.name)
    return found != negated


_BACKTRACKING = {"BRANCH", "SUBPATTERN", "MAX_REPEAT", "MIN_REPEAT"}
"""Items that may be matched in several ways, which are tried one after the other."""


def repeats_a_repetition(pattern: str) -> bool:
    r"""Whether `pattern` repeats without bound what can itself be one unbounded repetition, as in ``(?:\w+\s*)*``.

    Such a pattern can divide a text in exponentially many ways, and tries all of them where it does not match.
    """
    return _nested(_parser.parse(pattern))


def _nested(items: Iterable[tuple[Any, Any]]) -> bool:
    for code, argument in items:
        if _is_unbounded(code, argument) and _is_repetition(argument[2]):
            return True
        if any(map(_nested, _bodies(code.name, argument))):
            return True
    return False


def _is_unbounded(code: Any, argument: Any) -> bool:
    return code.name in {"MAX_REPEAT", "MIN_REPEAT"} and argument[1] == _parser.MAXREPEAT


def _is_repetition(items: Any) -> bool:
    """Whether an unbounded repetition in `items` may match all of what they match."""
    least = items.getwidth()[0]
    for code, argument in items:
        bodies = _bodies(code.name, argument) if code.name in _BACKTRACKING else []
        low = argument[0] if code.name.endswith("_REPEAT") else 1
        width = low * min((body.getwidth()[0] for body in bodies), default=1)
        if width == least and (_is_unbounded(code, argument) or any(map(_is_repetition, bodies))):
            return True
    return False


def _bodies(code: str, argument: Any) -> list[Any]:
    """The sequences of parsed items within an item."""
    match code:
        case "BRANCH":
            return list(argument[1])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [argument[2]]
        case "SUBPATTERN":
            return [argument[-1]]
        case "ATOMIC_GROUP":
            return [argument]
        case "ASSERT" | "ASSERT_NOT":
            return [argument[1]]
        case "GROUPREF_EXISTS":
            return [body for body in argument[1:] if body is not None]
    return []
