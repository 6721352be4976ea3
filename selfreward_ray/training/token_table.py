"""The encoded examples of a training, on the disk of the process that trains on them and not in its memory."""

import errno
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import IO, Any, TypeVar, cast, overload

import pyarrow as pa

from selfreward_ray.errors import UserError
from selfreward_ray.store.arrow import arrow_schema, from_table
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import read_blocks

E = TypeVar("E")

_ROWS_READ = 256
_ROWS_TOGETHER = 8
"""Rows that are read from the copy for one of them. Fewer take more room, for what describes them."""


class TokenTable(Sequence[E]):
    """The rows of a table of `record`, each read when it is asked for.

    A training asks for rows in an order of its own, and a Parquet file can only be read by groups of rows. So the table
    is copied, block by block, to an unnamed file in the temporary folder. The system removes it when the process ends.
    About four bytes a row are in memory. Raises `UserError` for a damaged table, and where the disk is full.
    """

    def __init__(self, table: Folder, record: type[E]) -> None:
        self._record = record
        self._uri = table.uri
        self._firsts = array("Q")
        """The number of the first row of each batch in the file."""
        self._rows = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        try:
            self._copy(table, self._file)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"there is no room for a copy of {table.uri} in {tempfile.gettempdir()}, where each worker has one; "
                "free some, or set TMPDIR on the workers' nodes to a folder with room for them"
            ) from None
        self._batches = pa.ipc.open_file(self._file)

    def _copy(self, table: Folder, file: IO[bytes]) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(file, arrow_schema(cast(Any, self._record)), options=options) as copy:
            for block in read_blocks(table, table.files(".parquet"), _ROWS_READ):
                for batch in block.combine_chunks().to_batches(_ROWS_TOGETHER):
                    copy.write_batch(batch)
                    self._firsts.append(self._rows)
                    self._rows += batch.num_rows
        file.flush()

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> E: ...

    @overload
    def __getitem__(self, row: slice) -> list[E]: ...

    def __getitem__(self, row: int | slice) -> E | list[E]:
        if isinstance(row, slice):
            return [self[each] for each in range(self._rows)[row]]
        number = range(self._rows)[row]  # raises IndexError at the end
        place = bisect_right(self._firsts, number) - 1
        batch: Any = self._batches.get_batch(place).slice(number - self._firsts[place], 1)
        return from_table(pa.Table.from_batches([batch]), self._record, self._uri)[0]
