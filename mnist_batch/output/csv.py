"""CSV (RFC 4180): a header, strings quoted, nulls empty, floats in the shortest form that reads back exactly."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv

from mnist_batch.errors import UsageError
from mnist_batch.records import first_line


class CsvSink:
    suffix = ".csv"

    def write(self, table: pa.Table, file: Path | IO[bytes], metadata: Mapping[str, str]) -> None:  # noqa: ARG002  (CSV has no place for it)
        try:
            pa.csv.write_csv(table, file)
        except pa.ArrowInvalid as error:  # a column of lists or structs; bytes that are no UTF-8
            raise UsageError(
                f"--format csv must be able to hold the columns kept, but: {first_line(error)}; "
                "leave that one out of --keep, or choose --format parquet"
            ) from error

    def read(self, path: Path) -> pa.Table:
        """Columns that are not the program's own come back as text: nothing in a CSV says that 007 is no number."""
        with path.open(encoding="utf-8", newline="") as text:
            types = dict.fromkeys(next(csv.reader(text)), pa.string())
        types |= dict.fromkeys(["label", "prediction"], pa.int32())
        types |= dict.fromkeys(["confidence", "digit_score", *(f"p{digit}" for digit in range(10))], pa.float32())
        # Texts are written in quotes: what stands there bare and empty is null, and nothing else is.
        options = pa.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        with pa.OSFile(os.fsencode(path)) as file:  # as bytes: the folder's name may be no UTF-8
            return pa.csv.read_csv(file, pa.csv.ReadOptions(), pa.csv.ParseOptions(newlines_in_values=True), options)
