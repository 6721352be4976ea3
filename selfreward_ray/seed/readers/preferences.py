"""Formats of a chosen and a rejected reply, and of single replies that were liked or not."""

from collections.abc import Sequence

from selfreward_ray.seed.readers.declaration import PROMPT, Format
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken, Values
from selfreward_ray.seed.readers.instructions import reply_of
from selfreward_ray.seed.readers.messages import ASKING, asked, conversation
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading
from selfreward_ray.seed.readers.transcripts import transcript
from selfreward_ray.seed.readers.values import is_empty, number, optional_text, text

OTHER_PROMPT = "its replies do not answer the same messages"
NO_PROMPT = "it has no prompt: chosen and rejected are no whole conversations, and no column is their prompt"
NO_LAST_REPLY = "the last message is not the assistant's"
SCORES_DISAGREE = "the rejected reply has the higher score"
UNKNOWN_LABEL = "its label is neither true nor false"

_CHATS = ("messages", "conversations")
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
_LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _preference(values: Values, reading: Reading) -> list[Exchange]:
    """Replies are texts or messages. Those that begin with another message than the assistant's are whole
    conversations, the prompt included; so are texts in a template's marks."""
    answers = [_answer(values, name, reading) for name in ("chosen", "rejected")]
    prompt = _prompt(values, answers, reading)
    (before, chosen), (also_before, rejected) = (_reply(prompt, answer) for answer in answers)
    if before != also_before:
        raise LeftOut(OTHER_PROMPT)
    if reading.asks_only:
        return [Exchange(before, ())]
    better, worse = _scores(values)
    ranks = (0, 0) if better is not None and better == worse else (0, 1)
    replies = (
        Given(chosen.text, ranks[0], better, thought=chosen.thought or optional_text(values, "chosen_thought")),
        Given(rejected.text, ranks[1], worse, thought=rejected.thought or optional_text(values, "rejected_thought")),
    )
    return [Exchange(before, replies)]


def _answer(values: Values, name: str, reading: Reading) -> list[Spoken]:
    if isinstance(values.get(name), list | dict):
        return conversation(values[name], name, reading)
    said = text(values, name)
    spoken = transcript(said)
    return [Spoken("assistant", said)] if spoken is None else spoken


def _is_whole(answer: Sequence[Spoken]) -> bool:
    return answer[0].role != "assistant"


def _prompt(values: Values, answers: Sequence[Sequence[Spoken]], reading: Reading) -> list[Spoken]:
    """What stands before the replies; empty if they hold it themselves."""
    if any(not is_empty(values.get(name)) for name in ASKING):
        return asked(values, reading)
    if all(map(_is_whole, answers)):
        return []
    name = next((name for name in _CHATS if not is_empty(values.get(name))), None)
    if name is None:
        raise BadRow(NO_PROMPT)
    return conversation(values[name], name, reading)


def _reply(prompt: Sequence[Spoken], answer: Sequence[Spoken]) -> tuple[tuple[Spoken, ...], Spoken]:
    """The messages before a reply, and the reply."""
    if _is_whole(answer):
        if any(said not in answer for said in _parsed(prompt)):
            raise LeftOut(OTHER_PROMPT)
        prompt = ()
    *before, last = (*prompt, *answer)
    if last.role != "assistant":
        raise BadRow(NO_LAST_REPLY)
    return tuple(before), last


def _parsed(prompt: Sequence[Spoken]) -> Sequence[Spoken]:
    """The messages of a prompt that may be in a template's marks, as those of whole conversations are."""
    spoken = transcript(prompt[0].text) if len(prompt) == 1 else None
    if spoken is None:
        return prompt
    return spoken[:-1] if spoken[-1] == Spoken("assistant", "") else spoken


def _scores(values: Values) -> tuple[float | None, float | None]:
    for chosen, rejected in _SCORES:
        if chosen in values or rejected in values:
            better, worse = number(values.get(chosen), chosen), number(values.get(rejected), rejected)
            if better is not None and worse is not None and better < worse:
                raise LeftOut(SCORES_DISAGREE)
            return better, worse
    return None, None


def _liked(values: Values, reading: Reading) -> list[Exchange]:
    """A reply with the label whether it was liked (TRL's unpaired preferences, LLaMA-Factory's ``kto_tag``)."""
    chat = next((name for name in _CHATS if not is_empty(values.get(name))), None)
    spoken = asked(values, reading) if chat is None else conversation(values[chat], chat, reading)
    if reading.asks_only:
        return [Exchange(tuple(spoken if chat is None or spoken[-1].role != "assistant" else spoken[:-1]), ())]
    label = next((values[name] for name in ("label", "kto_tag") if values.get(name) is not None), None)
    liked = _LABELS.get(str(label).strip().lower())
    if liked is None:
        raise BadRow(UNKNOWN_LABEL)
    if chat is None:
        spoken.append(reply_of(values, "completion" if "completion" in values else "output", reading))
    *before, last = spoken
    if last.role != "assistant":
        raise BadRow(NO_LAST_REPLY)
    return [Exchange(tuple(before), (Given(last.text, rank=0 if liked else 1, thought=last.thought),))]


def _scored(values: Values, reading: Reading) -> list[Exchange]:
    """A reply with its score, which is compared with those of other rows with the same prompt."""
    before = tuple(asked(values, reading))
    if reading.asks_only:
        return [Exchange(before, ())]
    text_name, score_name = _SCORED.columns_in(values) or _SCORED.told_by
    said = reply_of(values, text_name, reading)
    score = number(values.get(score_name), score_name)
    reply = Given(said.text, score=score, thought=said.thought or optional_text(values, "thought"))
    return [Exchange(before, (reply,))]


_SCORED = Format(
    "scored", ("response", "score"), _scored, used=(*PROMPT, "thought"), others=(("reply", "mean"),),
    irrelevant=("scores", "scorer_score", "scorer_maximum"), merged="scores",
)  # fmt: skip
PREFERENCE = Format(
    "preference", ("chosen", "rejected"), _preference,
    used=(*PROMPT, *_CHATS, *(name for both in _SCORES for name in both), "chosen_thought", "rejected_thought"),
    irrelevant=(
        "conversation", "original_response", "generation_prompt", "raw_generation_responses", "margin", "chosen_policy",
        "rejected_policy", "chosen-model", "rejected-model", "generations", "order", "label_smoothing",
    ),
    merged="pairs",
)  # fmt: skip
PREFERENCES = (
    Format("kto", ("completion", "label"), _liked, used=PROMPT, merged="scores"),
    Format("kto-tag", ("kto_tag",), _liked, used=(*PROMPT, *_CHATS, "completion", "output"), merged="scores"),
    PREFERENCE,
    _SCORED,
)
