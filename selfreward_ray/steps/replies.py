"""Existing replies to judge or compare: those of a finished step, or rows in a file."""

from collections.abc import Iterable, Iterator

from pydantic import Field, model_validator

from selfreward_ray.records import Candidate, Contender, EvaluatedSet, JudgedPrompt
from selfreward_ray.steps.given import write_offered
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step, finished_step, is_step
from selfreward_ray.store.tables import read_files
from selfreward_ray.store.user_files import Encodable, Fields, Filled, parse, read_some_rows
from selfreward_ray.thought import part_thought

_ANSWERING = ("sample", "respond", "judge")


class _ReplyRow(Fields):
    """A prompt with one or several replies. A reply may be empty, as models write such replies."""

    prompt: Filled
    reply: Encodable | None = None
    replies: list[Encodable] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _answered(self) -> "_ReplyRow":
        if (self.reply is None) == (self.replies is None):
            raise ValueError("give either field 'reply', a text, or field 'replies', a list of texts")
        return self

    def texts(self) -> list[str]:
        return self.replies or [self.reply or ""]


def offered_replies(step: Step, source: str, option: str) -> Folder:
    """The `JudgedPrompt` table of `source`: the rows of a sample, respond or judge step. Answers of an evaluate step,
    and rows of a file, folder or URI, are first written to `step`'s table `offered`.

    Raises `UserError` for an unfinished step, a step of another kind, and a row that is not a prompt with replies.
    """
    is_evaluation = _is_evaluation(source)
    if is_step(Folder(source)) and not is_evaluation:
        return finished_step(source, *_ANSWERING) / "rows"
    rows = _answers(source) if is_evaluation else _read_replies(source, option)
    return write_offered(step, rows, JudgedPrompt)


def first_replies(source: str, option: str) -> Iterator[tuple[str, Contender]]:
    """Each prompt's text with its first reply. Takes the sources of `offered_replies` and an evaluate step."""
    if not is_step(Folder(source)):
        return _first_of(_read_replies(source, option))
    if _is_evaluation(source):
        return _first_of(_answers(source))
    folder = finished_step(source, "evaluate", *_ANSWERING)
    return _first_of(row for _, rows in read_files(folder / "rows", JudgedPrompt) for row in rows)


def _is_evaluation(source: str) -> bool:
    manifest = read_manifest(Folder(source))
    return manifest is not None and manifest.step == "evaluate"


def _answers(evaluation: str) -> Iterator[JudgedPrompt]:
    """The answers of a finished evaluate step, with the ids of the held-out sets."""
    for _, rows in read_files(Folder(evaluation) / "rows", EvaluatedSet):
        for row in rows:
            answer = Candidate(row.answer.id, row.answer.text, (), row.answer.finished, thought=row.answer.thought)
            yield JudgedPrompt(row.id, row.answer.prompt, (), (answer,))


def _first_of(answered: Iterable[JudgedPrompt]) -> Iterator[tuple[str, Contender]]:
    for prompt in answered:
        first = prompt.candidates[0]
        yield prompt.text, Contender(first.id, first.text)


def _candidate(row: str, text: str) -> Candidate:
    """An unjudged reply of a file. A thought at its beginning is no part of it."""
    found = part_thought(text)
    return Candidate(row, found.reply, (), found.finished, thought=found.thought)


def _read_replies(source: str, option: str) -> Iterator[JudgedPrompt]:
    """Prompts with unjudged candidates, which count as complete unless their thought has no end. Ids contain the row
    number (``given/p000017/r0``)."""
    for number, row in enumerate(read_some_rows(source, "train", option)):
        found = parse(_ReplyRow, row.fields, row.where)
        prompt_id = f"given/p{number:06d}"
        candidates = (_candidate(f"{prompt_id}/r{i}", text) for i, text in enumerate(found.texts()))
        yield JudgedPrompt(prompt_id, found.prompt, (), tuple(candidates))
