"""What the self-test concludes from a network's outputs, without a real network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.card import OutputKind
from mnist_batch.model.selftest import (
    DIGIT_SCORE,
    PROBABILITIES,
    Network,
    ScaleResult,
    SelfTest,
    _load_drawn_images,
    check_scale,
    infer_scale,
    measure_scales,
    scale_pixels,
)

SCALES = list(Scale)
DRAWN = _load_drawn_images()


def result(
    scale: Scale, accuracy: float = 0.95, confidence: float = 0.9, nll: float = 0.2, blend: float = 2.0
) -> ScaleResult:
    return ScaleResult(scale, accuracy, confidence, nll, blend)


def selftest(*results: ScaleResult) -> SelfTest:
    return SelfTest(OutputKind.PROBABILITIES, results)


@pytest.mark.parametrize(
    ("scale", "values"), [(Scale.UNIT, [0, 0.2, 1]), (Scale.BYTE, [0, 51, 255]), (Scale.SYMMETRIC, [-1, -0.6, 1])]
)
def test_pixels_are_scaled(scale: Scale, values: list[float]) -> None:
    scaled = scale_pixels(tf.constant([0, 51, 255], tf.uint8), scale)
    assert scaled.dtype == tf.float32
    assert scaled.numpy().tolist() == pytest.approx(values)


def test_drawn_images_have_every_digit() -> None:
    assert set(DRAWN.labels) == set(range(10))
    assert len(DRAWN.digits) == len(DRAWN.labels)
    assert len(DRAWN.blends) == len(DRAWN.blend_labels)
    assert (DRAWN.blend_labels[:, 0] != DRAWN.blend_labels[:, 1]).all()


def oracle(confidence: float, wrong: int = 0, scale: Scale = Scale.UNIT, logits: bool = False) -> Network:
    """Knows the drawn images if they come at one scale: it gives the right digit this confidence, the others the rest.

    wrong: how many of the digits it gets wrong. Blends get the first of their digits.
    """
    labels = np.concatenate([DRAWN.labels, DRAWN.blend_labels[:, 0]])
    labels[:wrong] = (labels[:wrong] + 1) % 10
    rest = (1 - confidence) / 9
    table = np.where(np.eye(10)[labels] == 1, confidence, rest).astype(np.float32)
    table = np.log(table) + 3 if logits else table
    black, white = scale_pixels(tf.constant([0, 255], tf.uint8), scale).numpy()

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        fits = tf.logical_and(tf.reduce_min(images) == black, tf.reduce_max(images) == white)
        even = tf.fill(tf.shape(table), np.float32(0.0 if logits else 0.1))
        return {PROBABILITIES: tf.where(fits, table, even)}

    return network


@pytest.mark.parametrize("logits", [False, True])
def test_measured_figures_are_those_of_the_outputs(logits: bool) -> None:
    measured = measure_scales(oracle(0.91, wrong=len(DRAWN.labels) // 4, logits=logits), SCALES)
    assert measured.output is (OutputKind.LOGITS if logits else OutputKind.PROBABILITIES)
    assert [result.scale for result in measured.results] == SCALES
    found = measured.at(Scale.UNIT)
    assert found is not None
    right = 1 - (len(DRAWN.labels) // 4) / len(DRAWN.labels)
    assert found.accuracy == right
    assert found.confidence == pytest.approx(0.91, abs=1e-6)
    assert found.nll == pytest.approx(-right * np.log(0.91) - (1 - right) * np.log(0.01), abs=1e-5)
    assert found.blend_nll == pytest.approx(-(np.log(0.91) + np.log(0.01)) / 2, abs=1e-5)
    assert found.weighted_nll == pytest.approx(found.nll + 0.15 * found.blend_nll)
    other = measured.at(Scale.BYTE)
    assert other is not None
    assert other.confidence == pytest.approx(0.1)


def test_scale_of_each_oracle_is_inferred() -> None:
    for scale in SCALES:
        assert infer_scale(measure_scales(oracle(0.91, scale=scale), SCALES)) is scale


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
    ],
)
def test_kind_of_outputs(outputs: list[float], kind: OutputKind) -> None:
    assert measure_scales(fixed(*outputs), SCALES).output is kind


@pytest.mark.parametrize("outputs", [[0.102] * 10, [1.0] * 10, [0.5] * 10])
def test_sigmoids_are_refused(outputs: list[float]) -> None:
    with pytest.raises(ModelError, match=rf"with sums of {sum(outputs):.2f} to {sum(outputs):.2f}, as sigmoids give"):
        measure_scales(fixed(*outputs), SCALES)


def test_rows_without_a_number_count_as_undecided() -> None:
    measured = measure_scales(fixed(np.nan, *[5.0] * 9), SCALES)
    assert measured.output is OutputKind.LOGITS
    assert [result.confidence for result in measured.results] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_digit_score_may_be_0_to_1(score: float) -> None:
    assert measure_scales(fixed(*[0.1] * 10, score=score), SCALES).output is OutputKind.PROBABILITIES


@pytest.mark.parametrize("score", [-0.01, 1.01, np.nan])
def test_digit_score_elsewhere_is_refused(score: float) -> None:
    with pytest.raises(ModelError, match=r"its output digit_score must be in 0\.\.1, found"):
        measure_scales(fixed(*[0.1] * 10, score=score), SCALES)


def test_lowest_weighted_loss_wins() -> None:
    # 0.3 + 0.15 * 1 against 0.2 + 0.15 * 3: the blends decide.
    best, other = result(Scale.BYTE, nll=0.3, blend=1.0), result(Scale.UNIT, nll=0.2, blend=3.0)
    assert infer_scale(selftest(other, best)) is Scale.BYTE


@pytest.mark.parametrize(
    ("other", "is_clear"),
    [
        (result(Scale.UNIT, nll=0.36), True),
        (result(Scale.UNIT, nll=0.34), False),
        (result(Scale.UNIT, nll=0.2, accuracy=0.79), True),  # does not recognize digits
        (result(Scale.UNIT, nll=0.2, accuracy=0.80), False),
    ],
)
def test_two_scales_alike_are_refused(other: ScaleResult, is_clear: bool) -> None:
    found = selftest(other, result(Scale.SYMMETRIC))
    if is_clear:
        assert infer_scale(found) is Scale.SYMMETRIC
        return
    with pytest.raises(ModelError, match=r"the scale of its pixels must be clear .*--scale 0\.\.1\|0\.\.255\|-1\.\.1"):
        infer_scale(found)


@pytest.mark.parametrize(
    ("only", "plausible"),
    [
        (result(Scale.UNIT, nll=0.5), True),
        (result(Scale.UNIT, nll=0.51), False),
        (result(Scale.UNIT, accuracy=0.95, confidence=0.751), True),
        (result(Scale.UNIT, accuracy=0.95, confidence=0.749), False),
        (result(Scale.UNIT, accuracy=0.85, confidence=0.99), True),
        (result(Scale.UNIT, blend=8.5), True),
        (result(Scale.UNIT, blend=8.6), False),
    ],
)
def test_implausible_confidences_are_refused(only: ScaleResult, plausible: bool) -> None:
    assert only.is_plausible == plausible
    if plausible:
        assert infer_scale(selftest(only)) is Scale.UNIT
        return
    with pytest.raises(ModelError, match=r"the scale of its pixels must be clear from the self-test, found 0\.\.1: "):
        infer_scale(selftest(only))


def test_model_for_something_else_is_refused() -> None:
    found = selftest(result(Scale.UNIT, accuracy=0.12, confidence=0.3), result(Scale.BYTE, accuracy=0.79))
    message = (
        "it must recognize at least 80% of the drawn digits at a scale that --scale can name, found "
        "0..1: 12% right at mean confidence 0.30; 0..255: 79% right at mean confidence 0.90: "
        "train it on upright white digits on black"
    )
    conclude: list[Callable[[], object]] = [
        lambda: infer_scale(found),
        lambda: check_scale(found, Scale.UNIT, "--scale"),
        lambda: check_scale(found, Scale.SYMMETRIC, "--scale"),
    ]
    for each in conclude:
        with pytest.raises(ModelError) as caught:
            each()
        assert str(caught.value) == message


def test_named_scale_must_recognize_digits() -> None:
    found = selftest(result(Scale.UNIT, accuracy=0.80), result(Scale.BYTE, accuracy=0.79))
    check_scale(found, Scale.UNIT, "--scale")
    for scale in (Scale.BYTE, Scale.SYMMETRIC):
        with pytest.raises(
            ModelError, match=rf"of the drawn digits at {scale}, as its card says, found .*name another"
        ):
            check_scale(found, scale, "its card")
