"""Rows as a container stores them, encoded images or arrays of numbers, to an `ImageBatch`.

Every source ends here, so that a corrupt row is treated alike wherever it lay: it becomes a reject under its own id,
and the rows around it keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import ValueRange
from mnist_batch.images.framing import frame
from mnist_batch.records import IMAGE_SIDE, ImageBatch, Pixels, Refusal, Reject, RejectReason


def batch_of_images(
    ids: pa.StringArray,
    labels: pa.Int32Array,
    images: Iterable[bytes | Pixels | Refusal],
    kept: pa.Table | None = None,
) -> ImageBatch:
    """A batch of images, in order: encoded, or gray pixels [height, width], or why there are none."""
    # Not at the top: runs on plain numbers do without OpenCV, which takes 0.3 s to import.
    from mnist_batch.images.decode import decode

    def form(image: bytes | Pixels | Refusal) -> Pixels | Refusal:
        gray = decode(image) if isinstance(image, bytes) else image
        return gray if isinstance(gray, Refusal) else frame(gray)

    return _batch(ids, labels, (form(image) for image in images), kept)


def batch_of_numbers(
    ids: pa.StringArray,
    labels: pa.Int32Array,
    values: npt.NDArray[Any],
    pixel_range: ValueRange | None,
    kept: pa.Table | None = None,
    refusals: Mapping[int, Refusal] | None = None,
) -> ImageBatch:
    """A batch of pixels as numbers: [n, 784], [n, height, width] or [n, height, width, 1] of any numeric type.

    Integers are gray levels 0..255; `pixel_range` says what floats mean, and must be given for them.
    `refusals` holds, by row, what the source already knows to be no image; its values are not looked at.
    """
    refusals = refusals or {}
    images = _as_images(values)
    pixels, valid = gray_levels(images, pixel_range)
    if valid.all() and not refusals and pixels.shape[1:] == (IMAGE_SIDE, IMAGE_SIDE):
        return ImageBatch(ids, pixels, labels, np.arange(len(ids)), (), kept)

    def form(row: int) -> Pixels | Refusal:
        if row in refusals:
            return refusals[row]
        if not valid[row]:
            low, high = images[row].min(), images[row].max()
            return Refusal(RejectReason.PIXEL_OUT_OF_RANGE, f"pixels from {low} to {high}")
        return frame(pixels[row])

    return _batch(ids, labels, (form(row) for row in range(len(ids))), kept)


def gray_levels(images: npt.NDArray[Any], pixel_range: ValueRange | None) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """`images` [n, h, w] as uint8, rounded to the nearest, and bool [n]: which lie within the range throughout."""
    if images.dtype == np.uint8:
        return images, np.ones(len(images), bool)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not valid is computed all the same, and not used
        levels = np.rint(_scaled(images, pixel_range)) if images.dtype.kind == "f" else images
        valid = np.asarray(((levels >= 0) & (levels <= 255)).all(axis=(1, 2)))  # NaN compares false: not valid
        return levels.astype(np.uint8), valid


def _scaled(images: npt.NDArray[Any], pixel_range: ValueRange | None) -> npt.NDArray[Any]:
    """Floats of any range as floats in 0..255."""
    match pixel_range:
        case ValueRange.UNIT:
            return images.astype(np.float64) * 255
        case ValueRange.SYMMETRIC:
            return (images.astype(np.float64) + 1) * 127.5
        case ValueRange.BYTE:
            return images
    raise TypeError("float pixels reached the batch without a range")


def _as_images(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.ndim == 2 and values.shape[1] == IMAGE_SIDE * IMAGE_SIDE:
        return values.reshape(-1, IMAGE_SIDE, IMAGE_SIDE)
    if values.ndim == 2:  # numbers of some other count have no known shape: kept as one line, which no frame takes
        return values[:, np.newaxis, :]
    return values[..., 0] if values.ndim == 4 else values


def _batch(
    ids: pa.StringArray,
    labels: pa.Int32Array,
    images: Iterable[Pixels | Refusal],
    kept: pa.Table | None,
) -> ImageBatch:
    pixels = np.empty((len(ids), IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    good = np.ones(len(ids), bool)
    rejects: list[Reject] = []
    for index, image in enumerate(images):
        if isinstance(image, Refusal):
            good[index] = False
            rejects.append(Reject(ids[index].as_py(), image.reason, image.detail))
        else:
            pixels[index] = image
    mask = pa.array(good)
    kept = None if kept is None else kept.filter(mask)
    return ImageBatch(ids.filter(mask), pixels[good], labels.filter(mask), np.flatnonzero(good), rejects, kept)
