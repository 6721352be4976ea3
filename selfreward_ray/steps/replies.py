"""Existing replies to judge or compare: those of a finished step, or rows in a file."""

from collections.abc import Iterable, Iterator

from selfreward_ray.errors import UserError
from selfreward_ray.prompts.answered import read_answered
from selfreward_ray.prompts.given import given_id, prompt_reading
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Candidate, Contender, Dropped, EvaluatedSet, JudgedPrompt
from selfreward_ray.reporting.progress import warn
from selfreward_ray.seed.readers.reading import Reading
from selfreward_ray.steps.given import Offered, write_offered
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.step import Step, finished_step, is_step
from selfreward_ray.store.tables import read_files
from selfreward_ray.store.user_files import read_some_rows
from selfreward_ray.thought import part_thought

_ANSWERING = ("sample", "respond", "judge")


def offered_replies(step: Step, source: str, option: str, recipe: Recipe) -> Offered:
    """The `JudgedPrompt` table of `source`: the rows of a sample, respond or judge step. Answers of an evaluate step,
    and rows of a file, folder or URI, are first written to `step`'s table `offered`.

    Raises `UserError` for an unfinished step, a step of another kind, and rows that are not prompts with replies.
    """
    if _is_evaluation(source):
        return write_offered(step, _answers(source), JudgedPrompt)
    if is_step(Folder(source)):
        return Offered(finished_step(source, *_ANSWERING) / "rows")
    check_no_model(source, option)
    reading = prompt_reading(recipe.prompts, option)
    return write_offered(step, read_replies(source, option, reading), JudgedPrompt, reading)


def first_replies(source: str, option: str, recipe: Recipe, dropped: list[Dropped]) -> Iterator[tuple[str, Contender]]:
    """Each prompt, as a judge is shown it, with its first reply. Takes the sources of `offered_replies` and an evaluate
    step. Rows that cannot be used are added to `dropped`."""
    if _is_evaluation(source):
        yield from _first_of(_answers(source))
    elif is_step(Folder(source)):
        folder = finished_step(source, "evaluate", *_ANSWERING)
        yield from _first_of(row for _, rows in read_files(folder / "rows", JudgedPrompt) for row in rows)
    else:
        check_no_model(source, option)
        reading = prompt_reading(recipe.prompts, option)
        for row in read_replies(source, option, reading):
            if isinstance(row, Dropped):
                dropped.append(row)
            else:
                yield from _first_of([row])
        for note in reading.notes():
            warn(note)


def _is_evaluation(source: str) -> bool:
    manifest = read_manifest(Folder(source))
    return manifest is not None and manifest.step == "evaluate"


def check_no_model(source: str, option: str) -> None:
    """Raise `UserError` if `source` is a model, or holds one as a folder of a run does: its answers are elsewhere."""
    folder = Folder(source.rstrip("/"))
    is_model = folder.is_file("config.json")
    around = Folder(folder.uri.removesuffix("/model")) if is_model else folder
    answers = around / "evaluation"
    if _is_evaluation(answers.uri):
        what = "a model" if is_model else "the folder of a run's model"
        raise UserError(
            f"{option}: {source} is {what}, not its replies; its answers to held-out prompts: {answers.uri}"
        )
    if is_model:
        raise UserError(
            f"{option}: {source} is a model, not its replies; make some with selfreward sample or evaluate, and name "
            "that step's folder"
        )
    if folder.is_file("recipe.yaml") and "M1" in folder.folders():
        raise UserError(f"{option}: {source} is a run; name the answers of one of its models: {source}/M1/evaluation")


def _answers(evaluation: str) -> Iterator[JudgedPrompt]:
    """The answers of a finished evaluate step, with the ids of the held-out sets."""
    for _, rows in read_files(Folder(evaluation) / "rows", EvaluatedSet):
        for row in rows:
            answer = Candidate(row.answer.id, row.answer.text, (), row.answer.finished, thought=row.answer.thought)
            yield JudgedPrompt(row.id, row.answer.prompt, (), (answer,))


def _first_of(answered: Iterable[JudgedPrompt]) -> Iterator[tuple[str, Contender]]:
    for prompt in answered:
        first = prompt.candidates[0]
        yield prompt.question, Contender(first.id, first.text)


def _candidate(row: str, text: str, finished: bool) -> Candidate:
    """An unjudged reply of a file. A thought at its beginning is no part of it."""
    found = part_thought(text)
    return Candidate(row, found.reply, (), finished and found.finished, thought=found.thought)


def read_replies(source: str, option: str, reading: Reading) -> Iterator[JudgedPrompt | Dropped]:
    """Prompts with unjudged candidates. Ids contain the row's place (``given/p000017/r0``)."""
    for number, found in enumerate(read_answered(read_some_rows(source, None, option), reading)):
        if isinstance(found, Dropped):
            yield found
            continue
        name = given_id(number)
        candidates = (_candidate(f"{name}/r{i}", text, found.finished) for i, text in enumerate(found.replies))
        yield JudgedPrompt(name, found.prompt, (), tuple(candidates), found.history)
