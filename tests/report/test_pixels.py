"""The measurements of images, against a slow measurement of each image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.records import Pixels
from mnist_batch.report.bins import IMAGE_BINS, IMAGE_EDGES, FeatureName
from mnist_batch.report.pixels import measure_pixels
from report.rows import draw_image


def measure_slowly(image: Pixels) -> dict[str, float]:
    """Measures one image, in the units of `IMAGE_EDGES`."""
    ink = np.pad(image >= 128, 1)
    outline = sum(int((ink != np.roll(ink, 1, axis)).sum()) for axis in (0, 1))
    sizes = {}
    for name, axis in (("width", 0), ("height", 1)):
        lines = np.flatnonzero(ink.any(axis=axis))
        sizes[name] = lines[-1] - lines[0] + 1 if len(lines) else 0
    stroke = 2 * int(ink.sum()) / outline if outline else 0
    return {"ink": image.sum(dtype=np.int64) / (784 * 255), "stroke": stroke, **sizes}


def find_bins(image: Pixels) -> dict[FeatureName, int]:
    return {name: int(np.flatnonzero(counts)[0]) for name, counts in measure_pixels(image[None]).items()}


def find_bins_slowly(image: Pixels) -> dict[FeatureName, int]:
    measured = measure_slowly(image)
    return {
        name: min(int(np.searchsorted(edges, measured[name], side="right")), IMAGE_BINS[name]) - 1
        for name, edges in IMAGE_EDGES.items()
    }


@given(st.integers(0, 10**6))
def test_boxes_match_a_slow_measurement(seed: int) -> None:
    assert find_bins(draw_image(seed)) == find_bins_slowly(draw_image(seed))


@given(st.integers(0, 10**6), st.sampled_from([2, 120, 128, 250]))
def test_noise_matches_a_slow_measurement(seed: int, level: int) -> None:
    image = np.random.default_rng(seed).integers(0, level, (28, 28), np.uint8) + np.uint8(5)
    assert find_bins(image) == find_bins_slowly(image)


@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_uniform_images_are_measured(value: int) -> None:
    image = np.full((28, 28), value, np.uint8)
    assert find_bins(image) == find_bins_slowly(image)


def test_three_pixel_line_has_its_stroke() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:13] = 255
    assert IMAGE_EDGES["stroke"][find_bins(image)["stroke"]] == 2.5


def test_batch_counts_match_single_images() -> None:
    images = np.stack([draw_image(seed) for seed in range(1_200)])
    for name, counts in measure_pixels(images).items():
        bins = [find_bins(image)[name] for image in images]
        assert counts.tolist() == np.bincount(bins, minlength=IMAGE_BINS[name]).tolist()
