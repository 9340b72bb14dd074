"""Model files that refer to other files, or claim more than they hold, end in one line."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mnist_batch.errors import ModelError
from mnist_batch.model.loading import load_model
from model.h5_layouts import Layout, make_layers, write_h5
from model.perceptron import Perceptron
from model.saved_models import SaveKeras, replace_member, rewrite_members

KERNEL = "model_weights/dense/dense/kernel:0"


def link_outside(file: h5py.File, name: str) -> None:
    file[name] = h5py.ExternalLink("/etc/passwd", "/kernel")


def link_inside(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink("/model_weights")


def store_outside(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (784, 64), np.float32, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def refer_to_others(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout((784, 64), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "kernel", (784, 64))
    file.create_virtual_dataset(name, layout)


def claim_8_terabytes(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (1_000_000, 2_000_000), np.float32, chunks=(1000, 1000))


@pytest.mark.parametrize(
    ("attack", "found"),
    [
        (link_outside, "weights must be in the file itself, found a link to /etc/passwd"),
        (link_inside, "weights must be in the file itself, found a link to /model_weights"),
        (store_outside, f"weights must be in the file itself, found the data of /{KERNEL} outside of it"),
        (refer_to_others, f"weights must be in the file itself, found the data of /{KERNEL} outside of it"),
        (claim_8_terabytes, f"found /{KERNEL} of 8,000,000,000,000 bytes"),
    ],
)
def test_hostile_h5(attack: Callable[[h5py.File, str], None], found: str, network: Perceptron, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", Layout.TF_2_15, make_layers(network), (None, 784))
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        attack(file, KERNEL)
    assert_refused(path, found)


def test_hostile_weights_in_a_keras_file(save_keras: SaveKeras) -> None:
    def attack(name: str, content: bytes) -> bytes:
        if name != "model.weights.h5":
            return content
        buffer = io.BytesIO(content)
        with h5py.File(buffer, "r+") as file:
            del file["layers/dense/vars/0"]
            link_outside(file, "layers/dense/vars/0")
        return buffer.getvalue()

    path = rewrite_members(save_keras(), attack)
    assert_refused(path, "weights must be in the file itself, found a link to /etc/passwd")


def test_members_outside_of_the_archive_are_not_written(save_keras: SaveKeras, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = save_keras("inner/m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../outside.txt", "/tmp/mnist-batch-outside.txt", "assets/../../outside.txt"):
            archive.writestr(name, b"outside")
    load_model(path, None)
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "m.keras"]
    assert not Path("/tmp/mnist-batch-outside.txt").exists()


def test_config_nested_without_end(save_keras: SaveKeras) -> None:
    config = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    assert_refused(replace_member(save_keras(), "config.json", config), "found")


@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_json_of_another_shape(member: str, save_keras: SaveKeras) -> None:
    contents: list[object] = [None, 7, []]
    if member == "config.json":
        contents += [{}, {"class_name": 1}, {"class_name": "Sequential", "config": {"layers": [1]}}]
    for content in contents:
        assert_refused(replace_member(save_keras(), member, json.dumps(content).encode()), "found")


def assert_refused(path: Path, found: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(path, None)
    assert str(caught.value).startswith(f"{path}: ")
    assert found in str(caught.value)
    assert len(str(caught.value)) < 1000
