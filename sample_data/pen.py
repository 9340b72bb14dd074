"""Draws one digit as if by hand: varies a form, moves a pen along it, and brings the ink to MNIST form.

Knows nothing about files. All randomness comes from the generator that is passed in.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from strokes import FORMS, Form

Pixels = NDArray[np.uint8]
Track = NDArray[np.float64]

SIDE = 28
INK_SIDE = 20  # the longer side of the ink's bounding box: LeCun et al., "The MNIST database of handwritten digits"
CENTRE = 14  # pixel index of the ink's centre of mass, to the nearest whole pixel
OVERSAMPLING = 16  # 256 sub-pixels per pixel, enough for each of the 256 gray levels
TRACK_STEPS = (
    24  # points between two points of a form: the discs of the pen are then less than a fifth of its width apart
)


@dataclass(frozen=True)
class Hand:
    """How freely somebody writes. The spreads are standard deviations.

    looseness: how far points stray and lines sway; 1 is everyday writing.
    slant, slant_spread: in radians, positive to the right.
    stretch_spread: of the logarithm of the width.
    pen, pen_spread: width of the line, in pixels of the result.
    """

    looseness: float
    slant: float
    slant_spread: float
    stretch_spread: float
    pen: float
    pen_spread: float


# Pens, slants and stretches are chosen so that three measures are near those of MNIST's training images: the mean gray
# level (33 of 255), and the spread of the line widths and of the box widths. The forms themselves were judged by eye.
EVERYDAY = Hand(looseness=1.0, slant=0.12, slant_spread=0.17, stretch_spread=0.13, pen=2.45, pen_spread=0.55)
CAREFUL = Hand(looseness=0.6, slant=0.1, slant_spread=0.1, stretch_spread=0.08, pen=2.6, pen_spread=0.3)
LOOSE = Hand(looseness=1.5, slant=0.14, slant_spread=0.24, stretch_spread=0.2, pen=2.5, pen_spread=0.8)

MIN_PEN, MAX_PEN = 1.7, 4.0  # thinner lines break up into gray, thicker ones close the loops of 6, 8, 9
BASE_STRETCH = 1.2  # the forms are narrow; MNIST's boxes are about 0.8 times as wide as high, with the slant
MIN_SLANT, MAX_SLANT = -0.3, 0.6  # radians; outside of this range, a slanted 1 or 7 looks like a dash
ROTATION_SPREAD = 0.06  # radians by which the whole digit is rotated


def draw_digit(digit: int, hand: Hand, rng: np.random.Generator) -> Pixels:
    """Draws a digit in MNIST form, as `check_mnist_form` requires: uint8 [28, 28], ink 255 on 0."""
    forms = FORMS[digit]
    form = forms[rng.choice(len(forms), p=[form.share / 100 for form in forms])]
    while True:
        ink = _draw_ink(form, hand, rng)
        top, left = (CENTRE - round(centre) for centre in _centre_of_mass(ink))
        # If one end is heavy, as in a 7 with a serif and a faint stem, the other end may not fit on the image. Then try
        # again.
        if min(top, left) >= 0 and top + ink.shape[0] <= SIDE and left + ink.shape[1] <= SIDE:
            break
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    check_mnist_form(pixels)
    return pixels


def check_mnist_form(pixels: Pixels) -> None:
    """Raises ValueError if the image is not in the form that was measured on all 70,000 images of MNIST.

    The longer side of the ink's box is at most 20 pixels (here exactly 20), its centre of mass is between 13.48 and
    14.50 on both axes, and the brightest pixel is 254 or more.
    """
    longest = max(int(np.ptp(np.flatnonzero(pixels.any(axis=axis)))) + 1 for axis in (0, 1))
    centre = _centre_of_mass(pixels)
    if longest != INK_SIDE or min(centre) < 13.48 or max(centre) > 14.50 or pixels.max() < 254:
        raise ValueError(
            f"a drawn digit must have a box of {INK_SIDE} pixels, its centre of mass in 13.48..14.50 and a peak of "
            f"254 or more, got {longest}, ({centre[0]:.2f}, {centre[1]:.2f}) and {pixels.max()}: "
            "change the pen or the strokes"
        )


def _centre_of_mass(pixels: Pixels) -> tuple[float, float]:
    """Row and column of the centre of mass, as pixel indices: 0 is the middle of the first pixel."""
    down = np.average(np.arange(pixels.shape[0]), weights=pixels.sum(axis=1))
    across = np.average(np.arange(pixels.shape[1]), weights=pixels.sum(axis=0))
    return float(down), float(across)


def _draw_ink(form: Form, hand: Hand, rng: np.random.Generator) -> Pixels:
    """Writes the form once with this hand. Returns the ink's box, 20 pixels on its longer side."""
    tracks = _pose(_sway(_vary(form, hand, rng), hand, rng), hand, rng)
    width = float(np.clip(rng.normal(hand.pen, hand.pen_spread), MIN_PEN, MAX_PEN))
    radii = [width / 2 * _pressure(len(track), rng) for track in tracks]
    return _shrink(_draw_strokes(_fit(tracks, radii), radii))


def _vary(form: Form, hand: Hand, rng: np.random.Generator) -> list[Track]:
    """The form's strokes as smooth tracks [n, 2] (x, y in digit heights), with each point moved a little."""
    positions = sorted({point for stroke in form.strokes for point in stroke.split() if point != "|"})
    # 0.02 of the height is 0.4 pixels. With more, neighbouring points make kinks that no hand makes.
    moved = {
        position: np.array(position.split(","), dtype=float) / 100 + rng.normal(0, 0.02 * hand.looseness, 2)
        for position in positions
    }
    tracks = []
    for stroke in form.strokes:
        pieces: list[Track] = []
        start: list[str] = []
        for piece in stroke.split(" | "):
            points = start + piece.split()
            pieces.append(_spline(np.stack([moved[point] for point in points])))
            start = points[-1:]
        tracks.append(np.concatenate(pieces))
    return tracks


def _spline(points: Track) -> Track:
    """A smooth curve through all points: a centripetal Catmull-Rom spline, which adds no cusps or loops.

    Yuksel, Schaefer, Keyser 2011, "Parameterization and applications of Catmull-Rom curves".
    """
    steps = np.diff(points, axis=0)
    spans = np.sqrt(np.linalg.norm(steps, axis=1))[:, None]
    slopes = steps / spans
    inner = (slopes[:-1] * spans[1:] + slopes[1:] * spans[:-1]) / (spans[:-1] + spans[1:])
    tangents = np.concatenate([slopes[:1], inner, slopes[-1:]])
    u = np.linspace(0, 1, TRACK_STEPS)[:, None, None]
    curve = (
        (2 * u**3 - 3 * u**2 + 1) * points[:-1]
        + (u**3 - 2 * u**2 + u) * spans * tangents[:-1]
        + (3 * u**2 - 2 * u**3) * points[1:]
        + (u**3 - u**2) * spans * tangents[1:]
    )
    return np.asarray(curve.transpose(1, 0, 2).reshape(-1, 2))


def _sway(tracks: list[Track], hand: Hand, rng: np.random.Generator) -> list[Track]:
    """Bends all strokes together, in waves about as long as the digit, so that parts of it grow, shrink or lean."""
    phases = rng.uniform(0, 2 * np.pi, (2, 2))
    frequencies = rng.uniform(0.5, 1.2, (2, 2))
    heights = rng.normal(0, 0.025 * hand.looseness, (2, 2))

    def bend(track: Track) -> Track:
        waves = np.sin(2 * np.pi * track[:, :, None] * frequencies + phases) * heights  # [n, along, moved]
        return np.asarray(track + waves.sum(axis=1))

    return [bend(track) for track in tracks]


def _pose(tracks: list[Track], hand: Hand, rng: np.random.Generator) -> list[Track]:
    """Stretches, slants and rotates the digit."""
    stretch = BASE_STRETCH * np.exp(rng.normal(0, hand.stretch_spread))
    slant = np.tan(np.clip(rng.normal(hand.slant, hand.slant_spread), MIN_SLANT, MAX_SLANT))
    turn = rng.normal(0, ROTATION_SPREAD * hand.looseness)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pose = rotation @ np.array([[stretch, -slant], [0.0, 1.0]])
    return [track @ pose.T for track in tracks]


def _pressure(steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The line's width along a stroke, relative to the pen's: varies by a tenth, and tapers at both ends."""
    along = np.linspace(0, 1, steps)
    swell = 1 + 0.1 * np.sin(2 * np.pi * (along * rng.uniform(0.4, 1.5) + rng.uniform()))
    first, last = rng.uniform(0.75, 1, 2)
    taper = np.interp(along, [0, 0.12, 0.85, 1], [first, 1, 1, last])
    return np.asarray(swell * taper)


def _fit(tracks: list[Track], radii: list[NDArray[np.float64]]) -> list[Track]:
    """Scales the tracks to pixels, so that ink drawn with these radii is 20 pixels long and begins at 0, 0."""
    track, radius = np.concatenate(tracks), np.concatenate(radii)[:, None]
    scale = float(INK_SIDE)
    for _ in range(20):  # the ink's length is nearly linear in the scale, so this converges in a few rounds
        low, high = (track * scale - radius).min(axis=0), (track * scale + radius).max(axis=0)
        scale += (INK_SIDE - (high - low).max()) / np.ptp(track, axis=0).max()
    return [track * scale - low for track in tracks]


def _draw_strokes(tracks: list[Track], radii: list[NDArray[np.float64]]) -> Pixels:
    """Draws the strokes in sub-pixels, 0 or 255, and crops to the ink."""
    fraction = 4  # fractional bits of OpenCV's coordinates
    canvas = np.zeros(((INK_SIDE + 2) * OVERSAMPLING,) * 2, np.uint8)
    for track, radius in zip(tracks, radii, strict=True):
        centres = np.rint((track + 1) * OVERSAMPLING * 2**fraction).astype(int)
        sizes = np.rint(radius * OVERSAMPLING * 2**fraction).astype(int)
        for (x, y), size in zip(centres.tolist(), sizes.tolist(), strict=True):
            cv2.circle(canvas, (x, y), size, 255, cv2.FILLED, cv2.LINE_8, fraction)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shrink(ink: Pixels) -> Pixels:
    """Shrinks the ink to its final size: its longer side is 20 pixels, its brightest pixel 255."""
    height, width = (max(1, round(INK_SIDE * side / max(ink.shape))) for side in ink.shape)
    small = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(small * (255 / small.max())), np.uint8)
