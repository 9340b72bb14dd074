"""What is measured of the pixels of images as they are scored: share of ink, width of the stroke, box of the ink.

Exact whole numbers, image by image, so that the bins do not depend on how rows are cut into batches.
"""

from __future__ import annotations

import numpy as np

from mnist_batch.images.bitmaps import HALF, ONE, Words, occupied_columns, occupied_rows, pack_bitmaps
from mnist_batch.records import IMAGE_SIDE, Ints, Pixels
from mnist_batch.report.bins import IMAGE_BINS

# From 128 on, half of white, a pixel is ink.
_LEAST_INK = 128
_BYTE, _EVERY_OTHER = np.uint64(8), np.uint64(0x00FF00FF00FF00FF)
# The default size of a batch; larger ones in pieces, so that memory does not grow with them.
_AT_A_TIME = 4096


def measure_pixels(pixels: Pixels) -> dict[str, Ints]:
    """How many of the images, uint8 [n, 28, 28], lie in each bin of each of `bins.IMAGE_EDGES`."""
    counts = {name: np.zeros(bins, np.int64) for name, bins in IMAGE_BINS.items()}
    for first in range(0, len(pixels), _AT_A_TIME):
        some = np.ascontiguousarray(pixels[first : first + _AT_A_TIME])
        found = {"ink": _sum_levels(some) * IMAGE_BINS["ink"] // (255 * IMAGE_SIDE**2)}
        found |= _measure_shapes(pack_bitmaps(some >= _LEAST_INK))
        for name, positions in found.items():
            counts[name] += np.bincount(np.minimum(positions, IMAGE_BINS[name] - 1), minlength=IMAGE_BINS[name])
    return counts


def _sum_levels(pixels: Pixels) -> Ints:
    """int64 [n]: the sum of each image's pixels, eight at a time: of its 98 words, four sums that fit 16 bits each."""
    words = pixels.reshape(len(pixels), -1).view(np.uint64)
    sums = words >> _BYTE
    sums &= _EVERY_OTHER
    sums += words & _EVERY_OTHER
    return np.add.reduce(sums, axis=1).view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)


def _measure_shapes(ink: Words) -> dict[str, Ints]:
    """The bins of stroke, width and height of each image, uint64 [14, n], before the last takes what lies beyond it.

    The stroke's width is twice the ink's area over the length of its outline, in quarters of a pixel.
    """
    area = np.bitwise_count(ink).sum(axis=0, dtype=np.uint16)
    # The outline: steps from pixel to pixel within each line, and from each line to the next, borders among them.
    above = ink << HALF
    above[1:] |= ink[:-1] >> HALF
    steps = np.bitwise_count(ink ^ (ink << ONE)) + np.bitwise_count(ink ^ above)
    steps[-1] += np.bitwise_count(ink[-1] >> HALF)
    outline = steps.sum(axis=0, dtype=np.uint16)
    return {
        "stroke": 8 * area.astype(np.int64) // np.maximum(outline, 1),
        "width": _extent(occupied_columns(ink)) // 2,
        "height": _extent(occupied_rows(ink)) // 2,
    }


def _extent(bits: Words) -> Ints:
    """From the lowest to the highest bit of each word, both counted; 0 where none is set."""
    highest = np.frexp(bits.astype(np.float64))[1]
    lowest = np.bitwise_count((bits & -bits.view(np.int64).view(np.uint64)) - ONE)
    return np.where(bits == 0, 0, highest - lowest).astype(np.int64)
