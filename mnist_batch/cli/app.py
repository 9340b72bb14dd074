"""The command line: options become a frozen config at once, errors become one line and an exit code, here only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from mnist_batch.api import parse_columns, parse_labels, parse_output
from mnist_batch.cli import console, options
from mnist_batch.cli.outcome import OutcomeOptions, OutcomeReporter
from mnist_batch.config import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_REJECT_RATE,
    DEFAULT_MODEL,
    DEFAULT_ROWS_PER_PART,
    LogFormat,
    OnEmpty,
    OutputFormat,
    PredictConfig,
    Preprocess,
    PreprocessOptions,
    ReadOptions,
    ReportFormat,
    TrainConfig,
    check_rows_per_part,
)
from mnist_batch.errors import EmptyInputError, MnistBatchError, OutputError, SkippedRun
from mnist_batch.names import printable
from mnist_batch.runtime import exit_now, keep_freed_memory, limit_blas_threads, shorten_switch_interval

PROGRAM = "mnist-batch"
_VARIABLES = "MNIST_BATCH"  # every option can be given as MNIST_BATCH_<COMMAND>_<OPTION>, too

app = typer.Typer(
    name=PROGRAM,
    context_settings={"auto_envvar_prefix": _VARIABLES},
    epilog=options.EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        # MNIST_BATCH_VERSION may well stand in somebody's deployment.
        typer.Option(
            "--version", callback=_version, is_eager=True, allow_from_autoenv=False, help="Print the version."
        ),
    ] = False,
) -> None:
    """Batch scoring of digit images: any input form in, predictions and confidences out, each row exactly once."""


@app.command(epilog=options.PREDICT_EXAMPLES)
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
    on_empty: options.OnEmpty = OnEmpty.FAIL,
    json: options.Json = False,  # noqa: ARG001  (this and what follows is read by `_parse_outcome_options`)
    quiet: options.Quiet = False,
    log_format: options.LogFormat = LogFormat.TEXT,  # noqa: ARG001
    summary_file: options.SummaryFile = None,  # noqa: ARG001
    metrics_file: options.MetricsFile = None,  # noqa: ARG001
) -> None:
    """Score images: a prediction and a confidence for each, and a report where there are labels."""
    preprocess_options = PreprocessOptions(preprocess, transpose)
    reading = ReadOptions(
        parse_labels(labels),
        image_column,
        label_column,
        id_column,
        pixel_range,
        parse_columns(keep),
        preprocess_options,
    )
    config = PredictConfig(
        inputs=tuple(inputs),
        output=parse_output(output),
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
    reporter: OutcomeReporter = context.obj
    reporter.check_files()
    limit_blas_threads()
    keep_freed_memory()
    shorten_switch_interval()
    from mnist_batch.run.job import no_watch, run_job

    show = no_watch if quiet else console.Progress(reporter.log)

    def watch(done: int, rows: int) -> None:
        reporter.check_interrupted()
        show(done, rows)

    try:
        with reporter.quiet():
            result = run_job(config, watch)
    except EmptyInputError as error:
        if on_empty is OnEmpty.SKIP:
            raise SkippedRun(str(error)) from error
        raise
    reporter.report_result(result)
    raise typer.Exit(result.exit_code)


@app.command()
def inspect(
    context: typer.Context,
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
    json: options.Json = False,
) -> None:
    """Show what would be read: formats, rows, labels, parts, and what preprocessing does. Loads no model."""
    from mnist_batch.run.inspection import sample_images
    from mnist_batch.shards import cut_shards
    from mnist_batch.sources.discover import open_inputs
    from mnist_batch.sources.label_file import open_label_file

    check_rows_per_part(rows_per_part)
    preprocess_options = PreprocessOptions(preprocess, transpose)
    source = (parse_labels(labels), image_column, label_column, id_column, pixel_range)
    reading = ReadOptions(*source, preprocess_options=preprocess_options)
    found = open_inputs(tuple(inputs), reading)
    if label_file := isinstance(reading.labels, Path):
        open_label_file(reading.labels, found.rows)  # refused here as it would be by predict
    shards = sum(1 for _ in cut_shards(found.runs, rows_per_part))
    looked_at = sample_images(found, preprocess_options)
    if sheet is not None:
        _write_sheet(sheet, [(sample.before, sample.after, sample.verdict) for sample in looked_at])
    verdicts = [sample.verdict for sample in looked_at]
    inspection = console.describe_inputs(found, label_file, shards, rows_per_part, preprocess, verdicts)
    reporter: OutcomeReporter = context.obj
    if json:
        reporter.print_json(inspection)
    else:
        reporter.print(console.format_inspection(inspection))


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
    json: options.Json = False,
) -> None:
    """Train a model on MNIST and save it as .h5, .keras and SavedModel, with its card."""
    folder = parse_output(output)
    config = TrainConfig(folder, data, recipe, seed, validation, epochs, overwrite)
    from mnist_batch.training.recipes import find_recipe

    find_recipe(recipe)  # refused before TensorFlow is imported, if it must be
    from mnist_batch.training.fit import train as fit

    def say(line: str) -> None:
        with suppress(OSError):  # a reader who has seen enough ends no training
            print(line, file=sys.stderr if json else sys.stdout, flush=True)

    reporter: OutcomeReporter = context.obj
    result = fit(config, say, reporter.check_interrupted)
    if json:
        card = result.card
        reporter.print_json({"output": printable(output), "test_acc": card.accuracy, "kept_epoch": result.kept_epoch})
    else:
        reporter.print(f"saved model_mnist.h5, model_mnist.keras, model_mnist/ and their card in {output}")


@app.command()
def report(
    context: typer.Context,
    output: options.ReportOf,
    format: options.ReportFormat = ReportFormat.HTML,
    baseline: options.Baseline = None,
) -> None:
    """Render the report of a run again: its page, Markdown for a pull request, or its gates as JUnit XML."""
    from mnist_batch.run.reports import render_report

    reporter: OutcomeReporter = context.obj
    reporter.print(render_report(output, format, baseline))


@app.command()
def models(context: typer.Context, json: options.Json = False) -> None:
    """List the bundled models: size, accuracy, calibration, digest."""
    from dataclasses import asdict

    from mnist_batch.model.bundled import list_bundled

    bundled = list_bundled()
    reporter: OutcomeReporter = context.obj
    if json:
        reporter.print_json([asdict(model.card) | {"size": model.size} for model in bundled])
    else:
        reporter.print(console.format_models(bundled))


def main(arguments: Sequence[str], reporter: OutcomeReporter | None = None) -> int:
    """Runs one command and returns its exit code. The only place where an error is caught and shown."""
    reporter = reporter or OutcomeReporter(_parse_outcome_options(arguments))
    try:
        return app(arguments, prog_name=PROGRAM, standalone_mode=False, obj=reporter) or 0
    except MnistBatchError as error:
        return reporter.report_error(str(error), error.exit_code)
    except typer.TyperException as error:  # unknown options, values that do not parse
        if not arguments:  # Typer has shown the help
            return 2
        message = str(getattr(error, "format_message", error.__str__)()).rstrip(".")
        return reporter.report_error(f"{message}: see mnist-batch --help", 2)
    except KeyboardInterrupt:
        return reporter.report_error("interrupted: start it again", 130)
    except Exception as error:
        return reporter.report_bug(error)


def run(*command: str) -> None:
    """The console script; `command` comes before the arguments the process was given. Does not return."""
    arguments = [*command, *sys.argv[1:]]
    console.redirect_native_output()
    outcome = "what was done is kept: start it again and it continues"
    if arguments[:1] != ["predict"]:
        outcome = "nothing was written: start it again"
    reporter = OutcomeReporter(_parse_outcome_options(arguments), outcome)
    reporter.start()
    code = main(arguments, reporter)
    console.discard_output()
    exit_now(code)


def _write_sheet(path: Path, sample_images: Sequence[tuple[Any, Any, str]]) -> None:
    from mnist_batch.images.sheet import contact_sheet

    try:
        path.write_bytes(contact_sheet(sample_images))
    except OSError as error:
        raise OutputError(f"{path}: the sheet must be written, but: {error.strerror}; choose another place") from error


def _parse_outcome_options(arguments: Sequence[str]) -> OutcomeOptions:
    """How the end is to be told, as far as a command line can be understood that will perhaps be refused."""
    group = typer.main.get_group(app)
    context = group.context_class(group, info_name=PROGRAM, auto_envvar_prefix=_VARIABLES, resilient_parsing=True)
    known: dict[str, Any] = {}
    with suppress(typer.TyperException, IndexError):  # the latter where there are no arguments
        name, command, rest = group.resolve_command(context, [*arguments])
        if command is not None:
            known = command.make_context(
                name, rest, parent=context, resilient_parsing=True, ignore_unknown_options=True
            ).params
    asked = OutcomeOptions(
        **{field.name: known[field.name] for field in fields(OutcomeOptions) if known.get(field.name)}
    )
    return replace(asked, output=asked.output and printable(asked.output), json=asked.json or "--json" in arguments)
