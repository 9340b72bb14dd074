"""Each option is declared once: the builder's signature gives it to Python, its entry in the table to the commands."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

import mnist_batch
from mnist_batch import errors
from mnist_batch.api import build_config
from mnist_batch.cli import options
from mnist_batch.config import (
    OutputFormat,
    PixelRange,
    PredictConfig,
    Preprocess,
    PreprocessOptions,
    ReadOptions,
    Scale,
)
from mnist_batch.output.fingerprint import _collect_options

CONFIG = build_config("in", output="out")
# The fields that change no byte of the output, or are part of the fingerprint by their content.
NOT_IN_FINGERPRINT = {
    "inputs", "listed", "labels", "model", "output", "overwrite", "max_reject_rate", "min_accuracy", "strict",
    "baseline",
}  # fmt: skip
# Another value for each field that is part of the fingerprint.
OTHER = {
    "image_column": "a", "label_column": "b", "id_column": "c", "pixel_range": PixelRange.UNIT, "keep": ("d",),
    "preprocess": Preprocess.NONE, "transpose": True, "scale": Scale.UNIT, "format": OutputFormat.CSV,
    "probabilities": True, "batch_size": 512, "rows_per_part": 1000,
}  # fmt: skip


def fields_of(*kinds: type) -> set[str]:
    return {field.name for kind in kinds for field in fields(kind)} - {"reading", "preprocess_options"}


ALL_FIELDS = fields_of(PredictConfig, ReadOptions, PreprocessOptions)


def test_every_argument_is_an_option() -> None:
    assert set(options.PREDICT) == set(inspect.signature(build_config).parameters)


def test_every_argument_is_a_field() -> None:
    list_of_files = {"files_from", "null"}  # they give `inputs`
    assert set(options.PREDICT) - list_of_files == ALL_FIELDS - {"listed"}


def test_python_sees_the_arguments() -> None:
    arguments = inspect.signature(mnist_batch.predict).parameters
    assert arguments == inspect.signature(build_config).parameters
    assert "batch_size" in arguments


def test_new_options_are_part_of_the_fingerprint() -> None:
    """A field added to a config must change the fingerprint, or be named here as one that need not."""
    assert set(_collect_options(CONFIG)) == ALL_FIELDS - NOT_IN_FINGERPRINT


@pytest.mark.parametrize("name", OTHER)
def test_options_change_the_fingerprint(name: str) -> None:
    reading, value = CONFIG.reading, OTHER[name]
    if name in fields_of(PreprocessOptions):
        preprocess = replace(reading.preprocess_options, **{name: value})  # type: ignore[arg-type]  # any field
        changed = replace(CONFIG, reading=replace(reading, preprocess_options=preprocess))
    elif name in fields_of(ReadOptions):
        changed = replace(CONFIG, reading=replace(reading, **{name: value}))  # type: ignore[arg-type]  # any field
    else:
        changed = replace(CONFIG, **{name: value})  # type: ignore[arg-type]  # any field
    assert _collect_options(changed) != _collect_options(CONFIG)


def test_all_fingerprint_options_were_tried() -> None:
    assert set(OTHER) == set(_collect_options(CONFIG))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_reject_rate": 2}, "max_reject_rate must be in 0..1, got 2: 0.05 is"),
        ({"keep": ["id"]}, "keep must not name a column of the output, got id:"),
        ({"pixel_range": "0-1"}, "pixel_range must be one of 0..1, 0..255, -1..1,"),
        ({"output": ""}, "output must name a folder, is empty:"),
    ],
)
def test_messages_name_the_python_argument(arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(errors.UsageError, match=f"^{re.escape(message)}"):
        mnist_batch.predict("a", **({"output": "b"} | dict(arguments)))


def test_paths_in_messages_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "x--keep").mkdir()
    with pytest.raises(errors.InputMissingError, match="x--keep/no: must be"):
        mnist_batch.predict(tmp_path / "x--keep/no", output=tmp_path / "out")


def test_input_is_required(cli: Cli) -> None:
    run = cli("predict", "-o", "y")
    message = "at least one INPUT must be given: name a file, a folder or an archive, or a list by --files-from"
    assert (run.code, run.stderr) == (2, f"mnist-batch: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict x -o y --format json", "--format must be one of parquet, csv, got 'json'"),
        ("predict x -o y --batch-size many", "--batch-size must be a whole number, got 'many'"),
        ("predict x -o y --min-accuracy high", "--min-accuracy must be a number, got 'high'"),
        ("predict x -o y --modle seed", "--modle: options must be known, this one is not: did you mean --model?"),
        ("predict x -o y -Z", "-Z: options must be known, this one is not"),
        ("predict x -o", "-o must have a value, got none"),
        ("predict x -o y --transpose=1", "--transpose takes no value, got one"),
        ("predict x", "--output must be given, is missing"),
        ("score x", "the command line must be valid, but: no such command 'score'"),
        ("models x", "the command line must be valid, but: got unexpected extra argument(s) (x)"),
    ],
)
def test_usage_errors_are_in_our_words(cli: Cli, arguments: str, message: str) -> None:
    run = cli(*arguments.split())
    hint = "" if message.endswith("?") else ": see mnist-batch --help"
    assert (run.code, run.stderr) == (2, f"mnist-batch: {message}{hint}\n")


@pytest.mark.parametrize("uri", ["s3://bucket/x", "gs://b/x", "file:///tmp/x", "https://host/a.zip", "hdfs+x://h/y"])
@pytest.mark.parametrize("option", ["INPUT", "--output", "--model", "--labels", "--baseline"])
def test_uris_are_refused(option: str, uri: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [uri if option == "INPUT" else "in", *([] if option == "--output" else ["--output", "out"])]
    run = cli("predict", *arguments, *([] if option == "INPUT" else [option, uri]))
    assert run.code == 2
    assert re.search(rf"{option} \w+(\+x)?:/\S*: must be a path of this machine, is a URI", run.stderr)
    assert list(tmp_path.iterdir()) == []


def test_stdout_is_no_output(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = cli("predict", "in", "--output", "-")
    assert (run.code, "results cannot be written to stdout" in run.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
