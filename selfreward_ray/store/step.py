"""A step's folder: its rows, what it dropped and why, and the manifest that says it is complete.

The manifest holds a fingerprint of the step's part of the recipe and of its inputs, so that a finished step is never
mistaken for another one of the same name.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from typing import Any, TypeVar

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.recipe.text import changed_values
from selfreward_ray.store.folder import FILES_AT_A_TIME, Folder, absolute
from selfreward_ray.store.identity import content_digest, input_fingerprint
from selfreward_ray.store.manifest import MANIFEST, Manifest, read_manifest
from selfreward_ray.store.tables import count_reasons, count_rows, write_part

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
    """One step writing its folder. Construct, ask `is_done`, write, `finish`."""

    def __init__(self, name: str, out: str, part: dict[str, Any], inputs: dict[str, str]):
        self.name = name
        self.folder = Folder(absolute(out))  # workers have another working directory
        made_from = {"recipe": part, "inputs": {k: input_fingerprint(v) for k, v in inputs.items()}}
        self._made_from = json.loads(json.dumps(made_from))  # as a manifest holds it, with lists for tuples
        known = {"step": name} | self._made_from
        self.fingerprint = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self._inputs = inputs
        self._clock = time.monotonic()

    def is_done(self) -> bool:
        """Whether the folder holds this very step, complete.

        Leftovers of an unfinished step of another fingerprint are removed; a complete one, and
        what no step wrote, is never touched: that raises `Stale` or another `UserError`.
        """
        manifest = read_manifest(self.folder)
        if manifest is not None:
            if manifest.fingerprint != self.fingerprint:
                self._check_there(manifest)
                raise Stale(self.folder, manifest.step, self._differing(manifest))
            return True
        self._check_whole()
        started = self._started()
        if started != self.fingerprint:
            if started is None and (self.folder.files() or self.folder.folders()):
                raise UserError(
                    f"{self.folder.uri} is not empty and no step wrote it; choose another folder, or remove this one"
                )
            self.folder.empty(but=_STARTED)
            self.folder.write_json(_STARTED, self.fingerprint)
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

    def _started(self) -> str | None:
        """The fingerprint of the step that began the folder; None if none did. Raises `UserError` if it is damaged."""
        if not self.folder.is_file(_STARTED):
            return None
        started = self.folder.read_json(_STARTED)
        if not isinstance(started, str):
            raise UserError(
                f"{self.folder.uri}/{_STARTED} is damaged (it is no step's fingerprint); remove that folder to make "
                "the step again"
            )
        return started

    def _check_there(self, manifest: Manifest) -> None:
        """Raise `UserError` for an input that was there when the step of `manifest` was made, and is not now."""
        before, now = manifest.made_from.get("inputs", {}), self._made_from["inputs"]
        for name, uri in self._inputs.items():
            if now[name] == uri != before.get(name, uri):
                raise UserError(
                    f"{self.folder.uri} was made from {uri}, which is not there now; put it back, or work from the "
                    "directory in which it is"
                )

    def _differing(self, manifest: Manifest) -> str:
        """The differences in recipe and inputs from the step of `manifest`; empty if they are not known."""
        before = manifest.made_from
        if manifest.step != self.name or not before:  # of an earlier version
            return ""
        now = self._made_from
        fields = changed_values(before["recipe"], now["recipe"])
        inputs = [f"another {name}" for name, found in now["inputs"].items() if before["inputs"].get(name) != found]
        inputs += [f"no {name}" for name in before["inputs"] if name not in now["inputs"]]
        return f" ({'; '.join([*fields, *inputs])})"

    def begin(self) -> None:
        """The manifest's seconds count from here, and not from when the step was made."""
        self._clock = time.monotonic()

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
        """Check that every offered row was kept or dropped, and write the manifest.

        `kept` defaults to the number of rows; a step whose rows are not one an input says how many
        inputs it kept. Raises `RuntimeError` when rows were lost.
        """
        dropped = count_reasons(self.folder / "dropped")
        rows = {table: count_rows(self.folder / table) for table in self._tables()}
        kept = rows.get("rows", 0) if kept is None else kept
        if kept + dropped.total() != offered:
            raise RuntimeError(
                f"step {self.name!r} was offered {offered} rows but kept {kept} and dropped {dropped.total()}"
            )
        manifest = Manifest(
            step=self.name,
            fingerprint=self.fingerprint,
            rows=rows,
            dropped=dict(dropped.most_common()),
            tokens=tokens,
            seconds=round(time.monotonic() - self._clock, 1),
            metrics=metrics or {},
            made_from=self._made_from,
            content=self._content(rows),
            versions={name: metadata.version(name) for name in ("ray", "torch", "transformers", "deepspeed")},
        )
        self.folder.write_json(MANIFEST, dataclasses.asdict(manifest))
        return manifest

    def _content(self, tables: Collection[str]) -> str:
        """SHA-256 of what the files of the `tables` hold, whatever their names and order; empty without tables."""
        digest = hashlib.sha256()
        with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
            for table in sorted(tables):
                filesystem, _ = (self.folder / table).filesystem()
                files = pool.map(partial(content_digest, filesystem), (self.folder / table).infos())
                digest.update(f"{table} {' '.join(sorted(files))}\n".encode())
        return digest.hexdigest() if tables else ""

    def _tables(self) -> Iterable[str]:
        return [name for name in self.folder.folders() if name != "dropped" and (self.folder / name).files(".parquet")]
