"""A step's rows for other programs: pairs and examples as TRL reads them, in Parquet, JSONL or a hub data set."""

import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.records import Pair, Positive, SftExample
from selfreward_ray.store.arrow import arrow_schema, from_table
from selfreward_ray.store.folder import Folder, absolute
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.tables import read_blocks

Form = Literal["parquet", "jsonl", "hub"]

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_PAIR_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *((name, _MESSAGES) for name in ("prompt", "chosen", "rejected")),
        *((name, pa.float64()) for name in ("chosen_score", "rejected_score", "label_smoothing")),
    ]
)
_EXAMPLE_SCHEMA = pa.schema([("id", pa.string()), ("kind", pa.string()), ("messages", _MESSAGES)])
_ROWS_AT_A_TIME = 1024


def export(source: str, out: str, to: Form | None = None, private: bool = True) -> int:
    """Write the rows of the step `source` to the file `out`, in the form `to` or that of its ending, or to the hub data
    set `out`; returns how many.

    Pairs become ``prompt, chosen, rejected``, each a list of messages, with their scores beside them; IFT, EFT and
    positive rows become ``messages``. On the hub the data set is `private`. Raises `UserError` for a step of other
    rows, and where `out` is there already.
    """
    rows = Folder(source) / "rows"
    files = rows.files(".parquet")
    if read_manifest(Folder(source)) is None or not files:
        raise UserError(f"{source} holds no rows of a finished step; give a folder such as RUN/M2/pairs or RUN/M1/seed")
    filesystem, _ = rows.filesystem()
    record, schema, convert = _conversion(pq.read_schema(files[0], filesystem=filesystem), source)
    batches = (
        pa.Table.from_pylist([convert(row) for row in from_table(block, record)], schema=schema)
        for block in read_blocks(rows, files, _ROWS_AT_A_TIME)
    )
    if to == "hub":
        return _push(batches, schema, out, private)
    ending = out.rpartition(".")[2]
    if ending not in ("parquet", "jsonl") or to not in (None, ending):
        raise UserError(f"{out} does not end in {f'.{to}' if to else '.parquet or .jsonl'}; name such a file")
    target, path = Folder(out).filesystem()
    if target.get_file_info(path).type != fs.FileType.NotFound:
        raise UserError(f"{out} is there already; choose another file, or remove it")
    folder, _, name = absolute(out).rpartition("/")
    return _write(batches, schema, ending, Folder(f"{folder}/"), name)


def _conversion(schema: pa.Schema, source: str) -> tuple[type[Any], pa.Schema, Callable[[Any], dict[str, Any]]]:
    known: list[tuple[type[Any], pa.Schema, Callable[[Any], dict[str, Any]]]] = [
        (Pair, _PAIR_SCHEMA, _pair_row),
        (SftExample, _EXAMPLE_SCHEMA, _example_row),
        (Positive, _EXAMPLE_SCHEMA, _positive_row),
    ]
    for record, exported, convert in known:
        if arrow_schema(cast(Any, record)).names == schema.names:
            return record, exported, convert
    raise UserError(f"{source} holds no pairs and no examples; exported are the steps seed, eft and pair")


def _pair_row(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "prompt": [_message("user", pair.prompt)],
        "chosen": [_message("assistant", pair.chosen.text)],
        "rejected": [_message("assistant", pair.rejected.text)],
        "chosen_score": pair.chosen.mean,
        "rejected_score": pair.rejected.mean,
        "label_smoothing": pair.label_smoothing,
    }


def _example_row(example: SftExample) -> dict[str, Any]:
    before = [_message(turn.role, turn.text) for turn in example.history]
    exchange = [_message("user", example.prompt), _message("assistant", example.target)]
    return {"id": example.id, "kind": example.kind, "messages": before + exchange}


def _positive_row(row: Positive) -> dict[str, Any]:
    exchange = [_message("user", row.prompt), _message("assistant", row.reply.text)]
    return {"id": row.id, "kind": "positive", "messages": exchange}


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _write(batches: Iterator[pa.Table], schema: pa.Schema, form: str, folder: Folder, name: str) -> int:
    count = 0
    with folder.writing(name) as stream:
        if form == "parquet":
            with pq.ParquetWriter(stream, schema) as writer:
                for table in batches:
                    writer.write_table(table)
                    count += table.num_rows
        else:
            for table in batches:
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()]
                stream.write("".join(lines).encode())
                count += len(lines)
    return count


def _push(batches: Iterator[pa.Table], schema: pa.Schema, name: str, private: bool) -> int:
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        count = _write(batches, schema, "parquet", Folder(scratch), "rows.parquet")
        try:
            rows = datasets.Dataset.from_parquet(f"{scratch}/rows.parquet", cache_dir=scratch)
            rows.push_to_hub(name, private=private)
        except Exception as error:
            raise UserError(
                f"cannot push to the hub data set {name!r}: {error}; is the name right (owner/name), and does "
                "HF_TOKEN hold a token that may write?"
            ) from error
    return count
