"""Rows to token ids for training: an example that does not fit is dropped with a reason, never cut."""

from collections.abc import Callable
from typing import Any

from selfreward_ray.chat import ChatCodec, TurnsRefused
from selfreward_ray.records import Dropped, Pair, PairTokens, Positive, SftExample, SftTokens
from selfreward_ray.training.batches import length_of


def sft_tokens(example: SftExample, codec: ChatCodec) -> SftTokens:
    """Prompt and target ids by the chat template; the target ends in the end token."""
    prompt_ids, target_ids = codec.prompt_ids(example.prompt, example.history), codec.target_ids(example.target)
    return SftTokens(example.id, tuple(prompt_ids), tuple(target_ids))


def positive_tokens(row: Positive) -> SftTokens:
    """The very ids that the engine read and wrote, as in `pair_tokens`."""
    return SftTokens(row.id, row.prompt_ids, row.reply.token_ids)


def pair_tokens(pair: Pair) -> PairTokens:
    """The very ids that the engine read and wrote: nothing is encoded again between sampling and training."""
    chosen, rejected = pair.chosen.token_ids, pair.rejected.token_ids
    return PairTokens(pair.id, pair.prompt_ids, chosen, rejected, pair.label_smoothing)


def fitting(
    rows: list[Any], encode: Callable[[Any], Any], max_tokens: int, step: str
) -> tuple[list[Any], list[Dropped]]:
    """Encoded examples whose every sequence has at most `max_tokens` tokens, and the others with the reason."""
    kept: list[Any] = []
    dropped: list[Dropped] = []
    for row in rows:
        try:
            example = encode(row)
        except TurnsRefused:
            dropped.append(Dropped(row.id, step, "the model's chat template refuses its turns"))
            continue
        if length_of(example) > max_tokens:
            # No length in the reason: reasons are counted.
            dropped.append(Dropped(row.id, step, f"longer than max_tokens = {max_tokens}"))
        else:
            kept.append(example)
    return kept, dropped
