"""Opens a model: recognizes its format, calls the library that reads it, and returns one function on tensors.

Formats are recognized by content, never by name. Keras, TensorFlow and h5py raise all kinds of errors on a foreign
file: each is translated here into a one-line reason.
This module knows nothing of digits: it reports shapes, and does not check them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_batch.errors import ModelError, StorageError
from mnist_batch.model.background import DenseWeights
from mnist_batch.model.card import ACCEPTED_FORMATS, unreadable_model
from mnist_batch.model.causes import explain_refusal, find_cause
from mnist_batch.model.foreign import describe_file
from mnist_batch.model.layers import find_first_dense, list_layers
from mnist_batch.model.legacy.h5 import write_repaired_h5
from mnist_batch.model.legacy.keras_zip import write_repaired_keras
from mnist_batch.model.legacy.saved_model import write_without_slots
from mnist_batch.regular_files import open_regular
from mnist_batch.signatures import SIGNATURE_BYTES

_ZIP_MAGIC = b"PK\x03\x04"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


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

    form: what the file is, with the version of Keras or TensorFlow that wrote it.
    call: takes a tensor for the first input and returns the outputs by name. TensorFlow traces it; it keeps the model's
        variables alive.
    outputs: by name.
    layers: the layers in order, as one line; empty if the file does not tell.
    repairs: what was changed in a copy so that it could be opened, one text each.
    first_dense: the weights of a dense layer that is fed the pixels themselves, None without one.
    """

    form: str
    call: Callable[[Any], dict[str, Any]]
    inputs: Sequence[TensorInfo]
    outputs: Mapping[str, TensorInfo]
    layers: str = ""
    repairs: Sequence[str] = ()
    first_dense: DenseWeights | None = field(default=None, repr=False)


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
    found, remedy = describe_file(path, start)
    raise ModelError(f"{path}: a model must be {ACCEPTED_FORMATS}, by its content; found {found}: {remedy}")


def _open_keras(path: Path) -> OpenedModel:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        version, config, repairs = write_repaired_keras(path, file)
        return _build(path, file, f".keras file of Keras {version}", config, repairs)


def _open_h5(path: Path) -> OpenedModel:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        try:
            version, config, repairs = write_repaired_h5(path, copy)
        except OSError as error:
            raise StorageError(
                f"{path}: must be copied to {folder} to be repaired, found {error.strerror}: make room, or set TMPDIR"
            ) from error
        return _build(path, copy, f"HDF5 file of Keras {version}", config, repairs)


def _build(path: Path, file: Path, form: str, config: dict[str, Any], repairs: Sequence[str]) -> OpenedModel:
    """Builds the Keras model in `file`, a link to or copy of the user's `path`, which error messages name."""
    from mnist_batch.model.backend import keras

    if (backend := keras.backend.backend()) != "tensorflow":  # Keras was imported before `model/backend.py`
        raise ModelError(
            f"{path}: Keras must run on TensorFlow, runs on {backend} in this process: set KERAS_BACKEND=tensorflow"
        )
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # a foreign configuration raises whatever its layers raise
        raise ModelError(f"{path}: {explain_refusal(error)}") from error
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
        form=form,
        call=call,
        inputs=[_tensor_info(t.shape, t.dtype) for t in inputs],
        outputs={name: _tensor_info(t.shape, t.dtype) for name, t in zip(names, outputs, strict=True)},
        layers=list_layers(config),
        repairs=repairs,
        first_dense=find_first_dense(model),
    )


def _open_saved_model(path: Path) -> OpenedModel:
    from mnist_batch.model.backend import tf

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model"
        try:
            repaired = write_without_slots(path, copy)
            loaded = tf.saved_model.load(str(copy if repaired else path))
        except Exception as error:  # damaged protobufs, missing variables, unknown operations: a type for each
            # If the file holds several graphs, or none because it was truncated, TensorFlow asks for its argument
            # `tags=`.
            found = "none or several graphs" if "tags=" in str(error) else _find_missing(path) or find_cause(error)
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
    if not isinstance(outputs, dict):  # of a damaged graph
        raise ModelError(
            f"{path}: a SavedModel must name the outputs of its signature, found none: export it with model.export()"
        )

    def call(values: Any) -> dict[str, Any]:
        # The signature alone does not keep the variables alive, but `loaded` does.
        _ = loaded
        return signature(**dict.fromkeys(inputs, values))

    return OpenedModel(
        form=f"SavedModel of TensorFlow {getattr(loaded, 'tensorflow_version', 'of unknown version')}",
        call=call,
        inputs=[_tensor_info(spec.shape, spec.dtype.name) for spec in inputs.values()],
        outputs={name: _tensor_info(spec.shape, spec.dtype.name) for name, spec in outputs.items()},
        repairs=["slots of the optimizer dropped (TensorFlow 2.0 to 2.10)"] if repaired else [],
    )


def _find_missing(path: Path) -> str | None:
    """Returns which files of variables are missing, None if none is."""
    variables = path / "variables"
    if not (variables / "variables.index").is_file():
        return None  # a model may have no variables
    has_data = any(variables.glob("variables.data-*"))
    return None if has_data else "no variables/variables.data-* beside variables.index"


def _tensor_info(shape: Any, dtype: str) -> TensorInfo:
    """shape: a tuple from Keras, or a TensorShape, which has no length if its rank is unknown."""
    if getattr(shape, "rank", 0) is None or len(shape) == 0:
        return TensorInfo(None, None, dtype)
    batch, *sizes = tuple(shape)
    return TensorInfo(tuple(sizes), batch, dtype)
