"""Saving Keras models for a test, and scoring with a loaded one."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mnist_batch.model.loading import LoadedModel
from mnist_batch.records import Floats, Pixels

# The fixtures of conftest.py; their keywords are described there.
BuildModel = Callable[..., keras.Model]
SaveKeras = Callable[..., Path]


def save(model: keras.Model, path: Path) -> Path:
    with warnings.catch_warnings():
        # Keras 3.15 reads its own variables in a way that numpy 2 deprecates, and warns about every .h5 file it writes.
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def rewrite_members(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Changes the members of a `.keras` file, by their names and contents."""
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def replace_member(path: Path, replaced: str, content: bytes) -> Path:
    """Replaces a member of a `.keras` file."""
    return rewrite_members(path, lambda name, old: content if name == replaced else old)


def export(model: keras.Model, path: Path) -> Path:
    model.export(path, verbose=False)
    return path


def score(model: LoadedModel, pixels: Pixels) -> Floats:
    """float32 [n, 10], computed in `Dataset.map`, as the predictor does."""
    scoring = tf.autograph.experimental.do_not_convert(model.score)
    batches = tf.data.Dataset.from_tensor_slices(pixels).batch(128).map(scoring)
    return np.concatenate([scores["probabilities"] for scores in batches.as_numpy_iterator()])
