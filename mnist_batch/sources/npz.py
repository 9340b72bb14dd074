"""`.npz` files, the format in which Keras distributes MNIST: a zip of `.npy` arrays, `x_*` images and `y_*` labels.

Nothing is unpickled: an array of Python objects is an error.
"""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal.isal_zlib import crc32

from mnist_batch.config import AutoLabels, PixelRange
from mnist_batch.errors import InputError, UsageError
from mnist_batch.images.header import MAX_PIXELS
from mnist_batch.records import CLASSES, NumericRows, Rows, null_labels
from mnist_batch.sources.idx import read_in_pieces
from mnist_batch.sources.labels import to_digit_labels
from mnist_batch.sources.protocol import Container, SourceDefaults, format_row_ids
from mnist_batch.sources.zip.directory import seek_data

# Raised by `zipfile` and by numpy's header reader for damaged files; RuntimeError if a member is encrypted.
_READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, OverflowError, struct.error,
    SyntaxError, TokenError,
)  # fmt: skip
_CHECKSUM_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, repr=False)
class NpzSource(SourceDefaults):
    """One array of images in an npz file.

    shape: of one row.
    labels: the name of the array with the labels, if any.
    """

    path: Path
    name: str
    array: str
    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labels: str | None
    pixel_range: PixelRange | None
    format: str = field(default="npz", init=False)

    @property
    def row_size(self) -> int:
        """Bytes per row."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def open(self) -> NpzReader:
        return NpzReader(self)


class NpzReader:
    def __init__(self, source: NpzSource) -> None:
        self._source = source
        with _input_errors(source.path, source.array):
            self._zip = zipfile.ZipFile(source.path)
            self._file = _open_member(self._zip, self._zip.getinfo(f"{source.array}.npy"))
        _read_header(self._file, source.path, source.array)
        self._data_start = self._file.tell()
        self._labels = None if source.labels is None else read_labels(source.path, source.labels)

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        return read_in_pieces(self._read, start, stop, self._source.row_size)

    def _read(self, start: int, stop: int) -> Rows:
        source = self._source
        row_size = source.row_size
        with _input_errors(source.path, source.array):
            self._file.seek(self._data_start + start * row_size)
            data = self._file.read((stop - start) * row_size)
        if len(data) != (stop - start) * row_size:
            raise InputError(
                f"{source.path}: array {source.array} must stay as it was when the run began, "
                f"now ends before row {stop}: start again"
            )
        values = np.frombuffer(data, source.dtype).reshape(stop - start, *source.shape)
        labels = null_labels(stop - start) if self._labels is None else self._labels.slice(start, stop - start)
        return NumericRows(format_row_ids(source.name, start, stop), labels, values, source.pixel_range)

    def close(self) -> None:
        self._file.close()
        self._zip.close()


def is_npz(head: bytes) -> bool:
    """Whether a file that begins with `head` is a zip whose first member is a NumPy array."""
    if not head.startswith(b"PK\3\4") or len(head) < 30:
        return False
    (size,) = struct.unpack_from("<H", head, 26)
    return head[30 : 30 + size].endswith(b".npy")


def open_npz(container: Container) -> Sequence[NpzSource]:
    """One source per requested array. Without any, one per `x_*` array, sorted by name.

    Raises UsageError if the file has no array of a requested name, InputError if the file is damaged or the arrays are
    not usable as images.
    """
    path = container.path
    with _input_errors(path, "its directory"), zipfile.ZipFile(path) as archive:
        names = sorted(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
        if len(set(names)) < len(names):
            raise ValueError(f"one of the arrays is in it twice: {', '.join(names)}")
        damaged = next((member.filename for member in archive.infolist() if not _has_valid_crc(archive, member)), None)
    if damaged is not None:
        raise InputError(f"{path}: the checksum of {damaged} must match, it does not: fetch the file again")
    for array in container.arrays:
        if array not in names:
            raise UsageError(
                f"{path}:{array}: must name an array of the file, it holds {', '.join(names)}: choose one of these"
            )
    image_arrays = container.arrays or [name for name in names if name.startswith("x_")]
    if not image_arrays:
        raise InputError(
            f"{path}: an npz of images must hold arrays named x_*, found {', '.join(names) or 'none'}: "
            f"name the array as {path.name}:ARRAY"
        )
    return [_open_array(container, name, names) for name in image_arrays]


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """Opens a member for reading. The caller closes it.

    If the member is stored uncompressed, as in files by `numpy.savez`, this is the npz file itself at the member's
    first byte, and reading does not stop at the member's end. `zipfile` would copy the bytes once more and compute
    their checksum again, which costs 0.2 microseconds per image.
    """
    file = archive.open(member)
    if member.compress_type != zipfile.ZIP_STORED:
        return file
    file.close()
    stored = Path(str(archive.filename)).open("rb")  # noqa: SIM115  # the caller closes it
    seek_data(stored, member.header_offset)  # finds the data, since `archive.open` has just read this header
    return stored


def _has_valid_crc(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    crc, remaining = 0, member.file_size
    try:
        with _open_member(archive, member) as file:
            while remaining and (chunk := file.read(min(remaining, _CHECKSUM_CHUNK))):
                crc, remaining = crc32(chunk, crc), remaining - len(chunk)
    except zipfile.BadZipFile:
        return False
    return not remaining and crc == member.CRC


def _open_array(container: Container, array: str, names: Sequence[str]) -> NpzSource:
    path, options = container.path, container.options
    with _input_errors(path, array), zipfile.ZipFile(path) as archive, archive.open(f"{array}.npy") as file:
        shape, dtype = _read_header(file, path, array)
        data_bytes = archive.getinfo(f"{array}.npy").file_size - file.tell()
    where = f"{path}:{array}"
    if dtype.kind not in "uif" or len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[3] != 1):
        raise InputError(
            f"{where}: images must be numbers of shape [n,784], [n,28,28] or [n,28,28,1], "
            f"found {dtype} of shape {list(shape)}: name another array, as {path.name}:ARRAY"
        )
    if not 0 < math.prod(shape[1:]) <= MAX_PIXELS or math.prod(shape) * dtype.itemsize != data_bytes:
        raise InputError(
            f"{where}: must hold images of 1 to {MAX_PIXELS} pixels, as many as its header promises, found {dtype} of "
            f"shape {list(shape)} in {data_bytes} bytes: save it again"
        )
    if dtype.kind == "f" and options.pixel_range is None:
        raise InputError(
            f"{where}: float pixels must come with their range, found {dtype}: "
            "say what black and white are with --pixel-range 0..1, 0..255 or -1..1"
        )
    labels = f"y_{array.removeprefix('x_')}" if array.startswith("x_") else None
    if labels not in names or options.labels is not AutoLabels.AUTO:
        labels = None
    # Check the count before reading: a small npz file can inflate to more labels than fit in memory.
    if labels is not None and (count := _count_labels(path, labels)) != shape[0]:
        raise InputError(
            f"{path}:{labels}: must hold a label for each of the {shape[0]} images of {array}, holds {count}: "
            "correct the file, or switch labels off with --labels none"
        )
    if labels is not None:
        read_labels(path, labels)
    return NpzSource(path, f"{container.name}:{array}", array, shape[0], shape[1:], dtype, labels, options.pixel_range)


def read_labels(path: Path, array: str) -> pa.Int32Array:
    """The labels in one array: int32 [n] of 0..9. Raises InputError if they are anything else."""
    return to_digit_labels(read_array(path, array), f"{path}:{array}")


def _count_labels(path: Path, array: str) -> int:
    """How many labels an array holds according to its header. Raises InputError if the shape does not fit labels."""
    with _input_errors(path, array), zipfile.ZipFile(path) as archive, archive.open(f"{array}.npy") as file:
        shape, _ = _read_header(file, path, array)
    if not shape or math.prod(shape) > shape[0] * CLASSES:
        raise InputError(
            f"{path}:{array}: labels must be digits or one-hot rows of ten, found shape {list(shape)}: "
            "correct the file, or switch labels off with --labels none"
        )
    return shape[0]


def read_array(path: Path, array: str) -> npt.NDArray[Any]:
    """All values of one array of an npz file. Raises InputError if it is missing, damaged or pickled."""
    with _input_errors(path, array), np.load(path, allow_pickle=False) as arrays:
        if array not in arrays:
            raise InputError(f"{path}: must hold an array {array}, holds {', '.join(arrays.files)}: check the file")
        return np.asarray(arrays[array])


def _read_header(file: IO[bytes], path: Path, array: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with _input_errors(path, array):
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy version {version}")
        read_array_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read_array_header(file)
    if dtype.hasobject:
        raise InputError(
            f"{path}:{array}: must hold plain numbers, holds pickled Python objects, which are never loaded: "
            "save it again as an array of numbers"
        )
    if any(size < 0 for size in shape):
        raise InputError(f"{path}:{array}: must have sizes of 0 or more, has shape {list(shape)}: save it again")
    if fortran_order and len(shape) > 1:
        raise InputError(
            f"{path}:{array}: must be stored row by row (C order), is stored column by column: "
            "save it again from numpy.ascontiguousarray"
        )
    return shape, dtype


@contextmanager
def _input_errors(path: Path, array: str) -> Iterator[None]:
    """Turns what `zipfile` and numpy raise into an InputError that names the file and the array."""
    try:
        yield
    except _READ_ERRORS as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            cause = "it holds pickled Python objects, which are never loaded"
        else:
            cause = str(error)
        raise InputError(
            f"{path}: {array} must be readable as npz, but: {cause}; fetch or save the file again"
        ) from error
