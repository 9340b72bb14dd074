"""The Python API: `predict`, with the options of the command line as keyword arguments."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mnist_batch.config import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_REJECT_RATE,
    DEFAULT_MODEL,
    DEFAULT_ROWS_PER_PART,
    AutoLabels,
    OutputFormat,
    PredictConfig,
    Preprocess,
    PreprocessOptions,
    ReadOptions,
    ValueRange,
)
from mnist_batch.errors import UsageError

if TYPE_CHECKING:
    from mnist_batch.run.result import Result

Choice = TypeVar("Choice", ValueRange, OutputFormat, Preprocess)


def predict(
    *inputs: str | PathLike[str],
    output: str | PathLike[str],
    model: str | PathLike[str] = DEFAULT_MODEL,
    scale: str | None = None,
    format: str = "parquet",
    labels: str | PathLike[str] = "auto",
    image_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    pixel_range: str | None = None,
    keep: str | Sequence[str] = (),
    preprocess: str = "auto",
    transpose: bool = False,
    probabilities: bool = False,
    batch_size: int = DEFAULT_BATCH_SIZE,
    rows_per_part: int = DEFAULT_ROWS_PER_PART,
    overwrite: bool = False,
    max_reject_rate: float = DEFAULT_MAX_REJECT_RATE,
    min_accuracy: float | None = None,
    baseline: str | PathLike[str] | None = None,
) -> Result:
    """Scores every image of `inputs` into the folder `output`, completely or not at all.

    The arguments and their values are the options of `mnist-batch predict` (docs/usage.md).
    Returns counts, accuracy, gates and paths, also if a gate failed. `.to_pandas()` gives the predictions.
    Raises a subclass of `mnist_batch.errors.MnistBatchError`. Its `exit_code` is that of the command line.
    """
    from mnist_batch.run.job import run_job

    reading = ReadOptions(
        labels=parse_labels(fspath(labels)),
        image_column=image_column,
        label_column=label_column,
        id_column=id_column,
        pixel_range=None if pixel_range is None else _parse_choice(ValueRange, pixel_range, "pixel_range"),
        keep=parse_columns(keep) if isinstance(keep, str) else tuple(keep),
        preprocess_options=PreprocessOptions(_parse_choice(Preprocess, preprocess, "preprocess"), transpose),
    )
    config = PredictConfig(
        inputs=tuple(fspath(path) for path in inputs),
        output=parse_output(fspath(output)),
        reading=reading,
        model=fspath(model),
        scale=None if scale is None else _parse_choice(ValueRange, scale, "scale"),
        format=_parse_choice(OutputFormat, format, "format"),
        probabilities=probabilities,
        batch_size=batch_size,
        rows_per_part=rows_per_part,
        overwrite=overwrite,
        max_reject_rate=max_reject_rate,
        min_accuracy=min_accuracy,
        baseline=None if baseline is None else Path(baseline),
    )
    return run_job(config)


def parse_labels(text: str) -> AutoLabels | Path:
    """Parses `auto`, `none`, or the path of a label file."""
    return AutoLabels(text) if text in list(AutoLabels) else Path(text)


def parse_output(text: str) -> Path:
    """Parses the path of the output folder.

    Raises UsageError if it is empty, as from an unset variable: Path would take it for the working directory.
    """
    if not text:
        raise UsageError("--output must name a folder, is empty: give its path, or . for the working directory")
    return Path(text)


def parse_columns(text: str) -> tuple[str, ...]:
    """Parses column names written as `a,b`."""
    return tuple(filter(None, text.split(",")))


def _parse_choice(kind: type[Choice], value: str, name: str) -> Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise UsageError(f"{name} must be one of {', '.join(kind)}, got {value!r}: choose one of these") from error
