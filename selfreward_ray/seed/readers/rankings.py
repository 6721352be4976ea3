"""Formats of several replies with ranks or scores in one row, and of replies that were rated by attributes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selfreward_ray.seed.readers.declaration import PROMPT, Format
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Values
from selfreward_ray.seed.readers.merging import ranked_by_score
from selfreward_ray.seed.readers.reading import BadRow, Reading
from selfreward_ray.seed.readers.values import as_text, asked, is_empty, items, number, objects, text, whole_number

_WEIGHTS = {"helpfulness": 0.65, "correctness": 0.8, "coherence": 0.45, "complexity": 0.55, "verbosity": -0.4}
"""Of HelpSteer2's reward model (Wang et al. 2024, arXiv 2406.08673)."""


def _ranked(values: Values, reading: Reading) -> list[Exchange]:
    """Responses that are objects with a rank or a score, or texts beside a list of ranks or scores."""
    responses = items(values, "responses")
    ranks, scores = (_beside(values, name, len(responses)) for name in ("rank", "score"))
    replies = [
        _response(item, rank, score, reading) for item, rank, score in zip(responses, ranks, scores, strict=True)
    ]
    return [Exchange(tuple(asked(values, reading)), tuple(_from_best(replies)))]


def _response(item: Any, rank: Any, score: Any, reading: Reading) -> Given:
    if isinstance(item, str):
        item = {"text": item, "rank": rank, "score": score}
    if not isinstance(item, dict):
        raise BadRow("field 'responses' is not a list of objects or texts")
    name = next((name for name in ("text", "response", "content", "answer") if item.get(name) is not None), "text")
    for key, value in item.items():
        if key not in (name, "rank", "score", "verdict", "model", "id") and not is_empty(value):
            reading.unused(f"responses.{key}")
    verdict = as_text(item.get("verdict") or "", "responses.verdict")
    return Given(
        as_text(item.get(name), f"responses.{name}"),
        whole_number(item.get("rank"), "responses.rank"),
        number(item.get("score"), "responses.score"),
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
    """`replies` with ranks from 0 on, whatever number the source gives its best; from scores where no rank stands."""
    ranked = ranked_by_score(replies)
    best = min((reply.rank for reply in ranked if reply.rank is not None), default=0)
    return [one if one.rank is None else replace(one, rank=one.rank - best) for one in ranked]


def _nectar(values: Values, reading: Reading) -> list[Exchange]:
    replies = [
        Given(text(answer, "answer"), whole_number(answer.get("rank"), "answers.rank"))
        for answer in objects(values, "answers")
    ]
    return [Exchange(tuple(asked(values, reading, ("prompt",))), tuple(_from_best(replies)))]


def _ultrafeedback(values: Values, reading: Reading) -> list[Exchange]:
    """UltraFeedback before it was made binary: completions with the annotators' scores."""
    replies = [
        Given(text(completion, "response"), score=_annotated(completion))
        for completion in objects(values, "completions")
    ]
    return [Exchange(tuple(asked(values, reading, ("instruction",))), tuple(_from_best(replies)))]


def _annotated(completion: Values) -> float | None:
    """The score of a completion: that of all aspects, the mean of its ratings, or the overall one, which is known to be
    off for some completions."""
    score = number(completion.get("fine-grained_score"), "fine-grained_score")
    if score is not None:
        return score
    annotations = completion.get("annotations")
    ratings = [
        number(rated["Rating"], "annotations.Rating")
        for rated in (annotations.values() if isinstance(annotations, dict) else ())
        if isinstance(rated, dict) and str(rated.get("Rating", "")).replace(".", "", 1).isdecimal()
    ]
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if known else number(completion.get("overall_score"), "overall_score")


def _helpsteer(values: Values, reading: Reading) -> list[Exchange]:
    """A reply that was rated by attributes; their weighted sum is its score."""
    weights = reading.wanted.attributes or _WEIGHTS
    rated = {name: number(values.get(name), name) for name in weights}
    for name, value in rated.items():
        if value is None:
            raise BadRow(f"field {name!r} is missing or null")
    score = sum(weight * (rated[name] or 0) for name, weight in weights.items())
    return [Exchange(tuple(asked(values, reading, ("prompt",))), (Given(text(values, "response"), score=score),))]


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
    Format("helpsteer", ("response", "helpfulness"), _helpsteer, used=("prompt", "input", *_WEIGHTS), merged="scores"),
)  # fmt: skip
