"""Training, the whole flow: data in, a saved model with its card out.

The test rows are scored once, by the finished model; no choice is made on them.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As in `model/loading.py`.
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from mnist_batch.config import TrainConfig
from mnist_batch.model.card import ModelCard, OutputKind
from mnist_batch.records import Floats, ImageBatch, Ints, Pixels, string_array
from mnist_batch.report.document import build_report
from mnist_batch.report.drift import build_profile
from mnist_batch.report.tally import Tally, tally_batch
from mnist_batch.training.data import TrainingData, load_training_data, one_hot, to_network_input
from mnist_batch.training.holdout import hold_out
from mnist_batch.training.recipes import Recipe, find_recipe
from mnist_batch.training.saving import make_staging, publish, save_forms

PrintLine = Callable[[str], None]
# Called between any two batches; may raise to stop the training.
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What `train` left in `output`. kept_epoch: from 1; the last one where nothing was held out."""

    output: Path
    card: ModelCard
    kept_epoch: int


@dataclass(frozen=True, slots=True)
class _Fitted:
    """hold_out: bool [training rows], None where all were trained on."""

    model: keras.Model
    kept_epoch: int
    train_rows: int
    hold_out: npt.NDArray[np.bool_] | None = None


class _EpochLines(keras.callbacks.Callback):
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


class _CheckStop(keras.callbacks.Callback):
    def __init__(self, check: Check) -> None:
        super().__init__()
        self._check = check

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        self._check()

    on_test_batch_end = on_predict_batch_end = on_train_batch_end


def no_check() -> None:
    """For trainings that nobody interrupts."""


def train(config: TrainConfig, print_line: PrintLine, check: Check = no_check) -> TrainResult:
    """Trains by `config.recipe` and saves into `config.output`; `print_line` gets a line for each epoch and `test_acc`.

    With a seed, the same data on the same machine and TensorFlow give the same weights; TensorFlow's determinism stays
    switched on for the rest of the process.
    Raises UsageError, InputMissingError, InputError, OutputError, StorageError, or what `check` does: then nothing is
    written.
    """
    recipe = find_recipe(config.recipe)
    with make_staging(config.output, config.overwrite) as staging, _ignore_copy_warning():
        data = load_training_data(config.data)
        if config.seed is not None:
            keras.utils.set_random_seed(config.seed)
            tf.config.experimental.enable_op_determinism()
        fitted = _fit(
            recipe, data, config, staging, [_EpochLines(config.epochs or recipe.epochs, print_line), _CheckStop(check)]
        )
        digests = save_forms(fitted.model, staging)
        card = _build_card(recipe, data, config, fitted, digests, _CheckStop(check))
        card = publish(staging, card, config.output)
    print_line(f"test_acc: {card.accuracy:.4f}")
    return TrainResult(config.output, card, fitted.kept_epoch)


def _fit(
    recipe: Recipe,
    data: TrainingData,
    config: TrainConfig,
    staging: Path,
    callbacks: Sequence[keras.callbacks.Callback],
) -> _Fitted:
    epochs = config.epochs or recipe.epochs
    images, labels = to_network_input(data.train_images, recipe.scale), one_hot(data.train_labels)
    validation = mask = None
    best = staging / "best.keras"
    if config.validation > 0:
        mask = hold_out(len(labels), data.writers, config.validation, config.seed)
        validation, images, labels = (images[mask], labels[mask]), images[~mask], labels[~mask]
        keeper = keras.callbacks.ModelCheckpoint(best, monitor="val_accuracy", mode="max", save_best_only=True)
        callbacks = [*callbacks, keeper]
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
        return _Fitted(model, epochs, len(labels))
    # As ModelCheckpoint: of equally good epochs, the first.
    kept_epoch = 1 + int(np.argmax(history["val_accuracy"]))
    return _Fitted(keras.models.load_model(best), kept_epoch, len(labels), mask)


def _build_card(
    recipe: Recipe,
    data: TrainingData,
    config: TrainConfig,
    fitted: _Fitted,
    digests: dict[str, str],
    checks: _CheckStop,
) -> ModelCard:
    def predicted(images: Pixels) -> Floats:
        inputs = to_network_input(images, recipe.scale)
        return fitted.model.predict(inputs, batch_size=recipe.batch_size, verbose=0, callbacks=[checks])

    figures = build_report(_tally(data.test_images, data.test_labels, predicted(data.test_images)))
    # What is asked of these rows is their pixels and labels, so the labels stand for the predictions.
    training_rows = _tally(data.train_images, data.train_labels, one_hot(data.train_labels))
    held_out_rows = None
    if fitted.hold_out is not None:
        images, labels = data.train_images[fitted.hold_out], data.train_labels[fitted.hold_out]
        held_out_rows = _tally(images, labels, predicted(images))
    training: dict[str, Any] = {
        "recipe": recipe.name,
        "seed": config.seed,
        "epochs": config.epochs or recipe.epochs,
        "kept_epoch": fitted.kept_epoch,
        "batch_size": recipe.batch_size,
        "rows": fitted.train_rows,
        "validation": config.validation,
        "validation_rows": 0 if fitted.hold_out is None else int(fitted.hold_out.sum()),
        "validation_by": None if fitted.hold_out is None else "row" if data.writers is None else "writer",
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    return ModelCard(
        name=recipe.name,
        scale=recipe.scale,
        output=OutputKind.PROBABILITIES,
        temperature=1.0,
        digests=digests,
        accuracy=figures["accuracy"],
        ece=figures["calibration"]["ece"],
        nll=figures["calibration"]["nll"],
        evaluated_on=data.test_name,
        evaluated_rows=len(data.test_labels),
        training=training,
        profile=build_profile(training_rows, held_out_rows),
    )


def _tally(images: Pixels, labels: Ints, probabilities: Floats) -> Tally:
    ids = string_array(map(str, range(len(images))))
    batch = ImageBatch(ids, images, pa.array(labels.astype(np.int32)), np.arange(len(images)))
    return tally_batch(batch, 0, probabilities)


@contextmanager
def _ignore_copy_warning() -> Iterator[None]:
    """Keeps back numpy 2's DeprecationWarning at each weight that Keras reads: it is TensorFlow 2.21's to mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning)
        yield
