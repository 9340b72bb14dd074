"""Separates ink from background: how far each pixel of a gray image stands out from the paper.

The ink may be darker or brighter than the background. An even background is a single level. An uneven one, as in
photos, is a surface: a quadratic fitted to the paper between the strokes, plus what is left of the shadows. This module
knows nothing about digits: `digit.py` decides which ink belongs to one.

The thresholds were chosen on transformed images of MNIST's training set, from held-out writers
(docs/preprocessing.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mnist_batch.images.opencv import cv2
from mnist_batch.records import Floats, ImageError, Pixels, RejectReason

Mask = npt.NDArray[np.uint8]

# An image is blank if its darkest and brightest pixels differ by less. 12-bit scans stored as 16 bit span 16 levels.
_MIN_CONTRAST = 10
_MIN_LEVEL = 8  # gray levels: the mean of the ink, above the background
_MIN_NOISE = 0.5  # gray levels, standard deviation; below this the image counts as free of noise
# Ink must stand out from the paper's noise by this many standard deviations. Gaussian noise alone, split at its best
# threshold, gives 2; pencil on rough paper gives 10.
_MIN_SIGNAL_TO_NOISE = 5.0
# Ink must also stand out by this share of the range of the background: up to a quarter of a shadow's edge remains.
_MIN_SIGNAL_TO_RELIEF = 0.35
# At the edge of an image, paper is more likely than ink. The width of that edge, as a share of the shorter side.
_EDGE_WIDTH = 0.07
# Width of a stroke's blur, as a share of the shorter side: two of 28 pixels in an image enlarged from MNIST's size.
_BLUR_WIDTH = 2 / 28
# Paper is even if its level varies between the parts of the image by less than this share of the ink's contrast, or by
# less than this many gray levels.
_UNEVEN_SHARE, _MIN_UNEVEN = 0.04, 2
# Smaller images have too few pixels of paper to tell a slope from the blur of the strokes.
_MIN_UNEVEN_SIDE = 20
# In images smaller than that, noise cannot be measured. Their gray levels must form two groups instead, by Otsu's
# measure. Noise has at most 0.70 at 16x16, and up to 0.75 at 8x8; digits at 8x8 have at least 0.76.
_MIN_SEPARATION = 0.74
# An uneven background is smooth, so it is estimated on an image of this side.
_BACKGROUND_SIDE = 64
# Window sides, as shares of that side: a median in which strokes are the minority, a closing that no stroke fills, a
# mean that follows a shadow's edge.
_MEDIAN_WINDOW, _CLOSING_WINDOW, _MEAN_WINDOW = 0.6, 0.4, 0.25
# Enough pixels for a median or another quantile.
_SAMPLE_PIXELS = 4096
# If less of the image than this share is background away from the strokes, the pixels next to strokes are used too.
_MIN_BACKGROUND = 0.1


@dataclass(frozen=True, slots=True)
class Ink:
    """The ink of an image.

    strength: float32 [height, width], at least 0: by how many gray levels each pixel stands out from the background.
    dark: whether the ink is darker than the background.
    level: the mean strength of the ink.
    clean: whether the background is practically free of noise, so that even the faintest pixel is ink.
    threshold: pixels above this strength are ink. Others are noise, or the blur around the ink.
    mask: uint8 [height, width], 1 for pixels above the threshold, else 0.
    """

    strength: Floats
    dark: bool
    level: float
    clean: bool
    threshold: float
    mask: Mask


def find_ink(gray: Pixels) -> Ink | ImageError:
    """Finds the ink in an image [height, width]. Returns the error `blank` if nothing stands out from the noise."""
    darkest, brightest, _, _ = cv2.minMaxLoc(gray)
    if brightest - darkest < _MIN_CONTRAST:
        return ImageError(RejectReason.BLANK, f"gray levels differ by {brightest - darkest:.0f}")
    bright = _threshold_otsu(gray)
    dark: Mask = ~bright
    if min(gray.shape) < _MIN_UNEVEN_SIDE and (separation := _measure_separation(gray, bright, dark)) < _MIN_SEPARATION:
        detail = f"gray levels do not separate into ink and background ({separation:.2f})"
        return ImageError(RejectReason.BLANK, detail)
    strength, dark_ink, relief = _measure_strength(gray, bright, dark)
    if relief == 0 and cv2.minMaxLoc(strength)[0] >= 0:
        # The strengths are the gray levels minus a constant, so the best threshold is the one found above.
        level, noise = float(cv2.mean(strength, dark if dark_ink else bright)[0]), 0.0
    else:
        signed, strength = strength, np.maximum(strength, 0)
        visible = to_gray(strength)
        inked = _threshold_otsu(visible)
        level, noise = float(cv2.mean(visible, inked)[0]), _measure_noise(signed, inked)
    if level < max(_MIN_LEVEL, _MIN_SIGNAL_TO_NOISE * noise, _MIN_SIGNAL_TO_RELIEF * relief):
        background = f"on a background that varies by {relief:.0f}, with noise of {noise:.1f}"
        return ImageError(RejectReason.BLANK, f"contrast of {level:.0f} gray levels {background}")
    clean = noise < _MIN_NOISE
    threshold = max(0.08 * level, 1.0) if clean else max(0.2 * level, 3 * noise)
    return Ink(strength, dark_ink, level, clean, threshold, mask_above(strength, threshold))


def _measure_strength(gray: Pixels, bright: Mask, dark: Mask) -> tuple[Floats, bool, float]:
    """Measures by how many gray levels each pixel stands out from the background.

    Returns the strength (negative for pixels on the other side of the background), whether the ink is dark, and the
    range of the background in gray levels; 0 if it is even.
    """
    dark_ink = _score_background(bright) > 1
    background = bright if dark_ink else dark
    # The blur around strokes is neither ink nor background.
    window = _square_kernel(_round_to_odd(max(3, _BLUR_WIDTH * min(gray.shape))))
    inner = np.asarray(cv2.erode(background, window, borderValue=(255,)), np.uint8)
    if cv2.countNonZero(inner) < _MIN_BACKGROUND * inner.size:
        inner = background
    lowest, highest, _, _ = cv2.minMaxLoc(gray, inner)
    if highest - lowest > _MIN_UNEVEN and min(gray.shape) >= _MIN_UNEVEN_SIDE:
        tolerance = max(_UNEVEN_SHARE * (cv2.mean(gray, bright)[0] - cv2.mean(gray, dark)[0]), _MIN_UNEVEN)
        if highest - lowest > tolerance and _is_uneven(gray, inner, tolerance):
            return _measure_on_uneven_background(gray)
    if lowest == highest:
        level = lowest
    elif inner is background and min(gray.shape) < _MIN_UNEVEN_SIDE:
        # In a small image full of ink, all background pixels are blurred strokes: use those furthest from the ink.
        level = _quantile(gray[inner > 0], 0.9 if dark_ink else 0.1)
    else:
        level = _quantile(gray[inner > 0], 0.5)
    levels: Floats = gray.astype(np.float32)
    return (level - levels if dark_ink else levels - level), dark_ink, 0.0


def _measure_on_uneven_background(gray: Pixels) -> tuple[Floats, bool, float]:
    """As `_measure_strength`, with a surface for the background."""
    small = shrink(gray, _BACKGROUND_SIDE)
    smooth = np.asarray(cv2.GaussianBlur(small, (3, 3), 0), np.uint8)
    side = max(small.shape)
    # Ink differs from the median of a large window, and mostly in one direction.
    difference = smooth.astype(np.int16) - cv2.medianBlur(smooth, _round_to_odd(_MEDIAN_WINDOW * side))
    margin = 0.4 * np.abs(difference).max()
    dark_ink = bool(np.clip(-difference - margin, 0, None).sum() > np.clip(difference - margin, 0, None).sum())
    window = _square_kernel(_round_to_odd(_CLOSING_WINDOW * side))
    # What a closing fills (dark ink), or what an opening removes (bright ink).
    operation = cv2.MORPH_BLACKHAT if dark_ink else cv2.MORPH_TOPHAT
    inked = _threshold_otsu(np.asarray(cv2.morphologyEx(smooth, operation, window), np.uint8))
    paper = cv2.dilate(inked, _square_kernel(3)) == 0
    if np.count_nonzero(paper) < _MIN_BACKGROUND * paper.size:
        paper = inked == 0
    mean_window = _round_to_odd(_MEAN_WINDOW * side)
    background = _fit_surface(small.astype(np.float32), paper.astype(np.float32), mean_window)
    relief = float(np.ptp(background))
    if small.shape != gray.shape:
        resized = cv2.resize(background, gray.shape[::-1], interpolation=cv2.INTER_LINEAR)
        background = np.asarray(resized, np.float32)
    strength: Floats = gray.astype(np.float32) - background
    return (-strength if dark_ink else strength), dark_ink, relief


def _fit_surface(levels: Floats, paper: Floats, window: int) -> Floats:
    """The background of the whole image, from the pixels of `paper` (0 or 1).

    It is a quadratic through those pixels, plus the mean of what the quadratic leaves in a window around each pixel.
    """
    terms = _quadratic_terms(*levels.shape)
    weighted = terms * paper.reshape(-1, 1)
    # A ridge term, far below the number of pixels, keeps the fit solvable if all the pixels are on a line.
    normal = (weighted.T @ terms).astype(np.float64) + 1e-3 * np.eye(terms.shape[1])
    factors = np.linalg.solve(normal, (weighted.T @ levels.reshape(-1)).astype(np.float64))
    surface = (terms @ factors.astype(np.float32)).reshape(levels.shape)
    residual = cv2.blur((levels - surface) * paper, (window, window))
    weight = cv2.blur(paper, (window, window))
    return np.asarray(surface + np.where(weight > 0.05, residual / np.maximum(weight, 0.05), 0), np.float32)


@lru_cache(maxsize=64)
def _quadratic_terms(height: int, width: int) -> Floats:
    """float32 [height * width, 6]: 1, x, y, xx, xy, yy of each pixel, x and y in -1..1."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6).astype(np.float32)


def _is_uneven(gray: Pixels, background: Mask, tolerance: float) -> bool:
    """Whether the background's level varies by more than `tolerance` between the cells of a 3x3 grid.

    Only cells with enough background count. If fewer than 6 of the 9 do, the threshold has split a slope in two, and
    what looks like ink is its other half: then the background is uneven as well.
    """
    step = max(1, max(gray.shape) // _BACKGROUND_SIDE)  # a sample of the pixels is enough
    sample = (background[::step, ::step] > 0).astype(np.float32)
    share = cv2.resize(sample, (3, 3), interpolation=cv2.INTER_AREA)
    level = cv2.resize(gray[::step, ::step] * sample, (3, 3), interpolation=cv2.INTER_AREA)
    levels = level[share > 0.2] / share[share > 0.2]
    return len(levels) < 6 or float(np.ptp(levels)) > tolerance


def _score_background(mask: Mask) -> float:
    """How much a mask looks like background, 0..2: its share of the image's edge plus its share of the whole image.

    1 is undecided.
    """
    height, width = mask.shape
    edge = max(1, round(_EDGE_WIDTH * min(height, width)))
    whole = cv2.countNonZero(mask)
    inner = mask[edge : height - edge, edge : width - edge]
    within = cv2.countNonZero(inner) if inner.size else 0
    return (whole - within) / (mask.size - inner.size) + whole / mask.size


def _measure_noise(strength: Floats, inked: Mask) -> float:
    """Standard deviation of the background around 0, measured on the side without ink: minus its 16 % quantile."""
    background = strength[inked == 0]
    return max(0.0, -_quantile(background, 0.16)) if len(background) else 0.0


def _measure_separation(gray: Pixels, bright: Mask, dark: Mask) -> float:
    """Share of the gray levels' variance, 0..1, between those above and below the threshold (Otsu 1979)."""
    share = cv2.countNonZero(bright) / bright.size
    gap = cv2.mean(gray, bright)[0] - cv2.mean(gray, dark)[0]
    return share * (1 - share) * gap**2 / float(gray.var())


def _quantile(values: npt.NDArray[np.float32] | Pixels, share: float) -> float:
    sample = values[:: max(1, len(values) // _SAMPLE_PIXELS)]
    position = int(share * len(sample))
    return float(np.partition(sample, position)[position])


def _threshold_otsu(gray: Pixels) -> Mask:
    """255 for pixels brighter than the image's best threshold (Otsu 1979), else 0."""
    return np.asarray(cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1], np.uint8)


def to_gray(strength: Floats | Pixels, scale: float = 1.0) -> Pixels:
    """Converts strengths, none below 0, to uint8: scaled, rounded, at most 255."""
    return np.asarray(cv2.convertScaleAbs(strength, alpha=scale), np.uint8)


def mask_above(strength: Floats | Pixels, threshold: float) -> Mask:
    """1 for pixels whose strength is above the threshold, else 0."""
    return np.asarray(strength > threshold).view(np.uint8)


def shrink(gray: Pixels, side: int) -> Pixels:
    """Shrinks an image so that its longer side is at most `side`, by averaging pixels. Smaller images are returned."""
    height, width = gray.shape
    scale = side / max(height, width)
    if scale >= 1:
        return gray
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=64)
def _square_kernel(side: int) -> Mask:
    return np.ones((side, side), np.uint8)


def _round_to_odd(size: float) -> int:
    return int(size) | 1
