"""Whether a row's own word on its language says that it is another one than the recipe asks for."""

import re

_CODES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt",
    "dutch": "nl", "russian": "ru", "ukrainian": "uk", "polish": "pl", "czech": "cs", "swedish": "sv", "danish": "da",
    "finnish": "fi", "norwegian": "no", "hungarian": "hu", "romanian": "ro", "greek": "el", "turkish": "tr",
    "arabic": "ar", "hebrew": "he", "persian": "fa", "hindi": "hi", "bengali": "bn", "thai": "th", "vietnamese": "vi",
    "indonesian": "id", "chinese": "zh", "japanese": "ja", "korean": "ko", "catalan": "ca",
    "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it", "por": "pt", "nld": "nl",
    "dut": "nl", "rus": "ru", "ukr": "uk", "pol": "pl", "ces": "cs", "cze": "cs", "swe": "sv", "dan": "da", "fin": "fi",
    "nor": "no", "hun": "hu", "ron": "ro", "rum": "ro", "ell": "el", "tur": "tr", "ara": "ar", "heb": "he", "fas": "fa",
    "hin": "hi", "ben": "bn", "tha": "th", "vie": "vi", "ind": "id", "zho": "zh", "chi": "zh", "jpn": "ja", "kor": "ko",
    "cat": "ca",
}  # fmt: skip
_NO_LANGUAGE = frozenset(
    (
        "", "none", "null", "nan", "unknown", "und", "other", "mixed", "multilingual", "multi", "mul", "code",
        "text", "plaintext", "markdown", "python", "py", "java", "javascript", "js", "typescript", "ts", "c", "c++",
        "cpp", "c#", "csharp", "go", "golang", "rust", "ruby", "php", "sql", "bash", "shell", "sh", "powershell",
        "html", "css", "xml", "json", "yaml", "kotlin", "swift", "scala", "perl", "r", "julia", "haskell", "lua",
        "matlab", "dart", "jsx", "tsx",
    )
)  # fmt: skip
"""What stands in a column of languages and is none that people speak."""


def in_another_language(said: object, wanted: str | None) -> bool:
    """Whether `said` names another language than `wanted`, both as a code (``en``, ``en-US``, ``eng_Latn``) or by an
    English name (``Chinese (Simplified)``). A list does if each of its names does.

    What names none, such as a programming language, is not another one.
    """
    if isinstance(said, list) and said:
        return all(in_another_language(one, wanted) for one in said)
    if wanted is None or not isinstance(said, str) or said.strip().lower() in _NO_LANGUAGE:
        return False
    return _code(said) != _code(wanted)


def _code(name: str) -> str:
    """The code of a language: two letters where this module knows them, otherwise the first word as it is."""
    word = re.split(r"[-_ (,]", name.strip().lower())[0]
    return _CODES.get(word, word)
