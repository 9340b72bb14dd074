"""What MNIST form is, and that the result for an image depends on that image alone."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from contracts import PIXELS
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.images.mnist_form import is_mnist_form
from mnist_batch.sources.idx import read_idx

CHANGED = {
    "two pixels to the right": np.roll(PIXELS, 2, axis=2),
    "two pixels up": np.roll(PIXELS, -2, axis=1),
    "inverted": 255 - PIXELS,
    "faint": PIXELS // 2,
    "a speck in the corner": np.maximum(PIXELS, np.pad(np.full((1, 1, 1), 9, np.uint8), ((0, 0), (0, 27), (0, 27)))),
    "black": np.zeros_like(PIXELS),
    "white": np.full_like(PIXELS, 255),
}


def has_mnist_form(image: npt.NDArray[np.uint8]) -> bool:
    """The definition of MNIST form, written out for one image."""
    rows, columns = np.nonzero(image)
    if not len(rows):
        return False
    mass = image.sum(dtype=float)
    centres = [(image.sum(axis=axis) * np.arange(28)).sum() / mass for axis in (0, 1)]
    small = max(np.ptp(rows), np.ptp(columns)) < 20
    return bool(small and image.max() >= 254 and all(13.48 <= centre <= 14.5 for centre in centres))


@pytest.mark.real_data
def test_all_of_mnist_is_in_mnist_form(real_data: Path) -> None:
    for name, rows in (("train-images-idx3-ubyte.gz", 60_000), ("t10k-images-idx3-ubyte.gz", 10_000)):
        assert is_mnist_form(read_idx(real_data / "mnist" / name)).sum() == rows


def test_drawn_digits_are_in_mnist_form() -> None:
    assert is_mnist_form(PIXELS).all()


@pytest.mark.parametrize("name", CHANGED)
def test_changed_digits_are_not(name: str) -> None:
    assert not is_mnist_form(CHANGED[name]).any()


@given(st.integers(0, 2**32 - 1))
def test_batches_and_single_images_agree(seed: int) -> None:
    generator = np.random.default_rng(seed)
    boxes = np.zeros((40, 28, 28), np.uint8)
    for box in boxes:
        (top, left), (height, width) = generator.integers(0, 10, 2), generator.integers(12, 22, 2)
        box[top : top + height, left : left + width] = generator.integers(1, 256)
        box[top, left : left + width] = generator.integers(250, 256)
    expected = [has_mnist_form(box) for box in boxes]
    assert is_mnist_form(boxes).tolist() == expected
    assert [bool(is_mnist_form(box[np.newaxis])[0]) for box in boxes] == expected


def test_empty_batch_has_no_results() -> None:
    assert is_mnist_form(np.zeros((0, 28, 28), np.uint8)).shape == (0,)
