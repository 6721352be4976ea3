"""Ids that a tokenizer gives, from its files: each needs a row of the model's embeddings."""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.json_files import read_object, read_text

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Settings that name a special token, in the order in which transformers adds them."""
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_SAVE_AGAIN = "save it again with the tokenizer's save_pretrained, which writes tokenizer.json"


@dataclass(frozen=True)
class Vocabulary:
    """What `tokenizer.json` and the files beside it say of ids."""

    words: dict[int, str]
    """Tokens of the vocabulary proper, which any text may give, by their ids."""
    added: "dict[int, AddedToken]"
    """Tokens that stand beside it, or that the settings name."""

    def beyond(self, rows: int, used: str) -> tuple[int, str] | None:
        """The largest id that has none of `rows`, and its token. Special tokens count if they stand in `used`, the
        chat template and the texts that it is given: no other text gives them."""
        added = {i: token.content for i, token in self.added.items() if not token.special or token.content in used}
        return max((each for each in (self.words | added).items() if each[0] >= rows), default=None)


def read_vocabulary(folder: Path, uri: str, settings: Mapping[str, Any]) -> Vocabulary:
    """The ids of the tokenizer in `folder` with these `settings`; without tokenizer.json only added tokens are known.

    As in transformers, a token that the settings name and the vocabulary lacks has the next id. Raises `UserError`,
    which names the model `uri`, for a damaged file, and for a tokenizer that gives no ids for letters and digits.
    """
    earlier = read_object(folder, uri, "added_tokens.json")
    try:
        beside = dict(_beside(earlier, settings))
        named = [_token(value, special=True) for value in _named(settings)]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"model {uri!r}: a token in its tokenizer_config.json is none ({error}); {_SAVE_AGAIN}"
        ) from None
    text = read_text(folder, uri, "tokenizer.json")
    if text is None:
        return Vocabulary({}, beside)
    tokenizer = _loaded(text, uri)
    there = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    wanted = [*(beside[number] for number in sorted(beside)), *named]
    tokenizer.add_tokens([token for token in wanted if token.content not in there])
    added = tokenizer.get_added_tokens_decoder()
    words = {i: word for word, i in tokenizer.get_vocab(with_added_tokens=False).items() if i not in added}
    return Vocabulary(words, added)


def _beside(earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> "Iterator[tuple[int, AddedToken]]":
    """The tokens with ids in the file of `earlier` versions and in the `settings`."""
    listed = dict(settings.get("added_tokens_decoder") or {})
    for number, token in [*((number, token) for token, number in earlier.items()), *listed.items()]:
        yield int(number), _token(token)


def _named(settings: Mapping[str, Any]) -> Iterator[Any]:
    """The tokens that the `settings` name without ids."""
    own = [key for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)]
    yield from filter(None, map(settings.get, dict.fromkeys([*NAMED, *own])))
    more = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or ()
    yield from more.values() if isinstance(more, dict) else more


def _token(value: Any, **flags: bool) -> "AddedToken":
    """A token by its text or description. Raises `ValueError` if it is none."""
    from tokenizers import AddedToken

    given = {"content": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("content"), str):
        raise ValueError(f"{value!r} has no text")
    return AddedToken(given["content"], **{name: bool(given[name]) for name in _FLAGS if name in given} | flags)


def _loaded(text: str, uri: str) -> "Tokenizer":
    """The tokenizer that a tokenizer.json of this `text` describes."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
        unknown = [char for char in string.ascii_letters + string.digits if not tokenizer.encode(char).ids]
    except Exception as error:  # the package raises no other kind
        raise UserError(f"model {uri!r}: its tokenizer.json cannot be loaded ({error}); {_SAVE_AGAIN}") from None
    if unknown:
        raise UserError(f"model {uri!r}: its tokenizer.json gives no ids for {unknown[0]!r}; {_SAVE_AGAIN}")
    return tokenizer
