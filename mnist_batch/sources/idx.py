"""idx files, plain or gzip: the format MNIST is published in (http://yann.lecun.com/exdb/mnist, "the IDX file format").

Layout: two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the values.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import AutoLabels
from mnist_batch.errors import InputError
from mnist_batch.images.header import MAX_PIXELS
from mnist_batch.records import CLASSES, IMAGE_SIDE, NumericRows, Rows, null_labels
from mnist_batch.sources.gzipped import GZIP_ERRORS, gzip_error, is_gzip, open_plain_or_gzip
from mnist_batch.sources.head import Head
from mnist_batch.sources.labels import list_label_names, to_digit_labels
from mnist_batch.sources.protocol import Container, File, SourceDefaults, format_row_ids

IMAGES_MAGIC = b"\0\0\x08\x03"
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# QMNIST's labels have the class first, then series, writer and so on (github.com/facebookresearch/qmnist).
_QMNIST_COLUMNS = 8
_INFLATE_CHUNK = 1 << 20
# Limits memory if the images are large. A batch of 28x28 images is 3 MB.
_MAX_READ_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, repr=False)
class IdxSource(SourceDefaults):
    """The images of one idx file.

    image_shape: (height, width) of each image.
    data_start: the offset of the first pixel, inflated.
    labels: the label file beside the images, if any.
    """

    file: File
    name: str
    rows: int
    image_shape: tuple[int, int]
    data_start: int
    labels: File | None
    format: str = field(default="idx", init=False)

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def list_sidecars(self) -> Sequence[File]:
        return [] if self.labels is None else [self.labels]

    def open(self) -> IdxReader:
        return IdxReader(self)


class IdxReader:
    def __init__(self, source: IdxSource) -> None:
        self._source = source
        self._file = open_plain_or_gzip(source.file)
        self._labels = None if source.labels is None else read_labels(source.labels)

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        return read_in_pieces(self._read, start, stop, math.prod(self._source.image_shape))

    def _read(self, start: int, stop: int) -> Rows:
        height, width = self._source.image_shape
        size = (stop - start) * height * width
        try:
            self._file.seek(self._source.data_start + start * height * width)
            data = self._file.read(size)
        except GZIP_ERRORS as error:
            raise gzip_error(self._source.file, error) from error
        if len(data) != size:
            raise InputError(
                f"{self._source.file}: must stay as it was when the run began, now ends before row {stop}: start again"
            )
        pixels = np.frombuffer(data, np.uint8).reshape(stop - start, height, width)
        labels = null_labels(stop - start) if self._labels is None else self._labels.slice(start, stop - start)
        return NumericRows(format_row_ids(self._source.name, start, stop), labels, pixels)

    def close(self) -> None:
        self._file.close()


def is_images(head: bytes) -> bool:
    """Whether a file that begins with `head` is an idx file of bytes, [n, h, w], [n, h, w, 1] or [n, 784]."""
    if head.startswith(IMAGES_MAGIC):
        return True
    if head[:3] != IMAGES_MAGIC[:3] or head[3:4] not in (b"\2", b"\4") or len(head) < 4 + 4 * head[3]:
        return False
    return find_image_shape(struct.unpack_from(f">{head[3]}I", head, 4)) is not None


def find_image_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of the images in an array; None if it has another shape."""
    match shape:
        case (_, height, width) | (_, height, width, 1):
            return height, width
        case (_, pixels) if pixels == IMAGE_SIDE**2:
            return IMAGE_SIDE, IMAGE_SIDE
    return None


def is_labels(head: bytes) -> bool:
    """Whether a file that begins with `head` is an idx file of anything but images."""
    known = head[:2] == b"\0\0" and len(head) >= 4 and head[2] in DTYPES and 1 <= head[3] <= 4
    return known and not is_images(head)


def open_labels(container: Container) -> Sequence[IdxSource]:
    """Returns no source. Raises InputError if the file was meant as images: by its dimensions, or named as an input."""
    magic = Head(container.file).content(4)
    if container.named or magic[3] == 3:
        raise InputError(
            f"{container.file}: an idx file of images must begin with 00 00 08 03, this one begins with "
            f"{magic.hex(' ')} and holds something else: name the file that holds the images"
        )
    return []


def open_idx(container: Container) -> Sequence[IdxSource]:
    """The source for an idx image file. Checks that the file and its labels are complete.

    Raises InputError if the header, the length, the gzip checksum, or the labels' count or values are wrong.
    """
    file = container.file
    with open_plain_or_gzip(file) as opened:
        try:
            dtype, shape = _read_header(opened, file)
            data_start = opened.tell()
            data_bytes = _count_data_bytes(opened, file, _expected_bytes(shape, dtype))
        except GZIP_ERRORS as error:
            raise gzip_error(file, error) from error
    _check_size(file, shape, dtype, data_bytes)
    image_shape = find_image_shape(shape)
    if image_shape is None:
        raise AssertionError(f"{file}: {shape} is not the shape of images")
    rows, (height, width) = shape[0], image_shape
    if not 0 < height * width <= MAX_PIXELS:
        raise InputError(
            f"{file}: images must have 1 to {MAX_PIXELS} pixels, the header says {height}x{width}: fetch it again"
        )
    auto = container.options.labels is AutoLabels.AUTO
    labels = container.find_beside(list_label_names(file.name)) if auto else None
    # Check the count before reading: a small gzip file can inflate to more labels than fit in memory.
    if labels is not None and (count := count_labels(labels)) != rows:
        raise InputError(
            f"{labels}: must hold a label for each of the {rows} images of {file.name}, holds {count}: "
            "fetch both files again, or switch labels off with --labels none"
        )
    if labels is not None:
        read_labels(labels)
    return [IdxSource(file, container.name, rows, image_shape, data_start, labels)]


def read_idx(file: File) -> npt.NDArray[Any]:
    """All values of an idx file, in its shape and native byte order. Raises InputError if it is not valid idx."""
    values = bytearray()
    with open_plain_or_gzip(file) as opened:
        try:
            dtype, shape = _read_header(opened, file)
            expected = _expected_bytes(shape, dtype)
            while len(values) <= expected and (chunk := opened.read(_INFLATE_CHUNK)):
                values += chunk
        except GZIP_ERRORS as error:
            raise gzip_error(file, error) from error
    _check_size(file, shape, dtype, len(values))
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_labels(file: File) -> pa.Int32Array:
    """The labels in an idx file: int32 [n] of 0..9. Raises InputError if they are anything else."""
    values = read_idx(file)
    if values.ndim == 2 and values.shape[1] == _QMNIST_COLUMNS:
        values = values[:, 0]
    return to_digit_labels(values, str(file))


def read_in_pieces(read: Callable[[int, int], Rows], start: int, stop: int, row_bytes: int) -> Iterator[Rows]:
    """Reads the rows start..stop in pieces of at most 64 MB (or one row); `read` returns the rows of one piece."""
    rows = max(1, _MAX_READ_BYTES // row_bytes)
    return (read(first, min(stop, first + rows)) for first in range(start, stop, rows))


def count_labels(file: File) -> int:
    """How many labels an idx file holds according to its header. Raises InputError if the shape does not fit labels."""
    with open_plain_or_gzip(file) as opened:
        try:
            _, shape = _read_header(opened, file)
        except GZIP_ERRORS as error:
            raise gzip_error(file, error) from error
    if math.prod(shape) > shape[0] * CLASSES:
        raise InputError(f"{file}: labels must be digits or one-hot rows of ten, found shape {shape}: check the file")
    return shape[0]


def _read_header(opened: IO[bytes], file: File) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Reads dtype and shape from the start of an open idx file, up to the first value."""
    magic = opened.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= 4:
        raise InputError(
            f"{file}: an idx file must begin with 00 00, a type code and a dimension count, "
            f"found {magic.hex(' ') or 'nothing'}: check what this file is"
        )
    sizes = opened.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise InputError(f"{file}: idx header must give {magic[3]} dimensions, file ends within them: fetch it again")
    return np.dtype(DTYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)


def _check_size(file: File, shape: tuple[int, ...], dtype: np.dtype[Any], data_bytes: int) -> None:
    """Raises InputError if the header promises another size than `data_bytes`, which counts the bytes after it.

    If there is too much data, `data_bytes` may count only a part of the surplus.
    """
    expected = _expected_bytes(shape, dtype)
    if data_bytes == expected:
        return
    what = f"{shape[0]} rows" if len(shape) < 3 else f"{shape[0]} images of {shape[1]}x{shape[2]}"
    why = (
        "it was probably cut off while being copied"
        if data_bytes < expected
        else "the header probably belongs to another file"
    )
    more = " or more" if data_bytes > expected else ""
    raise InputError(
        f"{file}: header promises {what} ({expected} bytes), file has {data_bytes} bytes{more}; {why}: fetch it again"
    )


def _expected_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _count_data_bytes(opened: IO[bytes], file: File, expected: int) -> int:
    """Counts the bytes from the current position of an open file to its end.

    A gzip stream is inflated once, which also checks its checksum. Inflating stops soon after `expected` bytes, because
    10 MB of gzip can hold 10 GB of zeros.
    """
    if not is_gzip(file):
        return -opened.tell() + opened.seek(0, os.SEEK_END)
    total = 0
    while total <= expected and (chunk := opened.read(_INFLATE_CHUNK)):
        total += len(chunk)
    return total
