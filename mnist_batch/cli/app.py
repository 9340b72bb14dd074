"""The commands. Options become a frozen config at once; errors become one line and an exit code, here only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import typer

from mnist_batch.api import build_config, parse_output
from mnist_batch.cli import console, options
from mnist_batch.cli.outcome import OutcomeOptions, OutcomeReporter
from mnist_batch.cli.side_files import FileKind, write_side_file
from mnist_batch.cli.usage import describe_usage_error
from mnist_batch.config import LogFormat, OnEmpty, PredictConfig, ReportFormat, TrainConfig
from mnist_batch.errors import EmptyInputError, MnistBatchError, SkippedRun
from mnist_batch.names import printable
from mnist_batch.runtime import exit_now, limit_native_output, prepare
from mnist_batch.timing import ignore_progress

PROGRAM = "mnist-batch"
_ENV_PREFIX = "MNIST_BATCH"  # every option can also be given as MNIST_BATCH_<COMMAND>_<OPTION>

app = typer.Typer(
    name=PROGRAM,
    context_settings={"auto_envvar_prefix": _ENV_PREFIX},
    epilog=options.EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        # A deployment may well set MNIST_BATCH_VERSION for its own purposes.
        typer.Option(
            "--version", callback=_print_version, is_eager=True, allow_from_autoenv=False, help="Print the version."
        ),
    ] = False,
) -> None:
    """Batch scoring of digit images: any input form in, predictions and confidences out, each row exactly once."""


@app.command(epilog=options.PREDICT_EXAMPLES)
@options.options_of(build_config, options.PREDICT)
def predict(
    context: typer.Context,
    config: PredictConfig,
    on_empty: options.OnEmpty = OnEmpty.FAIL,
    json: options.Json = False,  # noqa: ARG001  (`_parse_outcome_options` reads this and the options below)
    quiet: options.Quiet = False,
    log_format: options.LogFormat = LogFormat.TEXT,  # noqa: ARG001
    summary_file: options.SummaryFile = None,  # noqa: ARG001
    metrics_file: options.MetricsFile = None,  # noqa: ARG001
) -> None:
    """Score images: a prediction and a confidence for each, and a report, with accuracy if there are labels."""
    reporter: OutcomeReporter = context.obj
    reporter.check_files()
    from mnist_batch.run.job import run_job

    def check_stop() -> None:
        limit_native_output()
        reporter.check_interrupted()

    progress = ignore_progress if quiet else console.Progress(reporter.log)
    try:
        with reporter.quiet():
            result = run_job(config, progress, check_stop)
    except EmptyInputError as error:
        if on_empty is OnEmpty.SKIP:
            raise SkippedRun(str(error)) from error
        raise
    reporter.report_result(result)
    raise typer.Exit(result.exit_code)


@app.command()
@options.options_of(partial(build_config, output=os.devnull), options.INSPECT)
def inspect(
    context: typer.Context, config: PredictConfig, sheet: options.Sheet = None, json: options.Json = False
) -> None:
    """Show what would be read: formats, rows, labels, parts, and what preprocessing does. Loads no model."""
    from mnist_batch.run.inspection import inspect_inputs

    inspection = inspect_inputs(config.inputs, config.reading, config.rows_per_part)
    summary = inspection.summarize()
    if sheet is not None:
        from mnist_batch.images.sheet import MARK, contact_sheet

        kind = FileKind("--sheet", "an earlier sheet", lambda content: MARK in content)
        images = [(sample.before, sample.after, sample.verdict) for sample in inspection.samples]
        write_side_file(sheet, kind, contact_sheet(images))
    reporter: OutcomeReporter = context.obj
    if json:
        reporter.print_json(asdict(summary))
    else:
        reporter.print(console.format_inspection(summary))


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
    config = TrainConfig(
        output=parse_output(output),
        data=data,
        recipe=recipe,
        seed=seed,
        validation=validation,
        epochs=epochs,
        overwrite=overwrite,
    )
    from mnist_batch.training.recipes import find_recipe

    find_recipe(recipe)  # reject an unknown recipe before TensorFlow is imported
    from mnist_batch.training.fit import train as fit

    def print_line(line: str) -> None:
        with suppress(OSError):  # a closed pipe does not end a training
            print(line, file=sys.stderr if json else sys.stdout, flush=True)

    reporter: OutcomeReporter = context.obj
    result = fit(config, print_line, reporter.check_interrupted)
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
    from mnist_batch.model.bundled import list_bundled

    bundled = list_bundled()
    reporter: OutcomeReporter = context.obj
    if json:
        reporter.print_json([asdict(model.card) | {"size": model.size} for model in bundled])
    else:
        reporter.print(console.format_models(bundled))


@app.command()
def check_model(
    context: typer.Context, model: options.Model, scale: options.ModelScale = None, json: options.Json = False
) -> None:
    """Check a model before a long run: form, layers, scale with its evidence, repairs, accuracy, speed."""
    from mnist_batch.model.bundled import resolve_model

    path = resolve_model(model)
    from mnist_batch.model.checking import check_model as check

    result = check(path, scale)
    reporter: OutcomeReporter = context.obj
    if json:
        reporter.print_json(asdict(result))
    else:
        reporter.print(console.format_check(result))


def main(arguments: Sequence[str], reporter: OutcomeReporter | None = None) -> int:
    """Runs one command and returns its exit code. The only place that catches and reports errors."""
    reporter = reporter or OutcomeReporter(_parse_outcome_options(arguments))
    try:
        return app(arguments, prog_name=PROGRAM, standalone_mode=False, obj=reporter) or 0
    except MnistBatchError as error:
        return reporter.report_error(str(error), error.exit_code)
    except typer.TyperException as error:  # unknown options, invalid values
        if not arguments:  # Typer has printed the help
            return 2
        return reporter.report_error(describe_usage_error(error), 2)
    except KeyboardInterrupt:
        return reporter.report_error("interrupted: start it again", 130)
    except Exception as error:
        return reporter.report_bug(error)


def run(*command: str) -> None:
    """Runs a command in a process of its own, as `entry.run` says. Does not return."""
    arguments = [*command, *sys.argv[1:]]
    prepare()
    outcome = "what was done is kept: start it again and it continues"
    if arguments[:1] != ["predict"]:
        outcome = "nothing was written: start it again"
    reporter = OutcomeReporter(_parse_outcome_options(arguments), outcome)
    reporter.start()
    code = main(arguments, reporter)
    console.discard_output()
    exit_now(code)


def _parse_outcome_options(arguments: Sequence[str]) -> OutcomeOptions:
    """Reporting options, parsed leniently so that usage errors honour --json."""
    group = typer.main.get_group(app)
    context = group.context_class(group, info_name=PROGRAM, auto_envvar_prefix=_ENV_PREFIX, resilient_parsing=True)
    values: dict[str, Any] = {}
    with suppress(typer.TyperException, IndexError):  # IndexError: no arguments
        name, command, rest = group.resolve_command(context, [*arguments])
        if command is not None:
            values = command.make_context(
                name, rest, parent=context, resilient_parsing=True, ignore_unknown_options=True
            ).params
    names = [field.name for field in fields(OutcomeOptions)]
    parsed = OutcomeOptions(**{name: values[name] for name in names if values.get(name)})
    return replace(parsed, output=parsed.output and printable(parsed.output), json=parsed.json or "--json" in arguments)
