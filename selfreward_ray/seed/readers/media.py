"""Tells columns, keys and messages that are about images, sound or video: the row is left out."""

import re

from selfreward_ray.seed.readers.reading import LeftOut, Reading
from selfreward_ray.seed.readers.values import NO_VALUES, is_empty

MEDIA = "it holds images, sound or video"

_MEDIA = re.compile(
    r"(?:input_)?(?:image|img|picture|photo|video|audio|pixel_value|multi_?modal_data|mm_data)s?"
    r"(?:_(?:path|url|file|file_?name|name|id|byte|base64|b64|data|list|asset_pointer)s?)?",
    re.IGNORECASE,
)
"""The names of columns, keys and parts that hold images, sound or video, or say where they are."""
_PLACE_OF_MEDIA = re.compile(r"\s*<(?:image|video|audio)>\s*\n|\s*<\|image_\d+\|>|[^`]*\n\s*<image>\s*\Z", re.DOTALL)
"""A message that begins or ends with the place of an image, as in LLaVA's data."""


def note_key(key: str, value: object, name: str, reading: Reading) -> None:
    """Note that nobody uses a key of the objects in a list. Raises `LeftOut` for one that holds what is no text."""
    if is_media(key, value) and f"{name}.{key}" not in reading.wanted.ignore:
        raise LeftOut(MEDIA)
    reading.unused(f"{name}.{key}")


def is_media(name: str, value: object) -> bool:
    """Whether a column or key of this name holds images, sound or video, or says where they are."""
    if isinstance(value, list) and all(map(_says_nothing, value)):
        return False
    return not _says_nothing(value) and _MEDIA.fullmatch(name) is not None


def _says_nothing(value: object) -> bool:
    return is_empty(value) or value is False or (isinstance(value, str) and value.lower() in (*NO_VALUES, "[]", "{}"))


def is_place_of_media(said: str) -> bool:
    """Whether a message is about an image that the row should hold."""
    return "<" in said and _PLACE_OF_MEDIA.match(said) is not None
