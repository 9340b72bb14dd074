"""How batches reach a model: their padding, their order, and what is kept of each row on which the model fails."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from reliability.test_failing_model import FAILS, GIVES_NAN, failing_network, predictor_of

from mnist_batch.model import predictor as predictor_module
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.model.selftest import DIGIT_SCORE, PROBABILITIES, Network
from mnist_batch.records import Pixels, Scores

SIZES = (16, 64, 256, 1024)


def draw_pixels(rows: int) -> Pixels:
    """Images whose second pixel is their digit, another in each row."""
    pixels = np.zeros((rows, 28, 28), np.uint8)
    pixels[:, 0, 1] = np.arange(rows) * 7 % 10
    return pixels


def score(predictor: TensorFlowPredictor, *batches: Pixels) -> list[Scores]:
    return list(predictor.score(list(batches)))


def noting_network(sizes: list[int]) -> Network:
    """Notes how many rows it is given."""
    network = failing_network(10_000)

    def note(rows: tf.Tensor) -> tf.Tensor:
        sizes.append(int(rows))
        return rows

    def noted(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.py_function(note, [tf.shape(images)[0]], tf.int32)]):
            return network(tf.identity(images))

    return noted


@pytest.mark.parametrize(
    ("rows", "batch_size", "padded"),
    [
        (1, 2000, 16),
        (16, 2000, 16),
        (17, 2000, 64),
        (256, 2000, 256),
        (257, 2000, 1024),
        (1024, 2000, 1024),
        (1025, 2000, 2000),
        (2000, 2000, 2000),
        (1, 10, 10),
        (17, 64, 64),
        (65, 100, 100),
    ],
)
def test_batches_are_padded_to_few_sizes(rows: int, batch_size: int, padded: int) -> None:
    sizes: list[int] = []
    (scores,) = score(predictor_of(noting_network(sizes), batch_size), draw_pixels(rows))
    assert sizes == [padded]
    assert scores.probabilities.argmax(axis=1).tolist() == draw_pixels(rows)[:, 0, 1].tolist()


def test_halves_are_padded_to_the_smallest_size_only() -> None:
    sizes: list[int] = []
    pixels = draw_pixels(48)
    pixels[20, 0, 0] = FAILS
    (scores,) = score(predictor_of(noting_network(sizes), 256), pixels)
    assert sizes == [64, 24, 24, *[16] * 10]
    assert np.flatnonzero(~scores.finite()).tolist() == [20]


def test_rows_keep_their_scores_when_a_batch_is_split() -> None:
    pixels = draw_pixels(100)
    pixels[[0, 41, 42, 99], 0, 0] = FAILS
    pixels[[7, 43], 0, 0] = GIVES_NAN
    predictor = predictor_of(failing_network(1000))
    before, scores, after = score(predictor, draw_pixels(5), pixels, draw_pixels(9))
    expected = pixels[:, 0, 1].astype(int)
    finite = np.setdiff1d(np.arange(100), [0, 7, 41, 42, 43, 99])
    assert np.flatnonzero(scores.finite()).tolist() == finite.tolist()
    assert scores.probabilities[finite].argmax(axis=1).tolist() == expected[finite].tolist()
    assert [len(before), len(after)] == [5, 9]
    # Rows are counted over all batches of the call, and a row that is NaN has not failed.
    assert sorted(predictor.failures) == [5, 46, 47, 104]
    assert predictor.batch_splits > 0
    score(predictor, draw_pixels(5))
    assert predictor.failures == {}


def raising_network(error: Exception) -> Network:
    """Raises in the model, on the batches that hold a row that starts with FAILS."""
    network = failing_network(10_000)

    def check(first: tf.Tensor) -> tf.Tensor:
        if (first.numpy() == FAILS).any():
            raise error
        return first

    def checked(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.py_function(check, [images[:, 0, 0]], tf.float32)]):
            probabilities = network(tf.where(images == FAILS, 0.0, images))[PROBABILITIES]
        return {PROBABILITIES: probabilities, DIGIT_SCORE: probabilities[:, 0]}

    return checked


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.InvalidArgumentError(None, None, "no such shape"),
        tf.errors.ResourceExhaustedError(None, None, "out of memory"),
        tf.errors.InternalError(None, None, "kernel failed"),
        tf.errors.UnimplementedError(None, None, "no such kernel"),
        tf.errors.UnknownError(None, None, "who knows"),
        ValueError("no such shape"),
        MemoryError("out of memory"),
        NotImplementedError("no such kernel"),
        RuntimeError("kernel failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_every_type_are_of_their_row(error: Exception) -> None:
    pixels = draw_pixels(40)
    pixels[13, 0, 0] = FAILS
    predictor = predictor_of(raising_network(error))
    (scores,) = score(predictor, pixels)
    assert np.flatnonzero(~scores.finite()).tolist() == [13]
    assert list(predictor.failures) == [13]
    assert getattr(error, "message", str(error)) in predictor.failures[13]
    assert "{{" not in predictor.failures[13]
    assert scores.digit_score is not None
    assert np.isnan(scores.digit_score[13])
    assert scores.digit_score[[0, 12, 14]].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("batch_size", "ahead"), [(64, 8), (4096, 8), (8192, 4), (16_384, 2), (65_536, 2)])
def test_fewer_large_batches_are_computed_ahead(batch_size: int, ahead: int) -> None:
    assert predictor_of(failing_network(1), batch_size)._batches_ahead == ahead


@pytest.mark.parametrize(
    ("message", "cleaned"),
    [
        ("{{function_node __inference_3}} assertion failed: [9] {{node Assert}}\nmore", "assertion failed: [9]"),
        (
            "Error in user-defined function passed to MapDataset:2 transformation with iterator: Iterator::Root: oom",
            "oom",
        ),
        ("{{node a}}", "KeyError"),
    ],
)
def test_messages_are_the_same_in_every_run(message: str, cleaned: str) -> None:
    error: Exception = ValueError(message)
    if cleaned == "KeyError":
        error = type("KeyError", (ValueError,), {})(message)
    assert predictor_module._clean_message(error) == cleaned


def test_padding_adds_blank_images_behind() -> None:
    pixels: Pixels = np.full((3, 28, 28), 9, np.uint8)
    padded = predictor_module._pad(pixels, 5)
    assert padded.shape == (5, 28, 28)
    assert padded.dtype == np.uint8
    assert padded[:3].tolist() == pixels.tolist()
    assert not padded[3:].any()
    assert predictor_module._pad(pixels, 3) is pixels
