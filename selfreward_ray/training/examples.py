"""Rows to token ids for training: an example that does not fit is dropped with a reason, never cut."""

from collections.abc import Callable
from typing import Any

from selfreward_ray.models.chat import ChatCodec, TurnsRefused
from selfreward_ray.records import Candidate, Dropped, Pair, PairTokens, Positive, SftExample, SftTokens
from selfreward_ray.training.packing import longest_sequence


def sft_tokens(example: SftExample, codec: ChatCodec) -> SftTokens:
    """Prompt and target ids by the chat template; the target ends in the end token."""
    prompt_ids, target_ids = codec.prompt_ids(example.prompt, example.history), codec.target_ids(example.target)
    return SftTokens(example.id, tuple(prompt_ids), tuple(target_ids))


def positive_tokens(row: Positive, codec: Callable[[], ChatCodec]) -> SftTokens:
    """The very ids that the engine read and wrote, as in `pair_tokens`."""
    return SftTokens(row.id, _prompt_ids(row, codec), _reply_ids(row.reply, codec))


def pair_tokens(pair: Pair, codec: Callable[[], ChatCodec]) -> PairTokens:
    """The very ids that the engine read and wrote: nothing is encoded again between sampling and training.

    What no engine wrote has no ids; it alone is encoded, by the `codec` that is opened for it.
    """
    chosen, rejected = _reply_ids(pair.chosen, codec), _reply_ids(pair.rejected, codec)
    return PairTokens(pair.id, _prompt_ids(pair, codec), chosen, rejected, pair.label_smoothing)


def _prompt_ids(row: Pair | Positive, codec: Callable[[], ChatCodec]) -> tuple[int, ...]:
    return row.prompt_ids or tuple(codec().prompt_ids(row.prompt, row.history))


def _reply_ids(reply: Candidate, codec: Callable[[], ChatCodec]) -> tuple[int, ...]:
    return reply.token_ids or tuple(codec().target_ids(reply.text))


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
        if longest_sequence(example) > max_tokens:
            # No length in the reason: reasons are counted.
            dropped.append(Dropped(row.id, step, f"longer than max_tokens = {max_tokens}"))
        else:
            kept.append(example)
    return kept, dropped
