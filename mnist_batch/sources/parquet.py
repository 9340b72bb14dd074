"""Parquet files: images from the column that holds them, and labels, ids and further columns beside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import InputError, UsageError
from mnist_batch.records import EncodedRows, NumericRows, Rows, first_line, null_labels
from mnist_batch.sources.idx import format_row_ids
from mnist_batch.sources.labels import parse_label_column
from mnist_batch.sources.protocol import display_name, missing_file
from mnist_batch.sources.tabular import (
    ImageColumn,
    ImageLayout,
    check_unique_columns,
    find_image_column,
    join_names,
    read_encoded_images,
    read_numeric_images,
    read_raw_images,
)

# Rows per decoded record batch. As many as a scoring batch has, so that reads rarely split a record batch.
_DECODE_ROWS = 4096

# Dask and Spark write these files beside a data set. They repeat the footers of its files and hold no rows.
SUMMARIES = (b"_metadata", b"_common_metadata")


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """The rows of one Parquet file.

    row_groups: rows per row group.
    label, id_column: names of columns, or None if they are not read.
    keep: the columns to copy to the output.
    """

    path: Path
    name: str
    row_groups: tuple[int, ...] = field(repr=False)
    rows: int
    image: ImageColumn
    label: str | None
    id_column: str | None
    keep: tuple[pa.Field, ...]
    format: str = field(default="parquet", init=False)

    @property
    def labelled(self) -> bool:
        return self.label is not None

    @property
    def skipped(self) -> Mapping[str, int]:
        return Counter()

    @property
    def sidecars(self) -> Sequence[Path]:
        return []

    def split_points(self) -> Sequence[int]:
        return _row_group_starts(self.row_groups)

    def open(self) -> ParquetReader:
        return ParquetReader(self)


class ParquetReader:
    def __init__(self, source: ParquetSource) -> None:
        self._source = source
        with _input_errors(source.path):
            self._native_file = _open_native(source.path)
            self._file = pq.ParquetFile(self._native_file, pre_buffer=False)
        self._row_group_starts = _row_group_starts(source.row_groups)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._decoded: pa.Table | None = None
        # The next row that `_decoded` and `_batches` give; None before the first read.
        self._position: int | None = None

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        with _input_errors(self._source.path):
            if start != self._position:
                self._seek(start)
            table = self._take(stop - start)
            self._position = stop
            return [self._to_rows(table, start, stop)]

    def close(self) -> None:
        self._file.close()
        self._native_file.close()

    def _seek(self, row: int) -> None:
        group = next(i for i in range(len(self._source.row_groups)) if self._row_group_starts[i + 1] > row)
        source = self._source
        columns = [*source.image.names, source.label, source.id_column, *(field.name for field in source.keep)]
        self._batches = self._file.iter_batches(
            batch_size=_DECODE_ROWS,
            row_groups=list(range(group, len(source.row_groups))),
            columns=list(dict.fromkeys(name for name in columns if name is not None)),
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
                    f"{self._source.path}: must stay as it was when the run began, has fewer rows now: start again"
                )
            parts.append(pa.Table.from_batches([batch]))
        if not parts:
            return None
        table = pa.concat_tables(parts)
        self._decoded = table.slice(rows)
        return table.slice(0, rows)

    def _to_rows(self, table: pa.Table, start: int, stop: int) -> Rows:
        source = self._source
        where = str(source.path)
        labels = null_labels(stop - start)
        if source.label is not None:
            labels = parse_label_column(table[source.label].combine_chunks(), f"{where}, column {source.label}", start)
        ids = format_row_ids(source.name, start, stop)
        if source.id_column is not None:
            ids = table[source.id_column].combine_chunks().cast(pa.string())
            if ids.null_count:
                row = start + ids.is_null().index(pa.scalar(True)).as_py()
                raise InputError(
                    f"{where}: every row must have an id, row {row} of column {source.id_column} is null: "
                    "leave --id-column out to number the rows"
                )
        extra_columns = table.select([field.name for field in source.keep]) if source.keep else None
        if (pixels := read_raw_images(table, source.image)) is not None:
            return NumericRows(ids, labels, pixels, extra_columns=extra_columns)
        if source.image.layout in (ImageLayout.STRUCT, ImageLayout.BINARY):
            return EncodedRows(ids, labels, read_encoded_images(table, source.image), extra_columns)
        values, image_errors = read_numeric_images(table, source.image)
        return NumericRows(ids, labels, values, source.image.pixel_range, extra_columns, image_errors)


def open_parquet(path: Path, root: Path, options: ReadOptions) -> Sequence[ParquetSource]:
    """The source for a Parquet file. Reads only the footer.

    Raises InputError if the footer is unreadable, if there is no image column or more than one, or if two columns share
    a name that is read; UsageError if a column named by an option is missing.
    """
    with _input_errors(path), _open_native(path) as native_file, pq.ParquetFile(native_file) as file:
        schema = file.schema_arrow
        row_groups = tuple(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
        if min(row_groups, default=0) < 0 or sum(row_groups) != file.metadata.num_rows:
            raise ValueError(f"row groups of {row_groups[:8]} rows in a file of {file.metadata.num_rows}")
    for option, name in (("--label-column", options.label_column), ("--id-column", options.id_column)):
        _require_column(schema, name, option, path)
    if options.id_column is not None:
        _require_text_or_numbers(schema.field(schema.names.index(options.id_column)), path)
    for name in options.keep:
        _require_column(schema, name, "--keep", path)
    image = find_image_column(schema, str(path), options)
    label = None
    if options.labels is AutoLabels.AUTO:
        label = options.label_column or ("label" if "label" in schema.names else None)
    check_unique_columns(schema, filter(None, (label, options.id_column, *options.keep)), str(path))
    return [
        ParquetSource(
            path,
            display_name(path, root),
            row_groups,
            sum(row_groups),
            image,
            label,
            options.id_column,
            tuple(schema.field(name) for name in options.keep),
        )
    ]


def _open_native(path: Path) -> pa.NativeFile:
    return pa.OSFile(os.fsencode(path))  # as bytes, because the name may not be valid UTF-8


def _require_column(schema: pa.Schema, name: str | None, option: str, path: Path) -> None:
    if name is not None and name not in schema.names:
        columns = join_names(schema.names)
        raise UsageError(f"{option} {name}: must be a column of {path}, its columns are {columns}: choose one of these")


def _require_text_or_numbers(column: pa.Field, path: Path) -> None:
    try:
        pa.nulls(0, column.type).cast(pa.string())
    except pa.ArrowNotImplementedError as error:
        raise UsageError(
            f"--id-column {column.name}: must hold text or numbers, in {path} it is {column.type}: choose another"
        ) from error


def _row_group_starts(row_groups: Sequence[int]) -> list[int]:
    starts = [0]
    for rows in row_groups:
        starts.append(starts[-1] + rows)
    return starts


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Turns what pyarrow raises for a missing or damaged file into an InputError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names or values that are not valid UTF-8
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file may be intact: the operating system could not read it
        raise InputError(f"{path}: must be readable as Parquet, but: {first_line(error)}; fetch it again") from error
