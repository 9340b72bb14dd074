"""Loads any Keras file or SavedModel for ten digits as one function: uint8 pixels in, calibrated scores out.

A model that cannot be used for digits is refused here, with a one-line reason.
This module knows nothing of batches, shards or inputs: `model/predictor.py` maps `LoadedModel.score` over them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.backend import tf
from mnist_batch.model.background import find_background
from mnist_batch.model.card import ModelCard, OutputKind, check_model_path, find_card, model_digest
from mnist_batch.model.causes import find_cause
from mnist_batch.model.image_form import ImageForm, find_form
from mnist_batch.model.logits import compute_logits
from mnist_batch.model.opening import OpenedModel, TensorInfo, open_model
from mnist_batch.model.scale_choice import check_scale, infer_scale, is_strong
from mnist_batch.model.scales import scale_pixels
from mnist_batch.model.selftest import (
    DIGIT_SCORE,
    PROBABILITIES,
    Network,
    ScaleResult,
    SelfTest,
    measure_scales,
)
from mnist_batch.records import CLASSES

_ONE_IMAGE = "a model must take one image, [n,784], [n,28,28] or [n,28,28,1]"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that passed the self-test, with everything needed to feed it.

    digest: SHA-256, as `card.model_digest` returns it.
    scale: the values that pixels are scaled to.
    output: what its ten outputs are.
    temperature: divides the logits; 1 if no calibration is known.
    card: the model card that gave scale, output and temperature, None without one.
    form: how it takes an image.
    opened: the file as it was opened.
    network: float32 [n, 28, 28] at that scale, with the form's margin -> the model's outputs, unchanged and by name.
    """

    path: Path
    digest: str
    scale: Scale
    output: OutputKind
    temperature: float
    card: ModelCard | None
    selftest: SelfTest
    form: ImageForm
    opened: OpenedModel
    network: Network = field(repr=False)

    @property
    def result(self) -> ScaleResult:
        """What the self-test gave at the model's scale."""
        result = self.selftest.at(self.scale)
        assert result is not None, "load_model must have checked the scale"
        return result

    @property
    def warnings(self) -> list[str]:
        """What a person should know before using the predictions, one line each."""
        warnings = []
        if not is_strong(self.result):
            warnings.append(
                f"the model recognizes only {self.result.accuracy:.0%} of the drawn digits at {self.scale}: "
                "train it longer"
            )
        if self.output is OutputKind.SIGMOIDS:
            warnings.append(
                "the model ends with sigmoids, which do not sum to 1: its confidences are their odds, "
                "normalized by a softmax; train it with softmax"
            )
        return warnings

    def score(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """uint8 [n, 28, 28], white ink (255) on black (0) -> the fields of `Scores` that the model has, by name.

        Call it in `Dataset.map` only: called directly, it returns other last bits (docs/architecture.md).
        """
        outputs = self.network(scale_pixels(pixels, self.scale, self.form.margin))
        probabilities = self._calibrate(outputs.pop(PROBABILITIES))
        return {PROBABILITIES: probabilities, "confidence": tf.reduce_max(probabilities, axis=1), **outputs}

    def _calibrate(self, outputs: tf.Tensor) -> tf.Tensor:
        """The ten outputs as probabilities, float32 [n, 10]."""
        if self.output is OutputKind.PROBABILITIES and self.temperature == 1:
            return outputs
        return tf.nn.softmax(compute_logits(outputs, self.output) / self.temperature)


def load_model(path: Path, scale: Scale | None) -> LoadedModel:
    """Loads the model at `path`, ready to score.

    scale: the scale it was trained on. None takes it from the model's card, or without a card from the self-test.
    Raises ModelError if the model cannot be read, does not fit digits, fails the self-test, or changes meanwhile.
    """
    check_model_path(path)
    digest = model_digest(path)
    card = find_card(path, digest)
    with warnings.catch_warnings():
        # Keras warns about names that it has since changed. The user of a foreign model can do nothing about them.
        warnings.simplefilter("ignore")
        opened = open_model(path)
        try:
            form = _find_form(opened)
            network = _build_network(opened, form)
            selftest = _run_selftest(network, form, opened.inputs[0], card)
            chosen_scale = _choose_scale(selftest, opened, card, scale)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    if model_digest(path) != digest:
        raise ModelError(f"{path}: must not change while it is loaded, but it did: start again when it is complete")
    return LoadedModel(
        path=path,
        digest=digest,
        scale=chosen_scale,
        output=selftest.output,
        temperature=card.temperature if card else 1.0,
        card=card,
        selftest=selftest,
        form=form,
        opened=opened,
        network=network,
    )


def _find_form(opened: OpenedModel) -> ImageForm:
    """Returns how the model takes an image. Raises ModelError if it does not. The message lacks the model's path."""
    if len(opened.inputs) != 1:
        raise ModelError(f"{_ONE_IMAGE}, found {_join(opened.inputs)}: export the part that scores one digit")
    image = opened.inputs[0]
    form = find_form(image.shape)
    if form is None:
        raise ModelError(f"{_ONE_IMAGE}, found {image}: export one for gray images of 28x28")
    if image.batch is not None:
        raise ModelError(f"{_ONE_IMAGE}, for any n, found {image}: export it with a free batch size")
    dtype = tf.as_dtype(image.dtype)
    if not (dtype.is_floating or dtype.is_integer):
        raise ModelError(f"{_ONE_IMAGE}, of numbers, found {image} of {image.dtype}: export it without the decoding")
    return form


def _build_network(opened: OpenedModel, form: ImageForm) -> Network:
    """Returns the opened model as a function of images.

    Raises ModelError if its outputs do not fit digits. The message lacks the model's path.
    """
    # Our own models name their outputs. A model of others has one, of any name.
    digits = PROBABILITIES if PROBABILITIES in opened.outputs else next(iter(opened.outputs), "")
    named = {digits, DIGIT_SCORE} if digits == PROBABILITIES else {digits}
    if not {digits} <= opened.outputs.keys() <= named or opened.outputs[digits].shape != (CLASSES,):
        raise ModelError(
            f"a model must give ten values per image, [n,10], found {_join(list(opened.outputs.values()))}: "
            "export one that classifies the digits 0 to 9"
        )
    score = opened.outputs.get(DIGIT_SCORE)
    if score is not None and score.shape not in ((), (1,)):
        raise ModelError(f"the output {DIGIT_SCORE} must be one value per image, [n], found {score}: export it so")
    dtype = tf.as_dtype(opened.inputs[0].dtype)

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = opened.call(tf.cast(form.arrange(images), dtype))
        named = {PROBABILITIES: tf.cast(outputs[digits], tf.float32)}
        if score is not None:
            named[DIGIT_SCORE] = tf.reshape(tf.cast(outputs[DIGIT_SCORE], tf.float32), (-1,))
        return named

    return network


def _join(tensors: Sequence[TensorInfo]) -> str:
    return " and ".join(map(str, tensors)) or "none"


def _run_selftest(network: Network, form: ImageForm, image: TensorInfo, card: ModelCard | None) -> SelfTest:
    scales = list(Scale)
    if card is not None:
        scales = [card.scale]
    elif tf.as_dtype(image.dtype).is_integer:  # it would truncate 0..1 to black and white
        scales = [Scale.BYTE]
    try:
        return measure_scales(network, scales, form.margin)
    except ModelError:
        raise
    except Exception as error:  # a foreign network raises whatever its layers raise
        raise ModelError(
            f"a model must run on a batch of digits, found {find_cause(error)}: try it where it was trained"
        ) from error


def _choose_scale(selftest: SelfTest, opened: OpenedModel, card: ModelCard | None, scale: Scale | None) -> Scale:
    if card is None:
        if scale is None:
            return infer_scale(selftest, find_background(opened.first_dense))
        check_scale(selftest, scale, "--scale")
        return scale
    if scale not in (None, card.scale):
        raise ModelError(f"--scale must agree with the model's card, {card.scale}, found {scale}: leave it out")
    if card.output is not selftest.output:
        raise ModelError(
            f"outputs must be {card.output} as the model's card says, found {selftest.output}: train it again"
        )
    check_scale(selftest, card.scale, "the model's card")
    return card.scale
