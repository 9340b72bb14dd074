"""MNIST's test images as people might have scanned them are read about as well as untouched. Nothing is chosen here."""

import numpy as np
import pytest

from images.transforms import PROMISED
from mnist_batch.config import PreprocessOptions
from mnist_batch.images.preprocess import preprocess
from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.loading import load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.records import EncodedRows, null_labels, string_array
from mnist_batch.sources.idx import read_idx, read_labels

pytestmark = pytest.mark.real_data
# `benchmarks/framing.py` takes all 10,000; images of 4 megapixels are fewer, for the sake of time.
ROWS, LARGE_ROWS = 2000, 300


@pytest.fixture(scope="module")
def digits(real_data):
    mnist = real_data / "mnist"
    images = read_idx(mnist / "t10k-images-idx3-ubyte.gz")
    return np.array(images)[-ROWS:], np.asarray(read_labels(mnist / "t10k-labels-idx1-ubyte.gz"))[-ROWS:]


@pytest.fixture(scope="module")
def right():
    """How many of some images are predicted right by the bundled model."""
    predictor = TensorFlowPredictor(load_model(resolve_model("seed"), None), 4096)
    return lambda pixels, labels: int((next(iter(predictor.probabilities([pixels]))).argmax(axis=1) == labels).sum())


@pytest.mark.parametrize("name", PROMISED)
def test_a_transformed_image_is_read_nearly_as_well(name, digits, right):
    transform, allowed = PROMISED[name]
    rows = LARGE_ROWS if name == "2000x2000" else ROWS
    images, labels = (column[:rows] for column in digits)
    generator = np.random.default_rng(3)
    made = [transform(image, generator) for image in images]
    batch = preprocess(EncodedRows(string_array(map(str, range(rows))), null_labels(rows), made), PreprocessOptions())
    assert right(batch.pixels, labels[batch.positions]) >= right(images, labels) - allowed * rows
