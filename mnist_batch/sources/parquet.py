"""Parquet files, read by row groups. `tabular.py` turns their columns into rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mnist_batch.config import AutoLabels
from mnist_batch.errors import InputError
from mnist_batch.records import Rows, first_line
from mnist_batch.sources.folder_labels import label_of_partition
from mnist_batch.sources.protocol import Container, File, SourceDefaults, missing_file, open_file
from mnist_batch.sources.tabular import Columns, find_columns, read_rows

_MAGIC = b"PAR1"
# Rows per decoded record batch. As many as a scoring batch has, so that reads rarely split a record batch.
_DECODE_ROWS = 4096

# Dask and Spark write these files beside a data set. They repeat the footers of its files and hold no rows.
SUMMARIES = frozenset((b"_metadata", b"_common_metadata"))


@dataclass(frozen=True, slots=True, repr=False)
class ParquetSource(SourceDefaults):
    """The rows of one Parquet file.

    row_groups: rows per row group.
    partition_label: the label of all rows, from the folder that the file is in; None if it gives none.
    """

    file: File
    name: str
    row_groups: tuple[int, ...]
    rows: int
    columns: Columns
    partition_label: int | None
    warnings: Sequence[str]
    format: str = field(default="parquet", init=False)

    @property
    def labelled(self) -> bool:
        return self.columns.label is not None or self.partition_label is not None

    def list_warnings(self) -> Sequence[str]:
        return self.warnings

    def list_kept_columns(self) -> Sequence[pa.Field]:
        return self.columns.keep

    def split_points(self) -> Sequence[int]:
        return _row_group_starts(self.row_groups)

    def open(self) -> ParquetReader:
        return ParquetReader(self)


class ParquetReader:
    def __init__(self, source: ParquetSource) -> None:
        self._source = source
        with _input_errors(source.file):
            self._native_file = _open_native(source.file)
            self._file = pq.ParquetFile(self._native_file, pre_buffer=False)
        self._row_group_starts = _row_group_starts(source.row_groups)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._decoded: pa.Table | None = None
        # The next row that `_decoded` and `_batches` give; None before the first read.
        self._position: int | None = None

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        with _input_errors(self._source.file):
            if start != self._position:
                self._seek(start)
            table = self._take(stop - start)
            self._position = stop
            rows = read_rows(table, self._source.columns, self._source.name, str(self._source.file), start)
        if self._source.partition_label is not None:
            rows = replace(rows, labels=pa.repeat(pa.scalar(self._source.partition_label, pa.int32()), stop - start))
        return [rows]

    def close(self) -> None:
        self._file.close()
        self._native_file.close()

    def _seek(self, row: int) -> None:
        group = next(i for i in range(len(self._source.row_groups)) if self._row_group_starts[i + 1] > row)
        self._batches = self._file.iter_batches(
            batch_size=_DECODE_ROWS,
            row_groups=list(range(group, len(self._source.row_groups))),
            columns=self._source.columns.names,
        )
        self._decoded = None
        self._take(row - self._row_group_starts[group])
        self._position = row

    def _take(self, rows: int) -> pa.Table:
        """Returns the next `rows` rows and keeps further decoded rows for the next call."""
        parts = [] if self._decoded is None else [self._decoded]
        while sum(part.num_rows for part in parts) < rows:
            batch = next(self._batches, None)
            if batch is None:
                raise InputError(
                    f"{self._source.file}: must stay as it was when the run began, has fewer rows now: start again"
                )
            parts.append(pa.Table.from_batches([batch]))
        if not parts:
            return None
        table = pa.concat_tables(parts)
        self._decoded = table.slice(rows)
        return table.slice(0, rows)


def open_parquet(container: Container) -> Sequence[ParquetSource]:
    """The source for a Parquet file. Reads only the footer.

    Raises InputError if the footer is unreadable, and what `find_columns` raises.
    """
    file = container.file
    with _input_errors(file), _open_native(file) as native_file, pq.ParquetFile(native_file) as parquet:
        schema = parquet.schema_arrow
        row_groups = tuple(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups))
        if min(row_groups, default=0) < 0 or sum(row_groups) != parquet.metadata.num_rows:
            raise ValueError(f"row groups of {row_groups[:8]} rows in a file of {parquet.metadata.num_rows}")
        _check_not_joined(native_file, parquet.metadata)

    def read_column(name: str) -> pa.Array:
        with _input_errors(file), _open_native(file) as native_file:
            return pq.read_table(native_file, columns=[name])[name].combine_chunks()

    columns = find_columns(schema, str(file), container.options, read_column)
    label, warnings = None, [*columns.warnings]
    if columns.label is None and container.options.labels is AutoLabels.AUTO:
        label, more_warnings = label_of_partition(file.parent)
        warnings += more_warnings
    return [ParquetSource(file, container.name, row_groups, sum(row_groups), columns, label, warnings)]


def _open_native(file: File) -> pa.NativeFile:
    if isinstance(file, Path):
        open_file(file).close()  # pyarrow would wait for a pipe
        return pa.OSFile(os.fsencode(file))  # as bytes, because the name may not be valid UTF-8
    return pa.PythonFile(file.open("rb"), mode="r")


def _check_not_joined(native_file: pa.NativeFile, metadata: pq.FileMetaData) -> None:
    """Raises ValueError if another Parquet file comes before this one, as after `cat`.

    Its footer would then be read with the data of the other file.
    """
    data_end = len(_MAGIC)
    if metadata.num_row_groups:
        group = metadata.row_group(metadata.num_row_groups - 1)
        columns = (group.column(position) for position in range(group.num_columns))
        data_end = max(
            (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
            for column in columns
        )
    size = native_file.size()
    native_file.seek(size - 8)
    footer_start = size - 8 - int.from_bytes(native_file.read(4), "little")
    # Nothing or page indexes, or as much as the other file has.
    gap = footer_start - data_end
    native_file.seek(0)
    if gap > 0 and 2 * _MAGIC in native_file.read(gap + 2 * len(_MAGIC)):
        raise ValueError("it is several Parquet files, one after the other")


def _row_group_starts(row_groups: Sequence[int]) -> list[int]:
    starts = [0]
    for rows in row_groups:
        starts.append(starts[-1] + rows)
    return starts


@contextmanager
def _input_errors(file: File) -> Iterator[None]:
    """Turns what pyarrow raises for a missing or damaged file into an InputError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(file) from error
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names or values that are not valid UTF-8
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file may be intact: the operating system could not read it
        raise InputError(f"{file}: must be readable as Parquet, but: {first_line(error)}; fetch it again") from error
