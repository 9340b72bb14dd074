"""Any decoded digit image to the form the models were trained on: 28x28, white ink on black, as MNIST has it.

What MNIST did to NIST's scans (LeCun et al. 1998, III.A), on whatever people scan: crop to the ink, scale its longer
side to 20 pixels, place its centre of mass in the middle of 28x28. Each image is judged alone, so that neither shards
nor order nor workers change what becomes of it. What comes out is in MNIST's form, and would pass as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mnist_batch.images.framing.digit import find_digit, is_too_wide
from mnist_batch.images.framing.ink import Ink, Mask, find_ink, mask_above, shrink, to_gray
from mnist_batch.images.mnist_form import CENTRE, INK_SIDE
from mnist_batch.records import IMAGE_SIDE, ImageError, Pixels, RejectReason

# A digit that survives 8x8 (UCI's optdigits) is still read; below that no one reads it.
_LEAST_SIDE = 8
_LEAST_INK_SIDE = 5
# The digit is looked for on an image of at most this side, and once more, closer, where it fills little of it.
_SEARCH_SIDE = 160
_LEAST_SEARCHED = 64
# How much of what surrounds the digit is looked at then, as a share of its longer side.
_SURROUNDINGS = 1 / 3
# Blur spreads a stroke beyond its outline, which lies at this share of the ink's strength: on MNIST images enlarged to
# 64..280 pixels it gives the box that the original has, to 1 %.
_OUTLINE = 0.4
# Ink of this longer side, on a clean ground, has been scaled for a grid like MNIST's: each gray pixel is an outline.
_NATIVE_SIDE = 26
# Stroke width in pixels at MNIST's scale, as `_stroke_width` estimates it: 2.8..5.8 in 98 % of MNIST. Outside of these
# bounds strokes are made as wide as the second number says.
_THIN, _THIN_TO, _FAT, _FAT_TO = 2.2, 2.8, 5.2, 4.4
# Strokes of so few pixels are smoothed and changed in width on a grid this much finer.
_FINE_SIDE = 60
_SMOOTHING = 0.5  # pixels, standard deviation
_STEEPNESS = 2.0
# A digit wider than high was scanned so more often than written; a model knows few. Of its aspect so much is kept,
# as an exponent: stretched to 300x200, MNIST loses 0.9 points at 0.2, 1.5 at 0.5, 5.6 at 1; unstretched none at any.
_WIDTH_KEPT = 0.2
# An image that is square and filled by its ink on all sides was stretched to be (USPS, Semeion); MNIST's median.
_STRETCHED_ASPECT = 0.8


@dataclass(frozen=True, slots=True)
class Framed:
    """An image in MNIST form. pixels: uint8 [28, 28]; inverted: whether its ink was darker than its ground."""

    pixels: Pixels
    inverted: bool


def frame(gray: Pixels) -> Framed | ImageError:
    """A gray image [height, width] of any size in MNIST form, or why it holds no single digit-like thing."""
    return _search_and_frame(gray, closer=False)


def _search_and_frame(gray: Pixels, closer: bool) -> Framed | ImageError:
    if max(gray.shape) < _LEAST_SIDE:
        return ImageError(RejectReason.TOO_SMALL, f"{gray.shape[1]}x{gray.shape[0]} pixels")
    searched = shrink(gray, _SEARCH_SIDE)
    ink = find_ink(searched)
    if isinstance(ink, ImageError):
        return ink
    mask = find_digit(ink)
    if isinstance(mask, ImageError):
        return mask
    left, top, width, height = cv2.boundingRect(mask)
    if not closer and searched is not gray and max(width, height) < _LEAST_SEARCHED:
        return _search_and_frame(_crop_around(gray, (left, top, width, height), searched.shape[0]), closer=True)
    if max(width, height) < _LEAST_INK_SIDE:
        return ImageError(RejectReason.TOO_SMALL, f"ink of {width}x{height} pixels")
    if is_too_wide(width, height):
        return ImageError(RejectReason.SEVERAL_OBJECTS, f"ink of {width}x{height} pixels, wider than a digit")
    cut = _extract_digit(ink, mask, (left, top, width, height))
    strokes = _normalize_strokes(cut)
    if not cv2.countNonZero(strokes):
        return ImageError(RejectReason.NO_INK, f"ink of {width}x{height} pixels, too faint for a stroke")
    filled = cut.shape == mask.shape and abs(cut.shape[0] - cut.shape[1]) <= 1  # no ground is left around it
    return Framed(_centre_digit(strokes, filled), ink.dark)


def _crop_around(gray: Pixels, box: tuple[int, int, int, int], searched_height: int) -> Pixels:
    """The part of the image that holds a box found on its smaller version, and some of what surrounds it."""
    scale = gray.shape[0] / searched_height
    left, top, width, height = box
    margin = int(max(width, height) * _SURROUNDINGS) + 2
    rows = slice(max(0, int((top - margin) * scale)), int((top + height + margin) * scale) + 1)
    columns = slice(max(0, int((left - margin) * scale)), int((left + width + margin) * scale) + 1)
    return gray[rows, columns]


def _extract_digit(ink: Ink, mask: Mask, box: tuple[int, int, int, int]) -> Pixels:
    """The digit's own ink, scaled so that its strokes reach 255, cut to their outline."""
    strength = ink.strength
    if not ink.clean or cv2.countNonZero(mask) < cv2.countNonZero(ink.mask):
        # Noise, and what was left out; the blur around the digit's own strokes stays.
        foreign = ink.mask > mask
        strength = np.where((cv2.dilate(mask, _ellipse(3)) == 0) | foreign, 0, strength)
    strokes = strength[strength > 0.5 * ink.level]
    peak = ink.level
    if len(strokes):
        position = len(strokes) * 3 // 4
        strokes.partition(position)
        peak = float(strokes[position])
    left, top, width, height = box
    if not ink.clean or max(width, height) > _NATIVE_SIDE:
        left, top, width, height = cv2.boundingRect(mask_above(strength, max(_OUTLINE * peak, ink.threshold)))
    return to_gray(strength[top : top + height, left : left + width], 255 / peak)


def _normalize_strokes(strength: Pixels) -> Pixels:
    """The digit with strokes about as wide as MNIST's, where they are far from it; smooth, where pixels show."""
    width = _stroke_width(strength)
    visible = np.count_nonzero(strength > 20)
    jagged = visible - np.count_nonzero(strength > 234) < 0.1 * visible
    if max(strength.shape) < _FINE_SIDE and (jagged or not _THIN <= width <= _FAT):
        strength = _refine(strength)
        width = _stroke_width(strength)
    unit = max(strength.shape) / INK_SIDE
    if width < _THIN and (radius := round((_THIN_TO - width) / 2 * unit)) >= 1:
        return np.asarray(cv2.dilate(_pad(strength, radius), _ellipse(2 * radius + 1)), np.uint8)
    if width > _FAT and (radius := round((width - _FAT_TO) / 2 * unit)) >= 1:
        thinned = np.asarray(cv2.erode(_pad(strength, 1), _ellipse(2 * radius + 1)), np.uint8)
        if thinned.max() > 200:  # or else there was a thin stroke beside the fat ones, and it would be gone
            return _crop_to(thinned, 20)
    return strength


def _refine(strength: Pixels) -> Pixels:
    """The digit on a finer grid, its outline smoothed and made steep again."""
    factor = -(-_FINE_SIDE // max(strength.shape))
    fine = cv2.resize(_pad(strength, 1), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), _SMOOTHING * factor)
    steep = (fine.astype(np.float32) - 127) * _STEEPNESS + 127
    return _crop_to(to_gray(np.maximum(steep, 0)), 100)


def _crop_to(strength: Pixels, threshold: float) -> Pixels:
    left, top, width, height = cv2.boundingRect(mask_above(strength, threshold))
    return strength[top : top + height, left : left + width] if width else strength


def _pad(strength: Pixels, margin: int) -> Pixels:
    return np.asarray(cv2.copyMakeBorder(strength, margin, margin, margin, margin, cv2.BORDER_CONSTANT), np.uint8)


def _stroke_width(strength: Pixels) -> float:
    """Mean width of the strokes, in pixels at MNIST's scale.

    Across a long stroke of width w the distance to its outline is w/4 on average.
    """
    mask = np.zeros((strength.shape[0] + 2, strength.shape[1] + 2), np.uint8)  # with ground all around
    mask[1:-1, 1:-1] = strength > 127
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return (4 * float(cv2.mean(distance, mask)[0]) - 1) * INK_SIDE / max(strength.shape)


def _centre_digit(strength: Pixels, filled: bool) -> Pixels:
    """The digit on 28x28, its longer side at most 20 pixels, its centre of mass at pixel 14, none of it cut off."""
    height, width = map(float, strength.shape)
    if filled:
        width *= _STRETCHED_ASPECT
    elif width > height and width != INK_SIDE:  # or else it has been brought to MNIST's scale already
        height = width * (height / width) ** _WIDTH_KEPT
    scale = INK_SIDE / max(height, width)
    centre = _centre_of_mass(strength)
    for middle, pixels, side in zip(centre, strength.shape, (height, width), strict=True):
        # The larger part of the digit, on either side of its centre, must find room there.
        share = (middle + 0.5) / pixels
        scale = min(scale, (CENTRE - 0.5) / (side * max(share, 1 - share)))
    levels = _rescale(strength, (max(1, round(width * scale)), max(1, round(height * scale))))
    if levels is not strength:
        centre = _centre_of_mass(levels)
    top, left = (
        min(max(round(CENTRE - middle), 0), IMAGE_SIDE - side)
        for middle, side in zip(centre, levels.shape, strict=True)
    )
    placed = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    placed[top : top + levels.shape[0], left : left + levels.shape[1]] = levels
    return placed


def _rescale(strength: Pixels, size: tuple[int, int]) -> Pixels:
    """The digit at this width and height, its strongest ink at 255; itself, where it is so."""
    if size != strength.shape[::-1]:
        shrinking = max(size) < max(strength.shape)
        way = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
        strength = np.asarray(cv2.resize(strength, size, interpolation=way), np.uint8)
    peak = cv2.minMaxLoc(strength)[1]
    return strength if peak == 255 else to_gray(strength, 255 / max(peak, 1))


def _centre_of_mass(strength: Pixels) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    moments = cv2.moments(strength)
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


@lru_cache(maxsize=64)
def _ellipse(side: int) -> Mask:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
