"""Trains a model: reads the data, fits the network, saves the model with its card.

The test rows are scored once, by the finished model. No choice is based on them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import TrainConfig
from mnist_batch.model.backend import keras, tf
from mnist_batch.model.card import CARD_VERSION, ModelCard, OutputKind, Training
from mnist_batch.records import Floats, ImageBatch, Ints, Pixels, Scores, string_array
from mnist_batch.report.build import measure_calibration
from mnist_batch.report.drift import build_profile
from mnist_batch.report.tally import Tally, tally_batch
from mnist_batch.training.data import TrainingData, load_training_data, one_hot, to_network_input
from mnist_batch.training.holdout import hold_out
from mnist_batch.training.recipes import Recipe, find_recipe
from mnist_batch.training.saving import make_staging, publish, save_all_formats

PrintLine = Callable[[str], None]
# Called between any two batches. May raise to stop the training.
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What `train` saved.

    output: the folder the model is in.
    kept_epoch: the number of the epoch whose weights were saved, from 1; the last one if nothing was held out.
    """

    output: Path
    card: ModelCard
    kept_epoch: int


@dataclass(frozen=True, slots=True)
class _FittedModel:
    """held_out: bool [training rows], None if all rows were trained on."""

    model: keras.Model
    kept_epoch: int
    train_rows: int
    held_out: npt.NDArray[np.bool_] | None = None


class _EpochPrinter(keras.callbacks.Callback):
    def __init__(self, epochs: int, print_line: PrintLine) -> None:
        super().__init__()
        self._epochs, self._print_line = epochs, print_line
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        names = [name for name in ("loss", "accuracy", "val_accuracy") if logs and name in logs]
        figures = ", ".join(f"{name} {logs[name]:.4f}" for name in names) if logs else ""
        self._print_line(f"epoch {epoch + 1}/{self._epochs}: {figures}, {time.monotonic() - self._began:.1f} s")


class _CheckAfterBatch(keras.callbacks.Callback):
    def __init__(self, check: Check) -> None:
        super().__init__()
        self._check = check

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        self._check()

    on_test_batch_end = on_predict_batch_end = on_train_batch_end


def train(config: TrainConfig, print_line: PrintLine, check: Check = lambda: None) -> TrainResult:
    """Trains by `config.recipe` and saves the model into `config.output`.

    print_line: gets a line per epoch, and `test_acc` at the end.
    check: called after each batch.

    With a seed, the same data on the same machine and TensorFlow give the same weights. TensorFlow's determinism then
    stays on for the rest of the process.
    Raises UsageError, InputMissingError, InputError, OutputError, StorageError, or what `check` raises. In each case
    nothing is written.
    """
    recipe = find_recipe(config.recipe)
    with make_staging(config.output, config.overwrite) as staging, _ignore_copy_warning():
        data = load_training_data(config.data)
        if config.seed is not None:
            keras.utils.set_random_seed(config.seed)
            tf.config.experimental.enable_op_determinism()
        epoch_printer = _EpochPrinter(config.epochs or recipe.epochs, print_line)
        fitted = _fit(recipe, data, config, staging, [epoch_printer, _CheckAfterBatch(check)])
        digests = save_all_formats(fitted.model, staging)
        card = _build_card(recipe, data, config, fitted, digests, _CheckAfterBatch(check))
        card = publish(staging, card, config.output)
    print_line(f"test_acc: {card.accuracy:.4f}")
    return TrainResult(config.output, card, fitted.kept_epoch)


def _fit(
    recipe: Recipe,
    data: TrainingData,
    config: TrainConfig,
    staging: Path,
    callbacks: Sequence[keras.callbacks.Callback],
) -> _FittedModel:
    epochs = config.epochs or recipe.epochs
    images, labels = to_network_input(data.train_images, recipe.scale), one_hot(data.train_labels)
    validation = held_out = None
    best_path = staging / "best.keras"
    if config.validation > 0:
        held_out = hold_out(len(labels), data.writers, config.validation, config.seed)
        validation, images, labels = (images[held_out], labels[held_out]), images[~held_out], labels[~held_out]
        checkpoint = keras.callbacks.ModelCheckpoint(best_path, monitor="val_accuracy", mode="max", save_best_only=True)
        callbacks = [*callbacks, checkpoint]
    model = recipe.architecture()
    model.compile(optimizer=recipe.optimizer(), loss="categorical_crossentropy", metrics=["accuracy"])
    history: dict[str, list[float]] = model.fit(
        images,
        labels,
        epochs=epochs,
        batch_size=recipe.batch_size,
        validation_data=validation,
        callbacks=list(callbacks),
        verbose=0,
    ).history
    if validation is None:
        return _FittedModel(model, epochs, len(labels))
    # Of equally good epochs the first, as in ModelCheckpoint.
    kept_epoch = 1 + int(np.argmax(history["val_accuracy"]))
    return _FittedModel(keras.models.load_model(best_path), kept_epoch, len(labels), held_out)


def _build_card(
    recipe: Recipe,
    data: TrainingData,
    config: TrainConfig,
    fitted: _FittedModel,
    digests: dict[str, str],
    callback: _CheckAfterBatch,
) -> ModelCard:
    def predict(images: Pixels) -> Floats:
        inputs = to_network_input(images, recipe.scale)
        return fitted.model.predict(inputs, batch_size=recipe.batch_size, verbose=0, callbacks=[callback])

    test_tally = _tally(data.test_images, data.test_labels, predict(data.test_images))
    calibration = measure_calibration(test_tally)
    # The profile needs only the pixels and labels of the training rows, so their labels take the place of predictions.
    training_tally = _tally(data.train_images, data.train_labels, one_hot(data.train_labels))
    held_out_tally = None
    if fitted.held_out is not None:
        images, labels = data.train_images[fitted.held_out], data.train_labels[fitted.held_out]
        held_out_tally = _tally(images, labels, predict(images))
    training = Training(
        recipe=recipe.name,
        seed=config.seed,
        epochs=config.epochs or recipe.epochs,
        kept_epoch=fitted.kept_epoch,
        batch_size=recipe.batch_size,
        rows=fitted.train_rows,
        validation=config.validation,
        validation_rows=0 if fitted.held_out is None else int(fitted.held_out.sum()),
        validation_by=None if fitted.held_out is None else "row" if data.writers is None else "writer",
        tensorflow=tf.__version__,
        keras=keras.__version__,
        numpy=np.__version__,
    )
    return ModelCard(
        card_version=CARD_VERSION,
        name=recipe.name,
        scale=recipe.scale,
        output=OutputKind.PROBABILITIES,
        temperature=1.0,
        digests=digests,
        accuracy=test_tally.correct / test_tally.labelled,
        ece=calibration.ece,
        nll=calibration.nll,
        evaluated_on=data.test_name,
        evaluated_rows=len(data.test_labels),
        training=training,
        profile=build_profile(training_tally, held_out_tally),
    )


def _tally(images: Pixels, labels: Ints, probabilities: Floats) -> Tally:
    ids = string_array(map(str, range(len(images))))
    batch = ImageBatch(ids, images, pa.array(labels.astype(np.int32)), np.arange(len(images)))
    return tally_batch(batch, 0, Scores(probabilities, probabilities.max(axis=1)))


@contextmanager
def _ignore_copy_warning() -> Iterator[None]:
    """Ignores numpy 2's DeprecationWarning for each weight that Keras reads. The cause is in TensorFlow 2.21."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning)
        yield
