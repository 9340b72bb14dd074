"""What is measured of the pixels of images as they are scored: share of ink, width of the stroke, box of the ink.

Exact whole numbers, image by image, so that the bins do not depend on how rows are cut into batches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.images.words import PAIR_WORDS, Words, line_pairs, lowest_bits, split
from mnist_batch.records import IMAGE_SIDE, Ints, Pixels
from mnist_batch.report.bins import IMAGE_BINS

# From 128 on, half of white, a pixel is ink: where its highest bit is set.
_HIGHEST = np.uint64(7)
_BYTES = np.arange(0, 8 * PAIR_WORDS, 8, dtype=np.uint64)[:, None]
_LINE = np.uint64((1 << IMAGE_SIDE) - 1)
_LINES = np.uint32(1) << np.arange(IMAGE_SIDE, dtype=np.uint32)[:, None]

Lines = npt.NDArray[np.uint32]


def pixel_histograms(pixels: Pixels) -> dict[str, Ints]:
    """How many of the images, uint8 [n, 28, 28], lie in each bin of each of `bins.IMAGE_EDGES`."""
    counts = {name: np.zeros(bins, np.int64) for name, bins in IMAGE_BINS.items()}
    for _, pairs, (even, odd) in line_pairs(pixels, rooms=2):
        found = {"ink": _levels(pairs, even, odd) * IMAGE_BINS["ink"] // (255 * IMAGE_SIDE**2)}
        found |= _shapes(_lines(pairs, even))
        for name, places in found.items():
            counts[name] += np.bincount(np.minimum(places, IMAGE_BINS[name] - 1), minlength=IMAGE_BINS[name])
    return counts


def _shapes(lines: Lines) -> dict[str, Ints]:
    """The bins of stroke, width and height of each image, uint32 [28, n], before the last takes what lies beyond it.

    The stroke's width is twice the ink's area over the length of its outline, in quarters of a pixel.
    """
    area = np.bitwise_count(lines).sum(axis=0, dtype=np.uint16)
    # The outline, line by line: steps from pixel to pixel within it, from the line above, and at the borders.
    steps = np.bitwise_count(lines ^ (lines << np.uint32(1)))
    steps[1:] += np.bitwise_count(lines[1:] ^ lines[:-1])
    steps[0] += np.bitwise_count(lines[0])
    steps[-1] += np.bitwise_count(lines[-1])
    outline = steps.sum(axis=0, dtype=np.uint16)
    return {
        "stroke": 8 * area.astype(np.int64) // np.maximum(outline, 1),
        "width": _extent(np.bitwise_or.reduce(lines, axis=0)) // 2,
        "height": _extent(np.bitwise_or.reduce((lines != 0) * _LINES, axis=0)) // 2,
    }


def _levels(pairs: Words, even: Words, odd: Words) -> Ints:
    """int64 [n]: the sum of each image's pixels, of which 16 bits hold 196. even, odd: written over."""
    split(pairs, even, odd)
    even += odd
    sums = np.add.reduce(even.reshape(-1, pairs.shape[-1]), axis=0)
    return sums.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)


def _lines(pairs: Words, room: Words) -> Lines:
    """uint32 [28, n]: a bit for each pixel that is ink, the leftmost the lowest. room: written over."""
    bits = lowest_bits(np.right_shift(pairs, _HIGHEST, out=room))
    bits <<= _BYTES
    both = np.bitwise_or.reduce(bits, axis=1)
    lines = np.empty((IMAGE_SIDE, pairs.shape[-1]), np.uint32)
    lines[0::2] = both & _LINE
    lines[1::2] = both >> np.uint64(IMAGE_SIDE)
    return lines


def _extent(bits: Lines) -> Ints:
    """From the lowest to the highest bit of each word, both counted; 0 where none is set."""
    highest = np.frexp(bits.astype(np.float64))[1]
    lowest = np.bitwise_count((bits & -bits.astype(np.int64)) - 1)
    return np.where(bits == 0, 0, highest - lowest).astype(np.int64)
