"""Parquet: zstd compression, a fixed row-group size, and the run's metadata in the footer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

# Fixed, so that the bytes depend on the rows alone.
_ROW_GROUP_ROWS = 65_536


class ParquetSink:
    suffix = ".parquet"

    def write(self, table: pa.Table, file: IO[bytes], metadata: Mapping[str, str]) -> None:
        table = table.replace_schema_metadata({f"mnist_batch.{key}": value for key, value in metadata.items()})
        pq.write_table(table, file, row_group_size=_ROW_GROUP_ROWS, compression="zstd")

    def read(self, path: Path) -> pa.Table:
        with pa.OSFile(os.fsencode(path)) as file:  # as bytes: the folder's name may not be UTF-8
            return pq.read_table(file)
