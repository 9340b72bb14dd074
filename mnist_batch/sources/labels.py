"""The rules for labels: which values are valid, and how files beside the images give labels.

Which files are read is up to the sources. `folder_labels.py` has the rules for names of folders; a folder's position
among sorted folders (a class index) is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import InputError
from mnist_batch.records import CLASSES

_TEXT_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
# WebDataset stores the class of a sample as text in a file with the same stem (github.com/webdataset/webdataset).
CLASS_SUFFIX = ".cls"


def to_digit_labels(values: npt.NDArray[Any], where: str, rows: npt.NDArray[Any] | None = None) -> pa.Int32Array:
    """Labels from digits [n] or [n, 1] or one-hot rows [n, 10], of any integer type or as floats with whole values.

    where: how messages name the file or array.
    rows: the row number of each value, for messages; None: 0, 1, 2, ...

    Raises InputError that names the first row whose label is not a digit.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.shape[1] == CLASSES:
        valid = np.isin(values, (0, 1)).all(axis=1) & (values.sum(axis=1) == 1)
        digits = values.argmax(axis=1)
        must = "one-hot rows, a single 1 among ten"
    elif values.ndim == 1 and values.dtype.kind in "iuf":
        valid = (values >= 0) & (values < CLASSES) & (values == np.floor(values))
        digits = values
        must = "digits 0..9"
    else:
        raise InputError(
            f"{where}: labels must be digits or one-hot rows of ten, found {values.dtype} of shape {values.shape}: "
            "name the right labels with --labels, or switch them off with --labels none"
        )
    if not valid.all():
        row = int(np.argmin(valid))
        raise InputError(
            f"{where}: labels must be {must}, row {row if rows is None else rows[row]} has {values[row].tolist()}: "
            "correct the labels, or switch them off with --labels none"
        )
    return pa.array(digits.astype(np.int32))


def parse_label_column(column: pa.Array, where: str, first_row: int = 0) -> pa.Int32Array:
    """Labels from an Arrow column of digits, as numbers or as text, or of one-hot lists; null stays null.

    first_row: the row number of the first value, for messages. Raises InputError if a value is not a label.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values = column.drop_null()
    if hasattr(column.type, "value_type"):  # all list types have it
        numbers = _read_one_hot(values, where)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = values.to_numpy(zero_copy_only=False)
    elif pa.types.is_null(column.type):
        return column.cast(pa.int32())
    elif any(is_text(column.type) for is_text in _TEXT_TYPES):
        numbers = _read_text(values, where, first_row)
    else:
        raise InputError(
            f"{where}: labels must be digits or one-hot rows of ten, found type {column.type}: "
            "name another column with --label-column, or switch labels off with --labels none"
        )
    labelled = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    digits = to_digit_labels(numbers, where, labelled + first_row)
    if column.null_count == 0:
        return digits
    labels = np.zeros(len(column), np.int32)
    labels[labelled] = digits.to_numpy()
    is_null = np.ones(len(column), bool)
    is_null[labelled] = False
    return pa.array(labels, mask=is_null)


def labels_from_class_files(paths: pa.Array, class_files: dict[bytes, int]) -> pa.Int8Array:
    """For each path (binary): the digit in the `.cls` file with the same stem, or null.

    class_files: digits by path without suffix.
    """
    stems = pc.replace_substring_regex(paths, r"\.[^./]*$", "")
    keys = pa.array(class_files.keys(), pa.binary())
    digits = pa.array(class_files.values(), pa.int8())
    return digits.take(pc.index_in(stems.cast(pa.binary()), value_set=keys))


def parse_class_file(content: bytes, where: str) -> int:
    """The digit in a `.cls` file. Raises InputError if the content is not one digit."""
    text = content.strip()
    if len(text) == 1 and text.isdigit():
        return int(text)
    raise InputError(
        f"{where}: a {CLASS_SUFFIX} file must hold one digit 0..9, found {text[:20]!r}: "
        "correct it, or switch labels off with --labels none"
    )


def list_label_names(images: str) -> Sequence[str]:
    """The names that the label file of an idx image file may have.

    Example: `t10k-labels-idx1-ubyte[.gz]` for `t10k-images-idx3-ubyte`.
    """
    name = images.removesuffix(".gz")
    if "images" not in name:
        return []
    name = name.replace("images", "labels").replace("idx3", "idx1")
    return [name, f"{name}.gz"]


def _read_text(texts: pa.Array, where: str, first_row: int) -> npt.NDArray[Any]:
    """The numbers in a column of text, such as `7` or `7.0`."""
    try:
        return pc.utf8_trim_whitespace(texts).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        number = pc.match_substring_regex(texts, r"^\s*[-+]?[0-9]+(\.[0-9]*)?\s*$")
        row = number.index(pa.scalar(False)).as_py()
        raise InputError(
            f"{where}: labels must be digits 0..9, row {first_row + row} has {texts[row].as_py()!r}: "
            "name another column with --label-column, or switch labels off with --labels none"
        ) from error


def _read_one_hot(lists: pa.Array, where: str) -> npt.NDArray[Any]:
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    numbers = lists.flatten()
    if (lengths != CLASSES).any() or numbers.null_count or not pa.types.is_primitive(numbers.type):
        raise InputError(
            f"{where}: labels must be digits or one-hot rows of ten, found {lists.type}: "
            "name another column with --label-column, or switch labels off with --labels none"
        )
    return np.asarray(numbers).reshape(-1, CLASSES)
