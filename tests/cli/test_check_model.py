"""`mnist-batch check-model`."""

import json
from pathlib import Path

import keras
from conftest import Cli
from model.saved_models import save

from mnist_batch.model.card import model_digest


def test_bundled_model_is_described(cli: Cli) -> None:
    run = cli("check-model", "seed")
    assert run.code == 0
    lines = run.stdout.splitlines()
    assert lines[2].split() == ["form", "SavedModel", "of", "TensorFlow", "2.21.0"]
    assert "  scale     0..1, from the card" in lines
    assert "  accuracy  100% of the drawn digits" in lines
    assert lines[-2].split() == ["scale", "right", "confidence", "loss", "temperature"]
    assert lines[-1].split()[:2] == ["0..1", "100%"]


def test_json_has_the_same_facts(cli: Cli) -> None:
    run = cli("check-model", "seed", "--json")
    check = json.loads(run.stdout)
    assert check["scale"] == check["evidence"][0]["scale"] == "0..1"
    assert (check["scale_from"], check["output"], check["input"]) == ("card", "probabilities", "[n,784], 28x28")
    assert check["sha256"] == model_digest(Path(check["model"]))
    assert check["repairs"] == check["warnings"] == []
    assert check["images_per_second"] > 0


def test_unusable_model_is_78(cli: Cli, tmp_path: Path) -> None:
    layers = [keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    path = save(keras.Sequential(layers), tmp_path / "untrained.keras")
    run = cli("check-model", path, "--json")
    assert run.code == 78
    assert json.loads(run.stdout)["error"] in run.stderr
    assert "must recognize at least 80% of the drawn digits" in run.stderr
    assert cli("check-model", tmp_path / "none.keras").code == 78
