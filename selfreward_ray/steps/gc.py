"""What of a run can be deleted, and how much space that frees.

A training that is finished needs neither its checkpoints nor its examples as token ids, and its reference only if it is
done again. Models, rows, manifests and all that an unfinished step goes on from stay. Copies of the run's models in the
cache of this machine are fetched again where they are needed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs
from rich.console import Console

from selfreward_ray.models.cache import cached_models, remove
from selfreward_ray.plan import TRAINING_STEPS, PlannedStep, plan
from selfreward_ray.reporting.formatting import amount, size
from selfreward_ray.reporting.row_text import say
from selfreward_ray.store.blocks import BLOCKS, PROPOSALS
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.owner import owned
from selfreward_ray.store.run import ANSWERS, ModelLayout, RunLayout
from selfreward_ray.store.step import note_removed

_OLD_S = 3600.0


@dataclass(frozen=True)
class Deletable:
    """Files of a run that nothing needs."""

    what: str
    place: Folder
    files: dict[str, int]
    """Their bytes, by their paths in the file system."""
    whole: bool = True
    """Whether they are all that is in the place."""
    table_of: PlannedStep | None = None
    """The step whose manifest counts the rows, if the place is a table of one."""
    is_copy: bool = False
    """Whether the place is in the cache of this machine."""


def collect(run: str, confirm: Callable[[str], bool], console: Console | None = None) -> None:
    """Print what can be deleted, and delete it if `confirm` of a question says so.

    Raises `UserError` for no run's folder, and if a process works on the run.
    """
    console = console or Console()
    layout = RunLayout(run).current()
    steps = plan(layout.recipe(), layout)
    with owned(layout.root):
        found = [*deletable(layout, steps), *_copies(layout)]
        for each in found:
            files = amount(len(each.files), "file")
            say(console, f"{size(sum(each.files.values())):>9}  {each.place.uri}: {each.what} ({files})")
        total = size(sum(sum(each.files.values()) for each in found))
        if not found:
            say(console, "nothing can be deleted")
        elif confirm(f"delete them, and free {total}?"):
            for each in found:
                _delete(each)
            say(console, f"{total} freed")
        else:
            say(console, "nothing was deleted")


def deletable(layout: RunLayout, steps: list[PlannedStep]) -> Iterator[Deletable]:
    """What nothing of the run needs, from one listing of its folder."""
    filesystem, root = layout.root.filesystem()
    infos = filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    infos = [info for info in infos if info.type == fs.FileType.File]
    files = {info.path: info.size or 0 for info in infos}
    listed: set[str] = set()

    def within(what: str, folder: Folder, table_of: PlannedStep | None = None) -> Iterator[Deletable]:
        _, path = folder.filesystem()
        inside = {name: size for name, size in files.items() if name.startswith(f"{path.rstrip('/')}/")}
        listed.update(inside)
        if inside:
            yield Deletable(what, folder, inside, table_of=table_of)

    for step in steps:
        if read_manifest(step.folder) is None:
            continue
        if step.name in TRAINING_STEPS and step.made_in:
            made = ModelLayout(step.made_in)
            yield from within("checkpoints of a finished training", made.checkpoints)
            yield from within("snapshots of a finished training", made.snapshots)
            yield from within("its examples as token ids", made.training / "rows", step)
            yield from within("reference log-probs, computed again if the training is", made.reference)
        for place in (step.folder, step.folder / PROPOSALS):
            yield from within("blocks of a finished step, whose rows are in its tables", place / BLOCKS)
        yield from within("an endpoint's answers to a finished step", step.folder / ANSWERS)
    for info in infos:
        is_partial = info.base_name.startswith(".") and info.base_name.endswith(".partial")
        if is_partial and info.path not in listed and _is_old(info):
            above = info.path.removeprefix(root).strip("/").rpartition("/")[0]
            folder = layout.root / above if above else layout.root
            left = f"{info.base_name}, which a process that was killed had begun to write"
            yield Deletable(left, folder, {info.path: info.size}, whole=False)


def _copies(layout: RunLayout) -> Iterator[Deletable]:
    """What the cache of this machine has of the run's models, and no process uses."""
    for model in cached_models():
        is_of_run = model.uri and same_place(model.uri).startswith(f"{same_place(layout.uri)}/")
        if is_of_run and not model.in_use:
            what = f"a copy of {model.uri}, fetched again where it is needed"
            yield Deletable(what, Folder(str(model.folder)), model.files, is_copy=True)


def _is_old(info: fs.FileInfo) -> bool:
    """Whether nobody is writing the file: `report`, for one, writes to runs that it does not own."""
    return info.mtime_ns is not None and time.time() - info.mtime_ns / 1e9 > _OLD_S


def _delete(found: Deletable) -> None:
    """Delete the files. If this is interrupted, the run stays whole, and a later call deletes the rest."""
    if found.is_copy:
        remove(Path(found.place.uri))
        return
    if found.table_of:
        note_removed(found.table_of.folder, found.place.uri.rpartition("/")[2])
    if found.whole:
        found.place.delete()
        return
    filesystem, _ = found.place.filesystem()
    for path in found.files:
        filesystem.delete_file(path)
