"""Which scale is chosen from the results of a self-test, and what is said where none can be."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import pytest

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.background import Background
from mnist_batch.model.card import OutputKind
from mnist_batch.model.scale_choice import check_scale, infer_scale, is_strong
from mnist_batch.model.selftest import ScaleResult, SelfTest


def result(scale: Scale, loss: float = 0.2, log_temperature: float = 0.0, accuracy: float = 0.95) -> ScaleResult:
    return ScaleResult(scale, accuracy, 0.9, loss, exp(log_temperature))


def infer(*results: ScaleResult, background: Background = Background.UNKNOWN) -> Scale | None:
    """The scale that is chosen, None if it is not clear."""
    try:
        return infer_scale(SelfTest(OutputKind.PROBABILITIES, results), background)
    except ModelError as error:
        if "the scale of its pixels must be clear from the self-test, found" not in str(error):
            raise
        return None


@pytest.mark.parametrize(("factor", "chosen"), [(1.19, Scale.UNIT), (1.18, None), (0.85, None), (0.84, Scale.COLUMNS)])
def test_lower_loss_wins_by_a_margin(factor: float, chosen: Scale | None) -> None:
    assert infer(result(Scale.UNIT), result(Scale.COLUMNS, loss=0.2 * factor)) is chosen


@pytest.mark.parametrize(
    ("scale", "log_temperature", "chosen"),
    [
        (Scale.COLUMNS, 0.46, None),
        (Scale.COLUMNS, 0.48, Scale.UNIT),  # 0.18 is more than the margin
        (Scale.COLUMNS, -1.32, None),
        (Scale.COLUMNS, -1.34, Scale.UNIT),  # 0.15 * 1.14 is more than the margin
        (Scale.BYTE, 3.16, None),  # networks on 0..255 are far too certain
        (Scale.BYTE, 3.18, Scale.UNIT),
    ],
)
def test_unlikely_temperature_counts_against_a_scale(
    scale: Scale, log_temperature: float, chosen: Scale | None
) -> None:
    assert infer(result(scale, log_temperature=log_temperature), result(Scale.UNIT)) is chosen


@pytest.mark.parametrize(
    ("loss", "log_temperature", "chosen"),
    [
        (0.182, 0.0, Scale.UNIT),  # the logarithms differ by less than 0.1
        (0.180, 0.0, None),
        (0.2, 0.39, Scale.UNIT),
        (0.2, 0.41, None),
        (0.2, -0.39, Scale.UNIT),
        (0.2, -0.41, None),
    ],
)
def test_of_scales_equally_good_the_most_usual_is_taken(
    loss: float, log_temperature: float, chosen: Scale | None
) -> None:
    assert infer(result(Scale.COLUMNS, loss, log_temperature), result(Scale.UNIT)) is chosen


def test_scale_where_few_digits_are_recognized_is_not_chosen() -> None:
    weak = result(Scale.BYTE, loss=0.1, accuracy=0.79)
    assert infer(weak, result(Scale.UNIT)) is Scale.UNIT
    assert infer(result(Scale.BYTE, loss=0.1, accuracy=0.8), result(Scale.UNIT)) is Scale.BYTE


@pytest.mark.parametrize(
    ("background", "chosen"),
    [
        (Background.ZERO, Scale.UNIT),
        (Background.NEGATIVE, Scale.STANDARDISED),
        (Background.POSITIVE, Scale.INVERTED),
        (Background.UNKNOWN, None),
    ],
)
def test_weights_decide_between_scales_alike(background: Background, chosen: Scale | None) -> None:
    results = [result(Scale.UNIT), result(Scale.STANDARDISED, loss=0.18), result(Scale.INVERTED, loss=0.18)]
    assert infer(*results, background=background) is chosen


def test_folded_scale_outweighs_the_weights() -> None:
    results = [result(Scale.UNIT, loss=2.0), result(Scale.SYMMETRIC)]
    assert infer(*results, background=Background.ZERO) is Scale.SYMMETRIC


@pytest.mark.parametrize(("factor", "chosen"), [(0.87, Scale.SYMMETRIC), (0.85, Scale.CENTRED), (1.5, Scale.SYMMETRIC)])
def test_the_more_common_of_two_symmetric_scales_is_taken(factor: float, chosen: Scale) -> None:
    assert infer(result(Scale.SYMMETRIC), result(Scale.CENTRED, loss=0.2 * factor)) is chosen


def test_refusal_names_the_scales_in_question() -> None:
    results = [result(Scale.UNIT), result(Scale.COLUMNS, loss=0.17), result(Scale.BYTE, loss=2.0, accuracy=0.3)]
    with pytest.raises(ModelError) as caught:
        infer_scale(SelfTest(OutputKind.PROBABILITIES, tuple(results)), Background.UNKNOWN)
    assert str(caught.value) == (
        "the scale of its pixels must be clear from the self-test, found "
        "columns: 95% right at mean confidence 0.90, loss 0.17 at temperature 1; "
        "0..1: 95% right at mean confidence 0.90, loss 0.20 at temperature 1: "
        "say which it was trained on with --scale columns|0..1"
    )


@pytest.mark.parametrize(
    ("accuracy", "loss", "log_temperature", "remedy"),
    [
        (0.79, 0.7, 2.0, "train it longer, or name the scale that it was trained on with --scale to use it as it is"),
        (0.45, 2.2, 2.0, "train it longer, or name the scale that it was trained on with --scale to use it as it is"),
        (0.44, 2.0, 2.0, "train it on upright digits 0 to 9"),
        (0.27, 2.1, 0.0, "train it longer, or name the scale that it was trained on with --scale to use it as it is"),
        (0.27, 2.2, 0.0, "train it on upright digits 0 to 9"),
        (0.27, 2.1, 0.5, "train it on upright digits 0 to 9"),
        (0.19, 2.1, 0.0, "train it on upright digits 0 to 9"),
    ],
)
def test_weak_model_needs_its_scale_named(accuracy: float, loss: float, log_temperature: float, remedy: str) -> None:
    weak = result(Scale.BYTE, loss, log_temperature, accuracy)
    found = SelfTest(OutputKind.PROBABILITIES, (result(Scale.UNIT, 2.3, accuracy=0.1), weak))
    message = (
        "it must recognize at least 80% of the drawn digits, "
        f"found {accuracy * 100:.0f} of 100 at most, at 0..255: {remedy}"
    )
    conclude: list[Callable[[], object]] = [lambda: infer_scale(found, Background.UNKNOWN)]
    if remedy.startswith("train it longer"):
        check_scale(found, Scale.BYTE, "--scale")
    else:
        conclude.append(lambda: check_scale(found, Scale.BYTE, "--scale"))
    for each in conclude:
        with pytest.raises(ModelError) as caught:
            each()
        assert str(caught.value) == message
    assert not is_strong(weak)


def test_named_scale_must_be_usable() -> None:
    found = SelfTest(OutputKind.PROBABILITIES, (result(Scale.UNIT), result(Scale.BYTE, 2.3, accuracy=0.3)))
    check_scale(found, Scale.UNIT, "--scale")
    for scale in (Scale.BYTE, Scale.SYMMETRIC):  # the second was not measured
        with pytest.raises(ModelError, match=rf"drawn digits at {scale}, as its card says, found 0\.\.1.*name another"):
            check_scale(found, scale, "its card")
