"""Whether images already are in the form MNIST has them in: then they are scored as they are, to the bit.

What that form is was measured on all 70,000 images of MNIST, and holds for each of them: 28x28, the ink's box at most
20 pixels on its longer side, the centre of mass between 13.48 and 14.50 on both axes, the brightest pixel at 254 or
more. An empty border is no criterion: 920 of them touch it. Works on whole batches, without OpenCV.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.images.bitmaps import Words, occupied_columns, occupied_rows, pack_bitmaps
from mnist_batch.records import IMAGE_SIDE, Pixels

# The longer side of the ink's box, in pixels: what digits are scaled to (LeCun et al. 1998, III.A).
INK_SIDE = 20
# Pixel index of the centre of mass, on both axes, and how far MNIST's own images are from it at most.
CENTRE = 14
_LEAST_CENTRE, _MOST_CENTRE = 13.48, 14.50
_LEAST_PEAK = 254

# By how much each pixel of an image counts for its mass, and for that times line and times column.
_MASS = np.ones(IMAGE_SIDE**2, np.float32)
_DOWN, _ACROSS = (axis.reshape(-1).astype(np.float32) for axis in np.indices((IMAGE_SIDE, IMAGE_SIDE)))
# As many images as stay, as float32, in a core's cache.
_AT_A_TIME = 128


def is_mnist_form(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """bool [n]: which of the images, uint8 [n, 28, 28], are in MNIST's form."""
    pixels = np.ascontiguousarray(pixels)
    flat = pixels.reshape(len(pixels), IMAGE_SIDE**2)
    ink = pack_bitmaps(pixels)
    return (
        _is_centred(flat)
        & (flat.max(axis=1) >= _LEAST_PEAK)
        & _is_short(occupied_columns(ink))
        & _is_short(occupied_rows(ink))
    )


def _is_centred(flat: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the centre of mass of each image, uint8 [n, 784], is where MNIST has it.

    Every sum is a whole number below 2**24, so exact in float32 in whatever order a matrix library adds: the verdict on
    an image does not depend on its neighbours.
    """
    sums = np.empty((3, len(flat)), np.float32)
    room = np.empty((min(len(flat), _AT_A_TIME), flat.shape[1]), np.float32)
    for first in range(0, len(flat), _AT_A_TIME):
        some = flat[first : first + _AT_A_TIME]
        floats = room[: len(some)]
        np.copyto(floats, some)
        for weights, found in zip((_MASS, _DOWN, _ACROSS), sums[:, first : first + len(some)], strict=True):
            np.dot(floats, weights, out=found)
    mass, *moments = sums
    centred = np.asarray(mass > 0)
    for moment in moments:
        centre = moment / np.maximum(mass, 1)
        centred &= (centre >= _LEAST_CENTRE) & (centre <= _MOST_CENTRE)
    return centred


def _is_short(bits: Words) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the lowest and the highest bit of each word are at most `INK_SIDE` apart, both counted."""
    lowest = bits & -bits.view(np.int64).view(np.uint64)
    return np.asarray(bits < lowest << np.uint64(INK_SIDE))
