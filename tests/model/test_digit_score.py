"""A model whose outputs are named `probabilities` and `digit_score` gives both; other models give one output."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from contracts import write_idx_pair

from mnist_batch import predict
from mnist_batch.errors import ModelError
from mnist_batch.model.loading import load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.records import Pixels
from model.perceptron import Perceptron
from model.saved_models import BuildModel, export, save

SAVED = ("two.keras", "two.h5", "two")


BuildTwo = Callable[..., keras.Model]


@pytest.fixture
def build_two(build_model: BuildModel) -> BuildTwo:
    """Builds models with a second output: a score that depends on the ink."""

    def build(names: tuple[str, str] = ("probabilities", "digit_score"), activation: str = "sigmoid") -> keras.Model:
        image = keras.Input((28, 28))
        score = keras.layers.Dense(1, activation, kernel_initializer=keras.initializers.Constant(0.01))
        outputs = {names[0]: build_model()(image), names[1]: score(keras.layers.Flatten()(image))}
        return keras.Model(image, outputs)

    return build


def save_as(model: keras.Model, path: Path) -> Path:
    return save(model, path) if path.suffix else export(model, path)


@pytest.mark.parametrize("name", SAVED)
def test_both_outputs_are_found_by_name(
    name: str, build_two: BuildTwo, network: Perceptron, digits: Pixels, tmp_path: Path
) -> None:
    model = load_model(save_as(build_two(), tmp_path / name), None)
    (scores,) = TensorFlowPredictor(model, 4096).score([digits])
    np.testing.assert_allclose(scores.probabilities, network.probabilities(digits), atol=1e-4)
    assert scores.digit_score is not None
    ink = digits.reshape(len(digits), -1).sum(axis=1) / 255 * 0.01
    np.testing.assert_allclose(scores.digit_score, 1 / (1 + np.exp(-ink)), atol=1e-4)


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_digit_scores_reach_the_output(format: str, build_two: BuildTwo, tmp_path: Path) -> None:
    path = save_as(build_two(), tmp_path / "two.keras")
    result = predict(write_idx_pair(tmp_path / "in"), output=tmp_path / "out", model=path, format=format)
    frame = result.to_pandas()
    assert frame["digit_score"].between(0.5, 1, inclusive="neither").all()
    if format == "parquet":
        assert pq.read_schema(result.predictions / "part-00000.parquet").field("digit_score").type == "float"


def test_a_score_outside_its_range_is_refused(build_two: BuildTwo, tmp_path: Path) -> None:
    path = save_as(build_two(activation="linear"), tmp_path / "two.keras")
    with pytest.raises(ModelError, match=r"digit_score must be in 0\.\.1, found -?[\d.]+ to \d+: end it") as caught:
        load_model(path, None)
    assert caught.value.exit_code == 78


def test_other_names_are_refused(build_two: BuildTwo, tmp_path: Path) -> None:
    path = save_as(build_two(names=("digits", "score")), tmp_path / "two.keras")
    with pytest.raises(ModelError, match=r"must give ten values per image, \[n,10\], found \[n,10\] and \[n,1\]"):
        load_model(path, None)
