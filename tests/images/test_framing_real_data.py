"""The model predicts MNIST's test images, transformed as in scans, about as well as untouched ones.

No choice is based on these results.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from images.transforms import PROMISED, Gray
from mnist_batch.config import PreprocessOptions
from mnist_batch.images.preprocess import preprocess
from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.loading import load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.records import EncodedRows, Pixels, null_labels, string_array
from mnist_batch.sources.idx import read_idx, read_labels

pytestmark = pytest.mark.real_data
# `benchmarks/framing.py` uses all 10,000. Images of 4 megapixels are slow, so fewer of them are tested.
ROWS, LARGE_ROWS = 2000, 300
LARGE = "2000x2000"
SLOW = {"on gray paper, 200x200, noise 15", LARGE}

CountCorrect = Callable[[Gray, Gray], int]


@pytest.fixture(scope="module")
def digits(real_data: Path) -> tuple[Gray, Gray]:
    """Images and labels."""
    mnist = real_data / "mnist"
    images = read_idx(mnist / "t10k-images-idx3-ubyte.gz")
    return np.array(images)[-ROWS:], np.asarray(read_labels(mnist / "t10k-labels-idx1-ubyte.gz"))[-ROWS:]


@pytest.fixture(scope="module")
def count_correct() -> CountCorrect:
    """Counts the images for which the bundled model predicts the label."""
    predictor = TensorFlowPredictor(load_model(resolve_model("seed"), None), 4096)

    def count(pixels: Pixels, labels: Pixels) -> int:
        (scores,) = predictor.score([pixels])
        return int((scores.probabilities.argmax(axis=1) == labels).sum())

    return count


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PROMISED]
)
def test_accuracy_drop_is_as_promised(name: str, digits: tuple[Gray, Gray], count_correct: CountCorrect) -> None:
    transform, allowed = PROMISED[name]
    rows = LARGE_ROWS if name == LARGE else ROWS
    images, labels = (column[:rows] for column in digits)
    generator = np.random.default_rng(3)
    transformed = [transform(image, generator) for image in images]
    encoded = EncodedRows(string_array(map(str, range(rows))), null_labels(rows), transformed)
    batch = preprocess(encoded, PreprocessOptions())
    assert count_correct(batch.pixels, labels[batch.positions]) >= count_correct(images, labels) - allowed * rows
