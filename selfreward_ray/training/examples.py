"""Rows to token ids for training: an example that does not fit is dropped with a reason, never cut."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.template import NO_TOOLS, NoTools, ReplyChanged, TurnsRefused
from selfreward_ray.records import Candidate, Dropped, Pair, PairTokens, Positive, SftExample, SftTokens
from selfreward_ray.training.packing import longest_sequence

NO_REPLY = "the thought before a reply has no end, so there is no reply to train on"
NO_PLACE = "the chat template has no place for thoughts"
SWITCHED_OFF = "the model is asked without thinking"
"""Why thoughts are left out of what is trained on."""


class NothingToTrain(ValueError):
    """A row without a token that gives a loss; the message is the reason."""


@dataclass(frozen=True)
class Encoding:
    """How rows become token ids, by the recipe."""

    thoughts: Literal["train", "read"] = "train"
    """As ``training.thoughts``."""
    respond_thinking: bool | None = None
    """As ``respond.thinking``, in which IFT examples, positives and pairs are encoded."""
    judge_thinking: bool | None = None
    """As ``judge.thinking``, in which EFT examples are encoded."""


DEFAULT = Encoding()


@dataclass(frozen=True)
class _EncodedReply:
    """The ids of a reply with its thought."""

    ids: tuple[int, ...]
    context: int
    """As `TokenSequence.context`."""
    left_out: tuple[str, ...] = ()
    """As `SftTokens.left_out`."""


def sft_tokens(example: SftExample, codec: ChatCodec, encoding: Encoding = DEFAULT) -> SftTokens:
    """Prompt and target ids by the chat template; the target ends in the end token.

    The model is asked as it is when it samples: an IFT example as for a reply, an EFT example as for a verdict.
    """
    thinking = encoding.judge_thinking if example.kind == "eft" else encoding.respond_thinking
    use = example.tool_use
    prompt_ids = tuple(codec.prompt_ids(example.prompt, example.history, thinking, use))
    target_ids = tuple(
        codec.target_ids(
            example.target, example.prompt, example.history, thought=example.thought, thinking=thinking, tool_use=use
        )
    )
    if not example.thought and encoding.thoughts == "train":
        return SftTokens(example.id, prompt_ids, target_ids)
    read = codec.read(target_ids, prompt_ids)
    context = read.thought_tokens if encoding.thoughts == "read" else 0
    return SftTokens(example.id, prompt_ids, target_ids, context, _left_out(example.thought, read.thought, thinking))


def positive_tokens(row: Positive, codec: Callable[[], ChatCodec], encoding: Encoding = DEFAULT) -> SftTokens:
    """The very ids that the engine read and wrote, as in `pair_tokens`."""
    reply = _encoded(row, row.reply, codec, encoding)
    return SftTokens(row.id, _prompt_ids(row, codec, encoding), reply.ids, reply.context, reply.left_out)


def pair_tokens(pair: Pair, codec: Callable[[], ChatCodec], encoding: Encoding = DEFAULT) -> PairTokens:
    """The very ids that the engine read and wrote: nothing is encoded again between sampling and training.

    What no engine wrote has no ids; it alone is encoded, by the `codec` that is opened for it. Raises `NothingToTrain`
    if thoughts are only read, and that of a reply has no end.
    """
    chosen = _encoded(pair, pair.chosen, codec, encoding)
    rejected = _encoded(pair, pair.rejected, codec, encoding)
    return PairTokens(
        pair.id,
        _prompt_ids(pair, codec, encoding),
        chosen.ids,
        rejected.ids,
        pair.label_smoothing,
        chosen_context=chosen.context,
        rejected_context=rejected.context,
        left_out=chosen.left_out + rejected.left_out,
    )


def _prompt_ids(row: Pair | Positive, codec: Callable[[], ChatCodec], encoding: Encoding) -> tuple[int, ...]:
    return row.prompt_ids or tuple(codec().prompt_ids(row.prompt, row.history, encoding.respond_thinking))


def _encoded(
    row: Pair | Positive, reply: Candidate, codec: Callable[[], ChatCodec], encoding: Encoding
) -> _EncodedReply:
    ids, context = reply.token_ids, reply.thought_tokens
    left_out: tuple[str, ...] = ()
    if not ids:
        thinking = encoding.respond_thinking
        said = codec().target_ids(reply.text, row.prompt, row.history, thought=reply.thought, thinking=thinking)
        ids = tuple(said)
        read = codec().read(ids, _prompt_ids(row, codec, encoding))
        context, left_out = read.thought_tokens, _left_out(reply.thought, read.thought, thinking)
    if encoding.thoughts == "train":
        return _EncodedReply(ids, 0, left_out)
    if context >= len(ids):
        raise NothingToTrain(NO_REPLY)
    return _EncodedReply(ids, context, left_out)


def _left_out(given: str, encoded: str, thinking: bool | None) -> tuple[str, ...]:
    """The reason why the `given` thought is not among the encoded ones; nothing if it is."""
    if not given.strip() or encoded:
        return ()
    return (SWITCHED_OFF if thinking is False else NO_PLACE,)


def fitting(
    rows: list[Any], encode: Callable[[Any], Any], max_tokens: int, step: str
) -> tuple[list[Any], list[Dropped]]:
    """Encoded examples whose every sequence has at most `max_tokens` tokens, and the others with the reason."""
    kept: list[Any] = []
    dropped: list[Dropped] = []
    for row in rows:
        try:
            example = encode(row)
        except ReplyChanged:
            dropped.append(Dropped(row.id, step, "the model's chat template changes the text of its reply"))
            continue
        except NoTools:
            dropped.append(Dropped(row.id, step, NO_TOOLS))
            continue
        except TurnsRefused:
            dropped.append(Dropped(row.id, step, "the model's chat template refuses its turns"))
            continue
        except NothingToTrain as error:
            dropped.append(Dropped(row.id, step, str(error)))
            continue
        if longest_sequence(example) > max_tokens:
            # No length in the reason: reasons are counted.
            dropped.append(Dropped(row.id, step, f"longer than max_tokens = {max_tokens}"))
        else:
            kept.append(example)
    return kept, dropped
