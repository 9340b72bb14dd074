"""The same 60 digits in every input format. `sources/test_contract.py` checks each source with them.

A new format is a function here that writes it and a line in `FORMS`. Sinks are taken from `output/formats.py`.
"""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mnist_batch.config import PixelRange, Preprocess, PreprocessOptions, ReadOptions
from mnist_batch.records import ImageBatch
from mnist_batch.run.reading import Readers
from mnist_batch.sources.discover import Inputs, open_inputs

SAMPLES = Path(__file__).parent.parent / "sample_data"
ROWS = 60
AUTO = PreprocessOptions()
FRAME_NOTHING = PreprocessOptions(Preprocess.NONE)
# Does not divide any other number here, so that reads start and stop inside row groups.
ROW_GROUP_ROWS = 17
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Digits:
    """The digits to write: pixels uint8 [n, 28, 28], labels uint8 [n]."""

    pixels: Array
    labels: Array

    @property
    def rows(self) -> list[Any]:
        return self.pixels.reshape(len(self.pixels), -1).tolist()

    @property
    def images(self) -> list[Any]:
        return self.pixels.tolist()

    @property
    def cubes(self) -> list[Any]:
        return self.pixels[..., None].tolist()

    @property
    def spark_images(self) -> list[dict[str, Any]]:
        """As Spark's image data source gives them: every second one gray, the others blue, green, red."""
        images = []
        for row, image in enumerate(self.pixels):
            channels, mode = ((1, 0), (3, 16))[row % 2]
            data = np.repeat(image[..., None], channels, axis=2).tobytes()
            kind = {"height": 28, "width": 28, "nChannels": channels, "mode": mode}
            images.append({"origin": f"file:/{row}.png", **kind, "data": data})
        return images

    @property
    def raw(self) -> list[bytes]:
        return [image.tobytes() for image in self.pixels]

    @property
    def unit_rows(self) -> list[Any]:
        return (self.pixels.reshape(len(self.pixels), -1) / 255).tolist()

    @property
    def pngs(self) -> list[bytes]:
        return [png_of(image) for image in self.pixels]

    @property
    def structs(self) -> list[dict[str, Any]]:
        return [{"bytes": png, "path": f"{row}.png"} for row, png in enumerate(self.pngs)]

    @property
    def names(self) -> list[str]:
        """Row numbers padded to one width, so that their bytewise order is the row order."""
        return [f"{row:0{len(str(len(self.pixels)))}}" for row in range(len(self.pixels))]

    @property
    def members(self) -> dict[str, bytes]:
        """PNGs by name. They are not sorted by name, and an archive must keep their order."""
        return {f"{d}/{n}.png": png for d, n, png in zip(self.labels, self.names, self.pngs, strict=True)}

    def numbered(self, name: str) -> list[str]:
        """The ids of the rows of a container that numbers its rows."""
        return [f"{name}#{row}" for row in range(len(self.pixels))]


def _samples() -> Digits:
    """60 of the drawn digits, with the classes taking turns."""
    pixels = np.frombuffer((SAMPLES / "digits-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((SAMPLES / "digits-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    turns = np.arange(len(labels)).reshape(10, -1).T.ravel()[:ROWS]
    return Digits(pixels.reshape(-1, 28, 28)[turns], labels[turns])


DIGITS = _samples()
PIXELS, LABELS = DIGITS.pixels, DIGITS.labels


@dataclass(frozen=True)
class Written:
    """The digits written in one format.

    input: the input to open.
    ids: the ids its rows must have.
    format: the name its source must report.
    """

    input: str
    ids: Sequence[str]
    format: str
    options: ReadOptions = field(default_factory=ReadOptions)

    def open(self) -> Inputs:
        return open_inputs((self.input,), self.options)


Write = Callable[[Path, Digits], Written]


def png_of(image: Array) -> bytes:
    done, data = cv2.imencode(".png", image)
    assert done
    return data.tobytes()


def idx_bytes(values: Array) -> bytes:
    """Encodes uint8, int32 or float32 values as idx."""
    code = {"u1": 0x08, "i4": 0x0C, "f4": 0x0D}[values.dtype.str[1:]]
    header = struct.pack(f">4B{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def write_idx_pair(folder: Path, pixels: Array = PIXELS, labels: Array = LABELS, stem: str = "t10k") -> Path:
    """Writes an idx image file with its labels beside it. Returns the path of the images."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    path = folder / f"{stem}-images-idx3-ubyte"
    path.write_bytes(idx_bytes(pixels))
    return path


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes a tar, as gzip if the name says so."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    tar = content.getvalue()
    path.write_bytes(gzip.compress(tar) if path.suffix in (".gz", ".tgz") else tar)
    return path


def write_parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    table = pa.table(dict(columns))
    # At most 20 row groups: reading thousands of small ones with 784 columns each takes most of a test's time.
    pq.write_table(table, path, row_group_size=max(ROW_GROUP_ROWS, table.num_rows // 20))
    return path


def _idx(folder: Path, digits: Digits) -> Written:
    path = write_idx_pair(folder, digits.pixels, digits.labels)
    return Written(str(path), digits.numbered("t10k-images-idx3-ubyte"), "idx")


def _idx_gz(folder: Path, digits: Digits) -> Written:
    for values, name in ((digits.pixels, "t10k-images-idx3-ubyte.gz"), (digits.labels, "t10k-labels-idx1-ubyte.gz")):
        (folder / name).write_bytes(gzip.compress(idx_bytes(values)))
    return Written(str(folder / "t10k-images-idx3-ubyte.gz"), digits.numbered("t10k-images-idx3-ubyte.gz"), "idx")


def _npz(folder: Path, digits: Digits) -> Written:
    np.savez_compressed(folder / "digits.npz", x_test=digits.pixels, y_test=digits.labels)
    return Written(str(folder / "digits.npz"), digits.numbered("digits.npz:x_test"), "npz")


def _npy(folder: Path, digits: Digits) -> Written:
    np.save(folder / "x_test.npy", digits.pixels)
    np.save(folder / "y_test.npy", digits.labels)
    return Written(str(folder / "x_test.npy"), digits.numbered("x_test.npy"), "npy")


def _csv(name: str, header: bool = True, label: int | None = 0, delimiter: str = ",") -> Write:
    """CSV of pixels. label: the position of the label, None without one."""

    def write(folder: Path, digits: Digits) -> Written:
        columns = [*digits.pixels.reshape(len(digits.pixels), -1).T]
        names = [f"pixel{position}" for position in range(784)]
        if label is not None:
            columns.insert(label % 785, digits.labels)
            names.insert(label % 785, "label")
        rows = [names] * header + np.column_stack(columns).tolist()
        text = "".join(f"{delimiter.join(map(str, row))}\n" for row in rows).encode()
        (folder / name).write_bytes(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
        return Written(str(folder / name), digits.numbered(name), "csv")

    return write


def _folder(folder: Path, digits: Digits) -> Written:
    names = [f"{row}/{label}/digit.png" for row, label in zip(digits.names, digits.labels, strict=True)]
    write_files(folder, dict(zip(names, digits.pngs, strict=True)))
    return Written(str(folder), names, "images")


def _zip(method: int) -> Write:
    def write(folder: Path, digits: Digits) -> Written:
        path = write_zip(folder / "digits.zip", digits.members, method)
        return Written(str(path), [f"digits.zip!{name}" for name in digits.members], "zip")

    return write


def _tar(name: str, format: str) -> Write:
    def write(folder: Path, digits: Digits) -> Written:
        return Written(str(write_tar(folder / name, digits.members)), [f"{name}!{m}" for m in digits.members], format)

    return write


def _parquet(columns: Callable[[Digits], Mapping[str, Any]], pixel_range: PixelRange | None = None) -> Write:
    def write(folder: Path, digits: Digits) -> Written:
        labels = {"label": digits.labels.astype(np.int64)}
        path = write_parquet(folder / "digits.parquet", {**columns(digits), **labels})
        return Written(str(path), digits.numbered("digits.parquet"), "parquet", ReadOptions(pixel_range=pixel_range))

    return write


def _column(kind: pa.DataType, values: str) -> Callable[[Digits], Mapping[str, Any]]:
    """Writes the attribute `values` of the digits as a column of type `kind`."""
    return lambda digits: {"image": pa.array(getattr(digits, values), kind)}


def _columns_from(first: int) -> Callable[[Digits], Mapping[str, Any]]:
    return lambda digits: {f"pixel{i + first}": digits.pixels.reshape(-1, 784)[:, i] for i in range(784)}


def _inside(archive: str, form: str) -> Write:
    """The files of another form as members of an archive, in a folder. Zip members are deflated."""

    def write(folder: Path, digits: Digits) -> Written:
        beside = folder / "members"
        beside.mkdir()
        written = FORMS[form](beside, digits)
        members = {f"data/{path.name}": path.read_bytes() for path in sorted(beside.iterdir())}
        shutil.rmtree(beside)
        path = (write_zip if archive.endswith(".zip") else write_tar)(folder / archive, members)
        return Written(str(path), [f"{archive}!data/{name}" for name in written.ids], written.format, written.options)

    return write


_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CUBE = pa.list_(pa.list_(pa.list_(pa.uint8())))
SPARK = pa.struct(
    [
        ("origin", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("nChannels", pa.int32()),
        ("mode", pa.int32()),
        ("data", pa.binary()),
    ]
)

PARQUET: Mapping[str, Write] = {
    "struct of bytes and path": _parquet(_column(_STRUCT, "structs")),
    "binary of PNG": _parquet(_column(pa.binary(), "pngs")),
    "large binary of PNG": _parquet(_column(pa.large_binary(), "pngs")),
    "binary of 784": _parquet(_column(pa.binary(), "raw")),
    "fixed-size binary of 784": _parquet(_column(pa.binary(784), "raw")),
    "list of uint8": _parquet(_column(pa.list_(pa.uint8()), "rows")),
    "large list of int64": _parquet(_column(pa.large_list(pa.int64()), "rows")),
    "fixed-size list of float32": _parquet(_column(pa.list_(pa.float32(), 784), "unit_rows"), PixelRange.UNIT),
    "list of float64": _parquet(_column(pa.list_(pa.float64()), "unit_rows"), PixelRange.UNIT),
    "nested lists": _parquet(_column(pa.list_(pa.list_(pa.uint8())), "images")),
    "lists of 28x28x1": _parquet(_column(CUBE, "cubes")),
    "lists of 1x28x28": _parquet(lambda digits: {"image": pa.array([[image] for image in digits.images], CUBE)}),
    "dictionary of PNG": _parquet(lambda digits: {"image": pa.array(digits.pngs, pa.binary()).dictionary_encode()}),
    "Spark's images": _parquet(_column(SPARK, "spark_images")),
    "nested fixed-size lists": _parquet(_column(pa.list_(pa.list_(pa.int16(), 28), 28), "images")),
    "tensor": _parquet(lambda digits: {"image": pa.FixedShapeTensorArray.from_numpy_ndarray(digits.pixels)}),
    "784 columns from pixel0": _parquet(_columns_from(0)),
    "784 columns from pixel1": _parquet(_columns_from(1)),
}
FORMS: Mapping[str, Write] = {
    "idx": _idx,
    "idx.gz": _idx_gz,
    "npz": _npz,
    "npy": _npy,
    "csv": _csv("digits.csv"),
    "csv.gz": _csv("digits.csv.gz"),
    "csv without header": _csv("mnist_test", header=False),
    "csv with label last": _csv("digits.tsv", label=-1, delimiter="\t"),
    "folder": _folder,
    "zip stored": _zip(zipfile.ZIP_STORED),
    "zip deflated": _zip(zipfile.ZIP_DEFLATED),
    "tar": _tar("digits.tar", "tar"),
    "tar.gz": _tar("digits.tar.gz", "tar.gz"),
    "idx.gz in zip": _inside("digits.zip", "idx.gz"),
    "csv in tar": _inside("digits.tar", "csv"),
    "npz in tar.gz": _inside("digits.tar.gz", "npz"),
    **{f"parquet: {name}": write for name, write in PARQUET.items()},
}


def opened(*inputs: Path | str, options: ReadOptions | None = None) -> Inputs:
    """Plans the reading of some inputs."""
    return open_inputs(tuple(map(str, inputs)), options or ReadOptions())


def read_all(inputs: Inputs, preprocess_options: PreprocessOptions = AUTO) -> list[ImageBatch]:
    """Reads each run of a plan, in order."""
    with closing(Readers(inputs.sources, inputs.stamps, preprocess_options)) as readers:
        return [readers.read(span) for span in inputs.spans]


def ids_of(inputs: Inputs) -> list[str]:
    """The ids of a plan's images, in order."""
    return [name for batch in read_all(inputs) for name in batch.ids.to_pylist()]


def labels_of(inputs: Inputs) -> list[int | None]:
    return [label for batch in read_all(inputs) for label in batch.labels.to_pylist()]


def rejects_of(inputs: Inputs, preprocess_options: PreprocessOptions = AUTO) -> list[tuple[str, str]]:
    """The id and reason of each reject of a plan, in order."""
    batches = read_all(inputs, preprocess_options)
    return [(reject.id, str(reject.reason)) for batch in batches for reject in batch.rejects]
