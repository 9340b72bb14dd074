"""Files that are no model are named, with a way out. Nothing in them is run."""

import pickle
import zipfile
from pathlib import Path

import pytest

from mnist_batch.errors import ModelError
from mnist_batch.model.causes import explain_refusal, find_cause
from mnist_batch.model.loading import load_model


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "a pointer of Git LFS: run `git lfs pull`",
        ),
        (b"<!DOCTYPE html>\n<html>", "an HTML page: fetch the file itself: a download failed"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 64, "a TensorFlow Lite model: export the model it was made from as a SavedModel"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "an ONNX model: convert it with onnx2tf"),
        (b"\x08\x03\x3a\xff\x01", "an ONNX model: convert it with onnx2tf"),
        (b"\nN\n\x0cconv2d_input\x12\x0bPlaceholder", "a frozen graph of TensorFlow 1: export the model it was made"),
        (b"\n\xb2\x01\n\x07conv1/x\x12\x05Const", "a frozen graph of TensorFlow 1: export the model it was made"),
        (
            b'{"format":"layers-model","modelTopology":{}}',
            "a TensorFlow.js model: convert it with tensorflowjs_converter",
        ),
        (b'{"class_name": "Sequential", "config": []}', "the architecture of a Keras model without weights: save the"),
        (pickle.dumps({"w": 1}), "a pickle, which is never loaded: save the model with model.save()"),
        (b"\x10\0\0\0\0\0\0\0" + b'{"w":{}}', "a file of weights (safetensors): save the model with model.save()"),
        (b"\x93NUMPY\x01\0", "a NumPy array: save the model with model.save()"),
        (b"", "an empty file: fetch it again"),
        (b"%PDF-1.7", "a PDF document: check the path"),
        (b"\xff\xfe\x00\x01", "something else: check the path"),
    ],
)
def test_file_is_named(content: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "model.h5", None)
    start = f"{tmp_path}/model.h5: a model must be a .keras or .h5 file, or a SavedModel folder, by its content; found "
    assert str(caught.value).startswith(start + found)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["archive/data.pkl", "archive/version"], "a PyTorch model: export it to ONNX, then use onnx2tf"),
        (["model/saved_model.pb", "model/variables/variables.index"], "a zip of a SavedModel: unpack it and name"),
        (["models/mnist.h5"], "a zip of models/mnist.h5: unpack it"),
        (["w.npy", "b.npy"], "a NumPy archive: save the model with model.save()"),
        (["readme.txt"], "a zip without config.json: check that Keras saved it"),
        ([], "a zip without config.json: check that Keras saved it"),
    ],
)
def test_zip_is_named(names: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, pickle.dumps(Bomb()))
    if not names:  # an empty zip has another signature
        path.write_bytes(b"PK\x03\x04" + path.read_bytes())
    with pytest.raises(ModelError) as caught:
        load_model(path, None)
    assert f"a .keras file must hold config.json, found {found}" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("wrong", "wrong"),
        ("", "ValueError"),
        ("Graph execution error:\n\nDetected at node save/RestoreV2 defined at (most recent call last):\n"
         "<stack traces unavailable>\nNo such file: variables.data [[{{node save/RestoreV2}}]] [Op:__inference_1]",
         "No such file: variables.data"),
        ("<class 'Dense'> could not be deserialized.\n\nconfig={'units': 1}.\n\n"
         "Exception encountered: Unrecognized keyword 'groups'", "Unrecognized keyword 'groups'"),
        ("Exception encountered when calling Functional.call().\n\n\x1b[1mInput 0 is incompatible\x1b[0m\n\n"
         "Arguments received by Functional.call():\n  • inputs=1", "Input 0 is incompatible"),
        ("x" * 300, "x" * 200 + "..."),
    ],
)  # fmt: skip
def test_cause_is_the_line_that_says_what_is_wrong(message: str, cause: str) -> None:
    assert find_cause(ValueError(message)) == cause


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            "Requested the deserialization of a `Lambda` layer whose `safe_mode` ...",
            "found a Lambda layer (Python code)",
        ),
        ("Unknown layer: 'TFOpLambda'. Please ensure ...", "found an operation on a tensor other than + - * /"),
        ("Unknown layer: 'Attention>Mine'. Please ensure ...", "found 'Mine', whose code is not in the file"),
        ("Could not locate class 'Scribble'. Make sure ...", "found 'Scribble', whose code is not in the file"),
        ("something else", "one that this Keras can rebuild, found something else"),
    ],
)
def test_refusal_says_what_to_do(message: str, found: str) -> None:
    assert found in explain_refusal(ValueError(message))
