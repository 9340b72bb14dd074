"""Draws the sample digits and the digits of the model self-test. Writes the samples in every input format.

Everything is made from the strokes in strokes.py and a seed. The files have no pixels of MNIST or another data set, so
they may be distributed. `python sample_data/draw.py` writes the same bytes each time, but other releases of NumPy,
OpenCV, zlib or Arrow may draw or compress them differently.
"""

import gzip
import io
import json
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pen import CAREFUL, EVERYDAY, LOOSE, Hand, Pixels, draw_digit

HERE = Path(__file__).resolve().parent
SELFTEST = HERE.parent / "mnist_batch" / "model" / "selftest.npz"

# Any two different numbers. 1998 is the year of MNIST's paper.
SAMPLE_SEED = 1998
CAREFUL_SEED, EVERYDAY_SEED, LOOSE_SEED = 2812, 2813, 2814
SAMPLES_PER_CLASS = 30
CAREFUL_PER_CLASS, EVERYDAY_PER_CLASS, LOOSE_PER_CLASS = 10, 30, 60
# `datasets` writes image columns in row groups of 100 (config.PARQUET_ROW_GROUP_SIZE_FOR_IMAGE_DATASETS, 2.x and 3.x).
ROWS_PER_GROUP = 100


def draw(seed: int, digit: int, number: int, hand: Hand) -> Pixels:
    """Draws a digit with a random generator of its own, so that a changed form changes no other digits."""
    return draw_digit(digit, hand, np.random.default_rng([seed, digit, number]))


def draw_classes(seed: int, per_class: int, hand: Hand) -> tuple[Pixels, Pixels]:
    """Draws digits, uint8 [n, 28, 28], and their labels, uint8 [n], class by class."""
    digits = [draw(seed, digit, number, hand) for digit in range(10) for number in range(per_class)]
    return np.stack(digits), np.repeat(np.arange(10, dtype=np.uint8), per_class)


def encode_png(pixels: Pixels) -> bytes:
    """Encodes an image as an 8-bit gray PNG."""
    done, png = cv2.imencode(".png", pixels)
    if not done:
        raise RuntimeError(f"OpenCV must encode a {pixels.shape} {pixels.dtype} image as PNG, but did not")
    return png.tobytes()


def write_folder(folder: Path, pngs: dict[str, bytes]) -> None:
    """Writes one file per image. Deletes the folder of an earlier run first."""
    if folder.exists():
        shutil.rmtree(folder)
    for name, png in pngs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)


def write_idx(path: Path, values: Pixels) -> None:
    """Writes MNIST's own format: two zeros, 8 for ubyte, the number of axes, their big-endian lengths, the values."""
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


def write_zip(path: Path, pngs: dict[str, bytes]) -> None:
    """Writes members stored, not deflated, because PNGs are compressed already. The default date of ZipInfo is 1980."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, png in pngs.items():
            member = zipfile.ZipInfo(name)
            member.create_system = 3  # Unix, on every system
            member.external_attr = 0o100644 << 16
            archive.writestr(member, png)


def write_tar_gz(path: Path, pngs: dict[str, bytes]) -> None:
    """Writes a tar.gz without dates and owners. TarInfo's defaults are zero; gzip's default is the current time."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, png in pngs.items():
            member = tarfile.TarInfo(name)
            member.size = len(png)
            archive.addfile(member, io.BytesIO(png))
    path.write_bytes(buffer.getvalue())


def write_parquet(path: Path, pngs: dict[str, bytes], labels: Pixels) -> None:
    """Writes images and classes like Hugging Face's `datasets`: the encoded file, and its name without folders."""
    image = pa.array(
        [{"bytes": png, "path": Path(name).name} for name, png in pngs.items()],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    features = {
        "image": {"_type": "Image"},
        "label": {"names": [str(digit) for digit in range(10)], "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [("image", image.type), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    table = pa.table([image, pa.array(labels.tolist(), pa.int64())], schema=schema)
    pq.write_table(table, path, row_group_size=ROWS_PER_GROUP)


def write_samples() -> None:
    """Writes the same digits in each format, always in the order of their paths."""
    digits, labels = draw_classes(SAMPLE_SEED, SAMPLES_PER_CLASS, EVERYDAY)
    names = [f"{label}/{label}_{i % SAMPLES_PER_CLASS:03}.png" for i, label in enumerate(labels)]
    pngs = {name: encode_png(pixels) for name, pixels in zip(names, digits, strict=True)}
    write_folder(HERE / "digits", pngs)
    write_idx(HERE / "digits-images-idx3-ubyte", digits)
    write_idx(HERE / "digits-labels-idx1-ubyte", labels)
    write_zip(HERE / "digits.zip", pngs)
    write_tar_gz(HERE / "digits.tar.gz", pngs)
    write_parquet(HERE / "digits.parquet", pngs, labels)


def write_selftest() -> None:
    """Writes the digits on which a model is tested at load. `savez` writes no timestamps.

    careful: digits that any usable model recognizes. varied: digits of which every model gets some wrong, so that its
    confidence can be compared with its accuracy. Both uint8 [n, 28, 28], with uint8 labels [n].
    """
    careful, careful_labels = draw_classes(CAREFUL_SEED, CAREFUL_PER_CLASS, CAREFUL)
    everyday, everyday_labels = draw_classes(EVERYDAY_SEED, EVERYDAY_PER_CLASS, EVERYDAY)
    loose, loose_labels = draw_classes(LOOSE_SEED, LOOSE_PER_CLASS, LOOSE)
    np.savez_compressed(
        SELFTEST,
        careful=careful,
        careful_labels=careful_labels,
        varied=np.concatenate([everyday, loose]),
        varied_labels=np.concatenate([everyday_labels, loose_labels]),
    )


if __name__ == "__main__":
    write_samples()
    write_selftest()
