"""The table of output formats. To add a format, add a file beside this one and a line here."""

from __future__ import annotations

import io

import pyarrow as pa

from mnist_batch.config import OutputFormat
from mnist_batch.output.csv import CsvSink
from mnist_batch.output.parquet import ParquetSink
from mnist_batch.output.protocol import Sink

_SINKS: dict[OutputFormat, Sink] = {OutputFormat.PARQUET: ParquetSink(), OutputFormat.CSV: CsvSink()}


def sink_for(format: OutputFormat) -> Sink:
    """Returns the sink that writes this format."""
    return _SINKS[format]


def check_extra_columns(format: OutputFormat, columns: pa.Schema) -> None:
    """Raises UsageError if the format cannot hold the types of these input columns."""
    sink_for(format).write(columns.empty_table(), io.BytesIO(), {})
