"""Ink and ground: how far each pixel of a gray image stands out from the paper it lies on, whichever is the darker.

The ground is one level where it is even. Elsewhere, in photos, it is a surface: a quadratic through the paper between
the strokes, and what is left of shadows after that. Knows nothing of digits: which ink belongs to one is `digit.py`'s.

The thresholds were chosen on images of MNIST's training set by held-out writers, transformed (docs/preprocessing.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from mnist_batch.records import Floats, ImageError, Pixels, RejectReason

Mask = npt.NDArray[np.uint8]

# Less than this between the darkest and the brightest pixel is no picture; 12-bit scans kept in 16 bit span 16 levels.
_LEAST_CONTRAST = 10
_LEAST_LEVEL = 8  # and for the mean of what is taken for ink, over the ground
_LEAST_NOISE = 0.5  # gray levels, standard deviation; less is none
# Ink must stand out from the paper's noise by this many standard deviations: Gaussian noise alone, cut in two at its
# best threshold, gives 2; pencil on rough paper 10.
_LEAST_SIGNAL_TO_NOISE = 5.0
# And by this share of what the ground itself differs by: of a shadow's edge up to a quarter is left over.
_LEAST_SIGNAL_TO_RELIEF = 0.35
# Along the image's edge paper is more likely than ink; how broad that edge is, as a share of the shorter side.
_BAND = 0.07
# A stroke's blur in an image enlarged from MNIST's size is two of its 28 pixels.
_BLUR = 2 / 28
# Paper is even where its level differs by less than this share of the ink's contrast from one part to another, or by
# so few gray levels.
_UNEVEN, _LEAST_UNEVEN = 0.04, 2
# A smaller image has too few pixels of paper to tell a slope from the blur of its strokes.
_LEAST_UNEVEN_SIDE = 20
# So small an image shows its noise nowhere; its gray levels must fall into two groups, by Otsu's measure. Noise has at
# most 0.70 at 16x16, and up to 0.75 at 8x8; digits at 8x8 have at least 0.76.
_LEAST_SEPARATION = 0.74
# The ground is a smooth thing, and is found on an image of this side.
_GROUND_SIDE = 64
# Sides of the windows on it, as shares of its side: a median of which strokes are the minority, a closing that no
# stroke fills, a mean that follows a shadow's edge.
_MEDIAN_WINDOW, _CLOSING_WINDOW, _MEAN_WINDOW = 0.6, 0.4, 0.25
# Enough pixels for a median or a quantile.
_SAMPLE = 4096
# Below this share of the pixels there is too little ground between strokes to do without their surroundings.
_LEAST_GROUND = 0.1


@dataclass(frozen=True, slots=True)
class Ink:
    """What stands out of an image.

    strength: float32 [height, width] in gray levels: how much more ink than ground a pixel is, at least 0;
    dark: whether the ink is darker than its ground; level: the mean strength of ink; clean: whether the ground has no
    noise to speak of, so that the faintest pixel is ink; threshold: the strength above which a pixel is ink rather than
    noise or the blur around it; mask: uint8 [height, width], 1 where it is, else 0.
    """

    strength: Floats
    dark: bool
    level: float
    clean: bool
    threshold: float
    mask: Mask


def find_ink(gray: Pixels) -> Ink | ImageError:
    """The ink of an image [height, width]; a refusal (`blank`) where nothing stands out from its noise."""
    darkest, brightest, _, _ = cv2.minMaxLoc(gray)
    if brightest - darkest < _LEAST_CONTRAST:
        return ImageError(RejectReason.BLANK, f"gray levels differ by {brightest - darkest:.0f}")
    bright = _split(gray)
    dark: Mask = ~bright
    if min(gray.shape) < _LEAST_UNEVEN_SIDE and (separation := _separation(gray, bright, dark)) < _LEAST_SEPARATION:
        return ImageError(RejectReason.BLANK, f"gray levels without two groups, ink and ground ({separation:.2f})")
    strength, dark_ink, relief = _measure_strength(gray, bright, dark)
    if relief == 0 and cv2.minMaxLoc(strength)[0] >= 0:
        # The gray levels themselves, counted from the ground's: their best threshold is where it was.
        level, noise = float(cv2.mean(strength, dark if dark_ink else bright)[0]), 0.0
    else:
        signed, strength = strength, np.maximum(strength, 0)
        visible = to_gray(strength)
        inked = _split(visible)
        level, noise = float(cv2.mean(visible, inked)[0]), _noise(signed, inked)
    if level < max(_LEAST_LEVEL, _LEAST_SIGNAL_TO_NOISE * noise, _LEAST_SIGNAL_TO_RELIEF * relief):
        ground = f"on ground that differs by {relief:.0f}, with noise of {noise:.1f}"
        return ImageError(RejectReason.BLANK, f"contrast of {level:.0f} gray levels {ground}")
    clean = noise < _LEAST_NOISE
    threshold = max(0.08 * level, 1.0) if clean else max(0.2 * level, 3 * noise)
    return Ink(strength, dark_ink, level, clean, threshold, mask_above(strength, threshold))


def _measure_strength(gray: Pixels, bright: Mask, dark: Mask) -> tuple[Floats, bool, float]:
    """The strength, whether the ink is dark, and how many gray levels the ground under it differs by."""
    dark_ink = _ground_likeness(bright) > 1
    ground = bright if dark_ink else dark
    # Away from strokes, whose blur is neither.
    window = _square(_odd(max(3, _BLUR * min(gray.shape))))
    inner = np.asarray(cv2.erode(ground, window, borderValue=(255,)), np.uint8)
    if cv2.countNonZero(inner) < _LEAST_GROUND * inner.size:
        inner = ground
    lowest, highest, _, _ = cv2.minMaxLoc(gray, inner)
    if highest - lowest > _LEAST_UNEVEN and min(gray.shape) >= _LEAST_UNEVEN_SIDE:
        tolerance = max(_UNEVEN * (cv2.mean(gray, bright)[0] - cv2.mean(gray, dark)[0]), _LEAST_UNEVEN)
        if highest - lowest > tolerance and _is_uneven(gray, inner, tolerance):
            return _measure_on_uneven_ground(gray)
    level = lowest if lowest == highest else _quantile(gray[inner > 0], _ground_share(gray, inner is ground, dark_ink))
    levels: Floats = gray.astype(np.float32)
    return (level - levels if dark_ink else levels - level), dark_ink, 0.0


def _ground_share(gray: Pixels, crowded: bool, dark_ink: bool) -> float:
    """Which quantile of the ground's pixels is its level: the median, but in a small image crowded with ink, where all
    of them are blurred strokes, the one furthest from the ink.
    """
    if not crowded or min(gray.shape) >= _LEAST_UNEVEN_SIDE:
        return 0.5
    return 0.9 if dark_ink else 0.1


def _measure_on_uneven_ground(gray: Pixels) -> tuple[Floats, bool, float]:
    small = shrink(gray, _GROUND_SIDE)
    smooth = np.asarray(cv2.GaussianBlur(small, (3, 3), 0), np.uint8)
    side = max(small.shape)
    # Ink is what the median of a large window leaves out, and stands out to one side.
    outlying = smooth.astype(np.int16) - cv2.medianBlur(smooth, _odd(_MEDIAN_WINDOW * side))
    far = 0.4 * np.abs(outlying).max()
    dark_ink = bool(np.clip(-outlying - far, 0, None).sum() > np.clip(outlying - far, 0, None).sum())
    window = _square(_odd(_CLOSING_WINDOW * side))
    operation = cv2.MORPH_BLACKHAT if dark_ink else cv2.MORPH_TOPHAT  # what a closing fills, what an opening removes
    inked = _split(np.asarray(cv2.morphologyEx(smooth, operation, window), np.uint8))
    paper = cv2.dilate(inked, _square(3)) == 0
    if np.count_nonzero(paper) < _LEAST_GROUND * paper.size:
        paper = inked == 0
    ground = _fit_surface(small.astype(np.float32), paper.astype(np.float32), _odd(_MEAN_WINDOW * side))
    relief = float(np.ptp(ground))
    if small.shape != gray.shape:
        ground = np.asarray(cv2.resize(ground, gray.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    strength: Floats = gray.astype(np.float32) - ground
    return (-strength if dark_ink else strength), dark_ink, relief


def _fit_surface(levels: Floats, paper: Floats, window: int) -> Floats:
    """The ground under everything: a quadratic through the pixels of `paper` (0 or 1), and the mean rest around."""
    terms = _quadratic_terms(*levels.shape)
    weighted = terms * paper.reshape(-1, 1)
    # A ridge far below the number of pixels: where they lie in one line the fit stays what it can be.
    normal = (weighted.T @ terms).astype(np.float64) + 1e-3 * np.eye(terms.shape[1])
    factors = np.linalg.solve(normal, (weighted.T @ levels.reshape(-1)).astype(np.float64))
    surface = (terms @ factors.astype(np.float32)).reshape(levels.shape)
    rest = cv2.blur((levels - surface) * paper, (window, window))
    weight = cv2.blur(paper, (window, window))
    return np.asarray(surface + np.where(weight > 0.05, rest / np.maximum(weight, 0.05), 0), np.float32)


@lru_cache(maxsize=64)
def _quadratic_terms(height: int, width: int) -> Floats:
    """float32 [height * width, 6]: 1, x, y, xx, xy, yy of each pixel, x and y in -1..1."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6).astype(np.float32)


def _is_uneven(gray: Pixels, ground: Mask, tolerance: float) -> bool:
    """Whether the ground's level differs by more than that between the ninths of the image, where they show enough.

    Where less than two thirds of them do, a slope was cut in two, and what was taken for ink is its other half.
    """
    step = max(1, max(gray.shape) // _GROUND_SIDE)  # fewer pixels will do
    shown = (ground[::step, ::step] > 0).astype(np.float32)
    share = cv2.resize(shown, (3, 3), interpolation=cv2.INTER_AREA)
    level = cv2.resize(gray[::step, ::step] * shown, (3, 3), interpolation=cv2.INTER_AREA)
    levels = level[share > 0.2] / share[share > 0.2]
    return len(levels) < 6 or float(np.ptp(levels)) > tolerance


def _ground_likeness(mask: Mask) -> float:
    """How much a mask looks like ground, 0..2: its share of the image's edge, and of the whole; 1 is undecided."""
    height, width = mask.shape
    band = max(1, round(_BAND * min(height, width)))
    whole = cv2.countNonZero(mask)
    inner = mask[band : height - band, band : width - band]
    within = cv2.countNonZero(inner) if inner.size else 0
    return (whole - within) / (mask.size - inner.size) + whole / mask.size


def _noise(strength: Floats, inked: Mask) -> float:
    """Standard deviation of the ground around 0, from below, where no ink is: minus its 16 % quantile."""
    ground = strength[inked == 0]
    return max(0.0, -_quantile(ground, 0.16)) if len(ground) else 0.0


def _separation(gray: Pixels, bright: Mask, dark: Mask) -> float:
    """How much of the gray levels' variance lies between those above and below the best threshold, 0..1 (Otsu 1979)."""
    share = cv2.countNonZero(bright) / bright.size
    gap = cv2.mean(gray, bright)[0] - cv2.mean(gray, dark)[0]
    return share * (1 - share) * gap**2 / float(gray.var())


def _quantile(values: npt.NDArray[np.float32] | Pixels, share: float) -> float:
    sample = values[:: max(1, len(values) // _SAMPLE)]
    position = int(share * len(sample))
    return float(np.partition(sample, position)[position])


def _split(gray: Pixels) -> Mask:
    """255 where an image is brighter than its best threshold (Otsu 1979), else 0."""
    return np.asarray(cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1], np.uint8)


def to_gray(strength: Floats | Pixels, scale: float = 1.0) -> Pixels:
    """Strengths, none of them below 0, as uint8: scaled, rounded, at most 255."""
    return np.asarray(cv2.convertScaleAbs(strength, alpha=scale), np.uint8)


def mask_above(strength: Floats | Pixels, threshold: float) -> Mask:
    """1 where the strength is above the threshold, else 0."""
    return np.asarray(strength > threshold).view(np.uint8)


def shrink(gray: Pixels, side: int) -> Pixels:
    """The image with its longer side at most `side`; pixels are averaged."""
    height, width = gray.shape
    scale = side / max(height, width)
    if scale >= 1:
        return gray
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=64)
def _square(side: int) -> Mask:
    return np.ones((side, side), np.uint8)


def _odd(size: float) -> int:
    return int(size) | 1
