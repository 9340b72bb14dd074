"""Saves a trained model into a folder: `.h5`, `.keras`, a SavedModel, and the card that describes them.

Everything is written to a staging folder and moved into place when it is complete, so that a failed training leaves
nothing behind.
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

from mnist_batch.errors import OutputError, StorageError
from mnist_batch.model.backend import keras, tf
from mnist_batch.model.card import ModelCard, model_digest

MODEL_NAME = "model_mnist"
SAVED_NAMES = (f"{MODEL_NAME}.h5", f"{MODEL_NAME}.keras", MODEL_NAME)
CARD_NAME = f"{MODEL_NAME}.card.json"
_STAGING_PREFIX = ".mnist-batch-train-"


@contextmanager
def make_staging(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yields an empty staging folder on the file system of `output`, and deletes it afterwards.

    Enter it before any other work, because it finds out whether the output can be written.
    Raises OutputError if `output` is not a folder, is not empty without `overwrite`, or cannot be written.
    """
    try:
        # `output` may be a mount point, on another file system than its parent. So use `output` itself if it exists.
        parent = next(path for path in (output, *output.absolute().parents) if path.exists())
        _remove_stale(parent)
        entries = sorted(path.name for path in output.iterdir()) if output.exists() else []
        if entries and not overwrite:
            more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
            raise OutputError(
                f"{output}: must be empty or not there yet, found {entries[0]}{more}: "
                "choose another --output, or replace the model in it with --overwrite"
            )
        staging = tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=parent)
    except OSError as error:
        raise OutputError(
            f"{output}: must be a folder that can be written, found {error.strerror}: choose another --output"
        ) from error
    with staging as folder, _try_lock(Path(folder)):
        yield Path(folder)


def _remove_stale(parent: Path) -> None:
    """Removes the staging folders of killed trainings. A running training holds a lock on its own."""
    for folder in parent.glob(f"{_STAGING_PREFIX}*"):
        with suppress(OSError), _try_lock(folder) as locked:
            if locked:
                rmtree(folder)


@contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Locks the folder if possible, and yields whether it is locked. The lock ends at the latest with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process holds it, or the file system has no locks
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def save_all_formats(model: keras.Model, folder: Path) -> dict[str, str]:
    """Writes the model into `folder` in the three formats, and returns the SHA-256 of each by name.

    Only the Keras files keep the optimizer's state. Raises StorageError if writing fails.
    """
    h5, native, saved_model = (folder / name for name in SAVED_NAMES)
    with _storage_errors(folder):
        with _ignore_legacy_warning():
            model.save(h5)
        model.save(native)
        _export(model, saved_model)
        return {path.name: model_digest(path) for path in (h5, native, saved_model)}


def publish(staging: Path, card: ModelCard, output: Path) -> ModelCard:
    """Moves the three formats from `staging` into `output`, then writes the card, named after the model.

    Other files in `output` stay. An old card is deleted first, so that it never outlives its model.
    Raises StorageError if that fails.
    """
    card = replace(card, name=MODEL_NAME)
    with _storage_errors(output):
        card.write(staging / CARD_NAME)
        output.mkdir(parents=True, exist_ok=True)
        (output / CARD_NAME).unlink(missing_ok=True)
        for name in SAVED_NAMES:
            if (output / name).is_dir():
                rmtree(output / name)
            (staging / name).rename(output / name)
        (staging / CARD_NAME).rename(output / CARD_NAME)
    return card


def _export(model: keras.Model, folder: Path) -> None:
    """Writes a SavedModel like `model.export`, which in Keras 3.15 writes each weight twice: for model and endpoint."""
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
            f"{folder}: a trained model must be written completely, found: {cause}; start the training again"
        ) from error


@contextmanager
def _ignore_legacy_warning() -> Iterator[None]:
    """Silences Keras's advice against HDF5, which it logs through absl, because HDF5 is one of our formats."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
