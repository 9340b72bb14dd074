"""What is measured of the pixels of images as they are scored: share of ink, width of the stroke, box of the ink.

Exact whole numbers, image by image, so that the bins do not depend on how rows are cut into batches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.images.words import (
    AT_A_TIME,
    EVERY_OTHER,
    PAIR_WORDS,
    Words,
    empty_pairs,
    line_pairs,
    lowest_bits,
)
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
    meter = _Meter(min(len(pixels), AT_A_TIME))
    for first in range(0, len(pixels), AT_A_TIME):
        for name, found in meter.bins(pixels[first : first + AT_A_TIME]).items():
            counts[name] += np.bincount(np.minimum(found, IMAGE_BINS[name] - 1), minlength=IMAGE_BINS[name])
    return counts


class _Meter:
    """Measures up to `size` images at a time, in arrays that are made once."""

    def __init__(self, size: int) -> None:
        self._pairs, self._room = empty_pairs(size), empty_pairs(size)

    def bins(self, pixels: Pixels) -> dict[str, Ints]:
        """The bin of each image, before the last bin takes what lies beyond it.

        The stroke's width is twice the ink's area over the length of its outline, in quarters of a pixel.
        """
        if len(pixels) < self._pairs.shape[-1]:
            return _Meter(len(pixels)).bins(pixels)
        pairs = line_pairs(pixels, self._pairs)
        levels, lines = self._levels(pairs), self._lines(pairs)
        area = np.bitwise_count(lines).sum(axis=0, dtype=np.uint16)
        # The outline, line by line: steps from pixel to pixel within it, from the line above, and at the borders.
        steps = np.bitwise_count(lines ^ (lines << np.uint32(1)))
        steps[1:] += np.bitwise_count(lines[1:] ^ lines[:-1])
        steps[0] += np.bitwise_count(lines[0])
        steps[-1] += np.bitwise_count(lines[-1])
        outline = steps.sum(axis=0, dtype=np.uint16)
        return {
            "ink": levels * IMAGE_BINS["ink"] // (255 * IMAGE_SIDE**2),
            "stroke": 8 * area.astype(np.int64) // np.maximum(outline, 1),
            "width": _extent(np.bitwise_or.reduce(lines, axis=0)) // 2,
            "height": _extent(np.bitwise_or.reduce((lines != 0) * _LINES, axis=0)) // 2,
        }

    def _levels(self, pairs: Words) -> Ints:
        """int64 [n]: the sum of each image's pixels. 16 bits hold what 196 of them come to at most."""
        room = np.bitwise_and(pairs, EVERY_OTHER, out=self._room)
        words = room.reshape(-1, room.shape[-1])
        sums = np.add.reduce(words, axis=0)
        np.right_shift(pairs, np.uint64(8), out=room)
        room &= EVERY_OTHER
        sums += np.add.reduce(words, axis=0)
        return sums.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)

    def _lines(self, pairs: Words) -> Lines:
        """uint32 [28, n]: a bit for each pixel that is ink, the leftmost the lowest."""
        bits = lowest_bits(np.right_shift(pairs, _HIGHEST, out=self._room))
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
