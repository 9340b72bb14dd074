"""The Python API: `predict`, with the options of the command line as keyword arguments.

`build_config` checks the options. `predict` and the command line take their parameters from its signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from mnist_batch.config import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_REJECT_RATE,
    DEFAULT_MODEL,
    DEFAULT_ROWS_PER_PART,
    AutoLabels,
    OutputFormat,
    PixelRange,
    PredictConfig,
    Preprocess,
    PreprocessOptions,
    ReadOptions,
    Scale,
)
from mnist_batch.errors import MnistBatchError, UsageError
from mnist_batch.sources.file_list import read_file_list

if TYPE_CHECKING:
    from mnist_batch.run.result import Result

Choice = TypeVar("Choice", OutputFormat, PixelRange, Preprocess, Scale)
Options = ParamSpec("Options")

# An option in a message. A name in a path does not count.
_OPTION = re.compile(r"(?<![\w/.-])--([a-z]+(?:-[a-z]+)*)")


# With one slash too, because a `Path` keeps only one.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def build_config(
    *inputs: str | PathLike[str],
    output: str | PathLike[str],
    files_from: str | PathLike[str] | None = None,
    null: bool = False,
    model: str | PathLike[str] = DEFAULT_MODEL,
    scale: str | None = None,
    format: str = OutputFormat.PARQUET,
    labels: str | PathLike[str] = AutoLabels.AUTO,
    image_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    pixel_range: str | None = None,
    preprocess: str = Preprocess.AUTO,
    transpose: bool = False,
    keep: str | Sequence[str] = "",
    probabilities: bool = False,
    batch_size: int = DEFAULT_BATCH_SIZE,
    rows_per_part: int = DEFAULT_ROWS_PER_PART,
    overwrite: bool = False,
    max_reject_rate: float = DEFAULT_MAX_REJECT_RATE,
    min_accuracy: float | None = None,
    strict: bool = False,
    baseline: str | PathLike[str] | None = None,
) -> PredictConfig:
    """Checks the options of a run. Raises UsageError, which names options as on the command line."""
    reading = ReadOptions(
        listed=files_from is not None,
        labels=_parse_labels(fspath(labels)),
        image_column=image_column,
        label_column=label_column,
        id_column=id_column,
        pixel_range=None if pixel_range is None else _parse_choice(PixelRange, pixel_range, "--pixel-range"),
        keep=tuple(filter(None, keep.split(","))) if isinstance(keep, str) else tuple(keep),
        preprocess_options=PreprocessOptions(
            preprocess=_parse_choice(Preprocess, preprocess, "--preprocess"), transpose=transpose
        ),
    )
    return PredictConfig(
        inputs=_collect_inputs([fspath(path) for path in inputs], files_from, null),
        output=parse_output(fspath(output)),
        reading=reading,
        model=_check_local(fspath(model), "--model"),
        scale=None if scale is None else _parse_choice(Scale, scale, "--scale"),
        format=_parse_choice(OutputFormat, format, "--format"),
        probabilities=probabilities,
        batch_size=batch_size,
        rows_per_part=rows_per_part,
        overwrite=overwrite,
        max_reject_rate=max_reject_rate,
        min_accuracy=min_accuracy,
        strict=strict,
        baseline=None if baseline is None else Path(_check_local(fspath(baseline), "--baseline")),
    )


def _collect_inputs(inputs: Sequence[str], files_from: str | PathLike[str] | None, null: bool) -> tuple[str, ...]:
    """The inputs that are named, or those in the list `files_from`."""
    if files_from is None:
        if null:
            raise UsageError("--null: needs --files-from, there is none: leave it out")
        return tuple(_check_local(path, "INPUT") for path in inputs)
    if inputs:
        raise UsageError(f"--files-from: must be the only input, got {inputs[0]} too: leave one of them out")
    return read_file_list(_check_local(fspath(files_from), "--files-from"), null)


def _with_options_of(
    build: Callable[Options, PredictConfig],
) -> Callable[[Callable[[PredictConfig], Result]], Callable[Options, Result]]:
    """Gives a function of a config the parameters of `build`. Its errors name options as Python arguments."""

    def decorate(function: Callable[[PredictConfig], Result]) -> Callable[Options, Result]:
        @wraps(function)
        def call(*arguments: Options.args, **options: Options.kwargs) -> Result:
            try:
                return function(build(*arguments, **options))
            except MnistBatchError as error:
                error.args = (_name_arguments(str(error)), *error.args[1:])
                raise

        own = signature(build).replace(return_annotation=signature(function).return_annotation)
        call.__signature__ = own  # type: ignore[attr-defined]  # read by `help` and `inspect.signature`
        return call

    return decorate


@_with_options_of(build_config)
def predict(config: PredictConfig) -> Result:
    """Scores every image of `inputs` into the folder `output`, completely or not at all.

    The arguments and their values are the options of `mnist-batch predict` (docs/usage.md).
    Returns counts, accuracy, gates and paths, also if a gate failed. `.to_pandas()` gives the predictions.
    Raises a subclass of `mnist_batch.errors.MnistBatchError`. Its `exit_code` is that of the command line.
    """
    from mnist_batch.run.job import run_job

    return run_job(config)


def parse_output(text: str) -> Path:
    """Parses the path of the output folder.

    Raises UsageError if it is empty, as from an unset variable: Path would take it for the working directory.
    """
    if not text:
        raise UsageError("--output must name a folder, is empty: give its path, or . for the working directory")
    if text == "-":
        raise UsageError("--output must name a folder, is -: results cannot be written to stdout, give a path")
    return Path(_check_local(text, "--output"))


def _check_local(text: str, what: str) -> str:
    """Returns a path. Raises UsageError for a URI: as a path, it would name a local folder such as `./s3:`."""
    if _URI.match(text):
        raise UsageError(
            f"{what} {text}: must be a path of this machine, is a URI, which is not supported: "
            "copy the files here, or mount the storage"
        )
    return text


def _parse_labels(text: str) -> AutoLabels | Path:
    """Parses `auto`, `none`, or the path of a label file."""
    return AutoLabels(text) if text in list(AutoLabels) else Path(_check_local(text, "--labels"))


def _parse_choice(kind: type[Choice], value: str, option: str) -> Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise UsageError(f"{option} must be one of {', '.join(kind)}, got {value!r}: choose one of these") from error


def _name_arguments(message: str) -> str:
    """The message with `--max-reject-rate` as `max_reject_rate`, and so on."""
    names = signature(build_config).parameters

    def rename(option: re.Match[str]) -> str:
        name = option[1].replace("-", "_")
        return name if name in names else option[0]

    return _OPTION.sub(rename, message)
