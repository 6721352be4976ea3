"""Whether a row's own word on its language says that it is another one than the recipe asks for."""

import re

_CODES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt",
    "dutch": "nl", "russian": "ru", "ukrainian": "uk", "polish": "pl", "czech": "cs", "swedish": "sv", "danish": "da",
    "finnish": "fi", "norwegian": "no", "hungarian": "hu", "romanian": "ro", "greek": "el", "turkish": "tr",
    "arabic": "ar", "hebrew": "he", "persian": "fa", "hindi": "hi", "bengali": "bn", "thai": "th", "vietnamese": "vi",
    "indonesian": "id", "chinese": "zh", "japanese": "ja", "korean": "ko", "catalan": "ca",
}  # fmt: skip
_CODE = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]{2,4})*")


def in_another_language(said: object, wanted: str | None) -> bool:
    """Whether `said` names another language than `wanted`, both as a code (``en``, ``en-US``) or by an English name.

    What names none, such as a programming language, is not another one.
    """
    if wanted is None or not isinstance(said, str):
        return False
    here, there = _code(said), _code(wanted)
    return here is not None and here != (there or wanted.strip().lower())


def _code(name: str) -> str | None:
    name = name.strip().lower()
    if name in _CODES:
        return _CODES[name]
    found = _CODE.fullmatch(name)
    return found[1] if found and found[1] in {*_CODES.values()} else None
