"""What `fuzz.py --models` mutates: models in every form. The mutated one is loaded as `predict` loads it."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
from model.perceptron import train_perceptron
from model.saved_models import export, save

from mnist_batch.model.loading import load_model
from reliability.fuzz_forms import Form

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def model_forms() -> list[Form]:
    """A small network in every form, and its parts, mutated alone and put back."""
    network = train_perceptron()
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((784,)), *layers])
    for layer, weights in zip(layers, (network.hidden, network.output), strict=True):
        layer.set_weights(weights)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, about numpy
        archive = save(model, Path(folder, "m.keras")).read_bytes()
        h5 = save(model, Path(folder, "m.h5")).read_bytes()
        exported = export(model, Path(folder, "m"))
        graph = (exported / "saved_model.pb").read_bytes()
        index = (exported / "variables" / "variables.index").read_bytes()
        data = (exported / "variables" / "variables.data-00000-of-00001").read_bytes()
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        config, weights_file = members.read(CONFIG), members.read(WEIGHTS)
    with h5py.File(io.BytesIO(h5)) as file:
        h5_config = json.loads(file.attrs["model_config"])
    return [
        Form("keras", archive, _load),
        Form("keras-config", config, _load, _put_into(archive, CONFIG)),
        Form("keras-weights", weights_file, _load, _put_into(archive, WEIGHTS)),
        Form("h5", h5, _load),
        Form("h5-config", json.dumps(h5_config).encode(), _load, _put_into_h5(h5)),
        Form("saved-model", graph, _load_saved_model("saved_model.pb", graph, index, data)),
        Form("saved-model-index", index, _load_saved_model("variables/variables.index", graph, index, data)),
    ]


def _load(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow, about what it traces
        load_model(path, None)


def _put_into(archive: bytes, member: str) -> Callable[[bytes], bytes]:
    def wrap(content: bytes) -> bytes:
        result = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(result, "w") as new:
            for name in old.namelist():
                new.writestr(name, content if name == member else old.read(name))
        return result.getvalue()

    return wrap


def _put_into_h5(h5: bytes) -> Callable[[bytes], bytes]:
    def wrap(content: bytes) -> bytes:
        result = io.BytesIO(h5)
        with h5py.File(result, "r+") as file:
            file.attrs["model_config"] = content.replace(b"\0", b" ")
        return result.getvalue()

    return wrap


def _load_saved_model(mutated: str, graph: bytes, index: bytes, data: bytes) -> Callable[[Path], None]:
    def load(path: Path) -> None:
        folder = path.with_name("m")
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(graph)
        (folder / "variables" / "variables.index").write_bytes(index)
        (folder / "variables" / "variables.data-00000-of-00001").write_bytes(data)
        shutil.move(path, folder / mutated)
        _load(folder)

    return load
