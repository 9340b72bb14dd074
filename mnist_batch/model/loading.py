"""Any Keras file or SavedModel of ten digits behind one function: uint8 pixels in, calibrated probabilities out.

Whatever makes a model unusable for digits ends here, as one line that says why.
It knows nothing of batches, shards or inputs: `pipeline` maps `LoadedModel.probabilities` over them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Whatever else is said there, or in ~/.keras/keras.json. Before TensorFlow, which imports parts of Keras.
os.environ["KERAS_BACKEND"] = "tensorflow"

import tensorflow as tf

from mnist_batch.config import ValueRange
from mnist_batch.errors import ModelError
from mnist_batch.model.card import ModelCard, OutputKind, check_kind, find_card, model_digest
from mnist_batch.model.opening import OpenedModel, TensorInfo, open_model, shorten_cause
from mnist_batch.model.selftest import Network, SelfTest, check_scale, measure, scale_pixels, settle_scale
from mnist_batch.records import CLASSES, IMAGE_SIDE

_INPUT_FORMS: tuple[tuple[int, ...], ...] = (
    (IMAGE_SIDE * IMAGE_SIDE,),
    (IMAGE_SIDE, IMAGE_SIDE),
    (IMAGE_SIDE, IMAGE_SIDE, 1),
)
_ONE_IMAGE = "a model must take one image, [n,784], [n,28,28] or [n,28,28,1]"
# The smallest normal float32: below it a probability has no finite logarithm.
_SMALLEST = 1.1754944e-38


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that passed the self-test, with everything needed to feed it.

    digest: SHA-256, as `card.model_digest` gives it; scale: what its pixels are brought to; output: what its ten values
    are; temperature: divides the logits, 1 where no calibration is known; carded: whether a model card said all that;
    network: float32 [n, 28, 28] at that scale -> float32 [n, 10], its outputs as they are.
    """

    path: Path
    digest: str
    scale: ValueRange
    output: OutputKind
    temperature: float
    carded: bool
    selftest: SelfTest
    network: Network = field(repr=False)

    def probabilities(self, pixels: tf.Tensor) -> tf.Tensor:
        """uint8 [n, 28, 28], white ink (255) on black (0) -> float32 [n, 10], rows sum to 1.

        For `Dataset.map`: called in another way, the last bits differ (docs/architecture.md).
        """
        outputs = self.network(scale_pixels(pixels, self.scale))
        if self.output is OutputKind.LOGITS:
            return tf.nn.softmax(outputs / self.temperature)
        if self.temperature != 1:
            return tf.nn.softmax(tf.math.log(tf.maximum(outputs, _SMALLEST)) / self.temperature)
        return outputs


def load_model(path: Path, scale: ValueRange | None) -> LoadedModel:
    """The model at `path`, ready to score.

    scale: what it was trained on; None to go by its card, or without one by the self-test.
    Raises ModelError where the model cannot be read, does not fit digits, or fails the self-test.
    """
    check_kind(path)
    digest = model_digest(path)
    card = find_card(path, digest)
    with warnings.catch_warnings():
        # Keras warns of what it renamed since; who scores with another's model can do nothing about it.
        warnings.simplefilter("ignore")
        opened = open_model(path)
        try:
            network = _build_network(opened)
            selftest = _run_selftest(network, opened.inputs[0])
            settled = _settle_scale(selftest, card, scale)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    return LoadedModel(
        path=path,
        digest=digest,
        scale=settled,
        output=selftest.output,
        temperature=card.temperature if card else 1.0,
        carded=card is not None,
        selftest=selftest,
        network=network,
    )


def _build_network(opened: OpenedModel) -> Network:
    """The opened model as a function of images, if its shapes allow it. Raises ModelError without the model's name."""
    if len(opened.inputs) != 1:
        raise ModelError(f"{_ONE_IMAGE}, found {_join(opened.inputs)}: export the part that scores one digit")
    if len(opened.outputs) != 1 or opened.outputs[0].shape != (CLASSES,):
        raise ModelError(
            f"a model must give ten values an image, [n,10], found {_join(opened.outputs)}: "
            "export one that tells the digits 0 to 9"
        )
    image = opened.inputs[0]
    form = next((form for form in _INPUT_FORMS if _fits(image, form)), None)
    if form is None:
        raise ModelError(f"{_ONE_IMAGE}, found {image}: export one for gray images of 28x28")
    if image.batch is not None:
        raise ModelError(f"{_ONE_IMAGE}, for any n, found {image}: export it with a free batch size")
    dtype = tf.as_dtype(image.dtype)
    if not (dtype.is_floating or dtype.is_integer):
        raise ModelError(f"{_ONE_IMAGE}, of numbers, found {image} of {image.dtype}: export it without the decoding")

    def network(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(opened.call(tf.cast(tf.reshape(images, (-1, *form)), dtype)), tf.float32)

    return network


def _fits(image: TensorInfo, form: tuple[int, ...]) -> bool:
    if image.shape is None or len(image.shape) != len(form):
        return False
    return all(size in (None, wanted) for size, wanted in zip(image.shape, form, strict=True))


def _join(tensors: Sequence[TensorInfo]) -> str:
    return " and ".join(map(str, tensors)) or "none"


def _run_selftest(network: Network, image: TensorInfo) -> SelfTest:
    # An integer input would cut 0..1 down to black and white.
    scales = [ValueRange.BYTE] if tf.as_dtype(image.dtype).is_integer else list(ValueRange)
    try:
        return measure(network, scales)
    except ModelError:
        raise
    except Exception as error:  # a foreign network raises what its layers raise
        raise ModelError(
            f"a model must run on a batch of digits, found {shorten_cause(error)}: try it where it was trained"
        ) from error


def _settle_scale(selftest: SelfTest, card: ModelCard | None, scale: ValueRange | None) -> ValueRange:
    if card is None:
        if scale is None:
            return settle_scale(selftest)
        check_scale(selftest, scale, "--scale")
        return scale
    if scale not in (None, card.scale):
        raise ModelError(f"--scale must agree with the model's card, {card.scale}, found {scale}: leave it out")
    if card.output is not selftest.output:
        raise ModelError(f"outputs must be {card.output} as the model's card says, found {selftest.output}: train anew")
    check_scale(selftest, card.scale, "the model's card")
    return card.scale
