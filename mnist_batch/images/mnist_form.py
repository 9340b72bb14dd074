"""Checks whether images are in MNIST form. Those that are, are scored unchanged.

The form was measured on all 70,000 images of MNIST, and each of them has it: 28x28 pixels, the longer side of the
ink's bounding box at most 20 pixels, the centre of mass between 13.48 and 14.50 on both axes, the brightest pixel 254
or more. An empty border is not required: in 920 images the ink touches the border. Works on whole batches, without
OpenCV.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.images.bitmaps import Words, occupied_columns, occupied_rows, pack_bitmaps
from mnist_batch.records import IMAGE_SIDE, Pixels

# The longer side of the ink's bounding box, in pixels. MNIST's digits were scaled to it (LeCun et al. 1998, III.A).
INK_SIDE = 20
# Pixel index of the centre of mass on both axes, and its range in MNIST.
CENTRE = 14
_MIN_CENTRE, _MAX_CENTRE = 13.48, 14.50
_MIN_PEAK = 254

# Weights of the pixels: for an image's mass, and for its moments by row and by column.
_MASS = np.ones(IMAGE_SIDE**2, np.float32)
_DOWN, _ACROSS = (axis.reshape(-1).astype(np.float32) for axis in np.indices((IMAGE_SIDE, IMAGE_SIDE)))
# As many images as fit, as float32, in a core's cache.
_CHUNK_ROWS = 128


def is_mnist_form(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """bool [n]: which of the images, uint8 [n, 28, 28], are in MNIST form."""
    pixels = np.ascontiguousarray(pixels)
    flat = pixels.reshape(len(pixels), IMAGE_SIDE**2)
    ink = pack_bitmaps(pixels)
    return (
        _is_centred(flat)
        & (flat.max(axis=1) >= _MIN_PEAK)
        & _fits_ink_side(occupied_columns(ink))
        & _fits_ink_side(occupied_rows(ink))
    )


def _is_centred(flat: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the centre of mass of each image, uint8 [n, 784], is in MNIST's range.

    Every sum is a whole number below 2**24, so it is exact in float32 in whatever order a matrix library adds. The
    result for an image does not depend on its neighbours.
    """
    sums = np.empty((3, len(flat)), np.float32)
    buffer = np.empty((min(len(flat), _CHUNK_ROWS), flat.shape[1]), np.float32)
    for first in range(0, len(flat), _CHUNK_ROWS):
        chunk = flat[first : first + _CHUNK_ROWS]
        floats = buffer[: len(chunk)]
        np.copyto(floats, chunk)
        for weights, chunk_sums in zip((_MASS, _DOWN, _ACROSS), sums[:, first : first + len(chunk)], strict=True):
            np.dot(floats, weights, out=chunk_sums)
    mass, *moments = sums
    centred = np.asarray(mass > 0)
    for moment in moments:
        centre = moment / np.maximum(mass, 1)
        centred &= (centre >= _MIN_CENTRE) & (centre <= _MAX_CENTRE)
    return centred


def _fits_ink_side(bits: Words) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the lowest and the highest set bit of each word span at most `INK_SIDE` bits, both included."""
    lowest = bits & -bits.view(np.int64).view(np.uint64)
    return np.asarray(bits < lowest << np.uint64(INK_SIDE))
