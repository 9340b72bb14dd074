"""Files of several pages: a TIFF may hold many scans. Each page is a row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import InputError
from mnist_batch.images.header import MAX_TIFF_PAGES, list_tiff_pages
from mnist_batch.names import to_text
from mnist_batch.records import Ints
from mnist_batch.sources.members import match_pattern
from mnist_batch.sources.protocol import open_file


def split_pages(root: Path, files: pa.Table) -> tuple[pa.Table, Ints]:
    """Gives a TIFF of several pages one row per page, and adds the column `page` of `FolderSource`.

    root, files: as in `FolderSource`. Only files with the suffix of a TIFF are opened.
    Returns the table, and the number of rows of each file. Raises InputError if a page would get the id of a file.
    """
    paths, rows = files["path"].combine_chunks(), np.ones(files.num_rows, np.int64)
    pages_by_file: dict[int, list[int]] = {}
    for position in np.flatnonzero(match_pattern(paths, r"\.tiff?$")).tolist():
        try:
            with open_file(root / os.fsdecode(paths[position].as_py())) as file:
                pages = list_tiff_pages(file)
        except OSError:  # it becomes a reject, or ends the run, when it is read
            continue
        if 1 < len(pages) <= MAX_TIFF_PAGES:
            pages_by_file[position], rows[position] = pages, len(pages)
    if not pages_by_file:
        return files.append_column("page", pa.nulls(files.num_rows, pa.int32())), rows
    _check_ids(paths, pages_by_file)
    stops = rows.cumsum()
    numbers, has_pages = np.zeros(int(stops[-1]), np.int32), np.zeros(int(stops[-1]), bool)
    for position, pages in pages_by_file.items():
        of_file = slice(stops[position] - len(pages), stops[position])
        numbers[of_file], has_pages[of_file] = pages, True
    table = files.take(pa.array(np.repeat(np.arange(len(rows)), rows)))
    return table.append_column("page", pa.array(numbers, mask=~has_pages)), rows


def format_page(page: int) -> str:
    """What follows the path in the id of a page after the first. page: as in `EncodedPage`."""
    return f":page{page + 1}"


def _check_ids(paths: pa.BinaryArray, pages_by_file: Mapping[int, Sequence[int]]) -> None:
    names = [
        paths[position].as_py() + format_page(page).encode()
        for position, pages in pages_by_file.items()
        for page in pages[1:]
    ]
    taken = pc.is_in(pa.array(names, pa.binary()), paths).to_pylist()
    if any(taken):
        name = to_text(names[taken.index(True)])
        raise InputError(f"{name}: must be the id of one row, is a page of a file and a file: rename the file")
