"""Whether a run's or a step's folder can be written, and whether the disk has room for the models."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow import ArrowException, fs

from selfreward_ray.check.findings import LIMIT_S, Sentence
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.store.folder import Folder

_GB = 10**9


def late(uri: str) -> UserError | None:
    """What is said if a check of a folder or file takes too long; None if it is on this machine."""
    return None if "://" not in uri or uri.startswith("file://") else _no_answer(uri, "storage")


def late_model(model: str) -> UserError | None:
    """What is said if a check of a model takes too long; None if it is on this machine."""
    if os.path.exists(model.removeprefix("file://")) or is_endpoint(model):
        return None
    return late(model) or _no_answer(model, "hub")


def _no_answer(uri: str, place: str) -> UserError:
    return UserError(
        f"{uri}: the {place} has not answered within {LIMIT_S:g} seconds; check its address, the network and your "
        "credentials"
    )


def check_writable(uri: str) -> Iterator[Sentence]:
    """Write a file in the folder `uri`, or, where there is none yet, in the one that will hold it, and remove it."""
    filesystem, path = Folder(uri).filesystem()
    if isinstance(filesystem, fs.LocalFileSystem):
        yield _writable_here(Path(path), uri)
        return
    probe = f"{path.rstrip('/')}/.selfreward-check-{uuid.uuid4().hex}"
    try:
        filesystem.open_output_stream(probe).close()
        filesystem.delete_file(probe)
    except (OSError, ArrowException) as error:  # Azure's credentials fail by another kind
        raise UserError(
            f"{uri} cannot be written: {' '.join(str(error).split())}; check that the bucket exists, its region, and "
            "that your credentials may write and delete in it"
        ) from None
    yield f"{uri} can be written"


def _writable_here(folder: Path, uri: str) -> str:
    """What is said of a `folder` on a disk that can be written, or made. Raises `UserError` if it cannot."""
    there = next(above for above in (folder, *folder.parents) if os.path.lexists(above))
    if not there.is_dir():
        raise UserError(f"{uri} cannot be made: {there} is no folder; choose another place")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            f"{uri} cannot be written: {there}: {error.strerror}; choose another place, or change its permissions"
        ) from None
    return f"{uri} can be written, {shutil.disk_usage(there).free / _GB:.0f} GB free"


def weight_bytes(model: str) -> int:
    """Size of a model's weight files in a folder or an object store; 0 where it is not known, as of one on the hub."""
    if "://" not in model and not Path(model).is_dir():
        return 0
    return sum(info.size or 0 for info in Folder(model).infos() if info.path.endswith(".safetensors"))


def check_room(uri: str, models: int, model_bytes: int) -> None:
    """Raise `UserError` unless the disk of the folder `uri` has room for `models` models of `model_bytes`.

    Checkpoints of the training that is going on take about six times as much as its model, for some time.
    """
    filesystem, path = Folder(uri).filesystem()
    if not isinstance(filesystem, fs.LocalFileSystem) or not models or not model_bytes:
        return
    there = next(above for above in (Path(path), *Path(path).parents) if above.is_dir())
    free, needed = shutil.disk_usage(there).free, models * model_bytes
    if free < needed:
        raise UserError(
            f"{uri}: {free / _GB:.1f} GB are free on its disk, and the {models} models of this run take "
            f"{needed / _GB:.1f} GB; free some space, or choose another --run-dir"
        )
