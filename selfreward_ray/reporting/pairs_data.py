"""The prompts, replies, verdicts and thoughts that a page embeds, compressed.

The page reads a small index first, by columns, and draws its list from it. Texts, and verdicts with thoughts, are in
chunks of their own, which ``report.js`` opens where a prompt is looked at, and those of texts where one is searched.
All of it is gzip in base64, in data blocks that a browser does not run.
"""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfreward_ray.reporting.formatting import visible
from selfreward_ray.reporting.judged import ShownPrompt, ShownReply, words

LARGEST_PAGE = 64 * 2**20
"""Characters of compressed data in a page: about 24,000 prompts with four replies of 55 words and three verdicts each,
which Chromium reads in 2 seconds on two CPU cores before it shows the list (docs/benchmarks.md)."""
_CHUNK_CHARACTERS = 2**19
_EXCERPT = 140


@dataclass(frozen=True)
class PairData:
    """What the pair browser embeds: base64 of gzipped JSON in UTF-8."""

    index: str
    texts: tuple[str, ...]
    """Chunks of prompts with their replies."""
    verdicts: tuple[str, ...]
    """Chunks with the verdicts on the replies to the same prompts in the same order, and all thoughts."""
    shown: Mapping[str, int]
    """Number of embedded prompts by model."""
    total: Mapping[str, int]
    """Number of prompts by model."""

    @property
    def left_out(self) -> dict[str, int]:
        """Number of prompts that the page has no room for, by model."""
        return {model: n for model, all_of_it in self.total.items() if (n := all_of_it - self.shown.get(model, 0))}


@dataclass
class _Chunk:
    texts: list[Any] = field(default_factory=list)
    verdicts: list[Any] = field(default_factory=list)
    characters: int = 0


class PairArchive:
    """Compresses prompts as they come. Each of `models` has an equal part of the page, and what earlier ones leave.

    Prompts beyond that are counted and not embedded. They come in the order of their files' names, which is random.
    """

    def __init__(self, models: int, room: int = LARGEST_PAGE) -> None:
        self._models, self._room, self._left = models, room, 0
        self._chunk = _Chunk()
        self._texts: list[str] = []
        self._verdicts: list[str] = []
        self._rows: list[tuple[Any, ...]] = []
        self._names: list[str] = []
        self._outcomes: dict[str, int] = {}
        self._shown: Counter[str] = Counter()
        self._total: Counter[str] = Counter()

    def begin(self, model: str) -> None:
        """Start with the prompts of the next model."""
        self._flush()
        self._left = self._room // max(self._models - len(self._names), 1)
        self._names.append(model)

    def add(self, prompt: ShownPrompt) -> None:
        """Add a prompt of the model that was begun."""
        model = self._names[-1]
        self._total[model] += 1
        if self._left <= 0:
            return
        self._shown[model] += 1
        chunk = self._chunk
        self._rows.append(self._index_row(prompt, len(self._names) - 1))
        chunk.texts.append(
            [visible(prompt.text), *(_text_row(prompt, number) for number in range(len(prompt.replies)))]
        )
        chunk.verdicts.append(list(map(_verdict_row, prompt.replies)))
        chunk.characters += len(prompt.text) + sum(map(_characters, prompt.replies))
        if chunk.characters >= _CHUNK_CHARACTERS:
            self._flush()

    def _index_row(self, prompt: ShownPrompt, model: int) -> tuple[Any, ...]:
        longest = max((words(reply.text) for reply in prompt.replies), default=0)
        return (
            visible(prompt.id),
            model,
            self._outcomes.setdefault(visible(prompt.outcome), len(self._outcomes)),
            None if prompt.margin is None else round(prompt.margin, 3),
            words(prompt.best.text) if prompt.best else longest,
            words(prompt.worst.text) if prompt.worst else None,
            visible(" ".join(prompt.text[: 2 * _EXCERPT].split())[:_EXCERPT]),
            len(self._texts),
            len(self._chunk.texts),
        )

    def _flush(self) -> None:
        if not self._chunk.texts:
            return
        texts, verdicts = _compressed(self._chunk.texts), _compressed(self._chunk.verdicts)
        self._texts.append(texts)
        self._verdicts.append(verdicts)
        self._left -= len(texts) + len(verdicts)
        self._room -= len(texts) + len(verdicts)
        self._chunk = _Chunk()

    def finish(self) -> PairData:
        """Everything that was added, the index in the order of the models and of the prompts' ids."""
        self._flush()
        columns = ("id", "model", "outcome", "margin", "words", "other", "prompt", "chunk", "place")
        rows = sorted(self._rows, key=lambda row: (row[1], row[0]))
        by_column = zip(*rows, strict=True) if rows else ([] for _ in columns)
        index = {
            "models": list(map(visible, self._names)),
            "outcomes": list(self._outcomes),
            "rows": {name: list(column) for name, column in zip(columns, by_column, strict=True)},
        }
        return PairData(
            _compressed(index), tuple(self._texts), tuple(self._verdicts), dict(self._shown), dict(self._total)
        )


def _text_row(prompt: ShownPrompt, number: int) -> list[Any]:
    reply = prompt.replies[number]
    name = visible(reply.id.removeprefix(f"{prompt.id}/"))
    mean = None if reply.mean is None else round(reply.mean, 3)
    flag = None if reply.flag is None else visible(reply.flag)
    return [visible(reply.text), name, mean, reply.role, reply.finished, flag]


def _verdict_row(reply: ShownReply) -> list[Any]:
    """The thought before the reply, the number of its tokens, and the verdicts."""
    verdicts = [[score, visible(said), visible(thought)] for score, said, thought in reply.verdicts]
    return [visible(reply.thought), reply.thought_tokens, verdicts]


def _characters(reply: ShownReply) -> int:
    return len(reply.text) + len(reply.thought) + sum(len(said) + len(thought) for _, said, thought in reply.verdicts)


def _compressed(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
