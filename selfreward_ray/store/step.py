"""A step's folder: its rows, what it dropped and why, and the manifest that says it is complete.

The manifest records what the step was made from, its part of the recipe and what identifies its inputs, so that a
finished step is never mistaken for another one of the same name; `made_from` has the rule. ``started.json`` records it
of an unfinished one.
"""

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.store.blocks import BLOCKS, PROPOSALS, written
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder, absolute
from selfreward_ray.store.identity import content_digest, input_fingerprint, same_identity
from selfreward_ray.store.made_from import ENGINE, differences, earlier_fingerprint, fingerprint, record
from selfreward_ray.store.manifest import MANIFEST, Manifest, read_manifest
from selfreward_ray.store.merging import merge_blocks
from selfreward_ray.store.owner import MARKS
from selfreward_ray.store.tables import count_reasons, count_rows, write_part
from selfreward_ray.store.versions import continued_with, installed_versions, kept_of

R = TypeVar("R")

_STARTED = "started.json"
_REMOVED = "removed.json"
"""The tables that were removed from a finished step because nothing needs them any more."""


class Stale(UserError):
    """A step was finished with another recipe or other inputs."""

    def __init__(self, folder: Folder, step: str, differing: str):
        super().__init__(
            f"{folder.uri} holds a finished {step!r} step made from another recipe or other inputs{differing}; choose "
            "another folder, or remove this one to make it again (in a run, --remake does that)"
        )
        self.folder = folder
        self.differing = differing


def finished_step(uri: str, *names: str) -> Folder:
    """The folder of a complete step. Raises `UserError` where `uri` holds none of any of the `names`."""
    folder = Folder(uri)
    manifest = read_manifest(folder)
    *others, last = map(repr, names)
    wanted = f"{', '.join(others)} or {last}" if others else last
    if manifest is None:
        raise UserError(f"{uri} holds no finished {wanted} step; is the path right, and has that step ended?")
    if manifest.step not in names:
        raise UserError(f"{uri} holds {_a(repr(manifest.step))} step, but {_a(wanted)} step is needed here")
    return folder


def _a(quoted: str) -> str:
    """A quoted name with its article."""
    return f"{'an' if quoted[1] in 'aeiou' else 'a'} {quoted}"


def missing_rows(folder: Folder, manifest: Manifest) -> list[str]:
    """A message for each table of a complete step that has not the rows which its `manifest` counts, or whose files
    are damaged. Reads the files' footers. What was removed by `selfreward gc` is not missed."""
    counted = {**manifest.rows, "dropped": sum(manifest.dropped.values())}
    found = []
    for table, rows in counted.items():
        try:
            there = count_rows(folder / table)
        except UserError as error:
            found.append(str(error))
            continue
        if there != rows and table not in _removed(folder):
            found.append(
                f"{(folder / table).uri} holds {there:,} of the {rows:,} rows that the step counted; put back its "
                f"files, or remove {folder.uri} and make that step again"
            )
    return found


def note_removed(folder: Folder, table: str) -> None:
    """Note, before it is removed, that a table of a complete step is not missed."""
    folder.write_json(_REMOVED, sorted({*_removed(folder), table}))


def _removed(folder: Folder) -> list[str]:
    removed = folder.read_json(_REMOVED) if folder.is_file(_REMOVED) else []
    return removed if isinstance(removed, list) else []


def forget(folder: Folder) -> None:
    """Turn a finished step into an unfinished one with another fingerprint, which is made from the beginning."""
    folder.write_json(_STARTED, "to be made again")
    folder.remove(MANIFEST)


def is_step(folder: Folder) -> bool:
    """Whether a step wrote the folder, complete or not."""
    return folder.is_file(MANIFEST) or folder.is_file(_STARTED)


class Step:
    """One step writing its folder. Construct, ask `is_done`, write, `finish`.

    `part` is what the step uses of the recipe, as `made_from.record` takes it.
    """

    def __init__(self, name: str, out: str, part: dict[str, Any], inputs: dict[str, str]):
        self.name = name
        self.folder = Folder(absolute(out))  # workers have another working directory
        self._inputs = inputs
        self._part = part
        identities = {name: input_fingerprint(uri) for name, uri in inputs.items()}
        self._made_from = record(name, part, identities)
        self.fingerprint = fingerprint(name, part, identities)
        """Names the step. `is_done` makes it the one that a release before gave to the same step, if it began it."""
        self._versions = installed_versions(engine=ENGINE in part)
        self._clock = time.monotonic()

    def is_done(self) -> bool:
        """Whether the folder holds this very step, complete.

        Leftovers of an unfinished step of another fingerprint are removed; a complete one, and
        what no step wrote, is never touched: that raises `Stale` or another `UserError`.
        """
        manifest = read_manifest(self.folder)
        if manifest is not None:
            if not self._is_of(manifest):
                self._check_there(manifest)
                raise Stale(self.folder, manifest.step, self._differing(manifest))
            kept_of(manifest.versions, self._versions)
            return True
        self._check_whole()
        started = self._started()
        if started is None and not self.folder.holds_only(MARKS):
            raise UserError(
                f"{self.folder.uri} is not empty and no step wrote it; choose another folder, or remove this one"
            )
        if started is not None and self._continues(started):
            self.fingerprint = started["fingerprint"]
            continued_with(self.folder.uri, started.get("versions", {}), self._versions)
            return False
        self.folder.empty(but={_STARTED, *MARKS})
        begun = {"step": self.name, "fingerprint": self.fingerprint, "made_from": self._made_from}
        self.folder.write_json(_STARTED, begun | {"versions": self._versions})
        return False

    def _check_whole(self) -> None:
        """Raise `UserError` for an input that is a finished step and has lost rows since, or has damaged files."""
        for uri in self._inputs.values():
            if is_endpoint(uri):
                continue
            source = Folder(uri)
            manifest = read_manifest(source)
            if manifest is not None and (faults := missing_rows(source, manifest)):
                raise UserError(faults[0])

    def _is_of(self, manifest: Manifest) -> bool:
        """Whether this very step wrote the manifest, which may record nothing but a fingerprint."""
        if manifest.step != self.name or not manifest.made_from:
            return manifest.fingerprint == self.fingerprint
        return not differences(manifest.made_from, self._made_from)

    def _started(self) -> dict[str, Any] | None:
        """The record of the step that began the folder; None if none did. Earlier versions recorded its fingerprint.

        Raises `UserError` if it is damaged.
        """
        if not self.folder.is_file(_STARTED):
            return None
        match self.folder.read_json(_STARTED):
            case str(found):
                return {"fingerprint": found}
            case {"fingerprint": str(), "made_from": {}, "versions": {}} as found:
                return dict(found)
        raise UserError(
            f"{self.folder.uri}/{_STARTED} is damaged (it is no step's fingerprint); remove that folder to make the "
            "step again"
        )

    def _continues(self, started: dict[str, Any]) -> bool:
        if "made_from" in started:
            return started.get("step") == self.name and not differences(started["made_from"], self._made_from)
        earlier = earlier_fingerprint(self.name, self._part, self._made_from["inputs"])
        return started.get("fingerprint") in (self.fingerprint, earlier)

    def _check_there(self, manifest: Manifest) -> None:
        """Raise `UserError` for an input that was there when the step of `manifest` was made, and is not now."""
        before, now = manifest.made_from.get("inputs", {}), self._made_from["inputs"]
        for name, uri in self._inputs.items():
            if now[name] == uri and not same_identity(uri, before.get(name, uri)):
                raise UserError(
                    f"{self.folder.uri} was made from {uri}, which is not there now; put it back, or work from the "
                    "directory in which it is"
                )

    def _differing(self, manifest: Manifest) -> str:
        """The differences in recipe and inputs from the step of `manifest`; empty if they are not known."""
        if manifest.step != self.name or not manifest.made_from:  # of an earlier version
            return ""
        return f" ({'; '.join(differences(manifest.made_from, self._made_from))})"

    def begin(self, seconds: float = 0.0) -> None:
        """The manifest's seconds count from here, and not from when the step was made; `seconds` of earlier attempts
        are added."""
        self._clock = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._clock, 1)

    def manifest(self) -> Manifest:
        """The manifest of the step when `is_done` said that it is complete."""
        manifest = read_manifest(self.folder)
        assert manifest is not None, "only a complete step has a manifest"
        return manifest

    def write(self, records: list[R], record: type[R], table: str = "rows") -> None:
        """Write a whole table at once."""
        write_part(self.folder, table, records, record, "part-0")

    def finish(
        self, *, offered: int, kept: int | None = None, tokens: int = 0, metrics: dict[str, Any] | None = None
    ) -> Manifest:
        """Merge the blocks, check that every offered row was kept or dropped, and write the manifest.

        `kept` defaults to the number of rows; a step whose rows are not one an input says how many
        inputs it kept. Raises `RuntimeError` when rows were lost.
        """
        places = [place for place in (self.folder, self.folder / PROPOSALS) if (place / BLOCKS).folders()]
        digests = {path: digest for place in places for path, digest in merge_blocks(place).items()}
        tables = {name: files for name in self.folder.folders() if (files := written(self.folder / name))}
        paths = {name: [info.path for info in files] for name, files in tables.items()}
        dropped = count_reasons(self.folder / "dropped", paths.pop("dropped", ()))
        rows = {name: count_rows(self.folder / name, files) for name, files in paths.items()}
        kept = rows.get("rows", 0) if kept is None else kept
        if kept + dropped.total() != offered:
            raise RuntimeError(
                f"step {self.name!r} was offered {offered} rows but kept {kept} and dropped {dropped.total()}; remove "
                f"{self.folder.uri} to make it again"
            )
        manifest = Manifest(
            step=self.name,
            fingerprint=self.fingerprint,
            rows=rows,
            dropped=dict(dropped.most_common()),
            tokens=tokens,
            seconds=self.seconds,
            metrics=metrics or {},
            made_from=self._made_from | {"inputs": self._known_by_now()},
            content=self._content({name: tables[name] for name in rows}, digests),
            versions=self._versions,
        )
        self.folder.write_json(MANIFEST, dataclasses.asdict(manifest))
        for place in places:
            (place / BLOCKS).delete()
        return manifest

    def _known_by_now(self) -> dict[str, str]:
        """What identifies the inputs, with the commits of models of the hub that the step was the first to fetch."""
        inputs: dict[str, str] = self._made_from["inputs"]
        return {
            name: input_fingerprint(self._inputs[name]) if found == self._inputs[name] else found
            for name, found in inputs.items()
        }

    def _content(self, tables: Mapping[str, Sequence[fs.FileInfo]], digests: Mapping[str, str]) -> str:
        """SHA-256 of what the files of the `tables` hold, whatever their names and order; empty without tables.

        `digests` are those of files whose content is known.
        """
        filesystem, _ = self.folder.filesystem()
        found = hashlib.sha256()

        def digest(info: fs.FileInfo) -> str:
            return digests.get(info.path) or content_digest(filesystem, info)

        with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
            for name, files in sorted(tables.items()):
                found.update(f"{name} {' '.join(sorted(pool.map(digest, files)))}\n".encode())
        return found.hexdigest() if tables else ""
