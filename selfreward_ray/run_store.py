"""A step's folder: its rows, what it dropped and why, and the manifest that says it is complete.

The manifest is written last, so its presence means that the step is complete. It holds a
fingerprint of the step's part of the recipe and of its inputs, so that a finished step is
never mistaken for another one of the same name.
"""

import dataclasses
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow.fs import FileType
from pydantic import BaseModel

from selfreward_ray.errors import UserError
from selfreward_ray.identity import content_digest
from selfreward_ray.recipe import MODEL_FIELDS, PASS_FIELDS, Recipe
from selfreward_ray.recipe_text import differing_fields, dump_recipe, parse_recipe
from selfreward_ray.records import Dropped
from selfreward_ray.storage import Folder, absolute
from selfreward_ray.tables import from_table, to_table

R = TypeVar("R")
S = TypeVar("S", bound=BaseModel)

MANIFEST = "manifest.json"
_STARTED = "started.json"
_FILES_AT_A_TIME = 16
_ROWS_PER_GROUP = 256
"""What a reader of a few rows of a large file reads at the most."""
ADAPTER_CONFIG = "adapter_config.json"
"""What a LoRA adapter's folder has, and a model's has not; it names the base."""
_HASHED_SUFFIXES = (".safetensors", ".json", ".jsonl", ".gz", ".parquet", ".jinja", ".model")


@dataclass(frozen=True)
class Manifest:
    """What a finished step leaves behind: counts, cost and figures."""

    step: str
    fingerprint: str
    rows: dict[str, int]
    """Rows of each table."""
    dropped: dict[str, int]
    """Dropped rows by reason."""
    tokens: int
    seconds: float
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def read_manifest(folder: Folder) -> Manifest | None:
    """The manifest of a complete step, None when the step is not complete."""
    return Manifest(**folder.read_json(MANIFEST)) if folder.is_file(MANIFEST) else None


def finished_step(uri: str, *names: str) -> Folder:
    """The folder of a complete step. Raises `UserError` where `uri` holds none of any of the `names`."""
    folder = Folder(uri)
    manifest = read_manifest(folder)
    wanted = " or ".join(map(repr, names))
    if manifest is None:
        raise UserError(f"{uri} holds no finished {wanted} step; is the path right, and has that step ended?")
    if manifest.step not in names:
        raise UserError(f"{uri} holds a {manifest.step!r} step, but a {wanted} step is needed here")
    return folder


def is_step(folder: Folder) -> bool:
    """Whether a step wrote the folder, complete or not."""
    return folder.is_file(MANIFEST) or folder.is_file(_STARTED)


def read_files(table: Folder, record: type[R], skip: Container[str] = ()) -> Iterator[tuple[str, list[R]]]:
    """Each file of a table of `record`, by its path, with its rows: one file in memory at a time."""
    filesystem, _ = table.filesystem()
    for path in table.files(".parquet"):
        if path not in skip:
            yield path, from_table(pq.read_table(path, filesystem=filesystem), record)


def read_rows(folder: Folder, record: type[R], table: str = "rows") -> list[R]:
    """All records of a table of a step, in the order of their files' names."""
    return [row for _, rows in read_files(folder / table, record) for row in rows]


def count_rows(table: Folder) -> int:
    """Rows of a table, from its files' footers alone."""
    return sum(rows for _, rows in file_rows(table))


def file_rows(table: Folder) -> list[tuple[str, int]]:
    """The files of a table, by their paths, and how many rows each has, from their footers alone."""
    filesystem, _ = table.filesystem()
    paths = table.files(".parquet")
    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:  # an object store answers each after some milliseconds
        counts = pool.map(lambda path: pq.read_metadata(path, filesystem=filesystem).num_rows, paths)
        return list(zip(paths, counts, strict=True))


def read_blocks(table: Folder, paths: list[str], rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of the files `paths` of a table in blocks of `rows` to twice as many, the last of any size."""
    filesystem, _ = table.filesystem()
    waiting: list[pa.RecordBatch] = []
    for path in paths:
        with filesystem.open_input_file(path) as file:
            for batch in pq.ParquetFile(file).iter_batches(rows, columns=columns, use_threads=False):
                waiting.append(batch)
                if sum(b.num_rows for b in waiting) >= rows:
                    yield pa.Table.from_batches(waiting)
                    waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def count_reasons(table: Folder) -> Counter[str]:
    """The rows of a table of `Dropped` by reason, one file in memory at a time."""
    filesystem, _ = table.filesystem()
    counts: Counter[str] = Counter()
    for path in table.files(".parquet"):
        reasons = pq.read_table(path, columns=["reason"], filesystem=filesystem)["reason"]
        counts.update({row["values"]: row["counts"] for row in reasons.value_counts().to_pylist()})
    return counts


def write_part(folder: Folder, table: str, records: list[R], record: type[R], part: str) -> None:
    """Write one Parquet file of a table. The same `part` overwrites: a retried block is never there twice."""
    buffer = io.BytesIO()
    pq.write_table(to_table(records, record), buffer, row_group_size=_ROWS_PER_GROUP)
    (folder / table).write_bytes(f"{part}.parquet", buffer.getvalue())


def write_block(
    folder: Folder,
    ids: list[str],
    kept: list[R],
    record: type[R],
    dropped: list[Dropped],
    caught: Sequence[Dropped] = (),
) -> None:
    """Write what became of the rows `ids`. A block that is retried overwrites its first attempt.

    `caught` names parts of rows that were kept or dropped.
    """
    part = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    tables: dict[str, tuple[list[Any], type[Any]]] = {
        "rows": (kept, record),
        "dropped": (dropped, Dropped),
        "caught": (list(caught), Dropped),
    }
    for table, (records, kind) in tables.items():
        # A table without rows is written too where an earlier attempt left some.
        if records or (folder / table).is_file(f"{part}.parquet"):
            write_part(folder, table, records, kind, part)


def finished_ids(folder: Folder) -> set[str]:
    """Ids of rows that an interrupted attempt already finished or dropped."""
    filesystem, _ = folder.filesystem()
    paths = [*(folder / "rows").files(".parquet"), *(folder / "dropped").files(".parquet")]

    def ids(path: str) -> list[str]:
        found: list[str] = pq.read_table(path, columns=["id"], filesystem=filesystem)["id"].to_pylist()
        return found

    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
        return {i for found in pool.map(ids, paths) for i in found}


def input_fingerprint(uri: str) -> str:
    """What identifies an input: a step's manifest, else the content of a model folder or a file, else its name.

    The content is that of `identity`: of large weight files a few MB are read.
    """
    folder = Folder(uri)
    manifest = read_manifest(folder)
    if manifest is not None:
        return manifest.fingerprint
    filesystem, path = folder.filesystem()
    info = filesystem.get_file_info(path)
    infos = [info] if info.type == FileType.File else [i for i in folder.infos() if i.path.endswith(_HASHED_SUFFIXES)]
    digest = hashlib.sha256()
    if folder.is_file(ADAPTER_CONFIG):
        digest.update(input_fingerprint(str(folder.read_json(ADAPTER_CONFIG).get("base_model_name_or_path"))).encode())
    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
        for info, content in zip(infos, pool.map(partial(content_digest, filesystem), infos), strict=True):
            digest.update(f"{info.path.removeprefix(path)} {content}\n".encode())
    return digest.hexdigest() if infos else uri


class Step:
    """One step writing its folder. Construct, ask `is_done`, write, `finish`."""

    def __init__(self, name: str, out: str, part: dict[str, Any], inputs: dict[str, str]):
        self.name = name
        self.folder = Folder(absolute(out))  # workers have another working directory
        known = {"step": name, "recipe": part, "inputs": {k: input_fingerprint(v) for k, v in inputs.items()}}
        self.fingerprint = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self._clock = time.monotonic()

    def is_done(self) -> bool:
        """Whether the folder holds this very step, complete.

        Leftovers of an unfinished step of another fingerprint are removed; a complete one, and
        what no step wrote, is never touched: that raises `UserError`.
        """
        manifest = read_manifest(self.folder)
        if manifest is not None:
            if manifest.fingerprint != self.fingerprint:
                raise UserError(
                    f"{self.folder.uri} holds a finished {manifest.step!r} step made from another recipe or other "
                    f"inputs; choose another folder, or remove this one to make it again"
                )
            return True
        started = self.folder.read_json(_STARTED) if self.folder.is_file(_STARTED) else None
        if started != self.fingerprint:
            if started is None and (self.folder.files() or self.folder.folders()):
                raise UserError(f"{self.folder.uri} is not empty and no step wrote it; choose another folder")
            self.folder.delete()
            self.folder.write_json(_STARTED, self.fingerprint)
        return False

    def manifest(self) -> Manifest:
        """The manifest of the step when `is_done` said that it is complete."""
        return Manifest(**self.folder.read_json(MANIFEST))

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
            versions={name: metadata.version(name) for name in ("ray", "torch", "transformers", "deepspeed")},
        )
        self.folder.write_json(MANIFEST, dataclasses.asdict(manifest))
        return manifest

    def _tables(self) -> Iterable[str]:
        return [name for name in self.folder.folders() if name != "dropped" and (self.folder / name).files(".parquet")]


def _with_fields(section: S, fields: Iterable[str], other: S) -> S:
    """`section` of a recipe with `fields` as `other` has them."""
    return section.model_copy(update={field: getattr(other, field) for field in fields})


def claim_run(run: Folder, recipe: Recipe) -> None:
    """Write the run's recipe, or check that the run was begun with the same one.

    More iterations may be asked for later (fewer leave those that are there), a spent budget of proposals may be
    raised, and another cluster may go on with the run, so `inference`, all of `training` but what the models depend on,
    and how much a forward pass holds may change; any other difference raises `UserError` naming the fields.
    """
    if run.is_file("recipe.yaml"):
        before = parse_recipe(yaml.safe_load(run.read_bytes("recipe.yaml")))
        free = {
            "iterations": recipe.iterations,
            "inference": recipe.inference,
            "training": _with_fields(recipe.training, MODEL_FIELDS, before.training),
            "prompts": _with_fields(before.prompts, ["max_requests"], recipe.prompts),
            "judge": _with_fields(before.judge, ["pairwise_rubric"], recipe.judge),
            "sft": _with_fields(before.sft, PASS_FIELDS, recipe.sft),
            "dpo": _with_fields(before.dpo, PASS_FIELDS, recipe.dpo),
        }
        changed = differing_fields(before.model_copy(update=free), recipe)
        if changed:
            raise UserError(
                f"{run.uri} was begun with another recipe:\n  " + "\n  ".join(changed) + "\n"
                "undo the change, or choose another --run-dir"
            )
        recipe = recipe.model_copy(update={"iterations": max(before.iterations, recipe.iterations)})
    run.write_bytes("recipe.yaml", dump_recipe(recipe).encode())
