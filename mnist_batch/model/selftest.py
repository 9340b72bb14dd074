"""The self-test: scores drawn digits once at load, to find out a model's pixel scale and output kind.

A model does not say whether it was trained on 0..1, 0..255 or -1..1. Fed the wrong scale it does not fail: it predicts,
often correctly, with meaningless confidences. So the self-test scores the shipped digits at each scale, and also blends
(averages of two digits), about which a correctly fed model cannot be sure.
This module knows nothing of files: it is given a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.backend import tf
from mnist_batch.model.card import OutputKind
from mnist_batch.records import CLASSES, Floats, Ints, Pixels

# The names of a network's outputs.
PROBABILITIES, DIGIT_SCORE = "probabilities", "digit_score"
# float32 [n, 28, 28] at a model's scale -> its outputs unchanged: float32 [n, 10] as `PROBABILITIES`, and if the model
# has it, float32 [n] as `DIGIT_SCORE`.
Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]

# Chosen in November 2026 on small networks trained for this purpose, on 10,000 to 60,000 rows of MNIST for 1 to 6
# epochs: linear, dense with relu, tanh or sigmoid, dropout, batch normalization, convolutions; softmax and logits; each
# scale, and with a Rescaling layer. Of the 165 networks used for the choice, 142 got the right scale and none a wrong
# one; of 55 held out, 46 and none. The rest are refused: half trained, sigmoids, or linear on 0..255, for which two
# scales look alike. Networks that no scale fits (pixels standardized by mean and deviation) are refused in only 31 of
# 44 cases.
MIN_ACCURACY = 0.8
MAX_NLL = 0.5
# Accuracy minus mean confidence.
MAX_UNDERCONFIDENCE = 0.2
# Measured on the same networks: relu networks fed values 255 times too large have a blend NLL of 8.8 to 14 nats; at
# their own scale 1.3 to 4.
MAX_BLEND_NLL = 8.5
BLEND_WEIGHT = 0.15
# The second-best scale must be worse than the best by this much, in nats of `ScaleResult.weighted_nll`.
MIN_MARGIN = 0.15

# Probabilities in float16 sum to 1 within 0.005. The logits of 600 images never do.
_SUM_TOLERANCE = 0.01
_MIN_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """How a model does on the shipped digits at one scale.

    accuracy: share of digits predicted correctly, 0..1.
    confidence: mean probability of the predicted digit, 0..1.
    nll: mean negative log-likelihood of the true digits, in nats.
    blend_nll: mean cross-entropy of the blends of two digits against one half on each, in nats.
    Both use probabilities clipped at 1e-7.
    """

    scale: Scale
    accuracy: float
    confidence: float
    nll: float
    blend_nll: float

    @property
    def recognizes_digits(self) -> bool:
        """Whether the accuracy is high enough to score anything at all."""
        return self.accuracy >= MIN_ACCURACY

    @property
    def is_plausible(self) -> bool:
        """Whether the confidences are those of a model fed its own scale: neither overconfident nor underconfident."""
        underconfidence = self.accuracy - self.confidence
        return self.nll <= MAX_NLL and underconfidence <= MAX_UNDERCONFIDENCE and self.blend_nll <= MAX_BLEND_NLL

    @property
    def weighted_nll(self) -> float:
        """The lower, the better the confidences fit both the clear images and the ambiguous ones."""
        return self.nll + BLEND_WEIGHT * self.blend_nll

    def __str__(self) -> str:
        return f"{self.scale}: {self.accuracy:.0%} right at mean confidence {self.confidence:.2f}"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the self-test measured: the kind of output, and a result for each scale that the model's input can hold."""

    output: OutputKind
    results: tuple[ScaleResult, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.results))

    def at(self, scale: Scale) -> ScaleResult | None:
        """Returns the result at `scale`, or None if the model's input cannot hold that scale."""
        return next((result for result in self.results if result.scale is scale), None)


@dataclass(frozen=True, slots=True)
class _DrawnImages:
    """digits: uint8 [n, 28, 28], labels: int64 [n]; blends: uint8 [m, 28, 28], blend_labels: int64 [m, 2]."""

    digits: Pixels
    labels: Ints
    blends: Pixels
    blend_labels: Ints


def scale_pixels(pixels: tf.Tensor, scale: Scale) -> tf.Tensor:
    """Converts uint8 pixels to the float32 values that a model of this scale was trained on."""
    values = tf.cast(pixels, tf.float32)
    if scale is Scale.UNIT:
        return values / 255.0
    if scale is Scale.SYMMETRIC:
        return values / 127.5 - 1.0
    return values


def measure_scales(network: Network, scales: Sequence[Scale]) -> SelfTest:
    """Scores the shipped digits at each of `scales`.

    Raises ModelError if the ten outputs are neither probabilities nor logits, or a digit score is not in 0..1; and
    whatever the network raises.
    """
    drawn = _load_drawn_images()
    images = np.concatenate([drawn.digits, drawn.blends])
    outputs = _run_network(
        network, tf.concat([scale_pixels(images, scale) for scale in scales], axis=0), batch_size=len(images)
    )
    if DIGIT_SCORE in outputs:
        _check_digit_score(outputs[DIGIT_SCORE])
    kind = _detect_output_kind(outputs[PROBABILITIES])
    probabilities = _to_probabilities(outputs[PROBABILITIES], kind).reshape(len(scales), len(images), CLASSES)
    return SelfTest(kind, tuple(_measure_scale(s, p, drawn) for s, p in zip(scales, probabilities, strict=True)))


def infer_scale(selftest: SelfTest) -> Scale:
    """Returns the scale that a model was trained on: of those where it recognizes digits, the lowest `weighted_nll`.

    Raises ModelError if it recognizes digits at no scale, if another scale is nearly as good, or if the confidences are
    implausible even at the best scale. The message lacks the model's path.
    """
    candidates = sorted(
        (result for result in selftest.results if result.recognizes_digits), key=lambda result: result.weighted_nll
    )
    if not candidates:
        raise ModelError(_explain_failure(selftest))
    best = candidates[0]
    second_nll = candidates[1].weighted_nll if len(candidates) > 1 else np.inf
    if not best.is_plausible or second_nll - best.weighted_nll < MIN_MARGIN:
        raise ModelError(
            f"the scale of its pixels must be clear from the self-test, found {selftest}: "
            f"say which it was trained on with --scale {'|'.join(Scale)}"
        )
    return best.scale


def check_scale(selftest: SelfTest, scale: Scale, source: str) -> None:
    """Raises ModelError if the model does not recognize digits at `scale`. The message lacks the model's path.

    source: where the scale comes from, for the message.
    """
    result = selftest.at(scale)
    if result is not None and result.recognizes_digits:
        return
    if not any(result.recognizes_digits for result in selftest.results):
        raise ModelError(_explain_failure(selftest))
    raise ModelError(
        f"it must recognize at least {MIN_ACCURACY:.0%} of the drawn digits at {scale}, as {source} says, "
        f"found {selftest}: name another --scale, or leave it out"
    )


def _explain_failure(selftest: SelfTest) -> str:
    return (
        f"it must recognize at least {MIN_ACCURACY:.0%} of the drawn digits at a scale that --scale can name, "
        f"found {selftest}: train it on upright white digits on black"
    )


@cache
def _load_drawn_images() -> _DrawnImages:
    with np.load(Path(__file__).with_name("selftest.npz")) as file:
        return _DrawnImages(
            file["digits"], file["labels"].astype(np.int64), file["blends"], file["blend_labels"].astype(np.int64)
        )


def _run_network(network: Network, images: tf.Tensor, batch_size: int) -> dict[str, Floats]:
    # In Dataset.map, as in the predictor: called directly, the network returns other last bits (docs/architecture.md).
    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)
    batches = batches.map(tf.autograph.experimental.do_not_convert(network))
    parts = list(batches.as_numpy_iterator())
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_digit_score(scores: Floats) -> None:
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ModelError(
            f"its output {DIGIT_SCORE} must be in 0..1, found {scores.min():.3g} to {scores.max():.3g}: "
            "end it with a sigmoid"
        )


def _detect_output_kind(outputs: Floats) -> OutputKind:
    finite = outputs[np.isfinite(outputs).all(axis=1)]
    sums = finite.sum(axis=1)
    if len(finite) and finite.min() >= 0 and np.abs(sums - 1).max() <= _SUM_TOLERANCE:
        return OutputKind.PROBABILITIES
    if len(finite) and finite.min() >= 0 and finite.max() <= 1:
        raise ModelError(
            "its ten outputs must be probabilities that sum to 1, or logits, "
            f"found values in 0..1 with sums of {sums.min():.2f} to {sums.max():.2f}, as sigmoids give: "
            "train it with softmax"
        )
    return OutputKind.LOGITS


def _to_probabilities(outputs: Floats, kind: OutputKind) -> Floats:
    """Converts outputs to probabilities. Rows that are not finite, as from a float16 network at 0..255, are uniform."""
    finite = np.isfinite(outputs).all(axis=1, keepdims=True)
    values: Floats = np.where(finite, outputs, np.float32(1 / CLASSES))
    if kind is OutputKind.PROBABILITIES:
        return values
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def _measure_scale(scale: Scale, probabilities: Floats, drawn: _DrawnImages) -> ScaleResult:
    digits, blends = np.split(probabilities.astype(np.float64), [len(drawn.digits)])
    log_digits = np.log(np.clip(digits, _MIN_PROBABILITY, 1))
    log_blends = np.log(np.clip(blends, _MIN_PROBABILITY, 1))
    return ScaleResult(
        scale=scale,
        accuracy=float(np.mean(digits.argmax(axis=1) == drawn.labels)),
        confidence=float(digits.max(axis=1).mean()),
        nll=float(-np.take_along_axis(log_digits, drawn.labels[:, None], axis=1).mean()),
        blend_nll=float(-np.take_along_axis(log_blends, drawn.blend_labels, axis=1).mean()),
    )
