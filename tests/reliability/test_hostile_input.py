"""Hostile input: each case has a fixed outcome (docs/reliability.md), in bounded memory, and affects nothing else."""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from contracts import (
    DIGITS,
    ids_of,
    idx_bytes,
    opened,
    png_of,
    read_all,
    rejects_of,
    write_files,
    write_zip,
)
from images.encoders import chunk

from mnist_batch import predict
from mnist_batch.errors import InputError

PNG = png_of(DIGITS.pixels[0])
ZEROS = 256 << 20
# Enough for what is held at a time and for what Python and Arrow keep; far less than a bomb inflates to.
MAX_GROWTH = 160 << 20


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def gzip_zeros(before: bytes = b"", size: int = ZEROS) -> bytes:
    """`before` and then `size` zeros, as gzip."""
    packer, block = zlib.compressobj(1, wbits=31), bytes(1 << 20)
    parts = [packer.compress(before), *(packer.compress(block) for _ in range(size >> 20)), packer.flush()]
    return b"".join(parts)


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def write_npz(folder: Path, **shapes: tuple[int, ...]) -> None:
    """Writes arrays whose headers claim these shapes. Each has no data, but for `x_test`, which has two images."""
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name, shape in shapes.items():
            file = io.BytesIO()
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", file.getvalue() + (bytes(784 * 2) if name == "x_test" else b""))


def idx_longer_than_its_header(folder: Path) -> None:
    (folder / "a.gz").write_bytes(gzip_zeros(idx_bytes(DIGITS.pixels[:2])))


def labels_longer_than_their_header(folder: Path) -> None:
    (folder / "a-images").write_bytes(idx_bytes(DIGITS.pixels[:2]))
    (folder / "a-labels.gz").write_bytes(gzip_zeros(idx_bytes(DIGITS.labels[:2])))


def labels_with_huge_rows(folder: Path) -> None:
    (folder / "a-images").write_bytes(idx_bytes(DIGITS.pixels[:2]))
    (folder / "a-labels.gz").write_bytes(gzip_zeros(struct.pack(">4B2I", 0, 0, 8, 2, 2, ZEROS // 2)))


def four_billion_rows_without_pixels(folder: Path) -> None:
    (folder / "a").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 0, 0))


def tar_with_zeros_after_its_end(folder: Path) -> None:
    (folder / "a.tgz").write_bytes(gzip_zeros(tar_header("0.png", len(PNG)) + PNG.ljust(512, b"\0")))


def tar_with_a_name_of_zeros(folder: Path) -> None:
    (folder / "a.tgz").write_bytes(gzip_zeros(tar_header("././@LongLink", ZEROS, tarfile.GNUTYPE_LONGNAME)))


def tar_with_a_negative_size(folder: Path) -> None:
    header = bytearray(tar_header("0.png", 0))
    header[124:136] = (-512 % 256**12).to_bytes(12, "big")
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    (folder / "a.tar").write_bytes(header + bytes(10_240))


def npz_with_huge_labels(folder: Path) -> None:
    write_npz(folder, x_test=(2, 28, 28), y_test=(2, 10**12))


def npz_with_a_negative_shape(folder: Path) -> None:
    write_npz(folder, x_test=(2, -28, -28))


def npz_of_rows_without_pixels(folder: Path) -> None:
    write_npz(folder, x_test=(2**40, 0, 28))


def npz_longer_than_its_header(folder: Path) -> None:
    write_npz(folder, x_test=(1, 28, 28))


def class_file_of_zeros(folder: Path) -> None:
    write_zip(folder / "a.zip", {"a.png": PNG, "a.cls": bytes(ZEROS)})


BROKEN = [
    (idx_longer_than_its_header, r"promises 2 images of 28x28 \(1568 bytes\), file has 10.* bytes or more"),
    (labels_longer_than_their_header, r"promises 2 rows \(2 bytes\), file has 10.* bytes or more"),
    (labels_with_huge_rows, "digits or one-hot rows of ten, found shape"),
    (four_billion_rows_without_pixels, "images must have 1 to 64000000 pixels, the header says 0x0"),
    (tar_with_zeros_after_its_end, "more than 67108864 bytes follow its end mark"),
    (tar_with_a_name_of_zeros, f"a header has {ZEROS} bytes"),
    (tar_with_a_negative_size, "0.png has -512 bytes"),
    (npz_with_huge_labels, "digits or one-hot rows of ten, found shape"),
    (npz_with_a_negative_shape, r"must have sizes of 0 or more, has shape \[2, -28, -28\]"),
    (npz_of_rows_without_pixels, "as many as its header promises"),
    (npz_longer_than_its_header, "as many as its header promises.* in 1568 bytes"),
    (class_file_of_zeros, "must hold one digit"),
]


READ = """
import resource, sys
from contracts import opened, read_all
from mnist_batch.errors import MnistBatchError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print([(reject.id, reject.reason) for batch in read_all(opened(sys.argv[1])) for reject in batch.rejects])
except MnistBatchError as error:
    print(type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""


def read_in_subprocess(path: Path) -> tuple[str, int]:
    """Returns what reading `path` in a separate process prints, and by how many bytes the process grew."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, env=environment, check=True, timeout=120
    )
    outcome, grown = run.stdout.splitlines()
    return outcome, int(grown)


@pytest.mark.parametrize(("make", "why"), BROKEN, ids=[make.__name__ for make, _ in BROKEN])
def test_hostile_container_is_an_error(make: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match=why) as caught:
        read_all(opened(tmp_path))
    assert len(str(caught.value).splitlines()) == 1
    outcome, growth = read_in_subprocess(tmp_path)
    assert outcome == f"InputError {caught.value}"
    assert growth < MAX_GROWTH


def write_bombs(folder: Path) -> None:
    """Writes image bombs, each as a file or in its own archive, and good images beside them."""
    headers = {"wide.png": png_header(100_000, 100_000), "promise.png": png_header(8000, 8000)}
    write_files(folder, headers | {"chunk.png": PNG[:33] + b"\x7f" + PNG[34:], "good.png": PNG})
    write_zip(folder / "inflates.zip", {"a.png": b"\x89PNG" + bytes(ZEROS), "b.png": PNG})
    content = bytearray((folder / "inflates.zip").read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    (folder / "inflates.zip").write_bytes(content)
    content[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFFE)
    (folder / "promises.zip").write_bytes(content)
    (folder / "zeros.tgz").write_bytes(gzip_zeros(tar_header("a.png", 513 << 20), 516 << 20))


BOMB_REJECTS = [
    ("chunk.png", "undecodable"),
    ("inflates.zip!a.png", "unreadable"),
    ("promise.png", "undecodable"),
    ("promises.zip!a.png", "too_large"),
    ("wide.png", "too_large"),
    ("zeros.tgz!a.png", "too_large"),
]


def test_image_bombs_are_rejects(tmp_path: Path) -> None:
    write_bombs(tmp_path)
    inputs = opened(tmp_path)
    assert sorted(rejects_of(inputs)) == BOMB_REJECTS
    assert ids_of(inputs) == ["good.png", "inflates.zip!b.png", "promises.zip!b.png"]
    _, growth = read_in_subprocess(tmp_path)
    assert growth < MAX_GROWTH


@pytest.mark.slow
def test_large_images_are_not_held_together(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip_zeros(struct.pack(">4B3I", 0, 0, 8, 3, 8, 8192, 8192)))
    outcome, growth = read_in_subprocess(tmp_path)
    assert outcome.startswith("InputError")  # over 64 megapixels per image
    assert growth < MAX_GROWTH
    (tmp_path / "a.gz").write_bytes(gzip_zeros(struct.pack(">4B3I", 0, 0, 8, 3, 256, 1024, 1024)))
    outcome, growth = read_in_subprocess(tmp_path)
    assert outcome.count("blank") == 256
    assert growth < 2 * MAX_GROWTH


def test_sparse_file_in_a_tar_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_header("0.png", 0, tarfile.GNUTYPE_SPARSE) + bytes(10_240))
    assert rejects_of(opened(tmp_path / "a.tar")) == [("a.tar!0.png", "unreadable")]


def test_many_empty_files_fail_the_gate(tmp_path: Path) -> None:
    count = 100_000 if os.environ.get("MNIST_BATCH_TORTURE") else 10_000
    (tmp_path / "in").mkdir()
    for index in range(count):
        (tmp_path / "in" / f"{index:06}.png").touch()
    result = predict(tmp_path / "in", output=tmp_path / "out")
    assert (result.exit_code, result.predicted, result.rejected) == (3, 0, count)
    assert result.report.rejects_by_reason == {"empty": count}
    assert result.rejects is not None
    assert sum(pq.read_table(path).num_rows for path in result.rejects.iterdir()) == count
    gates = json.loads((result.output / "manifest.json").read_text())["gates"]
    assert [gate["name"] for gate in gates if not gate["passed"]] == ["max_reject_rate"]
    assert not (result.output / "_SUCCESS").exists()
