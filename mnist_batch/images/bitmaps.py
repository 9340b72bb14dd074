"""Black and white images, a bit a pixel: two lines of 28 pixels to a word, the same word of many images side by side.

So laid out, NumPy takes a step for all images at full width; image by image it would go through 28 pixels at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.records import IMAGE_SIDE

Words = npt.NDArray[np.uint64]

# Two lines are seven bytes.
_PAIRS, _PAIR_BYTES = IMAGE_SIDE // 2, 2 * IMAGE_SIDE // 8
# A word's two lines: the upper one is its lower half, the leftmost pixel the lowest bit.
HALF, ONE = np.uint64(32), np.uint64(1)
LINE = np.uint64((1 << IMAGE_SIDE) - 1)
_GAP = HALF - np.uint64(IMAGE_SIDE)
_UPPER_LINES = ONE << np.arange(0, IMAGE_SIDE, 2, dtype=np.uint64)[:, None]


def pack_bitmaps(ink: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> Words:
    """uint64 [14, n]: which pixels of images, [n, 28, 28] and contiguous, are not zero."""
    # And a byte more, for a word is eight of them.
    packed = np.append(np.packbits(ink.reshape(-1), bitorder="little"), np.uint8(0))
    strides = (_PAIR_BYTES, _PAIRS * _PAIR_BYTES)
    pairs = np.ndarray((_PAIRS, len(ink)), "<u8", packed, strides=strides).copy()
    words = pairs & LINE
    pairs <<= _GAP
    pairs &= LINE << HALF
    words |= pairs
    return words


def occupied_columns(words: Words) -> Words:
    """uint64 [n]: a bit for each column that holds ink, the leftmost the lowest."""
    found = np.bitwise_or.reduce(words, axis=0)
    return (found | found >> HALF) & LINE


def occupied_rows(words: Words) -> Words:
    """uint64 [n]: a bit for each line that holds ink, the uppermost the lowest."""
    upper, lower = words & LINE, words >> HALF
    return np.bitwise_or.reduce((upper != 0) * _UPPER_LINES | (lower != 0) * (_UPPER_LINES << ONE), axis=0)
