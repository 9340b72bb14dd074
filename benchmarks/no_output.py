"""Runs the command line, but writes parts without rows. The time that this saves is the cost of writing.

python benchmarks/no_output.py predict INPUT --output OUT ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pyarrow as pa

from mnist_batch.cli.app import run
from mnist_batch.config import OutputFormat
from mnist_batch.output import formats
from mnist_batch.output.protocol import Sink
from mnist_batch.run import scoring


class EmptySink:
    """Writes tables of another sink without their rows."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.suffix = sink.suffix

    def write(self, table: pa.Table, file: IO[bytes], metadata: Mapping[str, str]) -> None:
        self._sink.write(table.slice(0, 0), file, metadata)

    def read(self, path: Path) -> pa.Table:
        return self._sink.read(path)


def empty_sink_for(format: OutputFormat) -> Sink:
    """The sink of a format, without rows."""
    return EmptySink(formats.sink_for(format))


setattr(scoring, "sink_for", empty_sink_for)  # noqa: B010 - mypy forbids the assignment
run()
