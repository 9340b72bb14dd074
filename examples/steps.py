"""Draws docs/preprocessing.png: what preprocessing does, step by step, to scans made from the sample digits.

    python examples/steps.py steps.png

Each row is a kind of scan. The columns are the steps: as scanned, ink, digit, and what the model sees.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from mnist_batch.images.framing.digit import find_digit
from mnist_batch.images.framing.frame import Framed, frame
from mnist_batch.images.framing.ink import Ink, find_ink, shrink
from mnist_batch.records import ImageError, Pixels

DIGITS = Path(__file__).resolve().parent.parent / "sample_data" / "digits"
SIDE, MARGIN, HEAD, CAPTION = 150, 12, 34, 250
FONT = cv2.FONT_HERSHEY_SIMPLEX


def read_digit(label: int, number: int, side: int) -> Pixels:
    """Reads one of the sample digits and enlarges it: white on black."""
    image = cv2.imread(str(DIGITS / f"{label}/{label}_{number:03}.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def make_scans() -> dict[str, Pixels]:
    """Makes scans like those that people make, by name."""
    generator = np.random.default_rng(2)
    y, x = np.mgrid[0:1:240j, 0:1:320j]
    cover = np.zeros((240, 320))
    cover[40:200, 130:290] = read_digit(2, 4, 160) / 255
    light = (1 - 0.5 * y) * (1 - 0.35 / (1 + np.exp(-(x - 0.35) / 0.02)))
    photo = light * (235 - 175 * cover) + generator.normal(0, 5, cover.shape)
    boxed = 255 - np.pad(read_digit(5, 3, 120), 26)
    cv2.rectangle(boxed, (5, 5), (166, 166), 90, 3)
    speckled = 255 - np.pad(read_digit(7, 8, 120), 30)
    for _ in range(14):
        centre = tuple(int(value) for value in generator.integers(0, 180, 2))
        cv2.circle(speckled, centre, int(generator.integers(1, 3)), 60, -1)
    thin = np.zeros((200, 200), np.uint8)
    points = np.array([[60, 30], [60, 105], [140, 105], [110, 60], [110, 175]])
    cv2.polylines(thin, [points[:3].reshape(-1, 1, 2), points[3:].reshape(-1, 1, 2)], False, 255, 2, cv2.LINE_AA)
    pair = np.hstack([read_digit(1, 2, 100), read_digit(9, 1, 100)])
    small = cv2.resize(read_digit(8, 6, 112), (16, 16), interpolation=cv2.INTER_AREA)
    return {
        "a photo with a shadow": np.clip(photo, 0, 255).astype(np.uint8),
        "in a form's box": boxed,
        "specks and dust": speckled,
        "a fine pen": 255 - thin,
        "16x16, dark ink": np.asarray(255 - small, np.uint8),
        "two digits": np.asarray(255 - pair, np.uint8),
    }


def run_steps(scan: Pixels) -> list[Pixels | str]:
    """The scan, its ink, its digit and the result; a text instead of an image if the scan is rejected."""
    searched = shrink(scan, 160)
    ink = find_ink(searched)
    images: list[Pixels | str] = [scan]
    if isinstance(ink, Ink):
        images.append(np.clip(ink.strength * (255 / ink.level), 0, 255).astype(np.uint8))
        mask = find_digit(ink)
        images.append(mask.reason if isinstance(mask, ImageError) else mask * 255)
    outcome = frame(scan)
    images.append(outcome.pixels if isinstance(outcome, Framed) else "reject")
    return images


def draw_sheet(path: Path) -> None:
    """Writes the picture to `path`."""
    rows = make_scans()
    head = ("as scanned", "ink", "digit", "what the model sees")
    canvas = np.full((HEAD + len(rows) * (SIDE + MARGIN), CAPTION + 4 * (SIDE + MARGIN)), 255, np.uint8)
    for column, text in enumerate(head):
        cv2.putText(canvas, text, (CAPTION + column * (SIDE + MARGIN), 22), FONT, 0.5, 60, 1, cv2.LINE_AA)
    for row, (name, scan) in enumerate(rows.items()):
        top = HEAD + row * (SIDE + MARGIN)
        cv2.putText(canvas, name, (MARGIN, top + SIDE // 2), FONT, 0.55, 60, 1, cv2.LINE_AA)
        for column, image in enumerate(run_steps(scan)):
            left = CAPTION + column * (SIDE + MARGIN)
            square = canvas[top : top + SIDE, left : left + SIDE]
            square[:] = 225
            if isinstance(image, str):
                cv2.putText(canvas, image, (left + 8, top + SIDE // 2), FONT, 0.42, 60, 1, cv2.LINE_AA)
                continue
            fitted = shrink(image, SIDE)
            scale = SIDE / max(fitted.shape)
            size = (round(fitted.shape[1] * scale), round(fitted.shape[0] * scale))
            large = cv2.resize(fitted, size, interpolation=cv2.INTER_NEAREST)
            y, x = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
            square[y : y + size[1], x : x + size[0]] = large
    cv2.imwrite(str(path), canvas)


if __name__ == "__main__":
    draw_sheet(Path(sys.argv[1]))
