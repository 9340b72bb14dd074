"""What `fuzz.py` mutates: an intact file of every form, and the function that reads the mutated one."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from contracts import DIGITS, FORMS, Digits, idx_bytes, png_of, read_all, write_parquet
from images.encoders import encode, exif, jpeg_with_exif, tiff

from mnist_batch.config import ReadOptions
from mnist_batch.model.bundled import BUNDLED
from mnist_batch.model.card import read_card
from mnist_batch.sources.discover import open_inputs
from mnist_batch.sources.label_file import open_label_file

# Few rows, so that most mutations hit structure instead of pixels, but more than one row group of `contracts`.
_DIGITS = Digits(DIGITS.pixels[:20], DIGITS.labels[:20])


@dataclass(frozen=True)
class Form:
    """One kind of file to mutate.

    content: the intact bytes.
    read: reads the mutated file; raises MnistBatchError or AssertionError.
    wrap: turns mutated bytes into the content of the file.
    beside: other files in its folder, by name.
    """

    name: str
    content: bytes
    read: Callable[[Path], None]
    wrap: Callable[[bytes], bytes] = bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)


def forms() -> list[Form]:
    """All forms, with intact content."""
    with tempfile.TemporaryDirectory() as folder:
        containers = [_container(name, Path(folder, str(i)), name) for i, name in enumerate(FORMS) if name != "folder"]
        labels = _label_files(Path(folder))
    idx = idx_bytes(_DIGITS.pixels)
    npy = io.BytesIO()
    np.save(npy, _DIGITS.pixels)
    tar = next(form for form in containers if form.name == "tar").content
    packed = [
        Form("idx inside gzip", idx, _input("a.gz"), gzip.compress),
        Form("tar inside gzip", tar, _input("a.tar.gz"), gzip.compress),
        Form("npy inside npz", npy.getvalue(), _input("a.npz"), lambda npy: _zipped("x_test.npy", npy)),
        Form("class file in zip", b"7\n", _input("a.zip"), lambda text: _zipped("a.cls", text)),
    ]
    images = [Form(name, content, _input(f"a{name.split()[0]}")) for name, content in _images().items()]
    png = Form("PNG with repaired checksums", png_of(_DIGITS.pixels[0]), _input("a.png"), _repair_checksums)
    card = Form("model card", next(BUNDLED.glob("*.card.json")).read_bytes(), _read_card)
    return [*containers, *packed, *images, png, *labels, card]


def _container(name: str, folder: Path, form: str) -> Form:
    folder.mkdir()
    written = FORMS[form](folder, _DIGITS)
    path = Path(written.input)
    beside = {other.name: other.read_bytes() for other in folder.iterdir() if other != path}
    return Form(name, path.read_bytes(), _input(path.name, written.options), beside=beside)


def _label_files(folder: Path) -> list[Form]:
    ids = _DIGITS.numbered("digits.parquet")
    table = write_parquet(folder / "labels.parquet", {"id": ids, "label": _DIGITS.labels.astype(np.int32)})
    csv = "id,label\n" + "".join(f"{name},{digit}\n" for name, digit in zip(ids, _DIGITS.labels, strict=True))
    json_lines = "".join(
        f'{{"id": "{name}", "label": {digit}}}\n' for name, digit in zip(ids, _DIGITS.labels, strict=True)
    )
    idx, png = idx_bytes(_DIGITS.labels), png_of(_DIGITS.pixels[0])
    return [
        Form("labels idx", idx, _read_labels),
        Form("labels idx inside gzip", idx, _read_labels, gzip.compress),
        Form("labels idx.gz", gzip.compress(idx), _read_labels),
        Form("labels CSV", csv.encode(), _read_labels),
        Form("labels JSON Lines", json_lines.encode(), _read_labels),
        Form("labels CSV beside images", csv.encode(), _input("", name="labels.csv"), beside={"a.png": png}),
        Form("labels Parquet", table.read_bytes(), _read_labels),
        Form(
            "labels beside idx images",
            idx,
            _input("a-images-idx3-ubyte", name="a-labels-idx1-ubyte"),
            beside={"a-images-idx3-ubyte": idx_bytes(_DIGITS.pixels)},
        ),
    ]


def _images() -> dict[str, bytes]:
    gray = _DIGITS.pixels[3]
    colour = np.dstack([gray, gray, gray])
    jpeg = encode(".jpg", gray)
    return {
        ".png": encode(".png", gray),
        ".png of 16 bit": encode(".png", gray.astype(np.uint16) * 257),
        ".png with alpha": encode(".png", np.dstack([colour, gray])),
        ".jpg": jpeg,
        ".jpg with EXIF": jpeg_with_exif(jpeg, 6),
        ".jpg progressive": encode(".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        ".bmp": encode(".bmp", gray),
        ".tif": encode(".tif", gray),
        ".tif of 16 bit": tiff(gray.astype(np.uint16), {262: 0}, ">"),
        ".tif of pages": cv2.imencodemulti(".tif", [*_DIGITS.pixels[:3]])[1].tobytes(),
        ".tif that is EXIF": exif(3),
        ".webp": encode(".webp", colour),
        ".gif": encode(".gif", colour),
        ".gif of frames": cv2.imencodeanimation(".gif", _animation())[1].tobytes(),
    }


def _animation() -> cv2.Animation:
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGRA) for pixels in _DIGITS.pixels[:3]]
    animation.durations = [100] * 3
    return animation


# Readers of mutated files


def _input(file: str, options: ReadOptions | None = None, name: str | None = None) -> Callable[[Path], None]:
    """Returns a function that plans and reads an input.

    file: the input, or nothing for the folder. name: the mutated file, if it is not the input itself.
    """

    def read(path: Path) -> None:
        path.rename(path.with_name(name or file))
        inputs = open_inputs((str(path.parent / file),), options or ReadOptions())
        rows = 0
        for batch in read_all(inputs):
            assert len(batch.ids) == len(batch.pixels) == len(batch.labels) == len(batch.positions)
            rows += batch.rows
        assert rows == inputs.rows, f"{inputs.rows} rows planned, {rows} read"

    return read


def _read_labels(path: Path) -> None:
    ids = pa.array(_DIGITS.numbered("digits.parquet"))
    assert len(open_label_file(path, len(ids))[0].labels(ids, np.arange(len(ids)))) == len(ids)


def _read_card(path: Path) -> None:
    read_card(path)


def _zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("a.png", png_of(_DIGITS.pixels[0]))
    return file.getvalue()


def _repair_checksums(png: bytes) -> bytes:
    """Recomputes the checksums of a mutated PNG's chunks, so that readers decode the chunks."""
    content, start = bytearray(png), 8
    while start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = zlib.crc32(content[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(content)
