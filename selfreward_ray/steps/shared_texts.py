"""Texts that are the reply to many prompts of a table: which may not be chosen, and which are answers of the task.

Blocks are searched where their rows are; only these texts, and counts, come to the driver. Nothing depends on how the
rows are divided into blocks.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from selfreward_ray.preferences.constant import count_among, least_count, shorter, suspects
from selfreward_ray.preferences.evidence import Evidence, gather, is_answer
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.reporting.formatting import shortened

Stream = Callable[[Callable[[pa.Table], pa.Table], list[str]], Iterator[Any]]
"""Applies a function to each block of some columns of a table of judged prompts, and yields the rows of the results."""

_REPLIES = ["candidates.list.element.text"]
_PROMPTS_AND_REPLIES = ["text", "history.list.element.text", *_REPLIES]
"""The columns that are read. Token ids and verdicts, most of a row, are not."""
_LISTED = 20
_LISTED_CHARACTERS = 200


@dataclass(frozen=True)
class SharedText:
    """A text that is the reply to more prompts than `pairs.constant_share` allows."""

    key: bytes
    text: str
    prompts: int
    """Number of prompts that it answers."""
    is_answer: bool
    """Whether it is an answer of the task, which may be chosen."""


def find_shared_texts(stream: Stream, prompts: int, pairs: Pairs) -> list[SharedText]:
    """The shared texts of a table of `prompts` judged prompts, the most common first."""
    least = least_count(prompts, pairs.constant_share)
    if "constant" not in pairs.flags or prompts < least:
        return []
    suspected = frozenset(row["key"] for row in stream(partial(_suspect_block, prompts=prompts, least=least), _REPLIES))
    counts: Counter[bytes] = Counter()
    written: dict[bytes, str] = {}
    if suspected:
        for row in stream(partial(_count_block, among=suspected), _REPLIES):
            counts[row["key"]] += row["prompts"]
            written[row["key"]] = shorter(row["text"], written.get(row["key"], row["text"]))
    shared = {key: written[key] for key, count in sorted(counts.items()) if count >= least}
    answers = _answers(stream, shared, prompts, pairs.label_words) if shared and pairs.label_words else set()
    found = [SharedText(key, text, counts[key], key in answers) for key, text in shared.items()]
    return sorted(found, key=lambda one: (-one.prompts, one.text))


def constant_keys(shared: list[SharedText]) -> frozenset[bytes]:
    """The keys of those that may not be chosen."""
    return frozenset(one.key for one in shared if not one.is_answer)


def listed(shared: list[SharedText]) -> list[dict[str, Any]]:
    """The most common shared texts for the manifest's metrics."""
    return [
        {"text": shortened(one.text, _LISTED_CHARACTERS), "prompts": one.prompts, "is_answer": one.is_answer}
        for one in shared[:_LISTED]
    ]


def _answers(stream: Stream, shared: dict[bytes, str], prompts: int, label_words: int) -> set[bytes]:
    found: defaultdict[bytes, Evidence] = defaultdict(Evidence)
    for row in stream(partial(_evidence_block, shared=shared, label_words=label_words), _PROMPTS_AND_REPLIES):
        values = json.loads(row["evidence"])
        sample = {int(number): sequences for number, sequences in values.pop("sample").items()}
        found[row["key"]].add(Evidence(**values, sample=sample))
    return {key for key, evidence in found.items() if is_answer(shared[key], evidence, prompts, label_words)}


def _suspect_block(batch: pa.Table, prompts: int, least: int) -> pa.Table:
    keys = sorted(suspects(_replies(batch), prompts, least))
    return pa.table({"key": pa.array(keys, pa.binary())})


def _count_block(batch: pa.Table, among: frozenset[bytes]) -> pa.Table:
    counts, written = count_among(_replies(batch), among)
    return pa.table(
        {
            "key": pa.array(counts.keys(), pa.binary()),
            "prompts": pa.array(counts.values(), pa.int64()),
            "text": pa.array([written[key] for key in counts], pa.string()),
        }
    )


def _evidence_block(batch: pa.Table, shared: dict[bytes, str], label_words: int) -> pa.Table:
    judged = zip(batch["text"].to_pylist(), _replies(batch), strict=True)
    found = gather(judged, shared, label_words, _histories(batch))
    return pa.table(
        {
            "key": pa.array(found.keys(), pa.binary()),
            "evidence": pa.array([json.dumps(asdict(evidence)) for evidence in found.values()], pa.string()),
        }
    )


def _replies(batch: pa.Table) -> list[list[str]]:
    """The reply texts of each prompt."""
    candidates = batch["candidates"].combine_chunks()
    texts = pa.ListArray.from_arrays(candidates.offsets, candidates.values.field("text"))
    return [list(replies) for replies in texts.to_pylist()]


def _histories(batch: pa.Table) -> list[tuple[str, ...]]:
    """The texts of the messages before each prompt."""
    if "history" not in batch.column_names:  # a table of an earlier version
        return [()] * len(batch)
    return [tuple(turn["text"] for turn in turns or ()) for turns in batch["history"].to_pylist()]
