"""Builds image files by hand that OpenCV cannot write: PNG chunks, TIFF tags, EXIF."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]

PNG_GRAY, PNG_RGB, PNG_PALETTE, PNG_GRAY_ALPHA = 0, 2, 3, 4


def digit() -> Gray:
    """A white shape on black, 28x28, that looks different under every mirroring and rotation."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 8:11] = 255
    image[4:7, 8:20] = 200
    image[12:14, 8:16] = 100
    return image


def encode(suffix: str, image: npt.NDArray[Any], *flags: int) -> bytes:
    """Encodes `image` with OpenCV."""
    done, data = cv2.imencode(suffix, image, flags)
    assert done
    return data.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: npt.NDArray[Any], colour: int, *chunks: bytes, depth: int = 8, width: int = 28) -> bytes:
    """A PNG of packed rows [height, ...], not filtered. `chunks` are placed before the image data."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    body = chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation: int) -> bytes:
    """An EXIF block with one tag."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 274, 3, 1, orientation, 0, 0)


def jpeg_with_exif(jpeg: bytes, orientation: int) -> bytes:
    block = b"Exif\0\0" + exif(orientation)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def tiff(
    image: npt.NDArray[Any],
    tags: dict[int, int] | None = None,
    order: Literal["<", ">"] = "<",
    packed_width: int = 0,
) -> bytes:
    """An uncompressed TIFF with one strip.

    tags: added to the tags that follow from the array, or replacing them.
    packed_width: the width in pixels, if `image` has packed bits.
    """
    height, width = image.shape[:2]
    samples = image.shape[2] if image.ndim == 3 else 1
    data = image.astype(image.dtype.newbyteorder(order)).tobytes()
    entries = {
        256: packed_width or width,
        257: height,
        258: 1 if packed_width else 8 * image.itemsize,
        259: 1,  # not compressed
        262: 1 if samples == 1 else 2,  # black is zero, or RGB
        273: 8,
        277: samples,
        278: height,
        279: len(data),
    } | (tags or {})
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    fields = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())]
    return start + data + struct.pack(f"{order}H", len(fields)) + b"".join(fields) + bytes(4)
