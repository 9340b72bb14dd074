"""Makes benchmark inputs of any size, in each form that can be read, by repeating MNIST's training images.

An input is written once per form and number of rows, and kept. One whose writing was interrupted is written again.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Gray = npt.NDArray[np.uint8]
# Images and labels of some rows.
Chunks = Iterator[tuple[Gray, Gray]]

ROW_GROUP = 65_536
_CHUNK_ROWS = 60_000
_COPY_BYTES = 1 << 20


class Digits:
    """MNIST's training images and labels, repeated for as many rows as needed."""

    def __init__(self, mnist: Path) -> None:
        with gzip.open(mnist / "train-images-idx3-ubyte.gz") as file:
            self.images: Gray = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
        with gzip.open(mnist / "train-labels-idx1-ubyte.gz") as file:
            self.labels: Gray = np.frombuffer(file.read()[8:], np.uint8)
        self._pngs: list[bytes] = []

    def chunks(self, rows: int, size: int = _CHUNK_ROWS) -> Chunks:
        """Images and labels of `rows` rows, in chunks."""
        for first in range(0, rows, size):
            positions = np.arange(first, min(first + size, rows)) % len(self.images)
            yield self.images[positions], self.labels[positions]

    def pngs(self, rows: int) -> Iterator[tuple[str, bytes]]:
        """The name of each row, `DIGIT/NUMBER.png`, and its PNG, as OpenCV writes it by default."""
        if not self._pngs:
            self._pngs = [cv2.imencode(".png", image)[1].tobytes() for image in self.images]
        for row in range(rows):
            position = row % len(self.images)
            yield f"{self.labels[position]}/{row:08d}.png", self._pngs[position]


def make_input(folder: Path, form: str, digits: Digits, rows: int) -> Path:
    """Returns the input of that form and size in `folder`. Writes it if it does not exist yet."""
    suffix, write = FORMS[form]
    path = folder / f"{rows}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"unfinished{suffix}"
        shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink(missing_ok=True)
        write(unfinished, digits, rows)
        unfinished.rename(path)
    return path


def _write_idx_to(file: IO[bytes], digits: Digits, rows: int) -> None:
    file.write(b"\0\0\x08\x03" + rows.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2)
    for images, _ in digits.chunks(rows):
        file.write(images.tobytes())


def _write_idx(path: Path, digits: Digits, rows: int) -> None:
    with path.open("wb") as file:
        _write_idx_to(file, digits, rows)


def _write_idx_gz(path: Path, digits: Digits, rows: int) -> None:
    with gzip.open(path, "wb", compresslevel=6) as file:
        _write_idx_to(cast(IO[bytes], file), digits, rows)


def _write_npy(path: Path, digits: Digits, rows: int) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
        for images, _ in digits.chunks(rows):
            file.write(images.tobytes())


def _write_csv(path: Path, digits: Digits, rows: int) -> None:
    """As pandas writes a table of a label and 784 pixels. rows: fewer than MNIST has, or a multiple of its number."""
    if rows > len(digits.images) and rows % len(digits.images):
        raise ValueError(f"{rows} rows must be a multiple of {len(digits.images)}")
    names = ["label", *(f"pixel{position}" for position in range(784))]
    with path.open("w+b") as file:
        header = file.write(",".join(names).encode() + b"\n")
        # In small chunks: the peak memory of a process is at least that of the process which started it.
        for images, labels in digits.chunks(min(rows, len(digits.images)), 1000):
            table = np.column_stack([labels, images.reshape(-1, 784)])
            file.writelines(",".join(map(str, row)).encode() + b"\n" for row in table.tolist())
        stop = file.tell()
        for _ in range(len(digits.images), rows, len(digits.images)):
            for first in range(header, stop, _COPY_BYTES):
                file.seek(first)
                piece = file.read(min(_COPY_BYTES, stop - first))
                file.seek(0, os.SEEK_END)
                file.write(piece)


def _write_csv_gz(path: Path, digits: Digits, rows: int) -> None:
    plain = path.with_name("plain")
    _write_csv(plain, digits, rows)
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=6) as file:
        shutil.copyfileobj(source, file)
    plain.unlink()


def _write_npz(path: Path, digits: Digits, rows: int) -> None:
    images, labels = (np.concatenate(arrays) for arrays in zip(*digits.chunks(rows), strict=True))
    with path.open("wb") as file:
        np.savez(file, x_test=images, y_test=labels)


def _write_parquet(path: Path, columns: Iterator[tuple[pa.Array, Gray]], kind: pa.DataType) -> None:
    schema = pa.schema({"image": kind, "label": pa.int64()})
    with pq.ParquetWriter(path, schema) as file:
        for images, labels in columns:
            file.write_table(pa.table([images, labels.astype(np.int64)], schema=schema), row_group_size=ROW_GROUP)


def _write_parquet_raw(path: Path, digits: Digits, rows: int) -> None:
    kind = pa.binary(28 * 28)

    def columns() -> Iterator[tuple[pa.Array, Gray]]:
        for images, labels in digits.chunks(rows, ROW_GROUP):
            yield pa.FixedSizeBinaryArray.from_buffers(kind, len(images), [None, pa.py_buffer(images)]), labels

    _write_parquet(path, columns(), kind)


def _write_parquet_png(path: Path, digits: Digits, rows: int) -> None:
    def columns() -> Iterator[tuple[pa.Array, Gray]]:
        files = digits.pngs(rows)
        for images, labels in digits.chunks(rows, ROW_GROUP):
            yield pa.array([next(files)[1] for _ in images], pa.binary()), labels

    _write_parquet(path, columns(), pa.binary())


def _write_folder(path: Path, digits: Digits, rows: int) -> None:
    for digit in range(10):
        (path / str(digit)).mkdir(parents=True)
    for name, data in digits.pngs(rows):
        (path / name).write_bytes(data)


def _write_zip(path: Path, digits: Digits, rows: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in digits.pngs(rows):
            archive.writestr(name, data)


def _tar_writer(mode: Literal["w", "w:gz"]) -> Callable[[Path, Digits, int], None]:
    def write(path: Path, digits: Digits, rows: int) -> None:
        with tarfile.open(path, mode) as archive:
            for name, data in digits.pngs(rows):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    return write


# Suffix and writer of each form.
FORMS: dict[str, tuple[str, Callable[[Path, Digits, int], None]]] = {
    "idx": ("-images-idx3-ubyte", _write_idx),
    "npz": (".npz", _write_npz),
    "npy": (".npy", _write_npy),
    "csv": (".csv", _write_csv),
    "csv.gz": (".csv.gz", _write_csv_gz),
    "parquet raw": ("-raw.parquet", _write_parquet_raw),
    "idx.gz": ("-images-idx3-ubyte.gz", _write_idx_gz),
    "parquet png": ("-png.parquet", _write_parquet_png),
    "zip": (".zip", _write_zip),
    "tar": (".tar", _tar_writer("w")),
    "folder": ("-folder", _write_folder),
    "tar.gz": (".tar.gz", _tar_writer("w:gz")),
}
