"""What the self-test concludes from a network's outputs, without a real network."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.card import OutputKind
from mnist_batch.model.scales import scale_pixels
from mnist_batch.model.selftest import (
    DIGIT_SCORE,
    PROBABILITIES,
    Network,
    load_drawn_digits,
    measure_scales,
    to_logits,
)

SCALES = list(Scale)
DRAWN = load_drawn_digits()


def test_drawn_images_have_every_digit() -> None:
    for images, labels in ((DRAWN.careful, DRAWN.careful_labels), (DRAWN.varied, DRAWN.varied_labels)):
        assert images.shape == (len(labels), 28, 28)
        assert np.bincount(labels).tolist() == [len(labels) // 10] * 10


def oracle(confidence: float, wrong: int = 0, scale: Scale = Scale.UNIT, kind: OutputKind | None = None) -> Network:
    """Knows the drawn images if they come at one scale: it gives the right digit this confidence, the others the rest.

    wrong: how many of the first careful digits, and of the first varied ones, it gets wrong.
    """
    labels = np.concatenate([DRAWN.careful_labels, DRAWN.varied_labels])
    for first in (0, len(DRAWN.careful_labels)):
        labels[first : first + wrong] = (labels[first : first + wrong] + 1) % 10
    rest = (1 - confidence) / 9
    table = np.where(np.eye(10)[labels] == 1, confidence, rest).astype(np.float32)
    even = 0.1
    if kind is OutputKind.LOGITS:
        table, even = np.log(table) + 3, 0.0
    elif kind is OutputKind.SIGMOIDS:  # odds of ten times the probabilities
        table, even = 10 * table / (1 + 10 * table), 0.5
    black, white = scale_pixels(tf.constant([[[0, 255]]], tf.uint8), scale).numpy().ravel()

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        fits = tf.logical_and(tf.reduce_min(images) == min(black, white), tf.reduce_max(images) == max(black, white))
        return {PROBABILITIES: tf.where(fits, table, tf.fill(tf.shape(table), np.float32(even)))}

    return network


@pytest.mark.parametrize("kind", OutputKind)
def test_measured_figures_are_those_of_the_outputs(kind: OutputKind) -> None:
    # Right on 75 of 100 and 875 of 900, always with confidence 0.8.
    measured = measure_scales(oracle(0.8, wrong=25, kind=kind), SCALES)
    assert measured.output is kind
    assert [result.scale for result in measured.results] == SCALES
    found = measured.at(Scale.UNIT)
    assert found is not None
    assert found.accuracy == 0.75
    assert found.confidence == pytest.approx(0.8, abs=1e-6)
    # At the best temperature, the confidence is the accuracy on the varied digits.
    right = 875 / 900
    wrong_logit = np.log(right / ((1 - right) / 9))
    assert found.temperature == pytest.approx(np.log(0.8 / (0.2 / 9)) / wrong_logit, rel=0.03)
    expected = -right * np.log(right) - (1 - right) * np.log((1 - right) / 9)
    assert found.loss == pytest.approx(expected, abs=1e-3)
    other = measured.at(Scale.BYTE)
    assert other is not None
    assert (other.accuracy, other.confidence) == pytest.approx((0.1, 0.1))
    assert other.loss == pytest.approx(np.log(10))


def test_margin_is_black_at_each_scale() -> None:
    padded = scale_pixels(DRAWN.careful, Scale.SYMMETRIC, margin=2).numpy()
    assert padded.shape == (100, 32, 32)
    assert (padded[:, 2:30, 2:30] == scale_pixels(DRAWN.careful, Scale.SYMMETRIC).numpy()).all()
    assert (padded[:, :2] == -1).all()
    assert (padded[:, :, 30:] == -1).all()
    columns = scale_pixels(DRAWN.careful, Scale.COLUMNS, margin=2).numpy()
    assert (columns[:, 2:30, 2:30] == scale_pixels(DRAWN.careful, Scale.COLUMNS).numpy()).all()


def test_scale_that_was_not_measured_has_no_result() -> None:
    measured = measure_scales(oracle(0.9, scale=Scale.BYTE), [Scale.BYTE])
    assert measured.at(Scale.UNIT) is None
    assert measured.at(Scale.BYTE) is not None


def fixed(*outputs: float, score: float | None = None) -> Network:
    """Gives the same ten outputs for every image."""

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.shape(images)[0]
        named = {PROBABILITIES: tf.tile(tf.constant([outputs], tf.float32), [rows, 1])}
        return named if score is None else {**named, DIGIT_SCORE: tf.fill([rows], np.float32(score))}

    return network


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ([0.1] * 10, OutputKind.PROBABILITIES),
        ([1.0] + [0.0] * 9, OutputKind.PROBABILITIES),
        ([0.1009] * 10, OutputKind.PROBABILITIES),  # sums of 1.009, as float16 may have
        ([-0.1, *[1.1 / 9] * 9], OutputKind.LOGITS),
        ([2.0] * 10, OutputKind.LOGITS),
        ([0.102] * 10, OutputKind.SIGMOIDS),
        ([1.0] * 10, OutputKind.SIGMOIDS),
        ([0.0] * 10, OutputKind.SIGMOIDS),
    ],
)
def test_kind_of_outputs(outputs: list[float], kind: OutputKind) -> None:
    assert measure_scales(fixed(*outputs), SCALES).output is kind


def test_rows_without_a_number_count_as_undecided() -> None:
    measured = measure_scales(fixed(np.nan, *[5.0] * 9), SCALES)
    assert measured.output is OutputKind.LOGITS
    assert [result.confidence for result in measured.results] == pytest.approx([0.1] * len(SCALES))


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_digit_score_may_be_0_to_1(score: float) -> None:
    assert measure_scales(fixed(*[0.1] * 10, score=score), SCALES).output is OutputKind.PROBABILITIES


@pytest.mark.parametrize("score", [-0.01, 1.01, np.nan])
def test_digit_score_elsewhere_is_refused(score: float) -> None:
    with pytest.raises(ModelError, match=r"its output digit_score must be in 0\.\.1, found"):
        measure_scales(fixed(*[0.1] * 10, score=score), SCALES)


@pytest.mark.parametrize("kind", OutputKind)
def test_logits_of_outputs_at_their_limits_are_finite(kind: OutputKind) -> None:
    outputs = np.array([[0.0, 1.0, np.nan, *[0.5] * 7], [0.0, 1.0, *[0.0] * 8]], np.float32)
    logits = to_logits(outputs, kind)
    assert np.isfinite(logits).all()
    assert len(set(logits[0])) == 1  # a row that is not finite is undecided
    assert logits[1].argmax() == 1
