"""Images as words of eight pixels, the same word of many images side by side.

NumPy works along the innermost axis. Laid out so, that is the images, and a step takes all of them at full width; image
by image it would go through 28 bytes at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.records import IMAGE_SIDE, Pixels

Words = npt.NDArray[np.uint64]

# As many images as stay in a core's cache: 800 KB of pixels (docs/performance.md).
AT_A_TIME = 1024
# Two lines of 28 pixels are seven words; the middle one holds the end of the first line and the start of the second.
PAIRS, PAIR_WORDS = IMAGE_SIDE // 2, IMAGE_SIDE // 4
# Every other byte of a word: bytes are summed in pairs, in 16 bits each.
EVERY_OTHER = np.uint64(0x00FF00FF00FF00FF)
HALF = np.uint64(32)
_LOWEST = np.uint64(0x0101010101010101)
# Brings the lowest bits of eight bytes together in the highest byte, the first one's lowest.
_TOGETHER = np.uint64(0x0102040810204080)


def line_pairs(pixels: Pixels, out: Words) -> Words:
    """`out`, uint64 [14, 7, n], filled with images, uint8 [n, 28, 28]; a word's lowest byte is its leftmost pixel."""
    words = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view("<u8")
    np.copyto(out.reshape(PAIRS * PAIR_WORDS, -1), words.T)
    return out


def empty_pairs(images: int) -> Words:
    """Room for the line pairs of so many images, which is best made once: it is some 100 KB and more."""
    return np.empty((PAIRS, PAIR_WORDS, images), np.uint64)


def lowest_bits(words: Words) -> Words:
    """The words, changed in place, to the lowest bits of their eight bytes, the first byte's lowest."""
    words &= _LOWEST
    words *= _TOGETHER
    words >>= np.uint64(56)
    return words
