"""Files that are no Keras model and no SavedModel: what they are, and how to make a model of them.

Nothing is opened further than needed to name it: a pickle is not loaded, a graph not parsed.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from mnist_batch.signatures import find_signature

_EXPORT = "export the model it was made from as a SavedModel"
_SAVE = "save the model with model.save()"
# The first pattern that matches the beginning of a file.
_FORMATS = [
    (re.compile(pattern, re.DOTALL), name, remedy)
    for pattern, name, remedy in (
        (rb".{4}TFL3", "a TensorFlow Lite model", _EXPORT),
        (rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]", "an ONNX model", "convert it with onnx2tf"),
        (rb"\n.\x01?\n[\x01-\x7f][\w./:-]+\x12", "a frozen graph of TensorFlow 1", _EXPORT),
        (
            rb'\s*\{.*"(modelTopology|weightsManifest)"',
            "a TensorFlow.js model",
            "convert it with tensorflowjs_converter to a SavedModel",
        ),
        (rb'\s*\{.*"class_name"', "the architecture of a Keras model without weights", _SAVE),
        (rb"\x80[\x02-\x05](\x8a\nl\xfc\x9cF\xf9|.*torch)", "a PyTorch model", "export it to ONNX, then use onnx2tf"),
        (rb"\x80[\x02-\x05]", "a pickle, which is never loaded", _SAVE),
        (rb".{7}\0\{\"", "a file of weights (safetensors)", _SAVE),
        (rb"\x93NUMPY", "a NumPy array", _SAVE),
        (rb"\0\0\0\0\0\0\0\0\0.{0,40}\x01\x02", "a part of a TensorFlow checkpoint", _SAVE),
    )
]  # fmt: skip
_POINTERS = ("a pointer of Git LFS", "a pointer of git-annex", "an HTML page")


def describe_file(path: Path, start: bytes) -> tuple[str, str]:
    """Returns what a file is that is not opened as a model, and what to do about it, as a clause.

    start: its first `SIGNATURE_BYTES`.
    """
    if not start:
        return "an empty file", "fetch it again"
    if path.name == "saved_model.pb":
        return "a part of a SavedModel", "name the folder that it is in"
    signature = find_signature(start)
    if signature is not None and signature.name in _POINTERS:
        return signature.name, signature.remedy
    for pattern, name, remedy in _FORMATS:
        if pattern.match(start):
            return name, remedy
    if signature is not None:
        return signature.name, "check the path"
    is_text = start.isascii() and "".join(start.decode().split()).isprintable()
    return "text" if is_text else "something else", "check the path"


def describe_zip(archive: zipfile.ZipFile) -> tuple[str, str]:
    """Returns what a zip is that has no `config.json`, and what to do about it, as a clause."""
    names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch model", "export it to ONNX, then use onnx2tf"
    if any(name.endswith("saved_model.pb") for name in names):
        return "a zip of a SavedModel", "unpack it and name the folder"
    inner = [name for name in names if name.endswith((".keras", ".h5", ".hdf5"))]
    if inner:
        return f"a zip of {inner[0]}", "unpack it"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive", _SAVE
    return "a zip without config.json", "check that Keras saved it"
