"""Ranked conversations as JSONL, one prompt with its ranked replies a line (paper, section 2.1)."""

import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from selfreward_ray.errors import UserError
from selfreward_ray.records import RankedReply, RankedSet


class SeedError(UserError):
    """Seed data that can not be used; the message says where the fault is and what to do."""


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("text is empty; write it or remove the row")
    return text


_Text = Annotated[str, AfterValidator(_filled)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ReplyRow(_Row):
    text: _Text
    rank: NonNegativeInt
    verdict: _Text | None = None
    score: FiniteFloat | None = None


class _SetRow(_Row):
    prompt: _Text
    responses: list[_ReplyRow] = Field(min_length=1)
    id: _Text | None = None


def read_ranked_sets(text_lines: Iterable[str], source: str) -> Iterator[RankedSet]:
    """Ranked sets of the JSONL lines of `source`, in their order; blank lines are passed over.

    A set without an ``id`` is called by its place among the rows (``seed/000017``), a reply by its
    place in the set (``seed/000017/r0``). Raises `SeedError` at the first row that does not fit,
    and at the end when there was no row at all.
    """
    lines_of_ids: dict[str, int] = {}
    for number, line in enumerate(text_lines, start=1):
        if not line.strip():
            continue
        try:
            row = _SetRow.model_validate_json(line)
        except ValidationError as error:
            raise SeedError(f"{source}:{number}: {'; '.join(map(_explain, error.errors()))}") from None
        set_id = row.id or f"seed/{len(lines_of_ids):06d}"
        if set_id in lines_of_ids:
            raise SeedError(f"{source}:{number}: id {set_id!r} stands in line {lines_of_ids[set_id]} too; rename one")
        lines_of_ids[set_id] = number
        yield RankedSet(
            id=set_id,
            prompt=row.prompt,
            replies=tuple(RankedReply(id=f"{set_id}/r{i}", **dict(reply)) for i, reply in enumerate(row.responses)),
        )
    if not lines_of_ids:
        raise SeedError(f"{source}: holds no ranked sets; write one JSON object with prompt and responses a line")


def to_json(ranked_set: RankedSet) -> str:
    """The JSONL line of `ranked_set`, without a line end: `read_ranked_sets` gives an equal set back."""
    responses = [
        {"text": reply.text, "rank": reply.rank, "verdict": reply.verdict, "score": reply.score}
        for reply in ranked_set.replies
    ]
    return json.dumps({"prompt": ranked_set.prompt, "responses": responses, "id": ranked_set.id})


def _explain(detail: Any) -> str:
    name = ".".join(map(str, detail["loc"]))
    match detail["type"]:
        case "json_invalid":
            return f"is not JSON ({detail['ctx']['error']}); write one JSON object a line"
        case "missing":
            return f"field {name!r} is missing; add it"
        case "extra_forbidden":
            return f"unknown field {name!r}; correct its name or remove it"
    message = detail["msg"].removeprefix("Value error, ")
    where = f"field {name!r}" if name else "the row"
    return f"{where}: {message[0].lower()}{message[1:]} (got {reprlib.repr(detail['input'])})"
