"""A step's rows for other programs: pairs and examples as TRL reads them, answers as the tools of benchmarks do."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.records import ScoredReply, SftExample
from selfreward_ray.steps.benchmark_files import Benchmark, benchmark_file, benchmark_notes, benchmark_row
from selfreward_ray.steps.exported_rows import ANSWERS, Conversion, Pick, conversion
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.folder import Folder, absolute
from selfreward_ray.store.manifest import MANIFEST, Manifest, read_manifest
from selfreward_ray.store.step import missing_rows
from selfreward_ray.store.tables import read_blocks, read_rows

Form = Literal["parquet", "jsonl", "hub"] | Benchmark

_BENCHMARKS = ("alpaca-eval", "mt-bench")
_ENDINGS = {
    None: ("parquet", "jsonl"),
    "parquet": ("parquet",),
    "jsonl": ("jsonl",),
    "alpaca-eval": ("json",),
    "mt-bench": ("jsonl",),
}
_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class Exported:
    """How many rows were written, and what the file does not say."""

    rows: int
    notes: list[str]


def export(
    source: str,
    out: str,
    to: Form | None = None,
    *,
    private: bool = True,
    name: str | None = None,
    pick: Pick | None = None,
) -> Exported:
    """Write the rows of the step `source` to the file `out`, in the form `to` or that of its ending, or to the hub data
    set `out`.

    Pairs become ``prompt, chosen, rejected``, each a list of messages, with their scores beside them. IFT, EFT and
    positive rows become ``messages``. Answers become ``prompt, reply``, or ``messages`` if an answer step made them, or
    a benchmark's file. Those of an evaluate step have the score of the recipe's scorer beside them. Comparisons, also
    the run's own, become ``prompt, left, right, preferred``. On the hub the data set is `private`.

    `name` is that of the model that answered. By default it is that of the step's model, of the step's folder if that
    model is unknown, and of the file for MT-Bench. `pick` takes one of several replies to a prompt.

    Raises `UserError` for a step of other rows, for options and benchmarks that do not fit its rows, and where `out` is
    there already.
    """
    step = Folder(source)
    files = (step / "rows").files(".parquet")
    manifest = read_manifest(step)
    if manifest is not None and (faults := missing_rows(step, manifest)):
        raise UserError(faults[0])
    if manifest is None or not files:
        raise UserError(f"{source} holds no rows of a finished step; give a folder such as RUN/M2/pairs or RUN/M1/seed")
    generator = _generator(manifest, source, out, to, name)
    how = _conversion(step, files[0], generator, pick)
    if how.record not in ANSWERS and (name or pick or to in _BENCHMARKS):
        raise UserError(
            f"{source} holds no answers of a model; --name, --pick and the forms of benchmarks are for those"
        )
    blocks = (from_table(block, how.record, source) for block in read_blocks(step / "rows", files, _ROWS_AT_A_TIME))
    if to == "alpaca-eval" or to == "mt-bench":
        folder, file = _target(out, to)
        answered_at = _finished_at(step)
        answers = [benchmark_row(to, row, generator, pick, answered_at) for block in blocks for row in block]
        folder.write_bytes(file, benchmark_file(to, answers))
        return Exported(len(answers), benchmark_notes(to, answers, sum(manifest.dropped.values())))
    tables = (pa.Table.from_pylist([r for row in block for r in how.rows(row)], schema=how.schema) for block in blocks)
    if to == "hub":
        return Exported(_push(tables, how.schema, out, private), [])
    folder, file = _target(out, to)
    return Exported(_write(tables, how.schema, file.rpartition(".")[2], folder, file), [])


def _conversion(step: Folder, file: str, generator: str, pick: Pick | None) -> Conversion:
    filesystem, _ = step.filesystem()
    schema = pq.read_schema(file, filesystem=filesystem)
    scores = {reply.id: reply for reply in read_rows(step, ScoredReply, "scores")}
    tools = "tool_use" in schema.names and any(row.tool_use for row in read_rows(step, SftExample))
    how = conversion(schema, generator, pick, scores, tools)
    if how is None:
        raise UserError(
            f"{step.uri} holds no pairs, examples, answers or comparisons; exported are the steps seed, eft, pair, "
            "sample, respond, judge, evaluate, answer and compare, and a run's own comparisons (RUN/M3/against-M1)"
        )
    return how


def _generator(manifest: Manifest, source: str, out: str, to: Form | None, name: str | None) -> str:
    """The name of the model that wrote the answers."""
    if to == "mt-bench":
        file = out.rpartition("/")[2].removesuffix(".jsonl")
        if name not in (None, file):
            raise UserError(f"MT-Bench's tools name a model as its file; leave out --name, and write to {name}.jsonl")
        return file
    # The model of a judge step is the judge, and nothing says who wrote the replies.
    model = None if manifest.step == "judge" else manifest.metrics.get("model")
    *parents, last = absolute(str(model or source)).rstrip("/").split("/")
    return name or (parents[-1] if last == "model" and parents else last)


def _finished_at(step: Folder) -> float | None:
    """When the step was finished, as a Unix time in seconds; None if the storage does not say."""
    (manifest,) = (info for info in step.infos() if info.base_name == MANIFEST)
    return None if manifest.mtime is None else float(manifest.mtime.timestamp())


def _target(out: str, to: Form | None) -> tuple[Folder, str]:
    """The folder and the name of the file `out`. Raises `UserError` for another ending, and if the file is there."""
    endings = _ENDINGS[to]
    if out.rpartition(".")[2] not in endings:
        raise UserError(f"{out} does not end in {' or '.join(f'.{each}' for each in endings)}; name such a file")
    filesystem, path = Folder(out).filesystem()
    if filesystem.get_file_info(path).type != fs.FileType.NotFound:
        raise UserError(f"{out} is there already; choose another file, or remove it")
    folder, _, name = absolute(out).rpartition("/")
    return Folder(f"{folder}/"), name


def _write(tables: Iterator[pa.Table], schema: pa.Schema, form: str, folder: Folder, name: str) -> int:
    count = 0
    with folder.writing(name) as stream:
        if form == "parquet":
            with pq.ParquetWriter(stream, schema) as writer:
                for table in tables:
                    writer.write_table(table)
                    count += table.num_rows
        else:
            for table in tables:
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()]
                stream.write("".join(lines).encode())
                count += len(lines)
    return count


def _push(tables: Iterator[pa.Table], schema: pa.Schema, name: str, private: bool) -> int:
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        count = _write(tables, schema, "parquet", Folder(scratch), "rows.parquet")
        try:
            rows = datasets.Dataset.from_parquet(f"{scratch}/rows.parquet", cache_dir=scratch)
            rows.push_to_hub(name, private=private)
        except Exception as error:
            raise UserError(
                f"cannot push to the hub data set {name!r}: {error}; is the name right (owner/name), and does "
                "HF_TOKEN hold a token that may write?"
            ) from error
    return count
