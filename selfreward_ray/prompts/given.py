"""Prompts and questions that users give. The question files of AlpacaEval and of MT-Bench are read as they are.

A prompt is ``{"prompt": "…"}`` or AlpacaEval's ``{"instruction": "…"}``; a conversation is MT-Bench's ``{"turns": ["…",
"…"]}``. Other fields, such as the answers of other models, are passed over.
"""

import json
from collections.abc import Iterator

from pydantic import Field, field_validator, model_validator

from selfreward_ray.records import Prompt, Question
from selfreward_ray.store.user_files import Fields, Filled, RowError, parse, read_some_rows


class _PromptRow(Fields):
    prompt: Filled | None = None
    instruction: Filled | None = None
    turns: list[Filled] | None = Field(None, min_length=1)
    input: str | None = None
    question_id: object = None

    @field_validator("question_id")
    @classmethod
    def _an_id(cls, value: object) -> object:
        if value is None or type(value) is int or (isinstance(value, str) and value.strip()):
            return value
        raise ValueError("must be a whole number or a text")

    @model_validator(mode="after")
    def _asked_once(self) -> "_PromptRow":
        if sum(each is not None for each in (self.prompt, self.instruction, self.turns)) != 1:
            raise ValueError("give one of the fields 'prompt', 'instruction' (texts) and 'turns', a list of texts")
        if self.input:
            raise ValueError("the model is not shown the field 'input'; write it into the prompt and remove it")
        return self

    def texts(self) -> list[str]:
        return self.turns or [self.prompt or self.instruction or ""]


def read_prompts(source: str, option: str) -> Iterator[Prompt]:
    """The prompts of `source`, the value of `option`, with ids that contain the row's number (``given/p000017``).

    Raises `RowError` for a row that is no prompt, or that has several turns.
    """
    for number, (row, where) in enumerate(_rows(source, option)):
        texts = row.texts()
        if len(texts) > 1:
            raise RowError(
                f"{where}: has {len(texts)} turns, which the answer step asks one after the other: selfreward answer"
            )
        yield Prompt(_row_id(number), texts[0])


def read_questions(source: str, option: str) -> Iterator[Question]:
    """The questions of `source`, with ids as `read_prompts` gives them, and with their own `question_id`.

    Raises `RowError` for a row that is no question, and where two have the same `question_id`.
    """
    first: dict[str, str] = {}
    for number, (row, where) in enumerate(_rows(source, option)):
        own = None if row.question_id is None else json.dumps(row.question_id, ensure_ascii=False)
        if own is not None and first.setdefault(own, where) != where:
            raise RowError(f"{where}: question_id {own} stands in {first[own]} too; change one of them")
        yield Question(_row_id(number), tuple(row.texts()), own)


def _rows(source: str, option: str) -> Iterator[tuple[_PromptRow, str]]:
    for row in read_some_rows(source, "train", option):
        yield parse(_PromptRow, row.fields, row.where), row.where


def _row_id(number: int) -> str:
    return f"given/p{number:06d}"
