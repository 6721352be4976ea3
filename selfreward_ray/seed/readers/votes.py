"""Formats of a vote between two replies."""

from collections.abc import Callable, Sequence

from selfreward_ray.recipe.seed_data import value_key
from selfreward_ray.seed.readers.declaration import PROMPT, Format
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken, Values
from selfreward_ray.seed.readers.instructions import reply_of
from selfreward_ray.seed.readers.messages import CHATS, asked, conversation, prompt_of
from selfreward_ray.seed.readers.preferences import NO_LAST_REPLY, OTHER_PROMPT
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading, listed
from selfreward_ray.seed.readers.values import number, text
from selfreward_ray.store.user_files import RowError

SAFETY_DISAGREES = "one of its replies is the better one, the other the safer one"

_FIRST, _SECOND, _TIE, _BOTH_BAD = (0, 1), (1, 0), (0, 0), (1, 1)
"""The ranks of the two replies. Of two bad ones none is good enough to be learned from."""
_WINNERS = {
    **dict.fromkeys(("first", "left"), _FIRST),
    **dict.fromkeys(("second", "right"), _SECOND),
    **dict.fromkeys(("tie", "tied", "draw", "equal", "same", "both", "both good", "bothgood", "[[c]]"), _TIE),
    **dict.fromkeys(("both bad", "bothbad", "tie (bothbad)", "tie (both bad)", "neither", "none"), _BOTH_BAD),
}
_REPLIES = ("response", "answer", "output", "completion", "reply", "generation", "candidate", "text", "summary")
_SIDES = (("_a", "_b"), ("_A", "_B"), ("A", "B"), ("_1", "_2"), ("1", "2"), ("_0", "_1"), ("0", "1"))
_PAIRS = (
    *((f"{reply}{first}", f"{reply}{second}") for reply in _REPLIES for first, second in _SIDES),
    *(
        (f"{first}_{reply}", f"{second}_{reply}")
        for reply in _REPLIES
        for first, second in (("first", "second"), ("a", "b"))
    ),
    ("left", "right"),
)
_VERDICTS = (
    "winner", "preferred", "preference", "choice", "label", "chosen", "better", "best", "vote", "human_preference",
    "better_response_id", "better_response", "preferred_response", "selected",
)  # fmt: skip
_UNCLEAR = ("label", "preference", "human_preference")
"""Columns whose 0 and 1 may be places or truth values."""
_VOTES = tuple((*pair, verdict) for pair in _PAIRS for verdict in _VERDICTS)
UNKNOWN_VOTE = (
    "its vote names neither reply and no tie; {section}.values={{{name}: {{…: first}}}} says what a value means"
)


def _voted(
    before: Sequence[Spoken],
    replies: Sequence[Spoken],
    ranks: tuple[int, int],
    scores: Sequence[float | None] = (None, None),
) -> list[Exchange]:
    """The exchange of two replies."""
    rated = zip(replies, ranks, scores, strict=True)
    given = tuple(Given(reply.text, rank, score, thought=reply.thought) for reply, rank, score in rated)
    return [Exchange(tuple(before), given)]


def _texts(values: Values, *names: str) -> list[Spoken]:
    return [Spoken("assistant", text(values, name)) for name in names]


def _arena(values: Values, reading: Reading) -> list[Exchange]:
    """Two models' conversations. A vote on a later turn counts where the turns before it are the same."""
    spoken = [conversation(values.get(name), name, reading) for name in ("conversation_a", "conversation_b")]
    turn = number(values.get("turn"), "turn") if not isinstance(values.get("turn"), bool) else None
    (before, first), (also_before, second) = (_until(turn, one) for one in spoken)
    if before != also_before:
        raise LeftOut(OTHER_PROMPT)
    if reading.asks_only:
        return [Exchange(tuple(before), ())]
    winner = _ranks(values, ("conversation_a", "conversation_b"), "winner", reading)
    return _voted(before, (first, second), winner)


def _ranks(values: Values, replies: tuple[str, str], name: str, reading: Reading) -> tuple[int, int]:
    """The ranks of the replies in the columns `replies` by the vote in the column `name`: the name of a column or its
    end, a model's, the text of a reply, or a word for a tie.

    A number counts from that of the first column. Beside others it may be a place or a truth value: then `RowError`
    asks for ``values``.
    """
    vote = values.get(name)
    if vote is None:
        raise BadRow(f"field {name!r} is missing or null")
    said = value_key(vote).replace("_", " ").replace("-", " ")
    if replies == ("left", "right") and said in ("first", "second") and name not in reading.wanted.values:
        return _BOTH_BAD  # of a comparison in both orders: the judge preferred a place
    if said in _WINNERS:
        return _WINNERS[said]
    if name in _UNCLEAR and said in ("0", "1"):
        raise _unclear(name, said, reading)
    first, second = replies
    for ranks, column, other in ((_FIRST, first, second), (_SECOND, second, first)):
        side = _side(column, other)
        names = (column, side, f"model {side}", f"assistant {side}", f"response {side}", f"[[{side}]]")
        if said in (value_key(each).replace("_", " ") for each in names):
            return ranks
    if said in ("0", "1", "2", "true", "false"):
        raise _unclear(name, said, reading)
    same = [str(vote).strip() == str(values.get(reply)).strip() for reply in replies]
    if sum(same) == 1:
        return _FIRST if same[0] else _SECOND
    raise BadRow(UNKNOWN_VOTE.format(section=reading.section, name=name))


def _unclear(name: str, said: str, reading: Reading) -> RowError:
    return RowError(
        f"{reading.where}: column {name!r} says {said}, which may be the place of a reply, or whether the first one is "
        f"better; {reading.section}.values={{{name}: {{1: first, 0: second}}}} says which"
    )


def _side(column: str, other: str) -> str:
    """The part of a column's name that `other` lacks: the ``b`` of ``response_b``, the ``first`` of ``first_reply``."""
    own, others = column.split("_"), other.split("_")
    words = [word for word, another in zip(own, others, strict=True) if word != another]
    return words[0][-1:] if len(own) == 1 and words[0][:-1] == others[0][:-1] else words[0]


def _vote(values: Values, reading: Reading) -> list[Exchange]:
    """Two replies to a prompt, or to messages, and which is the better one."""
    before = prompt_of(values, reading)
    if reading.asks_only:
        return [Exchange(tuple(before), ())]
    columns = VOTE.columns_in(values)
    assert columns is not None
    *pair, name = columns
    ranks = _ranks(values, (pair[0], pair[1]), name, reading)
    return _voted(before, [reply_of(values, reply, reading) for reply in pair], ranks)


def _until(turn: float | None, spoken: Sequence[Spoken]) -> tuple[list[Spoken], Spoken]:
    """The messages before the reply that was voted on, and the reply: that of the turn, or the last one."""
    answers = [i for i, one in enumerate(spoken) if one.role == "assistant"]
    voted = answers[int(turn) - 1] if turn is not None and 1 <= turn <= len(answers) else len(spoken) - 1
    if spoken[voted].role != "assistant":
        raise BadRow(NO_LAST_REPLY)
    return list(spoken[:voted]), spoken[voted]


def _arena_votes(values: Values, reading: Reading) -> list[Exchange]:
    """The same in columns of turns, each a JSON list of texts."""
    asks, first, second = (_turns(values, name) for name in ("prompt", "response_a", "response_b"))
    if not len(asks) == len(first) == len(second):
        raise BadRow("its prompts and responses are not as many")
    if first[:-1] != second[:-1]:
        raise LeftOut(OTHER_PROMPT)
    before = [Spoken("user", asks[0])]
    for answer, ask in zip(first[:-1], asks[1:], strict=True):
        before += [Spoken("assistant", answer), Spoken("user", ask)]
    if reading.asks_only:
        return [Exchange(tuple(before), ())]
    won = [bool(number(values.get(f"winner_{name}"), f"winner_{name}")) for name in ("model_a", "model_b", "tie")]
    if sum(won) != 1:
        raise BadRow("its winner is not one of model_a, model_b and tie")
    replies = [Spoken("assistant", turns[-1]) for turns in (first, second)]
    return _voted(before, replies, (_FIRST, _SECOND, _TIE)[won.index(True)])


def _turns(values: Values, name: str) -> list[str]:
    value = values.get(name)
    if isinstance(value, str):
        value = listed(value) or [value]
    if not isinstance(value, list) or not value or not all(isinstance(said, str) for said in value):
        raise BadRow(f"field {name!r} is not a text or a list of texts")
    return value


def _pku(values: Values, reading: Reading) -> list[Exchange]:
    """PKU-SafeRLHF: the better reply, where it is the safer one too."""
    before = asked(values, reading, ("prompt",))
    if reading.asks_only:
        return [Exchange(tuple(before), ())]
    better = number(values.get("better_response_id"), "better_response_id")
    safer = number(values.get("safer_response_id"), "safer_response_id")
    if better not in (0, 1):
        raise BadRow("field 'better_response_id' is neither 0 nor 1")
    if safer is not None and safer != better:
        raise LeftOut(SAFETY_DISAGREES)
    replies = _texts(values, "response_0", "response_1")
    return _voted(before, replies, _FIRST if better == 0 else _SECOND)


def _shp(values: Values, reading: Reading) -> list[Exchange]:
    """Stanford Human Preferences: two answers to a post; the label is 1 where the first is preferred."""
    before = [Spoken("user", text(values, "history"))]
    if reading.asks_only:
        return [Exchange(tuple(before), ())]
    label = number(values.get("labels"), "labels")
    if label not in (0, 1):
        raise BadRow("field 'labels' is neither 0 nor 1")
    replies = _texts(values, "human_ref_A", "human_ref_B")
    scores = (number(values.get("score_A"), "score_A"), number(values.get("score_B"), "score_B"))
    return _voted(before, replies, _FIRST if label == 1 else _SECOND, scores)


def _strength(prompt: str, first: str, second: str, strength: str) -> Callable[[Values, Reading], Sequence[Exchange]]:
    """HelpSteer's preferences: a number below 0 where the first reply is better, 0 for a tie."""

    def exchanges(values: Values, reading: Reading) -> list[Exchange]:
        before = asked(values, reading, (prompt,))
        if reading.asks_only:
            return [Exchange(tuple(before), ())]
        value = number(values.get(strength), strength)
        if value is None:
            raise BadRow(f"field {strength!r} is missing or null")
        ranks = _TIE if value == 0 else _FIRST if value < 0 else _SECOND
        return _voted(before, _texts(values, first, second), ranks)

    return exchanges


_SAFETY = (
    "is_response_0_safe", "is_response_1_safe", "response_0_severity_level", "response_1_severity_level",
    "response_0_harm_category", "response_1_harm_category", "response_0_source", "response_1_source",
    "prompt_source", "response_0_sha256", "response_1_sha256",
)  # fmt: skip

VOTES = (
    Format(
        "pku-saferlhf", ("prompt", "response_0", "response_1", "better_response_id"), _pku,
        used=("input", "safer_response_id"), irrelevant=_SAFETY, merged="pairs",
    ),
    Format(
        "shp", ("history", "human_ref_A", "human_ref_B", "labels"), _shp, used=("score_A", "score_B"),
        irrelevant=(
            "post_id", "upvote_ratio", "c_root_id_A", "c_root_id_B", "created_at_utc_A", "created_at_utc_B",
            "seconds_difference", "score_ratio",
        ),
        merged="pairs",
    ),
    Format(
        "helpsteer3", ("context", "response1", "response2", "overall_preference"),
        _strength("context", "response1", "response2", "overall_preference"),
        used=("input",), irrelevant=("individual_preference",), merged="pairs",
    ),
    Format(
        "helpsteer-preference", ("prompt", "response_1", "response_2", "preference_strength"),
        _strength("prompt", "response_1", "response_2", "preference_strength"),
        used=("input",), irrelevant=("preference_statement", "preference_elaboration", "three_most_similar_preferences",
        "all_preferences_unprocessed"), merged="pairs",
    ),
    Format(
        "arena", ("conversation_a", "conversation_b", "winner"), _arena, used=("turn",),
        irrelevant=(
            "model_a", "model_b", "judge", "anony", "tstamp", "openai_moderation", "toxic_chat_tag", "judge_hash",
            "conv_metadata", "category_tag", "is_code", "is_refusal", "dedup_tag", "evaluation_session_id",
            "evaluation_order", "full_conversation",
        ),
        merged="pairs",
    ),
    Format(
        "arena-votes", ("prompt", "response_a", "response_b", "winner_model_a"), _arena_votes,
        used=("winner_model_b", "winner_tie"), irrelevant=("model_a", "model_b"), merged="pairs",
    ),
)  # fmt: skip

VOTE = Format(
    "vote", ("response_a", "response_b", "winner"), _vote, used=(*PROMPT, *CHATS), others=_VOTES,
    irrelevant=("model_a", "model_b", "model_1", "model_2", "judge"), merged="pairs",
)  # fmt: skip
"""Votes under all usual names of their columns."""
