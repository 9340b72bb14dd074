"""Arrays of images in NumPy's format (numpy.lib.format): which arrays are images, and which labels belong to them.

Nothing is unpickled: an array of Python objects is an error.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import PixelRange
from mnist_batch.errors import InputError
from mnist_batch.images.header import MAX_PIXELS
from mnist_batch.records import CLASSES, IMAGE_SIDE, NumericRows, Rows, null_labels
from mnist_batch.sources.idx import read_in_pieces
from mnist_batch.sources.protocol import File, SourceDefaults, format_row_ids

# Raised by `zipfile` and by numpy's header reader for damaged files; RuntimeError if a member is encrypted. The last
# three come from keys of different types, and from deep nesting.
READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, LZMAError, EOFError, ValueError, RuntimeError, OverflowError, struct.error,
    SyntaxError, TokenError, TypeError, RecursionError, MemoryError,
)  # fmt: skip
_IMAGE_WORDS = ("x", "images", "image", "imgs", "img", "data", "features", "pixels", "digits")
_LABEL_WORDS = ("y", "labels", "label", "targets", "target", "classes", "class")
_LABEL_FORMS = tuple(form for word in _LABEL_WORDS for form in (word, word.title(), word.upper()))


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What an array says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def holds_images(self) -> bool:
        """Whether the shape is [n, 784], [n, h, w], [n, h, w, 1] or [n, 1, h, w], of numbers or truth values."""
        match self.shape:
            case (_, pixels):
                fits = pixels == IMAGE_SIDE**2
            case (_, _, _):
                fits = True
            case (_, first, _, last):
                fits = 1 in (first, last)
            case _:
                fits = False
        return fits and self.dtype.kind in "buif"


@dataclass(frozen=True, slots=True, repr=False)
class ArraySource(SourceDefaults):
    """The images of one array."""

    file: File
    name: str
    header: ArrayHeader
    pixel_range: PixelRange | None

    @property
    def rows(self) -> int:
        return self.header.shape[0]


class ArrayReader:
    """Reads the rows of an array from an open file.

    file: positioned at the first value.
    labels: of all rows, None without labels.
    what: the file, or the array in it, for messages.
    """

    def __init__(self, source: ArraySource, file: IO[bytes], labels: pa.Int32Array | None, what: str) -> None:
        self._source, self._file, self._labels, self._what = source, file, labels, what
        self._data_start = file.tell()

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        return read_in_pieces(self._read, start, stop, self._source.header.row_bytes)

    def _read(self, start: int, stop: int) -> Rows:
        source, row_bytes = self._source, self._source.header.row_bytes
        self._file.seek(self._data_start + start * row_bytes)
        data = self._file.read((stop - start) * row_bytes)
        if len(data) != (stop - start) * row_bytes:
            raise InputError(
                f"{self._what} must stay as it was when the run began, now ends before row {stop}: start again"
            )
        labels = null_labels(stop - start) if self._labels is None else self._labels.slice(start, stop - start)
        ids = format_row_ids(source.name, start, stop)
        return NumericRows(ids, labels, to_values(data, source.header), source.pixel_range)

    def close(self) -> None:
        self._file.close()


def read_header(file: IO[bytes], where: str) -> ArrayHeader:
    """Reads the header at the start of an array. Raises InputError if it is damaged or of an unusual layout.

    where: how messages name the array.
    """
    with array_errors(where):
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    if dtype.hasobject:
        raise InputError(
            f"{where}: must hold plain numbers, holds pickled Python objects, which are never loaded: "
            "save it again as an array of numbers"
        )
    if any(size < 0 for size in shape):
        raise InputError(f"{where}: must have sizes of 0 or more, has shape {list(shape)}: save it again")
    if fortran_order and len(shape) > 1:
        raise InputError(
            f"{where}: must be stored row by row (C order), is stored column by column: "
            "save it again from numpy.ascontiguousarray"
        )
    return ArrayHeader(shape, dtype)


def check_images(header: ArrayHeader, where: str, data_bytes: int, pixel_range: PixelRange | None, remedy: str) -> None:
    """Raises InputError if an array cannot be read as images.

    data_bytes: the size of its values. remedy: what to do if it holds something else.
    """
    shape, dtype = list(header.shape), header.dtype
    if not header.holds_images and not (len(shape) == 2 and dtype.kind in "buif"):
        raise InputError(
            f"{where}: images must be numbers of shape [n,784], [n,28,28], [n,28,28,1] or [n,1,28,28], "
            f"found {dtype} of shape {shape}: {remedy}"
        )
    if not 0 < math.prod(shape[1:]) <= MAX_PIXELS or math.prod(shape) * dtype.itemsize != data_bytes:
        raise InputError(
            f"{where}: must hold images of 1 to {MAX_PIXELS} pixels, as many as its header promises, found {dtype} of "
            f"shape {shape} in {data_bytes} bytes: save it again"
        )
    if dtype.kind == "f" and pixel_range is None:
        raise InputError(
            f"{where}: float pixels must come with their range, found {dtype}: "
            "say what black and white are with --pixel-range 0..1, 0..255 or -1..1"
        )


def count_labels(header: ArrayHeader, where: str) -> int:
    """How many labels an array holds. Raises InputError if the shape does not fit labels."""
    shape = header.shape
    if not shape or math.prod(shape) > shape[0] * CLASSES:
        raise InputError(
            f"{where}: labels must be digits or one-hot rows of ten, found shape {list(shape)}: "
            "correct the file, or switch labels off with --labels none"
        )
    return shape[0]


def to_values(data: bytes, header: ArrayHeader) -> npt.NDArray[Any]:
    """The rows in `data` as `NumericRows` has them. True becomes 255; [n, 1, h, w] becomes [n, h, w]."""
    values = np.frombuffer(data, header.dtype).reshape(-1, *header.row_shape)
    if values.ndim == 4 and values.shape[3] != 1:
        values = values[:, 0]
    return values.astype(np.uint8) * 255 if values.dtype.kind == "b" else values


def list_label_names(images: str) -> Iterator[str]:
    """Yields the names that the labels of an array may have: `y_test` for `x_test`, `train_labels` for `train_images`.

    Each word of the name that means images is replaced by one that means labels.
    """
    words = images.split("_")
    for position, word in enumerate(words):
        if word.lower() in _IMAGE_WORDS:
            for label in _LABEL_FORMS:
                yield "_".join([*words[:position], label, *words[position + 1 :]])


def find_label_name(images: str, names: Sequence[str], alone: bool) -> str | None:
    """The name of the labels of an array, among the names of all arrays.

    alone: whether there is one array of images. Then the labels may also be called `labels` or the like.
    """
    candidates = [*list_label_names(images), *(_LABEL_FORMS if alone else ())]
    return next((name for name in candidates if name in names and name != images), None)


@contextmanager
def array_errors(where: str) -> Iterator[None]:
    """Turns what `zipfile` and numpy raise into an InputError that names the array."""
    try:
        yield
    except READ_ERRORS as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            cause = "it holds pickled Python objects, which are never loaded"
        else:
            cause = str(error)
        raise InputError(
            f"{where} must be readable as a NumPy array, but: {cause}; fetch or save the file again"
        ) from error
