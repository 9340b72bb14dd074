"""Ink that is not the digit is left out: the framed image is that of the digit alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from contracts import PIXELS

from images.transforms import enlarge
from mnist_batch.images.framing.frame import Framed, frame
from mnist_batch.records import Pixels

HEIGHT, WIDTH = 150, 120
# Where the digit is: rows 46 to 105 and columns 31 to 90 of the page, its ink a few pixels further inside.
TOP, LEFT, SIDE = 46, 31, 60
Page = npt.NDArray[np.uint8]
Draw = Callable[[Page], None]


def draw_page(draw: Draw | None = None, digit: Pixels = PIXELS[0]) -> Page:
    """A page with a digit, and with what `draw` adds: gray levels of ink, white on black."""
    page = np.zeros((HEIGHT, WIDTH), np.uint8)
    page[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = enlarge(digit, SIDE, SIDE)
    if draw is not None:
        draw(page)
    return page


def line(rows: slice, columns: slice) -> Draw:
    def draw(page: Page) -> None:
        page[rows, columns] = 200

    return draw


def both(*draws: Draw) -> Draw:
    def draw(page: Page) -> None:
        for each in draws:
            each(page)

    return draw


ALL = slice(None)
FOREIGN = {
    "a rule above": line(slice(20, 24), ALL),
    "a rule below, as wide as allowed": line(slice(125, 134), ALL),
    "a rule to the left": line(ALL, slice(10, 12)),
    "a rule to the right, as wide as allowed": line(ALL, slice(105, 112)),
    "a line at the top edge": line(slice(0, 17), slice(30, 80)),
    "a line at the bottom edge": line(slice(-17, None), slice(10, 60)),
    "a line at the left edge": line(slice(50, 100), slice(0, 14)),
    "a line at the right edge": line(slice(20, 80), slice(-14, None)),
    "a corner of a box": both(line(slice(0, 130), slice(4, 8)), line(slice(4, 8), slice(0, 110))),
    "specks": both(*(line(slice(row, row + 2), slice(row, row + 2)) for row in (10, 40, 110))),
    "a piece out of reach": line(slice(136, 146), slice(50, 62)),
    "a piece of a neighbour at the edge": line(slice(90, 110), slice(100, None)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_ink_is_left_out(name: str) -> None:
    for digit in (PIXELS[0], PIXELS[5]):
        alone, among = frame(draw_page(digit=digit)), frame(draw_page(FOREIGN[name], digit))
        assert isinstance(alone, Framed)
        assert isinstance(among, Framed), among
        # The mean level of all ink changes the brightest pixels by a rounding.
        assert np.abs(among.pixels.astype(int) - alone.pixels).max() <= 1


def test_piece_within_reach_is_part_of_the_digit() -> None:
    alone, whole = frame(draw_page()), frame(draw_page(line(slice(60, 68), slice(85, 105))))
    assert isinstance(alone, Framed)
    assert isinstance(whole, Framed)
    assert alone.pixels.any(axis=0).sum() <= 17
    assert whole.pixels.any(axis=0).sum() >= 19


@pytest.mark.parametrize(
    ("rows", "columns"), [(slice(20, 110), slice(0, 12)), (slice(20, 110), slice(-12, None)), (ALL, slice(50, 56))]
)
def test_only_stroke_is_the_digit(rows: slice, columns: slice) -> None:
    """A 1 that touches an edge, or is as long as the page, looks like a line. Beside specks it is the digit."""
    specks = line(slice(70, 72), slice(80, 82))
    for draw in (line(rows, columns), both(specks, line(rows, columns))):
        page = np.zeros((HEIGHT, WIDTH), np.uint8)
        draw(page)
        outcome = frame(page)
        assert isinstance(outcome, Framed), outcome
        upright, across = outcome.pixels.any(axis=1).sum(), outcome.pixels.any(axis=0).sum()
        assert upright == 20
        assert across <= 5


def test_hairline_keeps_a_pixel_of_width() -> None:
    page = np.zeros((150, 60), np.uint8)
    page[10:130, 30] = 255
    outcome = frame(page)
    assert isinstance(outcome, Framed), outcome
    assert outcome.pixels.any(axis=1).sum() >= 19
    assert outcome.pixels.max() == 255
