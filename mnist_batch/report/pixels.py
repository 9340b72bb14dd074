"""Measures images as they are scored: share of ink, stroke width, and bounding box of the ink.

All results are exact integers per image, so the bins do not depend on how rows are cut into batches.
"""

from __future__ import annotations

import numpy as np

from mnist_batch.images.bitmaps import HALF, ONE, Words, occupied_columns, occupied_rows, pack_bitmaps
from mnist_batch.records import IMAGE_SIDE, Ints, Pixels
from mnist_batch.report.bins import IMAGE_BINS, FeatureName

# A pixel counts as ink from half of white on.
_MIN_INK = 128
_BYTE, _EVERY_OTHER = np.uint64(8), np.uint64(0x00FF00FF00FF00FF)
# The default batch size. Larger batches are measured in chunks, so that memory does not grow with them.
_CHUNK_IMAGES = 4096


def measure_pixels(pixels: Pixels) -> dict[FeatureName, Ints]:
    """Returns how many images are in each bin of each of `bins.IMAGE_EDGES`. pixels: uint8 [n, 28, 28]."""
    counts = {name: np.zeros(bins, np.int64) for name, bins in IMAGE_BINS.items()}
    for first in range(0, len(pixels), _CHUNK_IMAGES):
        chunk = np.ascontiguousarray(pixels[first : first + _CHUNK_IMAGES])
        bins_by_name: dict[FeatureName, Ints] = {"ink": _sum_levels(chunk) * IMAGE_BINS["ink"] // (255 * IMAGE_SIDE**2)}
        bins_by_name |= _measure_shapes(pack_bitmaps(chunk >= _MIN_INK))
        for name, bins in bins_by_name.items():
            counts[name] += np.bincount(np.minimum(bins, IMAGE_BINS[name] - 1), minlength=IMAGE_BINS[name])
    return counts


def _sum_levels(pixels: Pixels) -> Ints:
    """int64 [n]: the sum of each image's pixels.

    Adds eight pixels at a time. An image is 98 words of 8 bytes; each of the four sums over them fits in 16 bits.
    """
    words = pixels.reshape(len(pixels), -1).view(np.uint64)
    sums = words >> _BYTE
    sums &= _EVERY_OTHER
    sums += words & _EVERY_OTHER
    return np.add.reduce(sums, axis=1).view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)


def _measure_shapes(ink: Words) -> dict[FeatureName, Ints]:
    """Returns the bins of stroke, width and height of each image. They may exceed the last bin. ink: uint64 [14, n].

    The stroke width is twice the area of the ink divided by the length of its outline, in quarters of a pixel.
    """
    area = np.bitwise_count(ink).sum(axis=0, dtype=np.uint16)
    # The outline: changes between neighbouring pixels within each line and between lines, including the image border.
    above = ink << HALF
    above[1:] |= ink[:-1] >> HALF
    steps = np.bitwise_count(ink ^ (ink << ONE)) + np.bitwise_count(ink ^ above)
    steps[-1] += np.bitwise_count(ink[-1] >> HALF)
    outline = steps.sum(axis=0, dtype=np.uint16)
    return {
        "stroke": 8 * area.astype(np.int64) // np.maximum(outline, 1),
        "width": _measure_extent(occupied_columns(ink)) // 2,
        "height": _measure_extent(occupied_rows(ink)) // 2,
    }


def _measure_extent(bits: Words) -> Ints:
    """The number of bits from the lowest to the highest set bit of each word, both included; 0 if none is set."""
    highest = np.frexp(bits.astype(np.float64))[1]
    lowest = np.bitwise_count((bits & -bits.view(np.int64).view(np.uint64)) - ONE)
    return np.where(bits == 0, 0, highest - lowest).astype(np.int64)
