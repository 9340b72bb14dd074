"""How a trained model comes to lie in a folder: `.h5`, `.keras`, a SavedModel, and the card that speaks for them.

All is written aside and moved into place when it is whole, so that a training that failed leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import keras
import tensorflow as tf

from mnist_batch.errors import OutputError, StorageError
from mnist_batch.model.card import ModelCard, model_digest

MODEL_NAME = "model_mnist"
MODEL_FORMS = (f"{MODEL_NAME}.h5", f"{MODEL_NAME}.keras", MODEL_NAME)
CARD_NAME = f"{MODEL_NAME}.card.json"
_STAGING_PREFIX = ".mnist-batch-train-"


@contextmanager
def make_staging(output: Path, overwrite: bool) -> Iterator[Path]:
    """An empty folder on the file system of `output`, gone afterwards; made first, so that it shows one can write.

    Raises OutputError where `output` is not a folder, not empty without `overwrite`, or cannot be written.
    """
    try:
        # `output` may be a mounted folder of another file system than its parent's, so what is there is used.
        home = next(path for path in (output, *output.absolute().parents) if path.exists())
        _remove_stale(home)
        entries = sorted(path.name for path in output.iterdir()) if output.exists() else []
        if entries and not overwrite:
            more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
            raise OutputError(
                f"{output}: must be empty or not there yet, found {entries[0]}{more}: "
                "choose another --output, or replace the model in it with --overwrite"
            )
        staging = tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=home)
    except OSError as error:
        raise OutputError(
            f"{output}: must be a folder that can be written, found {error.strerror}: choose another --output"
        ) from error
    with staging as folder, _try_lock(Path(folder)):
        yield Path(folder)


def _remove_stale(home: Path) -> None:
    """Removes the staging folders of trainings that were killed; one that goes on holds its own."""
    for folder in home.glob(f"{_STAGING_PREFIX}*"):
        with suppress(OSError), _try_lock(folder) as ours:
            if ours:
                rmtree(folder)


@contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Whether the folder's lock, which ends with the process, could be had; it is held meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process has it, or the file system has none
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def save_forms(model: keras.Model, folder: Path) -> dict[str, str]:
    """Writes the three forms into `folder`, and gives their SHA-256 by name.

    Only the Keras files keep the optimizer's state. Raises StorageError where writing fails.
    """
    h5, native, saved_model = (folder / name for name in MODEL_FORMS)
    with _storage_errors(folder):
        with _ignore_legacy_warning():
            model.save(h5)
        model.save(native)
        _export(model, saved_model)
        return {path.name: model_digest(path) for path in (h5, native, saved_model)}


def publish(staged: Path, card: ModelCard, output: Path) -> ModelCard:
    """Moves the three forms from `staged` into `output` and writes the card, named after the model, last of all.

    What else lies in `output` stays. A card that is already there goes first: it must not outlive its model.
    Raises StorageError where that fails.
    """
    card = replace(card, name=MODEL_NAME)
    with _storage_errors(output):
        card.write(staged / CARD_NAME)
        output.mkdir(parents=True, exist_ok=True)
        (output / CARD_NAME).unlink(missing_ok=True)
        for name in MODEL_FORMS:
            if (output / name).is_dir():
                rmtree(output / name)
            (staged / name).rename(output / name)
        (staged / CARD_NAME).rename(output / CARD_NAME)
    return card


def _export(model: keras.Model, folder: Path) -> None:
    """As `model.export`, which in Keras 3.15 writes each weight twice: once as the model's, once as the endpoint's."""
    image = keras.InputSpec(shape=model.input_shape, dtype="float32", name="images")
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", lambda images: model(images, training=False), input_signature=[image])
    archive.write_out(folder, verbose=False)


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        cause = " ".join(str(error).split())
        raise StorageError(
            f"{folder}: a trained model must be written whole, found: {cause}; start it again"
        ) from error


@contextmanager
def _ignore_legacy_warning() -> Iterator[None]:
    """Keeps back Keras's advice not to use HDF5, which it logs through absl: the form is asked for."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
