"""Scanned digits come out in MNIST form and look like the original. Images that are not a digit are rejected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from contracts import LABELS, PIXELS
from hypothesis import given
from hypothesis import strategies as st

from images.transforms import TRANSFORMS, beside, on_paper
from mnist_batch.config import Preprocess, PreprocessOptions
from mnist_batch.images.framing.frame import Framed, frame
from mnist_batch.images.mnist_form import is_mnist_form
from mnist_batch.images.preprocess import preprocess
from mnist_batch.records import (
    EncodedRows,
    ImageBatch,
    ImageError,
    NumericRows,
    Pixels,
    Preprocessing,
    RejectReason,
    null_labels,
    string_array,
)

AUTO = PreprocessOptions()


def preprocess_images(images: Sequence[bytes | Pixels], options: PreprocessOptions = AUTO) -> ImageBatch:
    ids = string_array(str(row) for row in range(len(images)))
    return preprocess(EncodedRows(ids, null_labels(len(images)), images), options)


def framed(image: Pixels) -> Pixels:
    outcome = frame(image)
    assert isinstance(outcome, Framed)
    return outcome.pixels


def similarity(first: Pixels, second: Pixels) -> float:
    """Cosine of two images as vectors; 1 if they differ in brightness only."""
    one, other = (image.astype(float).ravel() for image in (first, second))
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_framed_digit_looks_like_the_original(name: str) -> None:
    generator = np.random.default_rng(4)
    batch = preprocess_images([TRANSFORMS[name](image, generator) for image in PIXELS])
    assert is_mnist_form(batch.pixels).all()
    assert len(batch) >= len(PIXELS) - 1, batch.rejects
    same = [similarity(PIXELS[position], image) for position, image in zip(batch.positions, batch.pixels, strict=True)]
    # Wider, finer or stretched strokes cover other pixels. Other digits are still less similar.
    others = [
        similarity(PIXELS[(position + 5) % 60], image)
        for position, image in zip(batch.positions, batch.pixels, strict=True)
    ]
    assert np.mean(same) > 0.7
    assert np.mean(same) > np.mean(others) + 0.2


def test_mnist_form_is_left_unchanged() -> None:
    batch = preprocess_images(list(PIXELS))
    assert np.array_equal(batch.pixels, PIXELS)
    assert batch.preprocessing == {Preprocessing.AS_IS: len(PIXELS)}


def test_negative_of_mnist_form_is_inverted() -> None:
    batch = preprocess_images([~image for image in PIXELS])
    assert np.array_equal(batch.pixels, PIXELS)
    assert +batch.preprocessing == {Preprocessing.INVERTED: len(PIXELS)}


def test_moved_digit_is_moved_back() -> None:
    canvas = np.zeros((60, 50, 90), np.uint8)
    canvas[:, 7:35, 50:78] = PIXELS
    results = [framed(image) for image in canvas]
    # It may be off by one pixel if its centre was between two. Strokes of two pixels are made wider.
    shifts = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    same = [
        any(np.array_equal(np.roll(image, shift, (0, 1)), result) for shift in shifts)
        for image, result in zip(PIXELS, results, strict=True)
    ]
    assert np.mean(same) > 0.85
    assert min(similarity(image, result) for image, result in zip(PIXELS, results, strict=True)) > 0.7


@given(st.sampled_from(sorted(TRANSFORMS)), st.integers(0, len(PIXELS) - 1), st.integers(0, 2**32 - 1), st.booleans())
def test_result_depends_on_one_image_only(name: str, row: int, seed: int, inverted: bool) -> None:
    image = TRANSFORMS[name](PIXELS[row], np.random.default_rng(seed))
    if inverted and not isinstance(image, bytes):
        image = 255 - image
    alone = preprocess_images([image])
    among_others = preprocess_images([PIXELS[0], b"", image, 255 - PIXELS[1]])
    index = np.flatnonzero(among_others.positions == 2)
    assert np.array_equal(among_others.pixels[index], alone.pixels)
    assert is_mnist_form(alone.pixels).all()
    again = preprocess_images(list(alone.pixels))
    assert np.array_equal(again.pixels, alone.pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_any_pixels_are_framed_or_rejected(height: int, width: int, seed: int, spread: int) -> None:
    generator = np.random.default_rng(seed)
    image = generator.integers(0, spread + 1, (height, width)).astype(np.uint8)
    outcome = frame(image)
    if isinstance(outcome, Framed):
        assert is_mnist_form(outcome.pixels[np.newaxis]).all()
    else:
        assert isinstance(outcome, ImageError)
        assert any(letter.isdigit() for letter in outcome.detail) or outcome.reason is RejectReason.NO_INK


def test_ink_lost_in_smoothing_is_rejected() -> None:
    image = np.full((20, 6), 253, np.uint8)
    image[:, 0] = image[:9, 1] = image[0, :5] = image[19, :5] = 0  # looks like a box
    image[:, 5] = 172
    image[2:8, 2] = 186
    assert frame(image) == ImageError(RejectReason.NO_INK, "ink of 1x6 pixels, too faint for a stroke")


@pytest.mark.parametrize("shape", [(3000, 2), (2, 3000), (1, 9), (9, 1), (8, 8), (500, 501)])
@pytest.mark.parametrize("gray", [0, 77, 255])
def test_empty_image_is_blank(shape: tuple[int, int], gray: int) -> None:
    outcome = frame(np.full(shape, gray, np.uint8))
    assert outcome == ImageError(RejectReason.BLANK, "gray levels differ by 0")


@pytest.mark.parametrize("side", [16, 28, 100, 300])
@pytest.mark.parametrize("noise", [3, 8, 25])
def test_noise_is_not_a_digit(side: int, noise: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        image = np.clip(generator.normal(170, noise, (side, side)), 0, 255).astype(np.uint8)
        assert isinstance(frame(image), ImageError)


@pytest.mark.parametrize("noise", [0, 4, 12])
@pytest.mark.parametrize("side", [28, 200])
def test_uneven_light_is_not_a_digit(side: int, noise: float) -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        outcome = frame(on_paper(side, noise)(np.zeros((28, 28), np.uint8), generator))
        assert isinstance(outcome, ImageError)


@pytest.mark.parametrize("row", range(0, 60, 7))
def test_two_digits_are_rejected(row: int) -> None:
    image = beside(PIXELS[(row + 3) % 60])(PIXELS[row], np.random.default_rng(0))
    outcome = frame(image)
    assert isinstance(outcome, ImageError)
    assert outcome.reason is RejectReason.SEVERAL_OBJECTS


def test_page_of_digits_is_rejected() -> None:
    page = 255 - np.block([[PIXELS[row * 6 + column] for column in range(6)] for row in range(10)])
    outcome = frame(page)
    assert isinstance(outcome, ImageError)
    assert outcome.reason is RejectReason.SEVERAL_OBJECTS


@pytest.mark.parametrize("side", range(1, 8))
def test_image_below_8_pixels_is_too_small(side: int) -> None:
    outcome = frame(np.eye(side, dtype=np.uint8) * 255)
    assert outcome == ImageError(RejectReason.TOO_SMALL, f"{side}x{side} pixels")


def test_dot_on_a_page_is_too_small() -> None:
    page = np.full((60, 60), 255, np.uint8)
    page[30:33, 30:34] = 0
    outcome = frame(page)
    assert outcome == ImageError(RejectReason.TOO_SMALL, "ink of 4x3 pixels")


def test_small_digit_on_a_page_is_found() -> None:
    page = np.full((2000, 1500), 240, np.uint8)
    for row in range(0, 60, 5):
        page[700:756, 300:356] = 240 - (np.kron(PIXELS[row], np.ones((2, 2), np.uint8)) * 0.8).astype(np.uint8)
        outcome = frame(page)
        assert isinstance(outcome, Framed)
        assert outcome.inverted
        assert similarity(outcome.pixels, PIXELS[row]) > 0.8


def test_modes_frame_everything_or_nothing() -> None:
    everything = preprocess_images(list(PIXELS), PreprocessOptions(Preprocess.FRAME))
    assert +everything.preprocessing == {Preprocessing.FRAMED: len(PIXELS)}
    inverted = [255 - image for image in PIXELS]
    nothing = preprocess_images(inverted, PreprocessOptions(Preprocess.NONE))
    assert np.array_equal(nothing.pixels, np.stack(inverted))
    assert +nothing.preprocessing == {Preprocessing.AS_IS: len(PIXELS)}


@pytest.mark.parametrize("mode", Preprocess)
def test_transposing_comes_first(mode: Preprocess) -> None:
    transposed = PIXELS.transpose(0, 2, 1)
    ids, labels = string_array(str(row) for row in range(60)), null_labels(60)
    from_array = preprocess(NumericRows(ids, labels, transposed), PreprocessOptions(mode, transpose=True))
    one_by_one = preprocess_images(list(transposed), PreprocessOptions(mode, transpose=True))
    straight = preprocess_images(list(PIXELS), PreprocessOptions(mode))
    assert np.array_equal(from_array.pixels, straight.pixels)
    assert np.array_equal(one_by_one.pixels, straight.pixels)


def test_array_and_single_images_agree() -> None:
    images = [*PIXELS[:20], *(255 - PIXELS[20:40]), *np.roll(PIXELS[40:], 3, axis=2), np.zeros((28, 28), np.uint8)]
    rows = NumericRows(string_array(str(row) for row in range(61)), null_labels(61), np.stack(images))
    together, one_by_one = preprocess(rows, AUTO), preprocess_images(images)
    assert np.array_equal(together.pixels, one_by_one.pixels)
    assert together.rejects == one_by_one.rejects
    assert together.preprocessing == one_by_one.preprocessing
    assert +together.preprocessing == {Preprocessing.AS_IS: 20, Preprocessing.INVERTED: 20, Preprocessing.FRAMED: 20}


def test_drawn_digits_have_every_class() -> None:
    assert set(LABELS) == set(range(10))
