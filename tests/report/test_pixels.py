"""What is measured of pixels, against a slow measurement of each image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.records import Pixels
from mnist_batch.report.bins import IMAGE_BINS, IMAGE_EDGES
from mnist_batch.report.pixels import measure_pixels
from report.rows import drawn


def slowly(image: Pixels) -> dict[str, float]:
    """Each measure of one image, in the unit of its edges."""
    ink = np.pad(image >= 128, 1)
    outline = sum(int((ink != np.roll(ink, 1, axis)).sum()) for axis in (0, 1))
    sizes = {}
    for name, axis in (("width", 0), ("height", 1)):
        lines = np.flatnonzero(ink.any(axis=axis))
        sizes[name] = lines[-1] - lines[0] + 1 if len(lines) else 0
    stroke = 2 * int(ink.sum()) / outline if outline else 0
    return {"ink": image.sum(dtype=np.int64) / (784 * 255), "stroke": stroke, **sizes}


def bins(image: Pixels) -> dict[str, int]:
    return {name: int(np.flatnonzero(counts)[0]) for name, counts in measure_pixels(image[None]).items()}


def expected(image: Pixels) -> dict[str, int]:
    found = {name: np.searchsorted(IMAGE_EDGES[name], value, side="right") - 1 for name, value in slowly(image).items()}
    return {name: min(int(position), IMAGE_BINS[name] - 1) for name, position in found.items()}


@given(st.integers(0, 10**6))
def test_a_box_has_the_measures_of_a_slow_measurement(seed: int) -> None:
    assert bins(drawn(seed)) == expected(drawn(seed))


@given(st.integers(0, 10**6), st.sampled_from([2, 120, 128, 250]))
def test_noise_has_the_measures_of_a_slow_measurement(seed: int, level: int) -> None:
    image = np.random.default_rng(seed).integers(0, level, (28, 28), np.uint8) + np.uint8(5)
    assert bins(image) == expected(image)


@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_even_images_have_measures_too(value: int) -> None:
    image = np.full((28, 28), value, np.uint8)
    assert bins(image) == expected(image)


def test_a_line_of_three_pixels_has_a_stroke_of_nearly_three() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:13] = 255
    assert IMAGE_EDGES["stroke"][bins(image)["stroke"]] == 2.5


def test_images_are_counted_in_the_bins_they_have_alone() -> None:
    images = np.stack([drawn(seed) for seed in range(1_200)])
    together = measure_pixels(images)
    for name, counts in together.items():
        alone = [bins(image)[name] for image in images]
        assert counts.tolist() == np.bincount(alone, minlength=IMAGE_BINS[name]).tolist()
