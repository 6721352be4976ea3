"""What seed data, prompts and other rows that users give would come to; of large sources the beginning."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from selfreward_ray.check.findings import Sentence, faults
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import is_source
from selfreward_ray.prompts.demonstrations import seed_demonstrations
from selfreward_ray.prompts.given import prompt_reading, read_prompts, read_questions
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped
from selfreward_ray.reporting.formatting import commonest
from selfreward_ray.seed.readers import Reading, read_seed
from selfreward_ray.seed.split import SeedSets, ift_example
from selfreward_ray.steps.replies import check_no_model, read_replies
from selfreward_ray.steps.seed import check_sets, read_sets, short_of
from selfreward_ray.store.user_files import has_files, read_some_rows, read_user_rows

MOST_ROWS = 20_000
"""Rows of a source that are read: some seconds at most."""


def check_seed_data(recipe: Recipe, *, trained: bool, proposes: bool) -> Iterator[Sentence]:
    """The sets that ``seed_data.source`` gives, what is left out, and whether they are enough: a batch, if SFT is
    `trained` on them, and demonstrations, if a model `proposes` prompts.

    Of an installed source only the name is looked up, and of a data set of the hub only whether it exists.
    """
    wanted = recipe.seed_data
    name = wanted.named()
    if is_source(name):
        yield f"{name}, an installed source"
        return
    if not has_files(name, wanted.split, "seed_data.source"):
        yield from _check_hub(name, "seed_data.source")
        return
    reading = Reading(wanted)
    said: list[str] = []
    sets, offered = read_sets(recipe, reading, said.append, MOST_ROWS)
    whole = reading.rows < MOST_ROWS
    if whole:
        check_sets(sets, recipe)
    counts = f"{len(sets.ift)} for IFT, {len(sets.eft)} to judge for EFT, {len(sets.held_out)} held out"
    if sets.validation:
        counts += f", {len(sets.validation)} for validation"
    of = f"{reading.rows:,} rows" if whole else f"the first {MOST_ROWS:,} rows"
    yield f"{name}: {of} of the format {reading.format!r}: {counts}"
    if whole and (short := short_of(sets, recipe)):
        yield f"fewer sets than were asked for: {', '.join(short)}"
    if sets.dropped:
        yield f"left out: {len(sets.dropped):,} of {offered:,}: {commonest(sets.dropped)}"
    yield from [*said, *reading.notes()]
    if whole and trained:
        yield from faults(lambda: _check_batch(name, sets, recipe))
    if whole and proposes:
        yield from faults(lambda: seed_demonstrations([ift_example(one) for one in sets.ift], recipe.prompts, name))


def _check_batch(source: str, sets: SeedSets, recipe: Recipe) -> None:
    """Raise `UserError` if SFT has no whole batch. The baseline, which writes EFT verdicts, has the IFT rows alone."""
    alone = not recipe.seed_data.eft or recipe.seed_data.verdicts == "baseline"
    rows = len(sets.ift) + (0 if alone else sum(len(ranked.replies) for ranked in sets.eft))
    if rows < recipe.sft.batch_size:
        raise UserError(
            f"{source} gives {rows} rows to train on, fewer than one batch of {recipe.sft.batch_size}: give more sets, "
            "raise seed_data.ift, or lower sft.batch_size"
        )


def check_prompts(recipe: Recipe, iteration: int) -> Iterator[Sentence]:
    """Whether ``prompts.source`` has the prompts of all iterations up to `iteration`."""
    wanted, source = recipe.prompts, recipe.prompts.source
    if source == "model" or is_source(source):
        return
    if not has_files(source, wanted.split, "prompts.source"):
        yield from _check_hub(source, "prompts.source")
        return
    needed = wanted.count * iteration
    reading = prompt_reading(wanted, "prompts.source", wanted.split)
    rows = read_user_rows(source, wanted.split, "prompts.source")
    read = (one for one in read_prompts(islice(rows, MOST_ROWS), reading) if not isinstance(one, Dropped))
    found = Counter(repr((one.history, one.turns)) for one in islice(read, needed))
    usable = found.total()
    if usable < needed and reading.rows < MOST_ROWS:
        raise UserError(
            f"prompts.source: {source} has {usable:,} prompts that can be used, and {iteration} iterations of "
            f"prompts.count={wanted.count:,} need {needed:,}: give a longer file, or lower prompts.count or iterations"
        )
    yield f"{source}: {usable:,} of the {needed:,} prompts that are needed" + (
        "" if usable == needed else f" in its first {MOST_ROWS:,} rows"
    )
    if again := usable - len(found):
        yield f"{again:,} of these prompts repeat an earlier one, and are answered again"
    yield from reading.notes()


def check_given(option: str, kind: str, source: str, recipe: Recipe) -> None:
    """Raise `UserError` unless the file, folder or URI `source` of `option` begins with rows of the `kind`
    ``prompts``, ``questions``, ``replies`` or ``ranked``."""
    option = f"--{option}"
    if kind == "ranked":
        if not is_source(source) and has_files(source, recipe.seed_data.split, option):
            ranked = recipe.seed_data.model_copy(update={"source": source})
            _begin(read_seed(ranked, Reading(ranked), MOST_ROWS))
        return
    if kind in ("prompts", "questions"):
        rows = read_some_rows(source, None, option)
        read = read_prompts if kind == "prompts" else read_questions
        _begin(read(rows, prompt_reading(recipe.prompts, option)))
    else:
        check_no_model(source, option)
        _begin(read_replies(source, option, prompt_reading(recipe.prompts, option)))


def _begin(rows: Iterable[Any]) -> None:
    """Read the first hundred rows, so that what is wrong with them is raised."""
    for _ in islice(rows, 100):
        pass


def _check_hub(name: str, field: str) -> Iterator[Sentence]:
    """Ask the hub for a data set. Only its own word that there is none is a fault: it may be out of reach here."""
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        huggingface_hub.HfApi().dataset_info(name, timeout=5)
    except GatedRepoError:
        yield UserError(
            f"{field}: the hub's data set {name!r} asks for an agreement; accept it there, and set HF_TOKEN"
        )
    except RepositoryNotFoundError:
        yield UserError(
            f"{field}: there is no file or folder {name!r}, and the hub has no data set of that name; correct it, or "
            "set HF_TOKEN if it is private"
        )
    except Exception as error:  # of the hub, the network or the HTTP library, which was another one before
        yield f"{name}: the hub was not reached ({type(error).__name__}), so this data set was not looked at"
    else:
        yield f"{name}: a data set of the hub, which is read when the step begins"
