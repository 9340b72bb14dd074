from __future__ import annotations

import fcntl
import io
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from mnist_batch.config import TrainConfig
from mnist_batch.errors import InputError, InterruptedRun, OutputError, UsageError
from mnist_batch.model.card import model_digest, read_card
from mnist_batch.training.data import load_training_data, to_network_input
from mnist_batch.training.fit import train
from mnist_batch.training.holdout import hold_out

# TensorFlow 2.21 knows nothing of numpy 2's `copy`; `train` keeps that back, but these tests read weights themselves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ARTEFACTS = ["model_mnist", "model_mnist.card.json", "model_mnist.h5", "model_mnist.keras"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _weights(folder: Path) -> list[bytes]:
    model = keras.models.load_model(folder / "model_mnist.keras")
    return [weight.tobytes() for weight in model.get_weights()]


def test_three_forms_of_the_same_model_and_its_card_are_saved(
    idx_folder: Path,
    tmp_path: Path,
    arrays: dict[str, npt.NDArray[Any]],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "below" / "model"
    with caplog.at_level(logging.WARNING, "absl"):
        result = train(TrainConfig(output, idx_folder, seed=1, epochs=2), say=lambda _: None)
    assert capsys.readouterr().out == ""
    assert not [record for record in caplog.records if "HDF5" in record.message]
    assert _names(output) == ARTEFACTS
    assert _names(tmp_path) == ["below", "idx"]

    images = arrays["x_test"].reshape(60, 784).astype(np.float32) / 255
    expected = keras.models.load_model(output / "model_mnist.keras").predict(images, verbose=0)
    from_h5 = keras.models.load_model(output / "model_mnist.h5").predict(images, verbose=0)
    signature = tf.saved_model.load(str(output / "model_mnist")).signatures["serving_default"]
    (from_saved_model,) = signature(images=tf.constant(images)).values()
    np.testing.assert_allclose(from_h5, expected, atol=1e-6)
    np.testing.assert_allclose(from_saved_model.numpy(), expected, atol=1e-6)

    card = read_card(output / "model_mnist.card.json")
    assert card == result.card
    assert card.name == "model_mnist"
    assert card.digests == {name: model_digest(output / name) for name in ARTEFACTS if "card" not in name}
    assert card.accuracy == np.mean(expected.argmax(axis=1) == arrays["y_test"])
    assert card.training["rows"] == 200
    assert (card.training["epochs"], card.training["kept_epoch"], card.training["seed"]) == (2, 2, 1)


def test_the_saved_model_holds_each_weight_once_and_no_optimizer(idx_folder: Path, tmp_path: Path) -> None:
    train(TrainConfig(tmp_path / "model", idx_folder, seed=1, epochs=1), say=lambda _: None)
    variables = tf.train.list_variables(str(tmp_path / "model" / "model_mnist" / "variables" / "variables"))
    assert sum(int(np.prod(shape)) for name, shape in variables if shape) == 784 * 512 + 512 * 512 + 512 * 10 + 1034


def test_every_epoch_has_a_line_and_the_test_accuracy_comes_last(idx_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = train(TrainConfig(tmp_path / "model", idx_folder, seed=1, epochs=3), lines.append)
    for epoch, line in enumerate(lines[:-1], start=1):
        assert re.fullmatch(rf"epoch {epoch}/3: loss \d+\.\d{{4}}, accuracy [01]\.\d{{4}}, \d+\.\d s", line)
    assert lines[3:] == [f"test_acc: {result.card.accuracy:.4f}"]


def test_the_same_seed_gives_the_same_weights(idx_folder: Path, tmp_path: Path) -> None:
    for name, seed in {"a": 3, "b": 3, "c": 4}.items():
        config = TrainConfig(tmp_path / name, idx_folder, seed=seed, epochs=2, validation=0.2)
        train(config, say=lambda _: None)
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b")
    assert _weights(tmp_path / "a") != _weights(tmp_path / "c")


def test_the_best_epoch_on_rows_of_held_out_writers_is_kept(written_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = TrainConfig(tmp_path / "model", written_folder, seed=2, epochs=6, validation=0.25)
    result = train(config, lines.append)
    accuracies = [float(line.split("val_accuracy ")[1][:6]) for line in lines if "val_accuracy" in line]
    assert len(accuracies) == 6
    assert result.kept_epoch == 1 + accuracies.index(max(accuracies))
    assert result.card.training["validation_by"] == "writer"

    data = load_training_data(written_folder)
    mask = hold_out(200, data.writers, 0.25, seed=2)
    assert (result.card.training["rows"], result.card.training["validation_rows"]) == ((~mask).sum(), mask.sum())
    profile = result.card.profile
    assert (profile["rows"], sum(profile["confidence"]["counts"])) == (len(mask), mask.sum())
    assert "held out" in profile["confidence_of"]
    model = keras.models.load_model(tmp_path / "model" / "model_mnist.keras")
    predicted = model.predict(to_network_input(data.train_images[mask], result.card.scale), verbose=0).argmax(axis=1)
    assert np.mean(predicted == data.train_labels[mask]) == pytest.approx(max(accuracies), abs=1e-4)


def test_an_output_that_is_not_empty_is_refused_and_left_as_it_was(idx_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("words")
    with pytest.raises(OutputError, match=r"found thesis\.txt: choose another --output") as caught:
        train(TrainConfig(tmp_path / "model", idx_folder), say=lambda _: None)
    assert caught.value.exit_code == 73
    assert (tmp_path / "model" / "thesis.txt").read_text() == "words"
    assert _names(tmp_path / "model") == ["thesis.txt"]


def test_overwrite_replaces_the_model_and_nothing_else(idx_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    for seed in (1, 2):
        result = train(TrainConfig(output, idx_folder, seed=seed, epochs=1, overwrite=True), say=lambda _: None)
        (output / "notes.txt").write_text("mine")
    assert _names(output) == [*ARTEFACTS, "notes.txt"]
    assert result.card.digests["model_mnist"] == model_digest(output / "model_mnist")
    assert read_card(output / "model_mnist.card.json").training["seed"] == 2


def test_an_output_that_cannot_be_made_is_refused_before_the_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(OutputError, match="must be a folder that can be written"):
            train(TrainConfig(output, tmp_path / "no data"), say=lambda _: None)


def test_a_training_that_fails_leaves_nothing_behind(idx_folder: Path, tmp_path: Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0")
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(InputError):
            train(TrainConfig(output, idx_folder), say=lambda _: None)
    assert _names(tmp_path) == ["empty", "idx"]
    assert _names(tmp_path / "empty") == []


@pytest.mark.parametrize("calls", [0, 1, 4])  # training, held-out rows, test rows
def test_a_training_that_is_interrupted_leaves_nothing_behind(idx_folder: Path, tmp_path: Path, calls: int) -> None:
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise InterruptedRun(15, "nothing was written")

    config = TrainConfig(tmp_path / "model", idx_folder, epochs=2, validation=0.2)
    with pytest.raises(InterruptedRun):
        train(config, say=lambda _: None, check=check)
    assert _names(tmp_path) == ["idx"]


def test_what_a_killed_training_left_is_removed_and_what_a_running_one_holds_is_not(
    idx_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    stale, running = output / ".mnist-batch-train-stale", output / ".mnist-batch-train-running"
    for folder in (stale, running):
        (folder / "model_mnist").mkdir(parents=True)
    descriptor = os.open(running, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    config = TrainConfig(output, idx_folder, epochs=1)
    with pytest.raises(OutputError, match=r"must be empty .* found \.mnist-batch-train-running:"):
        train(config, say=lambda _: None)
    os.close(descriptor)
    (output / stale.name).mkdir()
    train(config, say=lambda _: None)
    assert _names(output) == ARTEFACTS


def test_a_reader_of_the_epochs_who_goes_away_ends_no_training(
    cli: Callable[..., Any], idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    run = cli("train", "--data", idx_folder, "--output", tmp_path / "model", "--epochs", "1")
    assert run.code == 74
    assert "stdout: must take the result" in run.stderr
    assert _names(tmp_path / "model") == ARTEFACTS


def test_an_unknown_recipe_is_refused_before_anything_is_written(idx_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--recipe must be one of seed"):
        train(TrainConfig(tmp_path / "model", idx_folder, recipe="cake"), say=lambda _: None)
    assert _names(tmp_path) == ["idx"]


@pytest.mark.real_data
@pytest.mark.skipif("MNIST_BATCH_DATA" not in os.environ, reason="MNIST_BATCH_DATA names no folder with mnist/ in it")
def test_two_epochs_on_mnist_get_96_percent_right(tmp_path: Path) -> None:
    data = Path(os.environ["MNIST_BATCH_DATA"]) / "mnist"
    result = train(TrainConfig(tmp_path / "model", data, seed=0, epochs=2), say=lambda _: None)
    assert result.card.evaluated_on == "MNIST test"
    assert result.card.accuracy > 0.96
