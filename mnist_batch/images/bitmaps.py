"""Black and white images as bitmaps: one bit per pixel, two rows of 28 pixels per word.

The words of all images are side by side: word 0 of each image, then word 1 of each, and so on. So NumPy processes
all images at full width, instead of 28 pixels at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.records import IMAGE_SIDE

Words = npt.NDArray[np.uint64]

# Two rows take seven bytes.
_PAIRS, _PAIR_BYTES = IMAGE_SIDE // 2, 2 * IMAGE_SIDE // 8
# The upper row of a pair is the lower half of its word. The leftmost pixel is the lowest bit.
HALF, ONE = np.uint64(32), np.uint64(1)
_ROW_MASK = np.uint64((1 << IMAGE_SIDE) - 1)
_GAP = HALF - np.uint64(IMAGE_SIDE)
_UPPER_ROW_BITS = ONE << np.arange(0, IMAGE_SIDE, 2, dtype=np.uint64)[:, None]


def pack_bitmaps(ink: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> Words:
    """Packs images into bitmaps: a bit is set if its pixel is not zero.

    ink: [n, 28, 28], contiguous. Returns uint64 [14, n].
    """
    # The last word is read as eight bytes, one more than its pair of rows has.
    packed = np.append(np.packbits(ink.reshape(-1), bitorder="little"), np.uint8(0))
    strides = (_PAIR_BYTES, _PAIRS * _PAIR_BYTES)
    pairs = np.ndarray((_PAIRS, len(ink)), "<u8", packed, strides=strides).copy()
    words = pairs & _ROW_MASK
    pairs <<= _GAP
    pairs &= _ROW_MASK << HALF
    words |= pairs
    return words


def occupied_columns(words: Words) -> Words:
    """uint64 [n]: one bit per column, set if the column has ink. The leftmost column is the lowest bit."""
    pairs = np.bitwise_or.reduce(words, axis=0)
    return (pairs | pairs >> HALF) & _ROW_MASK


def occupied_rows(words: Words) -> Words:
    """uint64 [n]: one bit per row, set if the row has ink. The top row is the lowest bit."""
    upper, lower = words & _ROW_MASK, words >> HALF
    return np.bitwise_or.reduce((upper != 0) * _UPPER_ROW_BITS | (lower != 0) * (_UPPER_ROW_BITS << ONE), axis=0)
