"""Draws one digit by hand, so to speak: varies a form, moves a pen along it, and brings the ink to MNIST's form.

Knows nothing of files. All chance comes from the generator that is passed in.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from strokes import FORMS, Form

Pixels = NDArray[np.uint8]
Track = NDArray[np.float64]

SIDE = 28
INK_SIDE = 20  # the longest side of the ink's box: LeCun et al., "The MNIST database of handwritten digits"
CENTRE = 14  # where the ink's centre of mass goes, as a pixel index, to the nearest whole pixel
OVERSAMPLING = 16  # 256 sub-pixels a pixel: each of the 256 grays can come out
TRACK_STEPS = 24  # points between two points of a form: the pen's discs then lie closer than a fifth of its width


@dataclass(frozen=True)
class Hand:
    """How freely somebody writes; the spreads are standard deviations.

    looseness: how far points stray and lines sway, 1 for everyday writing; slant: in radians, positive to the
    right; stretch: of the width, as a logarithm; pen and pen_spread: width of the line in pixels of the result.
    """

    looseness: float
    slant: float
    slant_spread: float
    stretch_spread: float
    pen: float
    pen_spread: float


# Pens, slants and stretches are set so that the mean gray (33 of 255) and the spread of the line widths and of the
# boxes' widths come out near those of MNIST's training images; the forms themselves were judged by eye.
EVERYDAY = Hand(looseness=1.0, slant=0.12, slant_spread=0.17, stretch_spread=0.13, pen=2.45, pen_spread=0.55)
CAREFUL = Hand(looseness=0.6, slant=0.1, slant_spread=0.1, stretch_spread=0.08, pen=2.6, pen_spread=0.3)

NARROWEST_PEN, WIDEST_PEN = 1.7, 4.0  # thinner lines break up in gray, thicker ones close the loops of 6, 8, 9
BASE_STRETCH = 1.2  # the forms are drawn narrow; MNIST's boxes are about 0.8 as wide as high, with the slant
STEEPEST_LEFT, STEEPEST_RIGHT = -0.3, 0.6  # radians: beyond, a slanted 1 or 7 reads as a dash
WRIST_SPREAD = 0.06  # radians by which the whole digit is turned


def draw_digit(digit: int, hand: Hand, rng: np.random.Generator) -> Pixels:
    """One digit in MNIST's form: uint8 [28, 28], ink 255 on 0, as `check_mnist_form` demands."""
    forms = FORMS[digit]
    form = forms[rng.choice(len(forms), p=[form.share / 100 for form in forms])]
    while True:
        ink = _drawn_ink(form, hand, rng)
        top, left = (CENTRE - round(centre) for centre in _centre_of_mass(ink))
        # Now and then one end is so heavy, as in a 7 with a serif and a faint stem, that the other would leave the
        # field: the writer tries again.
        if min(top, left) >= 0 and top + ink.shape[0] <= SIDE and left + ink.shape[1] <= SIDE:
            break
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    check_mnist_form(pixels)
    return pixels


def check_mnist_form(pixels: Pixels) -> None:
    """Raises ValueError unless the image has the form that all of MNIST's 70,000 were measured to have.

    The ink's box is at most 20 pixels long (here: exactly), its centre of mass lies between 13.48 and 14.50 on
    both axes, and the brightest pixel has at least 254.
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
    """Down and across, as pixel indices: 0 is the middle of the first pixel."""
    down = np.average(np.arange(pixels.shape[0]), weights=pixels.sum(axis=1))
    across = np.average(np.arange(pixels.shape[1]), weights=pixels.sum(axis=0))
    return float(down), float(across)


def _drawn_ink(form: Form, hand: Hand, rng: np.random.Generator) -> Pixels:
    """The form written once by this hand: the ink's box, 20 pixels on its longer side."""
    tracks = _posed(_swayed(_varied(form, hand, rng), hand, rng), hand, rng)
    width = float(np.clip(rng.normal(hand.pen, hand.pen_spread), NARROWEST_PEN, WIDEST_PEN))
    radii = [width / 2 * _pressure(len(track), rng) for track in tracks]
    return _reduced(_inked(_fitted(tracks, radii), radii))


def _varied(form: Form, hand: Hand, rng: np.random.Generator) -> list[Track]:
    """The form's strokes as smooth tracks [n, 2] (x, y in digit heights), each point strayed a little."""
    positions = sorted({point for stroke in form.strokes for point in stroke.split() if point != "|"})
    # 0.02 of the height is 0.4 pixels: more, and neighbouring points give kinks that no hand makes.
    strayed = {
        position: np.array(position.split(","), dtype=float) / 100 + rng.normal(0, 0.02 * hand.looseness, 2)
        for position in positions
    }
    tracks = []
    for stroke in form.strokes:
        pieces: list[Track] = []
        start: list[str] = []
        for piece in stroke.split(" | "):
            points = start + piece.split()
            pieces.append(_spline(np.stack([strayed[point] for point in points])))
            start = points[-1:]
        tracks.append(np.concatenate(pieces))
    return tracks


def _spline(points: Track) -> Track:
    """Smooth curve through all points: a centripetal Catmull-Rom spline, which makes no cusps or loops of its own.

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


def _swayed(tracks: list[Track], hand: Hand, rng: np.random.Generator) -> list[Track]:
    """Bends the paper under all strokes together, in waves about as long as the digit: parts grow, shrink, lean."""
    phases = rng.uniform(0, 2 * np.pi, (2, 2))
    frequencies = rng.uniform(0.5, 1.2, (2, 2))
    heights = rng.normal(0, 0.025 * hand.looseness, (2, 2))

    def bent(track: Track) -> Track:
        waves = np.sin(2 * np.pi * track[:, :, None] * frequencies + phases) * heights  # [n, along, moved]
        return np.asarray(track + waves.sum(axis=1))

    return [bent(track) for track in tracks]


def _posed(tracks: list[Track], hand: Hand, rng: np.random.Generator) -> list[Track]:
    """Stretches, slants and turns the digit."""
    stretch = BASE_STRETCH * np.exp(rng.normal(0, hand.stretch_spread))
    slant = np.tan(np.clip(rng.normal(hand.slant, hand.slant_spread), STEEPEST_LEFT, STEEPEST_RIGHT))
    turn = rng.normal(0, WRIST_SPREAD * hand.looseness)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pose = rotation @ np.array([[stretch, -slant], [0.0, 1.0]])
    return [track @ pose.T for track in tracks]


def _pressure(steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The line's width along a stroke, relative to the pen's: it swells and thins by a tenth, tapers at the ends."""
    along = np.linspace(0, 1, steps)
    swell = 1 + 0.1 * np.sin(2 * np.pi * (along * rng.uniform(0.4, 1.5) + rng.uniform()))
    first, last = rng.uniform(0.75, 1, 2)
    taper = np.interp(along, [0, 0.12, 0.85, 1], [first, 1, 1, last])
    return np.asarray(swell * taper)


def _fitted(tracks: list[Track], radii: list[NDArray[np.float64]]) -> list[Track]:
    """Scales the tracks, in pixels, so that the ink drawn with these radii is 20 pixels long and begins at 0, 0."""
    track, radius = np.concatenate(tracks), np.concatenate(radii)[:, None]
    scale = float(INK_SIDE)
    for _ in range(20):  # the ink's length is nearly linear in the scale: a few rounds settle it
        low, high = (track * scale - radius).min(axis=0), (track * scale + radius).max(axis=0)
        scale += (INK_SIDE - (high - low).max()) / np.ptp(track, axis=0).max()
    return [one * scale - low for one in tracks]


def _inked(tracks: list[Track], radii: list[NDArray[np.float64]]) -> Pixels:
    """The ink's box in sub-pixels, 0 or 255, cut out exactly."""
    fraction = 4  # bits after the point in OpenCV's coordinates
    canvas = np.zeros(((INK_SIDE + 2) * OVERSAMPLING,) * 2, np.uint8)
    for track, radius in zip(tracks, radii, strict=True):
        centres = np.rint((track + 1) * OVERSAMPLING * 2**fraction).astype(int)
        sizes = np.rint(radius * OVERSAMPLING * 2**fraction).astype(int)
        for (x, y), size in zip(centres.tolist(), sizes.tolist(), strict=True):
            cv2.circle(canvas, (x, y), size, 255, cv2.FILLED, cv2.LINE_8, fraction)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _reduced(ink: Pixels) -> Pixels:
    """The ink at its final size, its longest side 20 pixels, its brightest spot 255."""
    height, width = (max(1, round(INK_SIDE * side / max(ink.shape))) for side in ink.shape)
    small = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(small * (255 / small.max())), np.uint8)
