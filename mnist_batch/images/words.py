"""Images as words of eight pixels, the same word of many images side by side.

NumPy works along the innermost axis. Laid out so, that is the images, and a step takes all of them at full width; image
by image it would go through 28 bytes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mnist_batch.records import IMAGE_SIDE, Pixels

Words = npt.NDArray[np.uint64]

# As many images as stay in a core's cache: 800 KB of pixels (docs/performance.md).
_AT_A_TIME = 1024
# Two lines of 28 pixels are seven words; the middle one holds the end of the first line and the start of the second.
PAIRS, PAIR_WORDS = IMAGE_SIDE // 2, IMAGE_SIDE // 4
_EVERY_OTHER = np.uint64(0x00FF00FF00FF00FF)
HALF = np.uint64(32)
_LOWEST = np.uint64(0x0101010101010101)
# Brings the lowest bits of eight bytes together in the highest byte, the first one's lowest.
_TOGETHER = np.uint64(0x0102040810204080)


def line_pairs(pixels: Pixels, rooms: int) -> Iterator[tuple[slice, Words, Sequence[Words]]]:
    """Images, uint8 [n, 28, 28], some at a time: which, their words, uint64 [14, 7, m], and room for more like these.

    Of a word's bytes the lowest is its leftmost pixel. All arrays are written over by the next step: they have some
    100 KB and more, and are best made once.
    """
    pairs, *others = _made(rooms + 1, min(len(pixels), _AT_A_TIME))
    for first in range(0, len(pixels), _AT_A_TIME):
        which = slice(first, min(first + _AT_A_TIME, len(pixels)))
        some = np.ascontiguousarray(pixels[which])
        if len(some) < pairs.shape[-1]:
            pairs, *others = _made(rooms + 1, len(some))
        np.copyto(pairs.reshape(PAIRS * PAIR_WORDS, -1), some.reshape(len(some), -1).view("<u8").T)
        yield which, pairs, others


def _made(rooms: int, images: int) -> Sequence[Words]:
    return [np.empty((PAIRS, PAIR_WORDS, images), np.uint64) for _ in range(rooms)]


def split(words: Words, even: Words, odd: Words) -> None:
    """The words' bytes at even and at odd places, each in 16 bits of the words of `even` and `odd`."""
    np.bitwise_and(words, _EVERY_OTHER, out=even)
    np.right_shift(words, np.uint64(8), out=odd)
    np.bitwise_and(odd, _EVERY_OTHER, out=odd)


def lowest_bits(words: Words) -> Words:
    """The words, changed in place, to the lowest bits of their eight bytes, the first byte's lowest."""
    words &= _LOWEST
    words *= _TOGETHER
    words >>= np.uint64(56)
    return words
