from __future__ import annotations

import fcntl
import io
import logging
import os
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Cli

from mnist_batch.config import TrainConfig
from mnist_batch.errors import InputError, InterruptedRun, OutputError, UsageError
from mnist_batch.model.card import model_digest, read_card
from mnist_batch.training.data import load_training_data, to_network_input
from mnist_batch.training.fit import train
from mnist_batch.training.holdout import hold_out
from training.mnist_files import Array

# TensorFlow 2.21 does not know numpy 2's `copy`. `train` ignores the warning, but these tests read weights themselves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ARTEFACTS = ["model_mnist", "model_mnist.card.json", "model_mnist.h5", "model_mnist.keras"]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_weights(folder: Path) -> list[bytes]:
    model = keras.models.load_model(folder / "model_mnist.keras")
    return [weight.tobytes() for weight in model.get_weights()]


def test_three_formats_and_card_are_saved(
    idx_folder: Path,
    tmp_path: Path,
    arrays: dict[str, Array],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "below" / "model"
    with caplog.at_level(logging.WARNING, "absl"):
        result = train(TrainConfig(output, idx_folder, seed=1, epochs=2), print_line=lambda _: None)
    assert capsys.readouterr().out == ""
    assert not [record for record in caplog.records if "HDF5" in record.message]
    assert list_names(output) == ARTEFACTS
    assert list_names(tmp_path) == ["below", "idx"]

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
    assert card.training is not None
    assert card.training.rows == 200
    assert (card.training.epochs, card.training.kept_epoch, card.training.seed) == (2, 2, 1)


def test_saved_model_holds_each_weight_once(idx_folder: Path, tmp_path: Path) -> None:
    train(TrainConfig(tmp_path / "model", idx_folder, seed=1, epochs=1), print_line=lambda _: None)
    variables = tf.train.list_variables(str(tmp_path / "model" / "model_mnist" / "variables" / "variables"))
    assert sum(int(np.prod(shape)) for name, shape in variables if shape) == 784 * 512 + 512 * 512 + 512 * 10 + 1034


def test_each_epoch_prints_a_line(idx_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = train(TrainConfig(tmp_path / "model", idx_folder, seed=1, epochs=3), lines.append)
    for epoch, line in enumerate(lines[:-1], start=1):
        assert re.fullmatch(rf"epoch {epoch}/3: loss \d+\.\d{{4}}, accuracy [01]\.\d{{4}}, \d+\.\d s", line)
    assert lines[3:] == [f"test_acc: {result.card.accuracy:.4f}"]


@pytest.mark.slow
def test_same_seed_gives_same_weights(idx_folder: Path, tmp_path: Path) -> None:
    for name, seed in {"a": 3, "b": 3, "c": 4}.items():
        config = TrainConfig(tmp_path / name, idx_folder, seed=seed, epochs=2, validation=0.2)
        train(config, print_line=lambda _: None)
    assert read_weights(tmp_path / "a") == read_weights(tmp_path / "b")
    assert read_weights(tmp_path / "a") != read_weights(tmp_path / "c")


def test_best_epoch_on_held_out_rows_is_kept(idx_folder_with_writers: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = TrainConfig(tmp_path / "model", idx_folder_with_writers, seed=2, epochs=6, validation=0.25)
    result = train(config, lines.append)
    accuracies = [float(line.split("val_accuracy ")[1][:6]) for line in lines if "val_accuracy" in line]
    assert len(accuracies) == 6
    assert result.kept_epoch == 1 + accuracies.index(max(accuracies))
    training, profile = result.card.training, result.card.profile
    assert training is not None
    assert training.validation_by == "writer"

    data = load_training_data(idx_folder_with_writers)
    mask = hold_out(200, data.writers, 0.25, seed=2)
    assert (training.rows, training.validation_rows) == ((~mask).sum(), mask.sum())
    assert profile is not None
    assert profile.confidence is not None
    assert (profile.rows, sum(profile.confidence.counts)) == (len(mask), mask.sum())
    assert "held out" in (profile.confidence_of or "")
    model = keras.models.load_model(tmp_path / "model" / "model_mnist.keras")
    predicted = model.predict(to_network_input(data.train_images[mask], result.card.scale), verbose=0).argmax(axis=1)
    assert np.mean(predicted == data.train_labels[mask]) == pytest.approx(max(accuracies), abs=1e-4)


def test_output_with_files_is_left_unchanged(idx_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("words")
    with pytest.raises(OutputError, match=r"found thesis\.txt: choose another --output") as caught:
        train(TrainConfig(tmp_path / "model", idx_folder), print_line=lambda _: None)
    assert caught.value.exit_code == 73
    assert (tmp_path / "model" / "thesis.txt").read_text() == "words"
    assert list_names(tmp_path / "model") == ["thesis.txt"]


def test_overwrite_replaces_only_the_model(idx_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    for seed in (1, 2):
        result = train(TrainConfig(output, idx_folder, seed=seed, epochs=1, overwrite=True), print_line=lambda _: None)
        (output / "notes.txt").write_text("mine")
    assert list_names(output) == [*ARTEFACTS, "notes.txt"]
    assert result.card.digests["model_mnist"] == model_digest(output / "model_mnist")
    training = read_card(output / "model_mnist.card.json").training
    assert training is not None
    assert training.seed == 2


def test_unusable_output_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(OutputError, match="must be a folder that can be written"):
            train(TrainConfig(output, tmp_path / "no data"), print_line=lambda _: None)


def test_failed_training_leaves_nothing(idx_folder: Path, tmp_path: Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0")
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(InputError, match="t10k-labels-idx1-ubyte"):
            train(TrainConfig(output, idx_folder), print_line=lambda _: None)
    assert list_names(tmp_path) == ["empty", "idx"]
    assert list_names(tmp_path / "empty") == []


@pytest.mark.parametrize("calls", [0, 1, 4])  # training, held-out rows, test rows
def test_interrupted_training_leaves_nothing(idx_folder: Path, tmp_path: Path, calls: int) -> None:
    remaining = iter(range(calls))

    def check() -> None:
        if next(remaining, None) is None:
            raise InterruptedRun(15, "nothing was written")

    config = TrainConfig(tmp_path / "model", idx_folder, epochs=2, validation=0.2)
    with pytest.raises(InterruptedRun, match="nothing was written"):
        train(config, print_line=lambda _: None, check=check)
    assert list_names(tmp_path) == ["idx"]


def test_only_stale_staging_is_removed(idx_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    stale, running = output / ".mnist-batch-train-stale", output / ".mnist-batch-train-running"
    for folder in (stale, running):
        (folder / "model_mnist").mkdir(parents=True)
    descriptor = os.open(running, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    config = TrainConfig(output, idx_folder, epochs=1)
    with pytest.raises(OutputError, match=r"must be empty .* found \.mnist-batch-train-running:"):
        train(config, print_line=lambda _: None)
    os.close(descriptor)
    (output / stale.name).mkdir()
    train(config, print_line=lambda _: None)
    assert list_names(output) == ARTEFACTS


def test_closed_stdout_does_not_stop_training(
    cli: Cli, idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    run = cli("train", "--data", idx_folder, "--output", tmp_path / "model", "--epochs", "1")
    assert run.code == 74
    assert "stdout: must take the result" in run.stderr
    assert list_names(tmp_path / "model") == ARTEFACTS


def test_unknown_recipe_writes_nothing(idx_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--recipe must be one of seed"):
        train(TrainConfig(tmp_path / "model", idx_folder, recipe="cake"), print_line=lambda _: None)
    assert list_names(tmp_path) == ["idx"]


@pytest.mark.real_data
@pytest.mark.slow
def test_two_epochs_reach_96_percent(real_data: Path, tmp_path: Path) -> None:
    result = train(TrainConfig(tmp_path / "model", real_data / "mnist", seed=0, epochs=2), print_line=lambda _: None)
    assert result.card.evaluated_on == "MNIST test"
    assert result.card.accuracy > 0.96
