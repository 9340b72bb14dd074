"""Brings any decoded digit image to MNIST form, on which the models were trained: 28x28, white ink on black.

Does to any scan what MNIST did to NIST's (LeCun et al. 1998, III.A): crop to the ink, scale its longer side to 20
pixels, place its centre of mass in the middle of 28x28. Each image is framed on its own, so the result does not depend
on shards, order or workers. The result is in MNIST form: `is_mnist_form` is true for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mnist_batch.images.framing.digit import find_digit, is_too_wide
from mnist_batch.images.framing.ink import Ink, Mask, find_ink, mask_above, shrink, to_gray
from mnist_batch.images.mnist_form import CENTRE, INK_SIDE
from mnist_batch.images.opencv import cv2
from mnist_batch.records import IMAGE_SIDE, ImageError, Pixels, RejectReason

# Digits of 8x8 (UCI's optdigits) can still be read; smaller ones cannot.
_MIN_SIDE = 8
_MIN_INK_SIDE = 5
# The digit is searched on an image of at most this side. If it is smaller than the second number there, it is searched
# again on a crop around it.
_SEARCH_SIDE = 160
_MIN_SEARCHED = 64
# Margin of that crop, as a share of the digit's longer side.
_CROP_MARGIN = 1 / 3
# Blur spreads a stroke beyond its outline. The outline is at this share of the ink's strength: on MNIST images enlarged
# to 64..280 pixels it gives the bounding box of the original, to 1 %.
_OUTLINE = 0.4
# If the longer side of the ink is at most this and the background is clean, the image was scaled for a grid like
# MNIST's. Then each gray pixel is part of the outline.
_NATIVE_SIDE = 26
# Stroke width in pixels at MNIST's scale, by `_measure_stroke_width`: 2.8..5.8 in 98 % of MNIST. Strokes thinner than
# `_THIN` are widened to `_THIN_TARGET`, strokes wider than `_FAT` are thinned to `_FAT_TARGET`.
_THIN, _THIN_TARGET, _FAT, _FAT_TARGET = 2.2, 2.8, 5.2, 4.4
# Digits smaller than this are smoothed, and their strokes changed in width, on a finer grid of at least this side.
_FINE_SIDE = 60
_SMOOTHING = 0.5  # pixels, standard deviation
_STEEPNESS = 2.0
# A digit that is wider than high was usually stretched by the scan and not written so, and models know few such digits.
# Its aspect is raised to this power. Stretched to 300x200, MNIST loses 0.9 points of accuracy at 0.2, 1.5 at 0.5 and
# 5.6 at 1. Unstretched, it loses none at any power.
_ASPECT_POWER = 0.2
# A square image whose ink reaches all four sides was stretched to be square (USPS, Semeion). MNIST's median aspect.
_STRETCHED_ASPECT = 0.8


@dataclass(frozen=True, slots=True)
class Framed:
    """An image in MNIST form.

    pixels: uint8 [28, 28].
    inverted: whether its ink was darker than its background.
    """

    pixels: Pixels
    inverted: bool


def frame(gray: Pixels) -> Framed | ImageError:
    """Brings a gray image [height, width] of any size to MNIST form. Returns an error if it is not a single digit."""
    return _search_and_frame(gray, is_crop=False)


def _search_and_frame(gray: Pixels, is_crop: bool) -> Framed | ImageError:
    if max(gray.shape) < _MIN_SIDE:
        return ImageError(RejectReason.TOO_SMALL, f"{gray.shape[1]}x{gray.shape[0]} pixels")
    searched = shrink(gray, _SEARCH_SIDE)
    ink = find_ink(searched)
    if isinstance(ink, ImageError):
        return ink
    mask = find_digit(ink)
    if isinstance(mask, ImageError):
        return mask
    left, top, width, height = cv2.boundingRect(mask)
    if not is_crop and searched is not gray and max(width, height) < _MIN_SEARCHED:
        return _search_and_frame(_crop_around(gray, (left, top, width, height), searched.shape[0]), is_crop=True)
    if max(width, height) < _MIN_INK_SIDE:
        return ImageError(RejectReason.TOO_SMALL, f"ink of {width}x{height} pixels")
    if is_too_wide(width, height):
        return ImageError(RejectReason.SEVERAL_OBJECTS, f"ink of {width}x{height} pixels, wider than a digit")
    digit = _extract_digit(ink, mask, (left, top, width, height))
    strokes = _normalize_strokes(digit)
    if not cv2.countNonZero(strokes):
        return ImageError(RejectReason.NO_INK, f"ink of {width}x{height} pixels, too faint for a stroke")
    # A square image without any background around the digit.
    filled = digit.shape == mask.shape and abs(digit.shape[0] - digit.shape[1]) <= 1
    return Framed(_centre_digit(strokes, filled), ink.dark)


def _crop_around(gray: Pixels, box: tuple[int, int, int, int], searched_height: int) -> Pixels:
    """Crops the image around a box that was found on its smaller version, with a margin."""
    scale = gray.shape[0] / searched_height
    left, top, width, height = box
    margin = int(max(width, height) * _CROP_MARGIN) + 2
    rows = slice(max(0, int((top - margin) * scale)), int((top + height + margin) * scale) + 1)
    columns = slice(max(0, int((left - margin) * scale)), int((left + width + margin) * scale) + 1)
    return gray[rows, columns]


def _extract_digit(ink: Ink, mask: Mask, box: tuple[int, int, int, int]) -> Pixels:
    """The ink of the digit alone, cropped to its outline and scaled so that its strokes reach 255."""
    strength = ink.strength
    if not ink.clean or cv2.countNonZero(mask) < cv2.countNonZero(ink.mask):
        # Remove noise and the ink that is not part of the digit. Keep the blur around the digit's own strokes.
        foreign = ink.mask > mask
        strength = np.where((cv2.dilate(mask, _ellipse_kernel(3)) == 0) | foreign, 0, strength)
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
    """Gives the digit strokes about as wide as MNIST's, if theirs are far from it, and smooths jagged outlines."""
    width = _measure_stroke_width(strength)
    visible = np.count_nonzero(strength > 20)
    jagged = visible - np.count_nonzero(strength > 234) < 0.1 * visible
    if max(strength.shape) < _FINE_SIDE and (jagged or not _THIN <= width <= _FAT):
        strength = _refine(strength)
        width = _measure_stroke_width(strength)
    unit = max(strength.shape) / INK_SIDE
    if width < _THIN and (radius := round((_THIN_TARGET - width) / 2 * unit)) >= 1:
        return np.asarray(cv2.dilate(_pad(strength, radius), _ellipse_kernel(2 * radius + 1)), np.uint8)
    if width > _FAT and (radius := round((width - _FAT_TARGET) / 2 * unit)) >= 1:
        thinned = np.asarray(cv2.erode(_pad(strength, 1), _ellipse_kernel(2 * radius + 1)), np.uint8)
        if thinned.max() > 200:  # otherwise a thin stroke beside the wide ones would be lost
            return _crop_to_ink(thinned, 20)
    return strength


def _refine(strength: Pixels) -> Pixels:
    """Enlarges the digit to a finer grid, smooths its outline and makes it steep again."""
    factor = -(-_FINE_SIDE // max(strength.shape))
    fine = cv2.resize(_pad(strength, 1), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), _SMOOTHING * factor)
    steep = (fine.astype(np.float32) - 127) * _STEEPNESS + 127
    return _crop_to_ink(to_gray(np.maximum(steep, 0)), 100)


def _crop_to_ink(strength: Pixels, threshold: float) -> Pixels:
    left, top, width, height = cv2.boundingRect(mask_above(strength, threshold))
    return strength[top : top + height, left : left + width] if width else strength


def _pad(strength: Pixels, margin: int) -> Pixels:
    return np.asarray(cv2.copyMakeBorder(strength, margin, margin, margin, margin, cv2.BORDER_CONSTANT), np.uint8)


def _measure_stroke_width(strength: Pixels) -> float:
    """Mean width of the strokes, in pixels at MNIST's scale.

    In a long stroke of width w, the mean distance to its outline is w/4.
    """
    mask = np.zeros((strength.shape[0] + 2, strength.shape[1] + 2), np.uint8)  # with background on all sides
    mask[1:-1, 1:-1] = strength > 127
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return (4 * float(cv2.mean(distance, mask)[0]) - 1) * INK_SIDE / max(strength.shape)


def _centre_digit(strength: Pixels, filled: bool) -> Pixels:
    """Places the digit on 28x28: its centre of mass at pixel 14, its longer side at most 20 pixels, nothing cut off."""
    height, width = map(float, strength.shape)
    if filled:
        width *= _STRETCHED_ASPECT
    elif width > height and width != INK_SIDE:  # a digit that is 20 wide is at MNIST's scale already
        height = width * (height / width) ** _ASPECT_POWER
    scale = INK_SIDE / max(height, width)
    centre = _centre_of_mass(strength)
    for middle, pixels, side in zip(centre, strength.shape, (height, width), strict=True):
        # The larger part of the digit, on either side of its centre, must fit.
        share = (middle + 0.5) / pixels
        scale = min(scale, (CENTRE - 0.5) / (side * max(share, 1 - share)))
    levels = _rescale(strength, (max(1, round(width * scale)), max(1, round(height * scale))))
    if levels is not strength:
        centre = _centre_of_mass(levels)
    top, left = (
        min(max(round(CENTRE - middle), 0), IMAGE_SIDE - side)
        for middle, side in zip(centre, levels.shape, strict=True)
    )
    canvas = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    canvas[top : top + levels.shape[0], left : left + levels.shape[1]] = levels
    return canvas


def _rescale(strength: Pixels, size: tuple[int, int]) -> Pixels:
    """Scales the digit to a width and height, and its strongest ink to 255.

    Returns the array itself if it already has both.
    """
    if size != strength.shape[::-1]:
        shrinking = max(size) < max(strength.shape)
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
        strength = np.asarray(cv2.resize(strength, size, interpolation=interpolation), np.uint8)
    peak = cv2.minMaxLoc(strength)[1]
    return strength if peak == 255 else to_gray(strength, 255 / max(peak, 1))


def _centre_of_mass(strength: Pixels) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    moments = cv2.moments(strength)
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


@lru_cache(maxsize=64)
def _ellipse_kernel(side: int) -> Mask:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
