"""Which of an image's ink is the digit: strokes that belong together, without specks, ruled boxes and neighbours.

Where the ink is of several digits, of a word or a page, it is refused: nobody can say which one was meant. Whether what
is left is a digit at all is for the models to tell; here only shapes and places count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from mnist_batch.images.framing.ink import Ink, Mask
from mnist_batch.records import ImageError, RejectReason

# All sizes below are shares: of the image's sides, or of the largest object, the digit to be.
# A line along the edge: the rest of a neighbour, a form's rule, the shadow at a scan's end.
_EDGE_LINE_WIDTH = 0.12
# A line from one end of the image to the other, wherever it is.
_RULE_WIDTH = 0.06
# Unless what lies beside it is this much smaller: then it is specks, and the line is a stroke of the digit.
_LEAST_BESIDE_LINE = 0.25
# A box around the digit: its sides lie in the outer part of the image and leave no more gaps than this.
_BOX_MARGIN, _BOX_SIDE = 0.15, 0.8
# Smaller than this a piece is a speck; the bar of a 5 or the arm of a 4 that lost touch is larger.
_SPECK_AREA, _SPECK_LENGTH = 0.03, 0.12
# A second object as large as this is a digit of its own, if it lies apart.
_SECOND_LENGTH, _SECOND_AREA = 0.6, 0.25
_GAP = 0.1
# Pieces of one digit lie no further from its body.
_REACH = 0.35
# The widest digit in MNIST's training set is 2.2 times as wide as it is high; stretched by half, 3.3. A word is wider.
_MOST_ASPECT = 3.5


@dataclass(frozen=True, slots=True)
class _Objects:
    """Connected pieces of ink, int arrays [n]. area: in pixels; core: whether any of it is well above the threshold."""

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
    """Where the digit's ink is: uint8 [height, width] of 0 and 1.

    A refusal is `no_ink` where nothing but specks and lines stands out, `several_objects` where there is more than one.
    """
    mask = _remove_box(ink.mask)
    # Counting takes a fifth of the time that measuring does, and one object is the rule. Of OpenCV's algorithms Grana's
    # is twice as fast on these masks as its default, with labels of 16 bit, enough for 160x160.
    count, _ = cv2.connectedComponentsWithAlgorithm(mask, 8, cv2.CV_16U, cv2.CCL_GRANA)
    if count == 1:
        detail = "no ink" if mask is ink.mask else "nothing is left beside the lines at the edge"
        return ImageError(RejectReason.NO_INK, detail)
    if count == 2:
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_16U, cv2.CCL_GRANA)
    core = np.bincount(labels[ink.strength > 0.5 * ink.level], minlength=count)[1:] > 0
    left, top, width, height, area = stats[1:].T
    objects = _Objects(left, top, width, height, area, core)
    chosen = _select_digit(objects, mask.shape[0], mask.shape[1])
    if isinstance(chosen, ImageError):
        return chosen
    chosen_labels = np.zeros(count, np.uint8)
    chosen_labels[1:] = chosen
    return np.asarray(chosen_labels[labels], np.uint8)


def is_too_wide(width: int, height: int) -> bool:
    """Whether ink of this size is wider than any one digit."""
    return width > _MOST_ASPECT * height


def _select_digit(objects: _Objects, height: int, width: int) -> npt.NDArray[np.bool_] | ImageError:
    """Which objects make up the digit: bool [n]; or why none do."""
    cores = np.count_nonzero(objects.core)
    if cores == 0:
        return ImageError(RejectReason.NO_INK, f"{len(objects.core)} specks of at most {objects.area.max()} pixels")
    if cores == 1:
        return objects.core
    at_side, at_end = (
        (objects.left <= 0) | (objects.right >= width),
        (objects.top <= 0) | (objects.bottom >= height),
    )
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
        if objects.length[rest.argmax()] * (rest.max() > 0) > _LEAST_BESIDE_LINE * objects.length.max():
            weight = rest
    body = int(weight.argmax())
    large = (weight >= _SPECK_AREA * objects.area[body]) & (objects.length >= _SPECK_LENGTH * objects.length[body])
    large[body] = True
    if np.count_nonzero(large) == 1:
        return large
    if (several := _check_several(objects, body, large)) is not None:
        return several
    across, down = _distances(objects, body)
    near = np.maximum(across, down) <= _REACH * objects.length[body]
    cut_off = at_edge & (objects.area < _SECOND_AREA * objects.area[body]) & ~at_edge[body]
    chosen = large & near & ~cut_off
    chosen[body] = True
    return chosen


def _check_several(objects: _Objects, body: int, large: npt.NDArray[np.bool_]) -> ImageError | None:
    """Why these are several digits, where they are: as large as each other, and apart, side by side or in lines."""
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
    apart = _GAP * objects.length[body]
    side_by_side = (gap >= apart and width > 0.95 * height) or (gap > 0 and width > 1.25 * height)
    in_lines = leading >= apart and height > 1.5 * width
    if len(positions) > 3 or side_by_side or in_lines:
        return ImageError(
            RejectReason.SEVERAL_OBJECTS, f"{len(positions)} objects as large as a digit, {gap} pixels apart"
        )
    return None


def _distances(objects: _Objects, body: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """How far each object's box is from the body's, across and down, in pixels; 0 where they overlap."""
    across = np.maximum(objects.left - objects.right[body], objects.left[body] - objects.right)
    down = np.maximum(objects.top - objects.bottom[body], objects.top[body] - objects.bottom)
    return np.maximum(across, 0), np.maximum(down, 0)


def _remove_box(mask: Mask) -> Mask:
    """The mask without a box drawn around the digit, and all that lies outside of it; itself, where there is none.

    All four sides must be there: the bars of a 5 or a 7 that was cut out close are as long as a box's.
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
        cuts.append((int(before[-1]) + 2, length - margin + int(after[0]) - 1))  # with the line's blurred rim
    (top, bottom), (left, right) = cuts
    inside = np.zeros_like(mask)
    inside[top:bottom, left:right] = mask[top:bottom, left:right]
    return inside
