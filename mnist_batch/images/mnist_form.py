"""Whether images already are in the form MNIST has them in: then they are scored as they are, to the bit.

What that form is was measured on all 70,000 images of MNIST, and holds for each of them: 28x28, the ink's box at most
20 pixels on its longer side, the centre of mass between 13.48 and 14.50 on both axes, the brightest pixel at 254 or
more. An empty border is no criterion: 920 of them touch it. Works on whole batches, without OpenCV.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.images.words import HALF, PAIR_WORDS, PAIRS, Words, line_pairs, lowest_bits, split
from mnist_batch.records import IMAGE_SIDE, Pixels

# The longer side of the ink's box, in pixels: what digits are scaled to (LeCun et al. 1998, III.A).
INK_SIDE = 20
# Pixel index of the centre of mass, on both axes, and how far MNIST's own images are from it at most.
CENTRE = 14
_LEAST_CENTRE, _MOST_CENTRE = 13.48, 14.50
_LEAST_PEAK = 254


def _moments() -> npt.NDArray[np.float32]:
    """float32 [84, 3]: what each of `_lane_sums` counts for the mass, and for it times line and column.

    Every sum is a whole number below 2**24, so exact in float32 in whatever order a matrix library adds: the verdict on
    an image does not depend on its neighbours.
    """
    word, lane = np.meshgrid(np.arange(PAIR_WORDS), np.arange(4), indexing="ij")
    weights = np.zeros((3, PAIR_WORDS, 4, 3), np.float32)
    for odd in (0, 1):
        place = 8 * word + 2 * lane + odd
        weights[odd] = np.stack([place >= 0, place >= IMAGE_SIDE, place % IMAGE_SIDE], axis=-1)
    weights[2, ..., 1] = 2
    return weights.reshape(-1, 3)


_MOMENTS = _moments()
_PAIR_NUMBERS = np.arange(PAIRS, dtype=np.uint64)[:, None, None]
_FIRST_LINES = np.uint64(1) << np.arange(0, IMAGE_SIDE, 2, dtype=np.uint64)[:, None]
_COLUMN_WORDS = np.arange(0, 32, 8, dtype=np.uint64)[:, None]


def in_mnist_form(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """bool [n]: which of the images, uint8 [n, 28, 28], are in MNIST's form."""
    verdicts = np.zeros(len(pixels), bool)
    for which, pairs, (even, odd) in line_pairs(pixels, rooms=2):
        # At most 1,024 images, just under 2**18 multiplications. Beyond that OpenBLAS wakes threads of its own, which
        # then wait in a loop and take the cores from the model: 5 to 20 microseconds an image instead of 0.4.
        mass, *moments = np.matmul(_lane_sums(pairs, even, odd), _MOMENTS).T
        centred = np.asarray(mass > 0)
        for moment in moments:
            centre = moment / np.maximum(mass, 1)
            centred &= (centre >= _LEAST_CENTRE) & (centre <= _MOST_CENTRE)
        peak = np.maximum.reduce(pairs.reshape(-1, len(mass)).view(np.uint8), axis=0).reshape(-1, 8).max(axis=1)
        small = _is_short(_inked_lines(pairs)) & _is_short(_inked_columns(pairs))
        verdicts[which] = centred & small & (peak >= _LEAST_PEAK)
    return verdicts


def _lane_sums(pairs: Words, even: Words, odd: Words) -> npt.NDArray[np.float32]:
    """float32 [n, 84], four to a word: pixels of the same place in all pairs of lines, those at even places and those
    at odd ones; and both together, times the number of their pair. None reaches 2**16.

    even, odd: written over.
    """
    sums = np.empty((3, *pairs.shape[1:]), np.uint64)
    split(pairs, even, odd)
    np.add.reduce(even, axis=0, out=sums[0])
    np.add.reduce(odd, axis=0, out=sums[1])
    even += odd
    even *= _PAIR_NUMBERS
    np.add.reduce(even, axis=0, out=sums[2])
    return np.ascontiguousarray(sums.reshape(-1, pairs.shape[-1]).T).view(np.uint16).astype(np.float32)


def _inked_lines(pairs: Words) -> Words:
    """uint64 [n]: a bit for each line that holds ink, the uppermost the lowest."""
    middle = pairs[:, PAIR_WORDS // 2]
    first, second = middle << HALF, middle >> HALF
    for word in range(PAIR_WORDS // 2):
        first |= pairs[:, word]
        second |= pairs[:, -1 - word]
    lines = (first != 0) * _FIRST_LINES + (second != 0) * (_FIRST_LINES << np.uint64(1))
    return np.bitwise_or.reduce(lines, axis=0)


def _inked_columns(pairs: Words) -> Words:
    """uint64 [n]: a bit for each column that holds ink, the leftmost the lowest."""
    both = np.bitwise_or.reduce(pairs, axis=0)
    columns = both[:4].copy()  # the first line of the pairs, and in the last word's upper half four pixels too many
    columns |= both[3:] >> HALF
    columns[:3] |= both[4:] << HALF
    for bits in (4, 2, 1):
        columns |= columns >> np.uint64(bits)
    found = np.bitwise_or.reduce(lowest_bits(columns) << _COLUMN_WORDS, axis=0)
    return found & np.uint64((1 << IMAGE_SIDE) - 1)


def _is_short(bits: Words) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the lowest and the highest bit of each word are at most `INK_SIDE` apart, both counted."""
    lowest = bits & -bits.view(np.int64).view(np.uint64)
    return np.asarray(bits < lowest << np.uint64(INK_SIDE))
