"""The self-test: scores drawn digits when a model is loaded, to find out what its outputs are and how well it does.

A model does not say which pixel values it was trained on. Fed the wrong ones it does not fail: it predicts, often
correctly, with meaningless confidences. So the self-test scores digits at each scale. `model/scale_choice.py` compares
the results.
This module knows nothing of files: it is given a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.backend import tf
from mnist_batch.model.card import OutputKind
from mnist_batch.model.logits import compute_logits
from mnist_batch.model.scales import scale_pixels
from mnist_batch.records import CLASSES, Floats, Ints, Pixels

# The names of a network's outputs.
PROBABILITIES, DIGIT_SCORE = "probabilities", "digit_score"
# float32 [n, 28, 28] at a model's scale -> its outputs unchanged: float32 [n, 10] as `PROBABILITIES`, and if the model
# has it, float32 [n] as `DIGIT_SCORE`.
Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]

_Doubles = npt.NDArray[np.float64]
# Probabilities in float16 sum to 1 within 0.005. The logits of 100 images never do.
_SUM_TOLERANCE = 0.01
# The logarithms of the temperatures that are tried: first coarse, then fine around the best.
_COARSE = np.arange(-3, 7.01, 0.5)
_FINE = np.arange(-0.5, 0.501, 0.05)


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """How a model does on drawn digits at one scale.

    accuracy: share of the careful digits predicted correctly, 0..1.
    confidence: mean probability of the predicted digit on the careful digits, 0..1.
    loss: mean negative log-likelihood of the varied digits at `temperature`, in nats.
    temperature: divides the logits so that the loss is lowest (Guo et al. 2017, section 4.2). Above 1, the model is too
        certain; below 1, not certain enough.
    """

    scale: Scale
    accuracy: float
    confidence: float
    loss: float
    temperature: float

    def __str__(self) -> str:
        return (
            f"{self.scale}: {self.accuracy:.0%} right at mean confidence {self.confidence:.2f}, "
            f"loss {self.loss:.2f} at temperature {self.temperature:.2g}"
        )


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the self-test measured: the kind of output, and a result for each scale that was tried."""

    output: OutputKind
    results: tuple[ScaleResult, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.results))

    def at(self, scale: Scale) -> ScaleResult | None:
        """Returns the result at `scale`, or None if it was not tried."""
        return next((result for result in self.results if result.scale is scale), None)


@dataclass(frozen=True, slots=True)
class _DrawnDigits:
    """careful: digits that any usable model recognizes. varied: digits of which every model gets some wrong.

    Both uint8 [n, 28, 28], with int64 labels [n].
    """

    careful: Pixels
    careful_labels: Ints
    varied: Pixels
    varied_labels: Ints


def measure_scales(network: Network, scales: Sequence[Scale], margin: int = 0) -> SelfTest:
    """Scores the drawn digits at each of `scales`. margin: as in `scale_pixels`.

    Raises ModelError if the ten outputs are neither probabilities nor sigmoids nor logits, or a digit score is not in
    0..1; and whatever the network raises.
    """
    drawn = load_drawn_digits()
    images = np.concatenate([drawn.careful, drawn.varied])
    scaled = tf.concat([scale_pixels(images, scale, margin) for scale in scales], axis=0)
    outputs = _run_network(network, scaled, batch_size=len(images))
    if DIGIT_SCORE in outputs:
        _check_digit_score(outputs[DIGIT_SCORE])
    kind = _detect_output_kind(outputs[PROBABILITIES])
    logits = to_logits(outputs[PROBABILITIES], kind).reshape(len(scales), len(images), CLASSES)
    return SelfTest(kind, tuple(_measure_scale(s, z, drawn) for s, z in zip(scales, logits, strict=True)))


@cache
def load_drawn_digits() -> _DrawnDigits:
    """Returns the digits of `selftest.npz`, which `sample_data/draw.py` draws."""
    with np.load(Path(__file__).with_name("selftest.npz")) as file:
        return _DrawnDigits(
            file["careful"],
            file["careful_labels"].astype(np.int64),
            file["varied"],
            file["varied_labels"].astype(np.int64),
        )


def to_logits(outputs: Floats, kind: OutputKind) -> _Doubles:
    """Converts ten outputs to logits, float64 [n, 10]. Rows that are not finite, as from float16, become uniform."""
    finite = np.isfinite(outputs).all(axis=1, keepdims=True)
    values = tf.where(finite, outputs, np.float32(0.5))
    logits: _Doubles = compute_logits(values, kind).numpy().astype(np.float64)
    return logits


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
    if len(finite) and finite.min() >= 0 and np.abs(finite.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
        return OutputKind.PROBABILITIES
    if len(finite) and finite.min() >= 0 and finite.max() <= 1:
        return OutputKind.SIGMOIDS
    return OutputKind.LOGITS


def _measure_scale(scale: Scale, logits: _Doubles, drawn: _DrawnDigits) -> ScaleResult:
    careful, varied = np.split(logits, [len(drawn.careful)])
    highest = careful.max(axis=1, keepdims=True)
    temperature, loss = _fit_temperature(varied, drawn.varied_labels)
    return ScaleResult(
        scale=scale,
        accuracy=float(np.mean(careful.argmax(axis=1) == drawn.careful_labels)),
        confidence=float(np.mean(1 / np.exp(careful - highest).sum(axis=1))),
        loss=loss,
        temperature=temperature,
    )


def _fit_temperature(logits: _Doubles, labels: Ints) -> tuple[float, float]:
    """Returns the temperature at which the loss is lowest, and this loss."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]

    def measure_loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(shifted * scale).sum(axis=1)) - right * scale))

    best = min(_COARSE, key=measure_loss)
    best = min(best + _FINE, key=measure_loss)
    return float(np.exp(best)), measure_loss(best)
