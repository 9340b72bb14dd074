"""idx files, plain or gzip: the form MNIST is published in (http://yann.lecun.com/exdb/mnist, "the IDX file format").

Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the values.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.images.header import MAX_PIXELS
from mnist_batch.records import CLASSES, NumericRows, Rows, null_labels
from mnist_batch.sources.gzipped import GZIP_ERRORS, gzip_error, is_gzip, open_plain_or_gzip
from mnist_batch.sources.labels import find_label_file, to_digit_labels
from mnist_batch.sources.protocol import display_name

IMAGES_MAGIC = b"\0\0\x08\x03"
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_HEADER_SIZE = 16
# How much of a gzip stream is inflated at a time where only its length is wanted.
_INFLATE_CHUNK = 1 << 20
# Images of 28x28 are 3 MB a batch; of larger ones, which come out as rejects, so much is held at a time.
_READ_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class IdxSource:
    """The images of one idx file. side: (height, width) of each; labels: the label file beside it, if any."""

    path: Path
    name: str
    rows: int
    side: tuple[int, int]
    labels: Path | None
    format: str = field(default="idx", init=False)

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    @property
    def skipped(self) -> Mapping[str, int]:
        return Counter()

    @property
    def sidecars(self) -> Sequence[Path]:
        return [] if self.labels is None else [self.labels]

    def split_points(self) -> Sequence[int]:
        return [0, self.rows]

    def open(self) -> IdxReader:
        return IdxReader(self)


class IdxReader:
    def __init__(self, source: IdxSource) -> None:
        self._source = source
        self._file = open_plain_or_gzip(source.path)
        self._labels = None if source.labels is None else read_labels(source.labels)

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        return read_in_pieces(self._read, start, stop, math.prod(self._source.side))

    def _read(self, start: int, stop: int) -> Rows:
        height, width = self._source.side
        size = (stop - start) * height * width
        try:
            self._file.seek(_HEADER_SIZE + start * height * width)
            data = self._file.read(size)
        except GZIP_ERRORS as error:
            raise gzip_error(self._source.path, error) from error
        if len(data) != size:
            raise InputError(
                f"{self._source.path}: must stay as it was when the run began, now ends before row {stop}: start again"
            )
        pixels = np.frombuffer(data, np.uint8).reshape(stop - start, height, width)
        labels = null_labels(stop - start) if self._labels is None else self._labels.slice(start, stop - start)
        return NumericRows(number_rows(self._source.name, start, stop), labels, pixels)

    def close(self) -> None:
        self._file.close()


def open_idx(path: Path, root: Path, options: ReadOptions) -> Sequence[IdxSource]:
    """The source for an idx image file, after checking that it and its labels are whole.

    Raises InputError where the header, the length, the gzip checksum, or the labels' count or values are wrong.
    """
    with open_plain_or_gzip(path) as file:
        try:
            dtype, shape = read_header(file, path)
            found = _count_remaining(file, path, _expected_bytes(shape, dtype))
        except GZIP_ERRORS as error:
            raise gzip_error(path, error) from error
    check_size(path, shape, dtype, found)
    rows, height, width = shape
    if not 0 < height * width <= MAX_PIXELS:
        raise InputError(
            f"{path}: images must have 1 to {MAX_PIXELS} pixels, the header says {height}x{width}: fetch it again"
        )
    labels = find_label_file(path) if options.labels is AutoLabels.AUTO else None
    # The count first: a few bytes of gzip may promise labels for more memory than there is.
    if labels is not None and (count := count_labels(labels)) != rows:
        raise InputError(
            f"{labels}: must hold a label for each of the {rows} images of {path.name}, holds {count}: "
            "fetch both files again, or switch labels off with --labels none"
        )
    if labels is not None:
        read_labels(labels)
    return [IdxSource(path, display_name(path, root), rows, (height, width), labels)]


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The whole of an idx file, in its own shape and native byte order. Raises InputError where it is not one."""
    values = bytearray()
    with open_plain_or_gzip(path) as file:
        try:
            dtype, shape = read_header(file, path)
            promised = _expected_bytes(shape, dtype)
            while len(values) <= promised and (chunk := file.read(_INFLATE_CHUNK)):
                values += chunk
        except GZIP_ERRORS as error:
            raise gzip_error(path, error) from error
    check_size(path, shape, dtype, len(values))
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_labels(path: Path) -> pa.Int32Array:
    """The labels in an idx file: int32 [n] of 0..9. Raises InputError where they are anything else."""
    return to_digit_labels(read_idx(path), str(path))


def read_in_pieces(read: Callable[[int, int], Rows], start: int, stop: int, row_bytes: int) -> Iterator[Rows]:
    """The rows start..stop of a reader, of which no more are held at a time than memory is meant for."""
    rows = max(1, _READ_BYTES // row_bytes)
    return (read(first, min(stop, first + rows)) for first in range(start, stop, rows))


def number_rows(name: str, start: int, stop: int) -> pa.StringArray:
    """Ids of the rows start..stop of a container that numbers its rows from 0: `NAME#ROW`."""
    rows = pa.array(np.arange(start, stop)).cast(pa.string())
    return pc.binary_join_element_wise(f"{name}#", rows, "")


def read_header(file: IO[bytes], path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape from the start of an open idx file, which is left at the first value."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= 4:
        raise InputError(
            f"{path}: an idx file must begin with 00 00, a type code and a dimension count, "
            f"found {magic.hex(' ') or 'nothing'}: check what this file is"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise InputError(f"{path}: idx header must give {magic[3]} dimensions, file ends within them: fetch it again")
    return np.dtype(DTYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)


def check_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    """Raises InputError where the bytes after the header are not what it promises; more need not be counted."""
    promised = _expected_bytes(shape, dtype)
    if found == promised:
        return
    what = f"{shape[0]} rows" if len(shape) < 3 else f"{shape[0]} images of {shape[1]}x{shape[2]}"
    why = "it was probably cut off while being copied" if found < promised else "this header was written for another"
    more = " or more" if found > promised else ""
    raise InputError(
        f"{path}: header promises {what} ({promised} bytes), file has {found} bytes{more}; {why}: fetch it again"
    )


def _expected_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def count_labels(path: Path) -> int:
    """How many labels the header of an idx file promises. Raises InputError where they can be none."""
    with open_plain_or_gzip(path) as file:
        try:
            _, shape = read_header(file, path)
        except GZIP_ERRORS as error:
            raise gzip_error(path, error) from error
    if math.prod(shape) > shape[0] * CLASSES:
        raise InputError(f"{path}: labels must be digits or one-hot rows of ten, found shape {shape}: check the file")
    return shape[0]


def _count_remaining(file: IO[bytes], path: Path, promised: int) -> int:
    """Bytes from where `file` stands to its end; a gzip stream is inflated once, which also proves its checksum.

    It is not inflated much beyond what was promised: 10 GB of zeros take 10 MB.
    """
    if not is_gzip(path):
        return path.stat().st_size - file.tell()
    total = 0
    while total <= promised and (chunk := file.read(_INFLATE_CHUNK)):
        total += len(chunk)
    return total
