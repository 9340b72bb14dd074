"""What scanning does to a digit in MNIST form, for the tests of framing and for `benchmarks/framing.py`.

Each transform takes an image, uint8 [28, 28], white on black, and a random generator. It returns a gray image of any
size, or an encoded one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from images.encoders import encode, jpeg_with_exif

Gray = npt.NDArray[np.uint8]
GrayTransform = Callable[[Gray, np.random.Generator], Gray]
Transform = Callable[[Gray, np.random.Generator], Gray | bytes]


def as_gray(image: npt.NDArray[Any]) -> Gray:
    """Types a result of OpenCV, whose signatures do not say uint8."""
    return np.asarray(image, np.uint8)


def enlarge(image: Gray, width: int, height: int) -> Gray:
    return as_gray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))


def resized(width: int, height: int) -> GrayTransform:
    interpolation = cv2.INTER_AREA if width < 28 else cv2.INTER_CUBIC
    return lambda image, _: as_gray(cv2.resize(image, (width, height), interpolation=interpolation))


def fitted(width: int, height: int) -> GrayTransform:
    """Enlarged as far as it fits, on a black canvas."""

    def transform(image: Gray, generator: np.random.Generator) -> Gray:
        side = min(width, height)
        canvas = np.zeros((height, width), np.uint8)
        top, left = generator.integers(0, height - side + 1), generator.integers(0, width - side + 1)
        canvas[top : top + side, left : left + side] = enlarge(image, side, side)
        return canvas

    return transform


def inverted(image: Gray, _: np.random.Generator) -> Gray:
    return 255 - image


def padded(image: Gray, generator: np.random.Generator) -> Gray:
    """At a random position in 40x60."""
    canvas = np.zeros((40, 60), np.uint8)
    top, left = generator.integers(0, 13), generator.integers(0, 33)
    canvas[top : top + 28, left : left + 28] = image
    return canvas


def on_paper(side: int, noise: float) -> GrayTransform:
    """Dark ink on gray paper, with a lighting gradient of 56 levels in a random direction, and noise."""

    def transform(image: Gray, generator: np.random.Generator) -> Gray:
        large = enlarge(image, side, side) if side != 28 else image
        y, x = np.mgrid[-0.5 : 0.5 : side * 1j, -0.5 : 0.5 : side * 1j]
        angle = generator.uniform(0, 2 * np.pi)
        light = 200 + 56 * (np.cos(angle) * x + np.sin(angle) * y)
        scan = light * (1 - 0.75 * large / 255.0) + generator.normal(0, noise, large.shape)
        return np.clip(scan, 0, 255).astype(np.uint8)

    return transform


def photographed(image: Gray, generator: np.random.Generator) -> bytes:
    """A blurred JPEG of dark ink, off-centre, on textured and unevenly lit paper; half of them with a shadow's edge."""
    side = int(generator.integers(180, 420))
    height, width = (int(side * generator.uniform(1, 1.6)) for _ in range(2))
    cover = np.zeros((height, width), np.float32)
    top, left = generator.integers(0, height - side + 1), generator.integers(0, width - side + 1)
    cover[top : top + side, left : left + side] = enlarge(image, side, side) / 255.0
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = generator.uniform(0, 2 * np.pi)
    light = 1 - generator.uniform(0.2, 0.5) * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5) + 0.5)
    if generator.random() < 0.5:
        light *= 1 - 0.3 / (1 + np.exp(-(x - generator.uniform(0.3, 0.7)) / 0.04))
    texture = cv2.GaussianBlur(generator.normal(0, 1, cover.shape).astype(np.float32), (0, 0), 2) * 8
    paper, ink = generator.uniform(190, 245), generator.uniform(20, 90)
    scan = light * (paper * (1 - cover) + ink * cover) + texture + generator.normal(0, 3, cover.shape)
    scan = cv2.GaussianBlur(scan.astype(np.float32), (0, 0), generator.uniform(0.5, 2))
    return encode(".jpg", np.clip(scan, 0, 255).astype(np.uint8), cv2.IMWRITE_JPEG_QUALITY, 70)


def jpeg(quality: int) -> Transform:
    return lambda image, _: encode(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, quality)


def on_transparent_ground(image: Gray, _: np.random.Generator) -> bytes:
    """Black ink on a transparent background: RGBA, with the image as opacity."""
    layers = np.zeros((*image.shape, 4), np.uint8)
    layers[..., 3] = image
    return encode(".png", layers)


def in_yellow_on_white(image: Gray, _: np.random.Generator) -> bytes:
    colour = np.full((*image.shape, 3), 255, np.uint8)
    colour[..., 0] = 255 - image  # blue, first in OpenCV
    return encode(".png", colour)


def in_16_bit(image: Gray, _: np.random.Generator) -> bytes:
    """Shifted too, so that it is not in MNIST form."""
    return encode(".png", np.roll(image, (3, -2), (0, 1)).astype(np.uint16) * 257)


def turned_by_exif(image: Gray, _: np.random.Generator) -> bytes:
    """Stored a quarter turn to the left, with EXIF orientation 6: rotate right to view."""
    return jpeg_with_exif(encode(".jpg", np.rot90(enlarge(image, 112, 112))), 6)


def cut_out(image: Gray, _: np.random.Generator) -> Gray:
    """Cropped to the ink, without a border."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def with_strokes(radius: int, thin: bool) -> GrayTransform:
    """At 280x280, black and white: strokes `radius` wider on each side, or of that radius around their centre line."""

    def transform(image: Gray, _: np.random.Generator) -> Gray:
        large = np.pad((enlarge(image, 280, 280) > 127).astype(np.uint8) * 255, 20)
        pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        if not thin:
            return as_gray(cv2.dilate(large, pen))
        ridge = cv2.distanceTransform(large, cv2.DIST_L2, 5)
        line = (ridge > 0) & (ridge >= 0.97 * cv2.dilate(ridge, np.ones((3, 3), np.uint8)))
        return as_gray(cv2.dilate(line.astype(np.uint8) * 255, pen))

    return transform


def among_specks(image: Gray, generator: np.random.Generator) -> Gray:
    scan = 255 - np.pad(enlarge(image, 120, 120), 30)
    for _ in range(12):
        x, y = (int(value) for value in generator.integers(0, 180, 2))
        cv2.circle(scan, (x, y), int(generator.integers(1, 3)), int(generator.integers(0, 80)), -1)
    return scan


def boxed(image: Gray, generator: np.random.Generator) -> Gray:
    """In the box of a form."""
    scan = 255 - np.pad(enlarge(image, 120, 120), 24)
    inset, width = int(generator.integers(0, 10)), int(generator.integers(2, 5))
    cv2.rectangle(scan, (inset, inset), (167 - inset, 167 - inset), 60, width)
    return scan


def beside_a_line(image: Gray, generator: np.random.Generator) -> Gray:
    """With a dark rim on two sides of the scan, as copiers leave it."""
    scan = 255 - np.pad(enlarge(image, 120, 120), 10)
    scan[:, : generator.integers(2, 6)] = 40
    scan[: generator.integers(1, 5)] = 60
    return scan


def beside(other: Gray) -> GrayTransform:
    """With another digit to its right."""

    def transform(image: Gray, generator: np.random.Generator) -> Gray:
        first, second = cut_out(image, generator), cut_out(other, generator)
        side = max(first.shape[0], second.shape[0]) + 8
        canvas = np.zeros((side, first.shape[1] + second.shape[1] + 12), np.uint8)
        canvas[4 : 4 + first.shape[0], 4 : 4 + first.shape[1]] = first
        canvas[4 : 4 + second.shape[0], -4 - second.shape[1] : -4] = second
        return 255 - as_gray(cv2.resize(canvas, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC))

    return transform


# Transforms for which an accuracy on MNIST's test images is promised, and by how much it may fall.
PROMISED: dict[str, tuple[Transform, float]] = {
    "inverted": (inverted, 0.01),
    "padded off-centre into 40x60": (padded, 0.01),
    "16x16": (resized(16, 16), 0.03),
    "64x64": (resized(64, 64), 0.01),
    "stretched to 300x200": (resized(300, 200), 0.01),
    "fitted into 300x200": (fitted(300, 200), 0.01),
    "2000x2000": (resized(2000, 2000), 0.01),
    "on gray paper, 28x28, noise 6": (on_paper(28, 6), 0.01),
    "on gray paper, 28x28, noise 12": (on_paper(28, 12), 0.01),
    "on gray paper, 200x200, noise 15": (on_paper(200, 15), 0.01),
    "JPEG of quality 30": (jpeg(30), 0.03),
    "black on transparent ground": (on_transparent_ground, 0.01),
    "yellow on white": (in_yellow_on_white, 0.01),
    "16 bit": (in_16_bit, 0.01),
    "turned by EXIF": (turned_by_exif, 0.01),
}
# Transforms that are measured without a promise.
MORE: dict[str, Transform] = {
    "photographed": photographed,
    "among specks": among_specks,
    "in a box": boxed,
    "beside a copier's rim": beside_a_line,
    "cut out": cut_out,
    "strokes twice as wide": with_strokes(12, thin=False),
    "strokes of a fine pen": with_strokes(3, thin=True),
    "8x8": resized(8, 8),
}
# All of them.
TRANSFORMS: dict[str, Transform] = {name: transform for name, (transform, _) in PROMISED.items()} | MORE
