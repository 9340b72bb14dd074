"""Folders that belong to a table format. Beside its live files, such a folder holds files that were removed from it."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import InputError
from mnist_batch.names import to_text

# By the folder of the table's log.
_LOG_FOLDERS = {b"_delta_log": "a Delta Lake", b".hoodie": "a Hudi"}


def check_not_a_table(folder: bytes, name: bytes) -> None:
    """Raises InputError if a folder called `name` shows that the one around it is a table."""
    if (kind := _LOG_FOLDERS.get(name)) is not None:
        raise _table_error(folder, kind)


def check_not_iceberg(root: Path, paths: pa.ChunkedArray) -> None:
    """Raises InputError if one of the paths below `root` is the metadata of an Iceberg table."""
    found = paths.filter(pc.match_substring_regex(paths, r"(^|/)metadata/[^/]*\.metadata\.json$"))
    if len(found):
        path = os.fsencode(root) + b"/" + found[0].as_py()
        raise _table_error(path.rsplit(b"/", 2)[0], "an Iceberg")


def _table_error(folder: bytes, kind: str) -> InputError:
    return InputError(
        f"{to_text(folder)}: must hold only files to be scored, but is {kind} table, which also holds files that were "
        "removed from it: write its rows as plain Parquet with the engine that made it, and name that folder"
    )
