"""Decides which ink of an image is the digit: strokes that belong together, without specks, boxes and neighbours.

If the ink is several digits, a word or a page, the image becomes a reject, because it is unclear which digit is meant.
Only shapes and positions count here. Whether the result is a digit at all is left to the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mnist_batch.images.framing.ink import Ink, Mask
from mnist_batch.images.opencv import cv2
from mnist_batch.records import ImageError, RejectReason

# All sizes below are shares: of the image's sides, or of the body, the largest object.
# A line along the edge: part of a neighbour, the rule of a form, the shadow at the end of a scan.
_EDGE_LINE_WIDTH = 0.12
# A line from one side of the image to the other, anywhere.
_RULE_WIDTH = 0.06
# A line is part of the digit if everything beside it is smaller than this share of its length: only specks.
_MIN_BESIDE_LINE = 0.25
# A box around the digit: its sides are in the outer part of the image, and this share of each is drawn.
_BOX_MARGIN, _BOX_SIDE = 0.15, 0.8
# Smaller pieces are specks. The detached bar of a 5 or arm of a 4 is larger.
_SPECK_AREA, _SPECK_LENGTH = 0.03, 0.12
# An object this large is a second digit, if there is a gap between the two.
_SECOND_LENGTH, _SECOND_AREA = 0.6, 0.25
_GAP = 0.1
# Pieces of a digit are at most this far from its body.
_REACH = 0.35
# The widest digit in MNIST's training set is 2.2 times as wide as it is high; stretched by half, 3.3. Words are wider.
_MAX_ASPECT = 3.5


@dataclass(frozen=True, slots=True)
class _Objects:
    """Connected pieces of ink, int arrays [n].

    area: in pixels.
    core: whether any pixel of the object is well above the threshold.
    """

    left: npt.NDArray[np.int32]
    top: npt.NDArray[np.int32]
    width: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    area: npt.NDArray[np.int32]
    core: npt.NDArray[np.bool_]

    @property
    def right(self) -> npt.NDArray[np.int32]:
        return self.left + self.width

    @property
    def bottom(self) -> npt.NDArray[np.int32]:
        return self.top + self.height

    @property
    def length(self) -> npt.NDArray[np.int32]:
        return np.maximum(self.width, self.height)


def find_digit(ink: Ink) -> Mask | ImageError:
    """Finds the digit's ink: uint8 [height, width], 1 for its pixels, else 0.

    Returns the error `no_ink` if there are only specks and lines, or `several_objects` if there are several digits.
    """
    mask = _remove_box(ink.mask)
    # Most images have one object. Counting takes a fifth of the time of measuring, so count first. On these masks
    # OpenCV's Grana algorithm is twice as fast as its default. 16-bit labels are enough for 160x160.
    count, _ = cv2.connectedComponentsWithAlgorithm(mask, 8, cv2.CV_16U, cv2.CCL_GRANA)
    if count == 1:
        detail = "no ink" if mask is ink.mask else "no ink inside the lines at the edge"
        return ImageError(RejectReason.NO_INK, detail)
    if count == 2:
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_16U, cv2.CCL_GRANA)
    core = np.bincount(labels[ink.strength > 0.5 * ink.level], minlength=count)[1:] > 0
    left, top, width, height, area = stats[1:].T
    objects = _Objects(left, top, width, height, area, core)
    selected = _select_digit(objects, mask.shape[0], mask.shape[1])
    if isinstance(selected, ImageError):
        return selected
    lookup = np.zeros(count, np.uint8)
    lookup[1:] = selected
    return np.asarray(lookup[labels], np.uint8)


def is_too_wide(width: int, height: int) -> bool:
    """Whether ink of this size is wider than any digit."""
    return width > _MAX_ASPECT * height


def _select_digit(objects: _Objects, height: int, width: int) -> npt.NDArray[np.bool_] | ImageError:
    """bool [n]: which objects make up the digit; or an error. height, width: of the image."""
    cores = np.count_nonzero(objects.core)
    if cores == 0:
        return ImageError(RejectReason.NO_INK, f"{len(objects.core)} specks of at most {objects.area.max()} pixels")
    if cores == 1:
        return objects.core
    at_side = (objects.left <= 0) | (objects.right >= width)
    at_end = (objects.top <= 0) | (objects.bottom >= height)
    at_edge = at_side | at_end
    line = at_side & (objects.width <= _EDGE_LINE_WIDTH * width) & (objects.height > 0.3 * height)
    line |= at_end & (objects.height <= _EDGE_LINE_WIDTH * height) & (objects.width > 0.3 * width)
    line |= (objects.width > 0.9 * width) & (objects.height <= _RULE_WIDTH * height)
    line |= (objects.height > 0.9 * height) & (objects.width <= _RULE_WIDTH * width)
    hollow = (objects.width > 0.6 * width) & (objects.height > 0.6 * height) & at_edge
    hollow &= objects.area < 0.3 * objects.width * objects.height
    weight = np.where(objects.core, objects.area, 0)
    for foreign in (line, hollow):
        rest = np.where(foreign, 0, weight)
        if objects.length[rest.argmax()] * (rest.max() > 0) > _MIN_BESIDE_LINE * objects.length.max():
            weight = rest
    body = int(weight.argmax())
    large = (weight >= _SPECK_AREA * objects.area[body]) & (objects.length >= _SPECK_LENGTH * objects.length[body])
    large[body] = True
    if np.count_nonzero(large) == 1:
        return large
    if (error := _check_single(objects, body, large)) is not None:
        return error
    across, down = _measure_distances(objects, body)
    near = np.maximum(across, down) <= _REACH * objects.length[body]
    cut_off = at_edge & (objects.area < _SECOND_AREA * objects.area[body]) & ~at_edge[body]
    selected = large & near & ~cut_off
    selected[body] = True
    return selected


def _check_single(objects: _Objects, body: int, large: npt.NDArray[np.bool_]) -> ImageError | None:
    """Returns an error if there are several digits: objects of similar size, apart from each other.

    They are apart if they are side by side or in lines. More than three such objects are always several digits.
    """
    second = (objects.length >= _SECOND_LENGTH * objects.length[body]) & (
        objects.area >= _SECOND_AREA * objects.area[body]
    )
    positions = np.flatnonzero(large & second)
    if len(positions) < 2:
        return None
    positions = positions[np.argsort(objects.left[positions], kind="stable")]
    gap = max(int(objects.left[after] - objects.right[before]) for before, after in pairwise(positions))
    leading = max(
        int(max(objects.top[after] - objects.bottom[before], objects.top[before] - objects.bottom[after]))
        for before, after in pairwise(positions)
    )
    width = objects.right[positions].max() - objects.left[positions].min()
    height = objects.bottom[positions].max() - objects.top[positions].min()
    min_gap = _GAP * objects.length[body]
    side_by_side = (gap >= min_gap and width > 0.95 * height) or (gap > 0 and width > 1.25 * height)
    in_lines = leading >= min_gap and height > 1.5 * width
    if len(positions) > 3 or side_by_side or in_lines:
        return ImageError(
            RejectReason.SEVERAL_OBJECTS, f"{len(positions)} objects as large as a digit, {gap} pixels apart"
        )
    return None


def _measure_distances(objects: _Objects, body: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Distance of each object's bounding box from the body's, across and down, in pixels; 0 if they overlap."""
    across = np.maximum(objects.left - objects.right[body], objects.left[body] - objects.right)
    down = np.maximum(objects.top - objects.bottom[body], objects.top[body] - objects.bottom)
    return np.maximum(across, 0), np.maximum(down, 0)


def _remove_box(mask: Mask) -> Mask:
    """Removes a box drawn around the digit, and everything outside of it. Returns the mask itself if there is no box.

    All four sides must be there. The bars of a 5 or a 7 that was cropped closely are as long as those of a box.
    """
    _, _, width, height = cv2.boundingRect(mask)
    if width < _BOX_SIDE * mask.shape[1] or height < _BOX_SIDE * mask.shape[0]:
        return mask
    cuts = []
    for length, lines in (
        (mask.shape[0], mask.sum(axis=1) > _BOX_SIDE * mask.shape[1]),
        (mask.shape[1], mask.sum(axis=0) > _BOX_SIDE * mask.shape[0]),
    ):
        margin = max(1, int(_BOX_MARGIN * length))
        before, after = np.flatnonzero(lines[:margin]), np.flatnonzero(lines[length - margin :])
        if not len(before) or not len(after):
            return mask
        cuts.append((int(before[-1]) + 2, length - margin + int(after[0]) - 1))  # includes the line's blurred rim
    (top, bottom), (left, right) = cuts
    inside = np.zeros_like(mask)
    inside[top:bottom, left:right] = mask[top:bottom, left:right]
    return inside
