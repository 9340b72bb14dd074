"""The command line: options become a frozen config at once, errors become one line and an exit code, here only."""

from __future__ import annotations

import io
import json
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_batch import console, options
from mnist_batch.api import kept_columns, labels_choice
from mnist_batch.config import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_REJECT_RATE,
    DEFAULT_MODEL,
    DEFAULT_ROWS_PER_PART,
    OutputFormat,
    PredictConfig,
    Preparation,
    Preprocess,
    ReadOptions,
    ReportFormat,
    TrainConfig,
    check_rows_per_part,
)
from mnist_batch.errors import MnistBatchError, OutputError, StorageError
from mnist_batch.interrupts import Interrupts
from mnist_batch.names import shown

if TYPE_CHECKING:
    from mnist_batch.result import Result

app = typer.Typer(
    name="mnist-batch",
    help="Batch scoring of digit images: any input form in, predictions and confidences out, each row exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def predict(
    context: typer.Context,
    inputs: options.Inputs,
    output: options.Output,
    model: options.Model = DEFAULT_MODEL,
    scale: options.Scale = None,
    format: options.Format = OutputFormat.PARQUET,
    labels: options.Labels = "auto",
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    id_column: options.IdColumn = None,
    pixel_range: options.PixelRange = None,
    preprocess: options.Preprocess = Preprocess.AUTO,
    transpose: options.Transpose = False,
    keep: options.Keep = "",
    probabilities: options.Probabilities = False,
    batch_size: options.BatchSize = DEFAULT_BATCH_SIZE,
    rows_per_part: options.RowsPerPart = DEFAULT_ROWS_PER_PART,
    overwrite: options.Overwrite = False,
    max_reject_rate: options.MaxRejectRate = DEFAULT_MAX_REJECT_RATE,
    min_accuracy: options.MinAccuracy = None,
    baseline: options.Baseline = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score images: a prediction and a confidence for each, and a report where there are labels."""
    preparation = Preparation(preprocess, transpose)
    reading = ReadOptions(
        labels_choice(labels), image_column, label_column, id_column, pixel_range, kept_columns(keep), preparation
    )
    config = PredictConfig(
        inputs=tuple(inputs),
        output=output,
        reading=reading,
        model=model,
        scale=scale,
        format=format,
        probabilities=probabilities,
        batch_size=batch_size,
        rows_per_part=rows_per_part,
        overwrite=overwrite,
        max_reject_rate=max_reject_rate,
        min_accuracy=min_accuracy,
        baseline=baseline,
    )
    from mnist_batch.job import no_watch, run_job

    show = no_watch if quiet else console.Progress(sys.stderr)
    interrupts: Interrupts | None = context.obj

    def watch(done: int, rows: int) -> None:
        if interrupts is not None:
            interrupts.check()
        show(done, rows)

    result = run_job(config, watch)
    _present(result, json_, quiet)
    raise typer.Exit(result.exit_code)


@app.command()
def inspect(
    inputs: options.Inputs,
    labels: options.Labels = "auto",
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    id_column: options.IdColumn = None,
    pixel_range: options.PixelRange = None,
    preprocess: options.Preprocess = Preprocess.AUTO,
    transpose: options.Transpose = False,
    rows_per_part: options.RowsPerPart = DEFAULT_ROWS_PER_PART,
    sheet: options.Sheet = None,
    json_: options.Json = False,
) -> None:
    """Show what would be read: formats, rows, labels, parts, and what preprocessing does. Loads no model."""
    from mnist_batch.shards import cut
    from mnist_batch.sources.label_file import open_label_file
    from mnist_batch.sources.opening import open_inputs
    from mnist_batch.sources.sampling import samples

    check_rows_per_part(rows_per_part)
    preparation = Preparation(preprocess, transpose)
    source = (labels_choice(labels), image_column, label_column, id_column, pixel_range)
    reading = ReadOptions(*source, preparation=preparation)
    found = open_inputs(tuple(inputs), reading)
    if label_file := isinstance(reading.labels, Path):
        open_label_file(reading.labels, found.rows)  # refused here as it would be by predict
    shards = sum(1 for _ in cut(found.runs, rows_per_part))
    looked_at = samples(found, preparation)
    if sheet is not None:
        _write_sheet(sheet, [(sample.before, sample.after, sample.verdict) for sample in looked_at])
    verdicts = [sample.verdict for sample in looked_at]
    inspection = console.inspection(found, label_file, shards, rows_per_part, preprocess, verdicts)
    if json_:
        _print_json(inspection)
    else:
        _say(console.inspection_text(inspection))


@app.command()
def train(
    context: typer.Context,
    output: options.ModelOutput,
    data: options.Data = None,
    recipe: options.Recipe = "seed",
    validation: options.Validation = 0.0,
    seed: options.Seed = None,
    epochs: options.Epochs = None,
    overwrite: options.OverwriteModel = False,
    json_: options.Json = False,
) -> None:
    """Train a model on MNIST and save it as .h5, .keras and SavedModel, with its card."""
    config = TrainConfig(output, data, recipe, seed, validation, epochs, overwrite)
    from mnist_batch.training.recipes import find_recipe

    find_recipe(recipe)  # refused before TensorFlow is imported, if it must be
    from mnist_batch.training.fit import train as fit

    def say(line: str) -> None:
        with suppress(OSError):  # a reader who has seen enough ends no training
            print(line, file=sys.stderr if json_ else sys.stdout, flush=True)

    interrupts: Interrupts | None = context.obj
    result = fit(config, say) if interrupts is None else fit(config, say, interrupts.check)
    if json_:
        card = result.card
        _print_json({"output": shown(output), "test_acc": card.accuracy, "kept_epoch": result.kept_epoch})
    else:
        _say(f"saved model_mnist.h5, model_mnist.keras, model_mnist/ and their card in {output}")


@app.command()
def report(
    output: options.ReportOf,
    format: options.ReportFormat = ReportFormat.HTML,
    baseline: options.Baseline = None,
) -> None:
    """Render the report of a run again: its page, Markdown for a pull request, or its gates as JUnit XML."""
    from mnist_batch.rendering import rendered

    _say(rendered(output, format, baseline))


@app.command()
def models(json_: options.Json = False) -> None:
    """List the bundled models: size, accuracy, calibration, digest."""
    from dataclasses import asdict

    from mnist_batch.model.bundled import bundled_cards

    bundled = bundled_cards()
    if json_:
        _print_json([asdict(model.card) | {"size": model.size} for model in bundled])
    else:
        _say(console.models_text(bundled))


def main(arguments: Sequence[str], interrupts: Interrupts | None = None) -> int:
    """Runs one command and returns its exit code. The only place where an error is caught and shown."""
    try:
        return app(arguments, prog_name="mnist-batch", standalone_mode=False, obj=interrupts) or 0
    except MnistBatchError as error:
        return _failed(str(error), error.exit_code, arguments)
    except typer.TyperException as error:  # unknown options, values that do not parse
        if not arguments:  # Typer has shown the help
            return 2
        return _failed(f"{_message(error)}: see mnist-batch --help", 2, arguments)
    except KeyboardInterrupt:
        return _failed("interrupted: start it again", 130, arguments)
    except Exception as error:
        traceback.print_exc()
        return _failed(f"a bug in this program, please report it: {error!r}", 70, arguments)


def run(*command: str) -> None:
    """The console script; `command` comes before the arguments the process was given. Does not return."""
    arguments = [*command, *sys.argv[1:]]
    console.keep_native_noise_away()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name must not end a run whose locale cannot write it
        sys.stdout.reconfigure(errors="backslashreplace")
    outcome = "what was done is kept: start it again and it continues"
    if arguments[:1] != ["predict"]:
        outcome = "nothing was written: start it again"
    interrupts = Interrupts(lambda error: _failed(str(error), error.exit_code, arguments), outcome)
    interrupts.start()
    sys.exit(main(arguments, interrupts))


def _present(result: Result, json_: bool, quiet: bool) -> None:
    """What a finished run is told of: warnings and failed gates on stderr, the rest on stdout."""
    if not quiet:
        for warning in result.warnings:
            _tell(warning)
    if (line := console.gate_line(result)) is not None:
        _tell(line)
    if json_:
        _print_json(console.run_object(result))
    elif not quiet:
        _say(console.summary(result))


def _write_sheet(path: Path, samples: Sequence[tuple[Any, Any, str]]) -> None:
    from mnist_batch.images.sheet import contact_sheet

    try:
        path.write_bytes(contact_sheet(samples))
    except OSError as error:
        raise OutputError(f"{path}: the sheet must be written, but: {error.strerror}; choose another place") from error


def _failed(line: str, exit_code: int, arguments: Sequence[str]) -> int:
    line = shown(" ".join(line.splitlines()))
    with suppress(OSError):  # nobody may be listening any more; the exit code still tells
        _tell(line)
        if "--json" in arguments:
            print(_compact(console.error_object(line, exit_code, _output_of(arguments))), flush=True)
    return exit_code


def _tell(line: str) -> None:
    print(f"mnist-batch: {line}", file=sys.stderr, flush=True)


def _output_of(arguments: Sequence[str]) -> str | None:
    """What --output was, as far as a command line can be understood that was perhaps refused."""
    group = typer.main.get_group(app)
    try:
        name, command, rest = group.resolve_command(group.context_class(group, resilient_parsing=True), [*arguments])
    except typer.TyperException:
        return None
    parsed = command.make_context(name, rest, resilient_parsing=True).params if command else {}
    return shown(parsed["output"]) if parsed.get("output") else None


def _message(error: Exception) -> str:
    return str(getattr(error, "format_message", error.__str__)()).rstrip(".")


def _print_json(content: Any) -> None:
    _say(_compact(content))


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))  # ASCII, which stdout takes in every locale


def _say(text: str) -> None:
    """Prints a result. Raises StorageError where stdout cannot take it, be it a full disk or a closed pipe."""
    try:
        print(shown(text), flush=True)
    except OSError as error:
        raise StorageError(f"stdout: must take the result, but: {error.strerror}; the run itself is done") from error
