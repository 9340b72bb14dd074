"""`.npz` files: a zip of NumPy arrays, of images and their labels. Keras distributes MNIST as one, `mnist.npz`.

Every array with the shape of images is read, and labels by their names (`arrays.py`).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal.isal_zlib import crc32

from mnist_batch.config import AutoLabels
from mnist_batch.errors import InputError, UsageError
from mnist_batch.records import Rows
from mnist_batch.sources.arrays import (
    READ_ERRORS,
    ArrayHeader,
    ArrayReader,
    ArraySource,
    array_errors,
    check_images,
    count_labels,
    find_label_name,
    read_header,
)
from mnist_batch.sources.head import Head
from mnist_batch.sources.labels import to_digit_labels
from mnist_batch.sources.protocol import Container, File, open_file
from mnist_batch.sources.zip.directory import check_all_listed, seek_data

_CHECKSUM_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, repr=False)
class NpzSource(ArraySource):
    """One array of images in an npz file. labels: the name of the array with the labels, if any."""

    array: str
    labels: str | None
    format: str = field(default="npz", init=False)

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def open(self) -> NpzReader:
        return NpzReader(self)


class NpzReader(ArrayReader):
    """Reads an array from a member of a zip, which stays open meanwhile."""

    def __init__(self, source: NpzSource) -> None:
        self._where = _where(source.file, source.array)
        with array_errors(self._where):
            self._opened = open_file(source.file)
            self._zip = zipfile.ZipFile(self._opened)
            array = _open_member(source.file, self._zip, self._zip.getinfo(f"{source.array}.npy"))
        read_header(array, self._where)
        labels = None if source.labels is None else read_labels(source.file, source.labels)
        super().__init__(source, array, labels, f"{source.file}: array {source.array}")

    def _read(self, start: int, stop: int) -> Rows:
        with array_errors(self._where):
            return super()._read(start, stop)

    def close(self) -> None:
        super().close()
        self._zip.close()
        self._opened.close()


def is_npz(head: Head) -> bool:
    """Whether a file is a zip of NumPy arrays and nothing else. Of a start alone, the first member decides."""
    start = head.content()
    if not start.startswith(b"PK\3\4") or len(start) < 30:
        return False
    (size,) = struct.unpack_from("<H", start, 26)
    if not start[30 : 30 + size].endswith(b".npy"):
        return False
    if head.file is None:
        return True
    try:
        with _open_zip(head.file) as archive:
            return all(name.endswith((".npy", "/")) for name in archive.namelist())
    except (OSError, *READ_ERRORS):
        return True  # `open_npz` says what is wrong


def open_npz(container: Container) -> Sequence[NpzSource]:
    """One source per requested array. Without any, one per array with the shape of images, sorted by name.

    Raises UsageError if the file has no array of a requested name, InputError if the file is damaged or the arrays are
    not usable as images.
    """
    file = container.file
    with array_errors(f"{file}: its directory"), open_file(file) as opened, zipfile.ZipFile(opened) as archive:
        check_all_listed(opened, archive)
        names = sorted(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
        if len(set(names)) < len(names):
            raise ValueError(f"one of the arrays is in it twice: {', '.join(names)}")
        damaged = next(
            (member.filename for member in archive.infolist() if not _has_valid_crc(file, archive, member)), None
        )
    if damaged is not None:
        raise InputError(f"{file}: the checksum of {damaged} must match, it does not: fetch the file again")
    for array in container.arrays:
        if array not in names:
            raise UsageError(
                f"{file}:{array}: must name an array of the file, it holds {', '.join(names)}: choose one of these"
            )
    with_images = [name for name in names if name.startswith("x_") or _holds_images(file, name)]
    image_arrays = container.arrays or with_images
    if not image_arrays:
        raise InputError(
            f"{file}: an npz of images must hold an array of shape [n,784], [n,28,28], [n,28,28,1] or [n,1,28,28], "
            f"found {', '.join(names) or 'no array'}: name the array as {file.name}:ARRAY"
        )
    return [_open_array(container, name, names, alone=len(with_images) == 1) for name in image_arrays]


def _where(file: File, array: str) -> str:
    """How messages name an array."""
    return f"{file}: {array}"


@contextmanager
def _open_zip(file: File) -> Iterator[zipfile.ZipFile]:
    with open_file(file) as opened, zipfile.ZipFile(opened) as archive:
        yield archive


def _read_array_header(file: File, array: str) -> tuple[ArrayHeader, int]:
    """The header of an array, and the size of its values in bytes."""
    where = _where(file, array)
    with array_errors(where), _open_zip(file) as archive, archive.open(f"{array}.npy") as values:
        header = read_header(values, where)
        return header, archive.getinfo(f"{array}.npy").file_size - values.tell()


def _holds_images(file: File, array: str) -> bool:
    try:
        return _read_array_header(file, array)[0].holds_images
    except InputError:  # an array that is not asked for
        return False


def _open_member(file: File, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """Opens a member for reading. The caller closes it.

    If the member is stored uncompressed, as in files by `numpy.savez`, this is the npz file itself at the member's
    first byte, and reading does not stop at the member's end. `zipfile` would copy the bytes once more and compute
    their checksum again, which costs 0.2 microseconds per image.
    """
    inflated = archive.open(member)
    if member.compress_type != zipfile.ZIP_STORED:
        return inflated
    inflated.close()
    stored = open_file(file)
    seek_data(stored, member.header_offset)  # finds the data, since `archive.open` has just read this header
    return stored


def _has_valid_crc(file: File, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    crc, remaining = 0, member.file_size
    try:
        with _open_member(file, archive, member) as opened:
            while remaining and (chunk := opened.read(min(remaining, _CHECKSUM_CHUNK))):
                crc, remaining = crc32(chunk, crc), remaining - len(chunk)
    except zipfile.BadZipFile:
        return False
    return not remaining and crc == member.CRC


def _open_array(container: Container, array: str, names: Sequence[str], alone: bool) -> NpzSource:
    """alone: whether this is the only array with images."""
    file, options = container.file, container.options
    header, data_bytes = _read_array_header(file, array)
    check_images(
        header, f"{file}:{array}", data_bytes, options.pixel_range, f"name another array, as {file.name}:ARRAY"
    )
    labels = find_label_name(array, names, alone) if options.labels is AutoLabels.AUTO else None
    # Check the count before reading: a small npz file can inflate to more labels than fit in memory.
    if labels is not None:
        rows, count = header.shape[0], count_labels(_read_array_header(file, labels)[0], f"{file}:{labels}")
        if count != rows:
            raise InputError(
                f"{file}:{labels}: must hold a label for each of the {rows} images of {array}, holds {count}: "
                "correct the file, or switch labels off with --labels none"
            )
        read_labels(file, labels)
    return NpzSource(file, f"{container.name}:{array}", header, options.pixel_range, array, labels)


def read_labels(file: File, array: str) -> pa.Int32Array:
    """The labels in one array: int32 [n] of 0..9. Raises InputError if they are anything else."""
    return to_digit_labels(read_array(file, array), f"{file}:{array}")


def read_array(file: File, array: str) -> npt.NDArray[Any]:
    """All values of one array of an npz file. Raises InputError if it is missing, damaged or pickled."""
    with (
        array_errors(_where(file, array)),
        open_file(file) as opened,
        np.load(opened, allow_pickle=False) as arrays,
    ):
        if array not in arrays:
            raise InputError(f"{file}: must hold an array {array}, holds {', '.join(arrays.files)}: check the file")
        return np.asarray(arrays[array])
