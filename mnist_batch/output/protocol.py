"""What every output format must do. `tests/contracts.py` holds each implementation to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa


class Sink(Protocol):
    """A file format for tables. The same table gives the same bytes."""

    @property
    def suffix(self) -> str:
        """What its files' names end with, dot included."""
        ...

    def write(self, table: pa.Table, file: Path | IO[bytes], metadata: Mapping[str, str]) -> None:
        """The whole table into a new file; `metadata` goes along where the format has a place for it.

        Raises UsageError where the format cannot hold a column.
        """
        ...

    def read(self, path: Path) -> pa.Table:
        """What `write` wrote, as far as the format can tell it: names, order and values."""
        ...
