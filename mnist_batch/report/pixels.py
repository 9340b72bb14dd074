"""What is measured of the pixels of images as they are scored: share of ink, width of the stroke, box of the ink.

Exact whole numbers, image by image, so that the bins do not depend on how rows are cut into batches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.records import IMAGE_SIDE, Ints, Pixels
from mnist_batch.report.bins import IMAGE_BINS

# At this level and above a pixel is ink: half of white.
_INK = 128
# As in `images/mnist_form.py`: what stays in a core's cache.
_AT_A_TIME = 512
# Every other byte of a word: bytes are summed in pairs, so that 16 bits hold the sum of 98 words.
_LOW = np.uint64(0x00FF00FF00FF00FF)
_WORDS = IMAGE_SIDE**2 // 8

Words = npt.NDArray[np.uint32]


def pixel_histograms(pixels: Pixels) -> dict[str, Ints]:
    """How many of the images, uint8 [n, 28, 28], lie in each bin of each of `bins.IMAGE_EDGES`."""
    counts = {name: np.zeros(bins, np.int64) for name, bins in IMAGE_BINS.items()}
    meter = _Meter(min(len(pixels), _AT_A_TIME))
    for first in range(0, len(pixels), _AT_A_TIME):
        for name, found in meter.bins(np.ascontiguousarray(pixels[first : first + _AT_A_TIME])).items():
            counts[name] += np.bincount(np.minimum(found, IMAGE_BINS[name] - 1), minlength=IMAGE_BINS[name])
    return counts


class _Meter:
    """Measures up to `size` images at a time.

    What takes more than some 100 KB lies in arrays that are made once: TensorFlow has malloc give freed memory back to
    the system at once, and taking it anew made measuring four times as slow.
    """

    def __init__(self, size: int) -> None:
        self._even, self._odd = np.empty((2, size, _WORDS), np.uint64)
        self._is_ink = np.empty((size, IMAGE_SIDE**2), np.bool_)
        self._pairs = np.zeros((size, IMAGE_SIDE // 2, 8), np.uint8)

    def bins(self, pixels: Pixels) -> dict[str, Ints]:
        """The bin of each image, before the last bin takes what lies beyond it.

        The stroke's width is twice the ink's area over the length of its outline, in quarters of a pixel.
        """
        rows = self._rows(pixels)
        area = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
        # The outline, row by row: steps from pixel to pixel within it, from the row above, and at the image's borders.
        steps = np.bitwise_count(rows ^ (rows << 1))
        steps[:, 1:] += np.bitwise_count(rows[:, 1:] ^ rows[:, :-1])
        steps[:, 0] += np.bitwise_count(rows[:, 0])
        steps[:, -1] += np.bitwise_count(rows[:, -1])
        outline = steps.sum(axis=1, dtype=np.int64)
        lines = np.where(rows != 0, np.uint32(1) << np.arange(IMAGE_SIDE, dtype=np.uint32), 0)
        return {
            "ink": self._levels(pixels) * IMAGE_BINS["ink"] // (255 * IMAGE_SIDE**2),
            "stroke": 8 * area // np.maximum(outline, 1),
            "width": _extent(np.bitwise_or.reduce(rows, axis=1)) // 2,
            "height": _extent(np.bitwise_or.reduce(lines, axis=1)) // 2,
        }

    def _levels(self, pixels: Pixels) -> Ints:
        """int64 [n]: the sum of each image's pixels."""
        words = pixels.reshape(len(pixels), -1).view(np.uint64)
        even, odd = self._even[: len(pixels)], self._odd[: len(pixels)]
        np.bitwise_and(words, _LOW, out=even)
        np.right_shift(words, np.uint64(8), out=odd)
        np.bitwise_and(odd, _LOW, out=odd)
        np.add(even, odd, out=even)
        return even.sum(axis=1).view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)

    def _rows(self, pixels: Pixels) -> Words:
        """uint32 [n, 28]: a bit for each pixel that is ink, the leftmost the lowest.

        Two rows of 28 bits are seven bytes: packing the whole batch at once is four times as fast as row by row.
        """
        is_ink, pairs = self._is_ink[: len(pixels)], self._pairs[: len(pixels)]
        np.greater_equal(pixels.reshape(len(pixels), -1), _INK, out=is_ink)
        pairs[:, :, :7] = np.packbits(is_ink.reshape(-1), bitorder="little").reshape(len(pixels), -1, 7)
        both = pairs.view("<u8")[..., 0]
        rows = np.empty((len(pixels), IMAGE_SIDE), np.uint32)
        rows[:, 0::2] = both & ((1 << IMAGE_SIDE) - 1)
        rows[:, 1::2] = both >> IMAGE_SIDE
        return rows


def _extent(bits: Words) -> Ints:
    """From the lowest to the highest bit of each word, both counted; 0 where none is set."""
    highest = np.frexp(bits.astype(np.float64))[1]
    lowest = np.bitwise_count((bits & -bits.astype(np.int64)) - 1)
    return np.where(bits == 0, 0, highest - lowest).astype(np.int64)
