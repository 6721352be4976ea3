"""Formats of several replies with ranks or scores in one row, and of replies that were rated by attributes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selfreward_ray.seed.readers.declaration import PROMPT, Format
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Values
from selfreward_ray.seed.readers.instructions import reply_of
from selfreward_ray.seed.readers.media import MEDIA, is_media, note_key
from selfreward_ray.seed.readers.messages import asked
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading
from selfreward_ray.seed.readers.values import as_text, is_empty, items, number, objects, whole_number

RANKS_DISAGREE = "the response with the better rank (0 is the best) has the lower score; leave one of the two out"
_TEXTS = ("text", "response", "content", "answer")
_WEIGHTS = {"helpfulness": 0.65, "correctness": 0.8, "coherence": 0.45, "complexity": 0.55, "verbosity": -0.4}
"""Of HelpSteer2's reward model (Wang et al. 2024, arXiv 2406.08673)."""


def _ranked(values: Values, reading: Reading) -> list[Exchange]:
    """Responses that are objects with a rank or a score, or texts beside a list of ranks or scores."""
    before = tuple(asked(values, reading))
    if reading.asks_only:
        return [Exchange(before, ())]
    responses = items(values, "responses")
    ranks, scores = (_beside(values, name, len(responses)) for name in ("rank", "score"))
    replies = [
        _response(item, rank, score, reading) for item, rank, score in zip(responses, ranks, scores, strict=True)
    ]
    if any(_contradict(one, other) for one in replies for other in replies):
        raise BadRow(RANKS_DISAGREE)
    return [Exchange(before, tuple(_from_best(replies)))]


def _contradict(better: Given, worse: Given) -> bool:
    """Whether the reply with the better rank has the lower score."""
    if better.rank is None or worse.rank is None or better.score is None or worse.score is None:
        return False
    return better.rank < worse.rank and better.score < worse.score


def _response(item: Any, rank: Any, score: Any, reading: Reading) -> Given:
    if isinstance(item, str):
        item = {"text": item, "rank": rank, "score": score}
    if not isinstance(item, dict):
        raise BadRow("field 'responses' is not a list of objects or texts")
    name = next((name for name in _TEXTS if item.get(name) is not None), "text")
    known = {name, "rank", "score", "verdict", "model", "id"} | reading.used_inside()
    for key, value in item.items():
        if key not in known and not is_empty(value):
            note_key(key, value, "responses", reading)
    verdict = as_text(reading.inside(item, "verdict", ("verdict",)) or "", "responses.verdict")
    return Given(
        as_text(reading.inside(item, "text", (name,)), f"responses.{name}"),
        whole_number(reading.inside(item, "rank", ("rank",)), "responses.rank"),
        number(reading.inside(item, "score", ("score",)), "responses.score"),
        verdict if verdict.strip() else None,
    )


def _beside(values: Values, name: str, count: int) -> Sequence[Any]:
    """The list of ranks or scores beside a list of responses."""
    column = next((column for column in (f"{name}s", name) if values.get(column) is not None), None)
    if column is None:
        return [None] * count
    found = items(values, column)
    if len(found) != count:
        raise BadRow(f"field {column!r} is not as long as the list of responses")
    return found


def _from_best(replies: Sequence[Given]) -> list[Given]:
    """`replies` with ranks from 0 on, whatever number the source gives its best."""
    best = min((reply.rank for reply in replies if reply.rank is not None), default=0)
    return [one if one.rank is None else replace(one, rank=one.rank - best) for one in replies]


def _nectar(values: Values, reading: Reading) -> list[Exchange]:
    before = tuple(asked(values, reading, ("prompt",)))
    if reading.asks_only:
        return [Exchange(before, ())]
    replies = [
        Given(_text(answer, "answer", reading), whole_number(reading.inside(answer, "rank", ("rank",)), "answers.rank"))
        for answer in objects(values, "answers")
    ]
    return [Exchange(before, tuple(_from_best(replies)))]


def _ultrafeedback(values: Values, reading: Reading) -> list[Exchange]:
    """UltraFeedback before it was made binary: completions with the annotators' scores."""
    before = tuple(asked(values, reading, ("instruction",)))
    if reading.asks_only:
        return [Exchange(before, ())]
    completions = objects(values, "completions")
    scores = _annotated(completions, reading)
    replies = [
        Given(_text(one, "response", reading), score=score) for one, score in zip(completions, scores, strict=True)
    ]
    return [Exchange(before, tuple(replies))]


def _text(item: Values, name: str, reading: Reading) -> str:
    for key, value in item.items():
        if is_media(key, value):
            raise LeftOut(MEDIA)
    return as_text(reading.inside(item, "text", (name,)), name)


def _annotated(completions: Sequence[Values], reading: Reading) -> list[float | None]:
    """The scores of completions, all by one measure, because measures have scales of their own: that of the recipe,
    that of all aspects, the mean of the ratings of the aspects that all have, or the overall one, which is known to be
    off for some completions. If no measure has all completions, the one that has most; the others have no score."""
    if "score" in reading.wanted.columns:
        return [number(reading.inside(one, "score", ()), "completions.score") for one in completions]
    measures = [
        [number(one.get("fine-grained_score"), "fine-grained_score") for one in completions],
        _mean_ratings(completions),
        [number(one.get("overall_score"), "overall_score") for one in completions],
    ]
    return max(measures, key=lambda scores: sum(score is not None for score in scores))


def _mean_ratings(completions: Sequence[Values]) -> list[float | None]:
    """The mean rating of each completion by the aspects in which every one that is rated has a rating."""
    each = [_ratings(one.get("annotations")) for one in completions]
    rated = [ratings for ratings in each if ratings]
    aspects = set.intersection(*(set(ratings) for ratings in rated)) if rated else set()
    return [sum(ratings[name] for name in aspects) / len(aspects) if ratings and aspects else None for ratings in each]


def _ratings(annotations: object) -> dict[str, float]:
    """The ratings of the aspects that have one: "N/A" is none."""
    found = {
        aspect: number(rated.get("Rating"), "annotations.Rating")
        for aspect, rated in (annotations.items() if isinstance(annotations, dict) else ())
        if isinstance(rated, dict)
    }
    return {aspect: rating for aspect, rating in found.items() if rating is not None}


def _helpsteer(values: Values, reading: Reading) -> list[Exchange]:
    """A reply that was rated by attributes; their weighted sum is its score."""
    before = tuple(asked(values, reading))
    if reading.asks_only:
        return [Exchange(before, ())]
    weights = reading.wanted.attributes or _WEIGHTS
    rated = {name: number(values.get(name), name) for name in weights}
    for name, value in rated.items():
        if value is None:
            raise BadRow(f"field {name!r} is missing or null")
    score = sum(weight * (rated[name] or 0) for name, weight in weights.items())
    said = reply_of(values, "response", reading)
    return [Exchange(before, (Given(said.text, score=score, thought=said.thought),))]


RANKINGS = (
    Format(
        "ultrafeedback", ("instruction", "completions"), _ultrafeedback, used=("input",),
        irrelevant=("correct_answers", "incorrect_answers"), ranks=True,
    ),
    Format(
        "nectar", ("prompt", "answers"), _nectar, used=("input",),
        irrelevant=("turns", "num_responses", "good_natured"), ranks=True,
    ),
    Format("ranked", ("responses",), _ranked, used=(*PROMPT, "rank", "ranks", "score", "scores"), ranks=True),
    Format(
        "helpsteer", ("response", "helpfulness"), _helpsteer, used=(*PROMPT, *_WEIGHTS), merged="scores", weighs=True,
    ),
)  # fmt: skip
