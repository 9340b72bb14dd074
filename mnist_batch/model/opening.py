"""Opens a model: recognizes its format, calls the library that reads it, and returns one function on tensors.

Formats are recognized by content, never by name. Keras, TensorFlow and h5py raise all kinds of errors on a foreign
file: each is translated here into a one-line reason.
This module knows nothing of digits: it reports shapes, and does not check them.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_batch.errors import ModelError, StorageError
from mnist_batch.model.card import ACCEPTED_FORMATS, unreadable_model
from mnist_batch.model.legacy_h5 import write_repaired_copy
from mnist_batch.regular_files import open_regular
from mnist_batch.signatures import SIGNATURE_BYTES, find_signature

_ZIP_MAGIC = b"PK\x03\x04"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_CAUSE_LENGTH = 200  # characters of a foreign message: more make the line hard to read


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a model.

    shape: without the batch dimension; a size is None if it is free; None instead of a tuple if the rank is unknown.
    batch: the fixed number of rows, None if it is free.
    dtype: the name of the type.
    """

    shape: tuple[int | None, ...] | None
    batch: int | None
    dtype: str

    def __str__(self) -> str:
        if self.shape is None:
            return "[?]"
        sizes = ["n" if self.batch is None else str(self.batch)]
        return "[" + ",".join([*sizes, *("?" if size is None else str(size) for size in self.shape)]) + "]"


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A foreign model whose shapes are not checked yet.

    call: takes a tensor for the first input and returns the outputs by name. TensorFlow traces it; it keeps the model's
        variables alive.
    outputs: by name.
    """

    call: Callable[[Any], dict[str, Any]]
    inputs: Sequence[TensorInfo]
    outputs: Mapping[str, TensorInfo]


def open_model(path: Path) -> OpenedModel:
    """Opens a Keras file or SavedModel folder.

    Raises ModelError if `path` is not in a known format or cannot be rebuilt, and StorageError if there is no room for
    the repaired copy of an HDF5 file.
    """
    if path.is_dir():
        return _open_saved_model(path)
    try:
        with open_regular(path) as file:
            start = file.read(SIGNATURE_BYTES)
    except OSError as error:
        raise unreadable_model(path, error) from error
    if start.startswith(_ZIP_MAGIC):
        return _open_keras(path)
    if start.startswith(_HDF5_MAGIC):
        return _open_h5(path)
    raise ModelError(
        f"{path}: a model must be {ACCEPTED_FORMATS}, by its content; found {_describe(path, start)}: check the path"
    )


def shorten_cause(error: Exception) -> str:
    """Returns the message of a foreign exception as one line.

    Keras puts the cause last, after the configuration that it could not build.
    """
    text = str(error).rpartition("Exception encountered:")[2].strip()
    line = text.partition("\n")[0].strip() or type(error).__name__
    return line if len(line) <= _MAX_CAUSE_LENGTH else line[:_MAX_CAUSE_LENGTH].rstrip() + "..."


def _describe(path: Path, start: bytes) -> str:
    if not start:
        return "an empty file"
    if path.name == "saved_model.pb":
        return "a part of a SavedModel, which is named by its folder"
    if (signature := find_signature(start)) is not None:
        return signature.name
    return "text" if start.isascii() and "".join(start.decode().split()).isprintable() else "something else"


def _open_keras(path: Path) -> OpenedModel:
    try:
        with zipfile.ZipFile(path) as archive:
            json.loads(archive.read("config.json"))
    except KeyError as error:
        raise ModelError(
            f"{path}: a .keras file must hold config.json, found a zip without it: check that Keras saved it"
        ) from error
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ModelError(
            f"{path}: a .keras file must be a whole zip archive, found {shorten_cause(error)}; "
            "it was probably cut off while being copied: fetch it again"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        # Keras recognizes the format by the suffix, which the user's file need not have.
        link = Path(folder) / "model.keras"
        link.symlink_to(path.resolve())
        return _build(path, link)


def _open_h5(path: Path) -> OpenedModel:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        try:
            write_repaired_copy(path, copy)
        except OSError as error:
            raise StorageError(
                f"{path}: must be copied to {folder} to be repaired, found {error.strerror}: make room, or set TMPDIR"
            ) from error
        return _build(path, copy)


def _build(path: Path, file: Path) -> OpenedModel:
    """Builds the Keras model in `file`, a link to or copy of the user's `path`, which error messages name."""
    from mnist_batch.model.backend import keras

    if (backend := keras.backend.backend()) != "tensorflow":  # Keras was imported before `model/backend.py`
        raise ModelError(
            f"{path}: Keras must run on TensorFlow, runs on {backend} in this process: set KERAS_BACKEND=tensorflow"
        )
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # a foreign configuration raises whatever its layers raise
        raise ModelError(f"{path}: {_explain_refusal(error)}") from error
    try:
        inputs, outputs = model.inputs, model.outputs
        # A functional model may take its one input in a list or dict. A Sequential does not know `input`.
        structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, ValueError) as error:
        raise ModelError(
            f"{path}: a model must declare the shape of its input, found none: "
            "build it, or start it with an Input layer"
        ) from error

    # A Sequential has one output, without a name. Keras flattens a dict in the order of its keys.
    named = isinstance(getattr(model, "output", None), dict)
    names = sorted(model.output) if named else getattr(model, "output_names", ["output"])

    def call(values: Any) -> dict[str, Any]:
        arguments = keras.tree.map_structure(lambda _: values, structure)
        return dict(zip(names, keras.tree.flatten(model(arguments, training=False)), strict=True))

    return OpenedModel(
        call,
        [_tensor_info(t.shape, t.dtype) for t in inputs],
        {name: _tensor_info(t.shape, t.dtype) for name, t in zip(names, outputs, strict=True)},
    )


def _explain_refusal(error: Exception) -> str:
    text = str(error)
    if "lambda" in text and "safe_mode" in text:
        return (
            "a model must be made of layers only, found a Lambda layer (Python code), which safe loading refuses: "
            "replace it by layers, or export the model as a SavedModel"
        )
    custom = re.search(r"(?:Unknown \w+: |Could not \w+ (?:\w+ )?)[`'](\w[\w>.]*)[`']", text)
    if custom:
        name = re.split("[.>]", custom[1])[-1]
        return (
            f"a model must be made of Keras's own layers, found {name!r}, whose code is not in the file: "
            "export the model as a SavedModel"
        )
    return (
        f"a model must be one that this Keras can rebuild, found {shorten_cause(error)}: "
        "export it as a SavedModel where it was trained"
    )


def _open_saved_model(path: Path) -> OpenedModel:
    from mnist_batch.model.backend import tf

    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # damaged protobufs, missing variables, unknown operations: a type for each
        # If the file holds several graphs, or none because it was truncated, TensorFlow asks for its argument `tags=`.
        found = "none or several graphs" if "tags=" in str(error) else shorten_cause(error)
        raise ModelError(
            f"{path}: a SavedModel must be complete, with known operations, found {found}: export it again"
        ) from error
    names = sorted(loaded.signatures)
    if "serving_default" not in names and len(names) != 1:
        raise ModelError(
            f"{path}: a SavedModel must have the signature serving_default or a single one, "
            f"found {', '.join(names) or 'none'}: export it with model.export()"
        )
    signature = loaded.signatures["serving_default" if "serving_default" in names else names[0]]
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs

    def call(values: Any) -> dict[str, Any]:
        # The signature alone does not keep the variables alive, but `loaded` does.
        _ = loaded
        return signature(**dict.fromkeys(inputs, values))

    return OpenedModel(
        call,
        [_tensor_info(spec.shape, spec.dtype.name) for spec in inputs.values()],
        {name: _tensor_info(spec.shape, spec.dtype.name) for name, spec in outputs.items()},
    )


def _tensor_info(shape: Any, dtype: str) -> TensorInfo:
    """shape: a tuple from Keras, or a TensorShape, which has no length if its rank is unknown."""
    if getattr(shape, "rank", 0) is None or len(shape) == 0:
        return TensorInfo(None, None, dtype)
    batch, *sizes = tuple(shape)
    return TensorInfo(tuple(sizes), batch, dtype)
