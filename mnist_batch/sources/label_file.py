"""Labels from a separate file (`--labels FILE`), instead of those beside the images.

An idx or npy file labels rows by position, in scoring order. A CSV, JSON Lines or Parquet file with the columns `id`
and `label` labels rows by id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from mnist_batch.errors import InputError, InputMissingError, StorageError
from mnist_batch.records import Ints, first_line
from mnist_batch.sources import npy
from mnist_batch.sources.gzipped import GZIP_ERRORS, gzip_error, open_plain_or_gzip
from mnist_batch.sources.idx import count_labels, read_labels
from mnist_batch.sources.label_table import find_id_and_label, match_ids, read_csv, read_json_lines, read_parquet
from mnist_batch.sources.labels import parse_label_column
from mnist_batch.sources.protocol import File, Stamp

if TYPE_CHECKING:
    import pandas as pd


class LabelFile(Protocol):
    """Gives the labels of any rows of a run."""

    def labels(self, ids: pa.StringArray, rows: Ints) -> pa.Int32Array:
        """Labels of n rows: int32 [n] of 0..9 or null.

        ids: the ids of the rows.
        rows: int64 [n], their row numbers in the run.
        """
        ...


@dataclass(frozen=True)
class LabelsByPosition:
    """One label per row of the run, in order."""

    digits: pa.Int32Array

    def labels(self, ids: pa.StringArray, rows: Ints) -> pa.Int32Array:  # noqa: ARG002  (by position, not by id)
        return self.digits.take(pa.array(rows))


@dataclass(frozen=True)
class LabelsById:
    """Labels by row id, as written in `predictions/`; the label of any other row is null."""

    ids: pa.StringArray
    digits: pa.Int32Array

    @cached_property
    def _index(self) -> pd.Index:
        """A hash table of the ids, built once for all batches."""
        import pandas as pd

        return pd.Index(self.ids.to_numpy(zero_copy_only=False))

    def labels(self, ids: pa.StringArray, rows: Ints) -> pa.Int32Array:  # noqa: ARG002  (by id, not by position)
        positions = self._index.get_indexer(ids.to_numpy(zero_copy_only=False))
        return self.digits.take(pa.array(positions, mask=positions < 0))


def _no_names() -> pa.StringArray:
    return pa.array([], pa.string())


def open_label_file(
    path: Path, rows: int, numbered: bool = True, list_names: Callable[[], pa.StringArray] = _no_names
) -> tuple[LabelFile, Stamp]:
    """The labels in `path` for a run of `rows` rows, and the state of the file while it was read.

    numbered: whether the rows of all inputs are identified by their number. Only then can labels belong to positions.
    list_names: returns the ids of the rows that have names of their own, which ids of a table may shorten.

    Raises InputMissingError if there is no such file, StorageError if it cannot be read, and InputError if it is not
    idx, CSV or Parquet, if it is empty, if its ids are not unique, if its labels are not digits, if an idx file does
    not hold exactly `rows` labels, or if the file changes while it is read.
    """
    if not path.is_file():
        raise InputMissingError(f"--labels {path}: must be a file, there is none: check the path")
    stamp = Stamp.of(path.stat())
    labels = _read_labels(path, rows, numbered, list_names)
    stamp.check(path)
    return labels, stamp


def _read_labels(path: Path, rows: int, numbered: bool, list_names: Callable[[], pa.StringArray]) -> LabelFile:
    head = _read_head(path)
    is_npy = npy.MAGIC.startswith(head) and len(head) == 4
    if head[:2] == b"\0\0" or is_npy:
        if not numbered:
            raise InputError(
                f"{path}: labels by position must belong to rows of a numbered file, such as idx or npz, but the input "
                "holds image files, whose order is that of their names: name a table with the columns id and label"
            )
        if (count := npy.count_file_labels(path) if is_npy else count_labels(path)) != rows:
            raise InputError(
                f"{path}: must hold a label for each of the {rows} rows of the input, holds {count}: "
                "name the label file that belongs to this input"
            )
        return LabelsByPosition(npy.read_labels(path) if is_npy else read_labels(path))
    return read_label_table(path, list_names)


def read_label_table(file: File, list_names: Callable[[], pa.StringArray]) -> LabelsById:
    """The labels in a table: CSV, JSON Lines or Parquet. list_names: as in `open_label_file`.

    Raises InputError if it cannot be read as such a table, if its ids are not unique, or if its labels are not digits.
    """
    head = _read_head(file)
    try:
        table = {b"PAR1": read_parquet}.get(head, read_json_lines if head[:1] == b"{" else read_csv)(file)
        table.validate(full=True)  # otherwise strings that are not valid UTF-8 would fail later, with another error
        id_column, label_column = find_id_and_label(table, file)
        ids = table[id_column].combine_chunks().cast(pa.string())
        return _labels_by_id(file, ids, table[label_column].combine_chunks(), list_names)
    except GZIP_ERRORS as error:
        raise gzip_error(file, error) from error
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: column names that are not UTF-8
        raise InputError(
            f"{file}: labels must be an idx, CSV, JSON Lines or Parquet file, but: {first_line(error)}; check the file"
        ) from error


def _labels_by_id(
    file: File, ids: pa.StringArray, labels: pa.Array, list_names: Callable[[], pa.StringArray]
) -> LabelsById:
    if not len(ids):
        raise InputError(f"{file}: must hold a label, holds none: fill it, or switch labels off with --labels none")
    if len(ids.unique()) != len(ids):
        values, counts = np.unique(ids.fill_null("").to_numpy(zero_copy_only=False), return_counts=True)
        raise InputError(
            f"{file}: every id must occur once, {values[counts.argmax()]!r} occurs {counts.max()} times: "
            "remove the duplicates"
        )
    digits = parse_label_column(labels, f"{file}, column label")
    return LabelsById(match_ids(ids, list_names), digits)


def _read_head(file: File) -> bytes:
    """Reads the first four bytes, inflated if the file is gzip."""
    try:
        with open_plain_or_gzip(file) as opened:
            return opened.read(4)
    except GZIP_ERRORS as error:
        raise gzip_error(file, error) from error
    except OSError as error:
        raise StorageError(
            f"{file}: labels must be readable, but: {error.strerror}; start again once they are"
        ) from error
