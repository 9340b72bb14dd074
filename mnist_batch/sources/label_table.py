"""Tables of labels as people write them: which columns they are in, and which rows of the input their ids mean."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from mnist_batch.errors import InputError
from mnist_batch.sources.gzipped import open_plain_or_gzip
from mnist_batch.sources.protocol import File, open_file
from mnist_batch.sources.tabular import LABEL_NAMES, join_names

# In lower case. `id` comes first, because `predictions/` has it.
_ID_NAMES = ("id", "image", "file", "file_name", "filename", "filepath", "path", "imageid", "image_id", "name")
_HEAD_BYTES = 65_536


def read_parquet(file: File) -> pa.Table:
    """Reads all columns. Raises what pyarrow raises."""
    with open_file(file) as opened, pa.PythonFile(opened) as native_file:
        return pq.read_table(native_file)


def read_csv(file: File) -> pa.Table:
    """Reads a table separated by commas, semicolons or tabs, with or without a header. Ids are read as text.

    Without a header, the columns are called `column1`, `column2`, ...
    """
    with open_plain_or_gzip(file) as opened:
        line = opened.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode("utf-8", "replace")
        delimiter = max(",;\t", key=line.count)
        try:
            first = next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter), [])
        except csv.Error as error:
            raise ValueError(str(error)) from error
        names = None
        if any(text.strip().isdigit() and len(text.strip()) == 1 for text in first):
            names = [f"column{position}" for position in range(1, len(first) + 1)]
        opened.seek(0)
        texts = [name for name in names or first if names or name.lower() in _ID_NAMES]
        return pa.csv.read_csv(
            opened,
            pa.csv.ReadOptions(column_names=names),
            pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
        )


def read_json_lines(file: File) -> pa.Table:
    """Reads all columns of a file with a JSON object per line. Raises what pyarrow raises."""
    with open_plain_or_gzip(file) as opened:
        return pa.json.read_json(opened)


def find_id_and_label(table: pa.Table, file: File) -> tuple[str, str]:
    """Returns the names of the columns with ids and labels.

    Raises InputError if there is no such column, or more than one.
    """
    names = table.column_names
    if names == ["column1", "column2"]:  # no header: the labels are the column of single digits
        digits = [_holds_digits(table[name]) for name in names]
        if digits.count(True) == 1:
            return names[digits.index(False)], names[digits.index(True)]
    found = [_find_column(names, known) for known in (_ID_NAMES, LABEL_NAMES)]
    if found[0] is None or found[1] is None:
        raise InputError(
            f"{file}: labels must have the columns id and label, has {join_names(names)}: "
            "rename them, or write a header"
        )
    return found[0], found[1]


def _find_column(names: list[str], known: tuple[str, ...]) -> str | None:
    """The only column with one of the known names; of several, the one that is called by the first of them."""
    found = [name for name in names if name.lower() in known]
    if len(found) == 1:
        return found[0]
    return known[0] if found.count(known[0]) == 1 else None


def _holds_digits(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.match_substring_regex(column.fill_null("x"), r"^\s*[0-9]\s*$")).as_py())


def match_ids(ids: pa.StringArray, list_rows: Callable[[], pa.StringArray]) -> pa.StringArray:
    """Returns the ids of a table as the ids of the rows that they mean, where that is certain.

    An id that is not the id of a row may leave out folders or the suffix, or have folders that the row's id leaves out.
    It is taken if no other row and no other id of the table are the same without folders, suffix, or both.

    list_rows: returns the ids of all rows that have names of their own.
    """
    rows = list_rows()
    unknown = pc.invert(pc.is_in(ids, rows)).to_numpy(zero_copy_only=False)
    if not len(rows) or not unknown.any():
        return ids
    result = ids.to_numpy(zero_copy_only=False).copy()
    for patterns in ((r"^.*[/!]",), (r"\.[^./!]*$",), (r"^.*[/!]", r"\.[^./!]*$")):
        short_rows, short_ids = (_shorten(texts, patterns) for texts in (rows, ids))
        once = [_list_unique(texts) for texts in (short_rows, short_ids)]
        fits = pc.and_(pc.is_in(short_ids, once[0]), pc.is_in(short_ids, once[1])).to_numpy(zero_copy_only=False)
        candidates = np.flatnonzero(fits & unknown)
        found = rows.take(pc.index_in(short_ids.take(pa.array(candidates)), short_rows)).to_pylist()
        for at, row in zip(candidates.tolist(), found, strict=True):
            if _may_mean(result[at], row):
                result[at], unknown[at] = row, False
    return pa.array(result, pa.string())


def _may_mean(name: str, row: str) -> bool:
    """Whether one of two ids, which are the same without folders and suffix, only leaves out a part of the other."""
    (folder, suffix), (row_folder, row_suffix) = map(_split_name, (name, row))
    fits = row_folder.endswith(("/" + folder, "!" + folder)) or folder.endswith("/" + row_folder)
    return (fits or folder == row_folder or not (folder and row_folder)) and (
        suffix == row_suffix or not (suffix and row_suffix)
    )


def _split_name(name: str) -> tuple[str, str]:
    """The folders of a name, with the last slash, and its suffix, with the dot."""
    folder = name[: max(name.rfind("/"), name.rfind("!")) + 1]
    dot = name.rfind(".", len(folder))
    return folder, name[dot:] if dot >= 0 else ""


def _shorten(texts: pa.StringArray, patterns: tuple[str, ...]) -> pa.StringArray:
    for pattern in patterns:
        texts = pc.replace_substring_regex(texts, pattern, "")
    return texts


def _list_unique(texts: pa.StringArray) -> pa.StringArray:
    """The texts that occur once."""
    counts = pc.value_counts(texts)
    return counts.field("values").filter(pc.equal(counts.field("counts"), 1))
