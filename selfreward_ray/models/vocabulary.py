"""Ids that a tokenizer gives, from its files: each needs a row of the model's embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from selfreward_ray.models.json_files import read_object


@dataclass(frozen=True)
class Added:
    """A token that stands beside the vocabulary proper."""

    id: int
    content: str
    special: bool


@dataclass(frozen=True)
class Vocabulary:
    """What `tokenizer.json` and the files beside it say of ids."""

    largest: tuple[int, str] | None
    """The largest id of the vocabulary proper, which any text may give, and its token."""
    added: tuple[Added, ...]

    def beyond(self, rows: int, used: str) -> tuple[int, str] | None:
        """The largest id that has none of `rows`, and its token. Special tokens count if they stand in `used`, the
        chat template and the texts that it is given: no other text gives them."""
        ids = [(added.id, added.content) for added in self.added if not added.special or added.content in used]
        return max((each for each in [*ids, *filter(None, [self.largest])] if each[0] >= rows), default=None)


def read_vocabulary(folder: Path, uri: str) -> Vocabulary:
    """The ids of the tokenizer in `folder`; without tokenizer.json only added tokens are known. Raises `UserError`,
    which names the model `uri`, for a damaged file."""
    read = partial(read_object, folder, uri)
    content = read("tokenizer.json")
    model = content.get("model")
    listed = model.get("vocab") if isinstance(model, dict) else None
    added = {token.id: token for token in _added(content, read("added_tokens.json"), read("tokenizer_config.json"))}
    if isinstance(listed, list):  # Unigram: [token, score], in the order of ids
        ids: Iterator[tuple[int, str]] = ((number, str(entry[0])) for number, entry in enumerate(listed))
    else:
        ids = ((number, token) for token, number in (listed or {}).items())
    largest = max(((number, token) for number, token in ids if number not in added), default=None)
    return Vocabulary(largest, tuple(added.values()))


def _added(content: dict[str, Any], earlier: dict[str, Any], settings: dict[str, Any]) -> Iterator[Added]:
    """The added tokens of tokenizer.json, and of the files that `earlier` versions wrote and that hold `settings`."""
    for token, number in earlier.items():
        yield Added(int(number), token, False)
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        yield Added(int(number), str(token["content"]), bool(token.get("special")))
    for token in content.get("added_tokens") or ():
        yield Added(int(token["id"]), str(token["content"]), bool(token.get("special")))
