"""CSV (RFC 4180): a header, quoted strings, empty nulls, floats in the shortest form that reads back exactly."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv

from mnist_batch import columns
from mnist_batch.errors import UsageError
from mnist_batch.records import first_line


class CsvSink:
    suffix = ".csv"

    def write(self, table: pa.Table, file: IO[bytes], metadata: Mapping[str, str]) -> None:  # noqa: ARG002  (CSV has no place for metadata)
        try:
            pa.csv.write_csv(table, file)
        except pa.ArrowInvalid as error:  # a column of lists or structs, or bytes that are not UTF-8
            raise UsageError(
                f"--format csv must be able to hold the kept columns, but: {first_line(error)}; "
                "remove that column from --keep, or choose --format parquet"
            ) from error

    def read(self, path: Path) -> pa.Table:
        """Reads this program's own columns with their types and all others as text.

        A CSV file does not say whether 007 is a number or a text.
        """
        with path.open(encoding="utf-8", newline="") as file:
            types = dict.fromkeys(next(csv.reader(file)), pa.string())
        types |= dict.fromkeys(columns.INTEGERS, pa.int32()) | dict.fromkeys(columns.FLOATS, pa.float32())
        # Strings are written in quotes, so an empty field without quotes is null and one with quotes is not.
        options = pa.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        with pa.OSFile(os.fsencode(path)) as file:  # as bytes: the folder's name may not be UTF-8
            return pa.csv.read_csv(file, pa.csv.ReadOptions(), pa.csv.ParseOptions(newlines_in_values=True), options)
