"""What every output format must do. `tests/output/test_contract.py` checks each implementation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa


class Sink(Protocol):
    """A file format for tables. The same table always gives the same bytes."""

    @property
    def suffix(self) -> str:
        """The end of its files' names, with the dot."""
        ...

    def write(self, table: pa.Table, file: IO[bytes], metadata: Mapping[str, str]) -> None:
        """Writes the whole table to a new file, with `metadata` if the format has a place for it.

        Raises UsageError if the format cannot hold a column.
        """
        ...

    def read(self, path: Path) -> pa.Table:
        """Reads what `write` wrote, as far as the format records it: names, order and values."""
        ...
