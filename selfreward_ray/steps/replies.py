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
    """The `JudgedPrompt` table of `source`: the rows of a sample, respond or judge step. Rows of a file, folder or URI
    are first written to `step`'s table `offered`.

    Raises `UserError` for an unfinished step, a step of another kind, and a row that is not a prompt with replies.
    """
    if is_step(Folder(source)):
        return finished_step(source, *_ANSWERING) / "rows"
    return write_offered(step, _read_replies(source, option), JudgedPrompt)


def first_replies(source: str, option: str) -> Iterator[tuple[str, Contender]]:
    """Each prompt's text with its first reply. Takes the sources of `offered_replies` and an evaluate step."""
    if not is_step(Folder(source)):
        return _first_of(_read_replies(source, option))
    folder = finished_step(source, "evaluate", *_ANSWERING)
    manifest = read_manifest(folder)
    if manifest is not None and manifest.step == "evaluate":
        sets = (row for _, rows in read_files(folder / "rows", EvaluatedSet) for row in rows)
        return ((s.answer.prompt, Contender(s.answer.id, s.answer.text)) for s in sets)
    return _first_of(row for _, rows in read_files(folder / "rows", JudgedPrompt) for row in rows)


def _first_of(answered: Iterable[JudgedPrompt]) -> Iterator[tuple[str, Contender]]:
    for prompt in answered:
        first = prompt.candidates[0]
        yield prompt.text, Contender(first.id, first.text)


def _read_replies(source: str, option: str) -> Iterator[JudgedPrompt]:
    """Prompts with unjudged candidates, which count as complete. Ids contain the row number (``given/p000017/r0``)."""
    for number, row in enumerate(read_some_rows(source, "train", option)):
        found = parse(_ReplyRow, row.fields, row.where)
        prompt_id = f"given/p{number:06d}"
        candidates = (Candidate(f"{prompt_id}/r{i}", text, (), True) for i, text in enumerate(found.texts()))
        yield JudgedPrompt(prompt_id, found.prompt, (), tuple(candidates))
