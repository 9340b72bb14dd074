"""The options of the commands: names, types and help, and `options_of`, which gives a command those of a builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mnist_batch import config

Config = TypeVar("Config")

EXAMPLES = """Examples:

  mnist-batch inspect scans/
  mnist-batch predict scans/ --output out/scans

Every option can also be set in the environment: --max-reject-rate of predict as MNIST_BATCH_PREDICT_MAX_REJECT_RATE.
"""
PREDICT_EXAMPLES = """Examples:

  mnist-batch predict scans/ -o out/scans
  mnist-batch predict mnist.npz:x_test -o out/test --min-accuracy 0.97
  mnist-batch predict /data/2026-11-24 -o /out/2026-11-24 --quiet --on-empty skip

Exit: 0 done, 2 usage, 3 gate failed, 65 input broken, 66 no input, 70 bug, 73 output, 74 storage (start again),
75 another run is active, 78 model, 99 skipped, 130 and 143 interrupted (start again).
"""

_option = partial(typer.Option, show_envvar=False)  # EXAMPLES states the rule for all options
_input = partial(_option, rich_help_panel="Input")
_scoring = partial(_option, rich_help_panel="Scoring")
_output = partial(_option, rich_help_panel="Output")
_check = partial(_option, rich_help_panel="Checks")
_reporting = partial(_option, rich_help_panel="Reporting")

_MODEL = "A bundled model, or a .keras, .h5 or SavedModel path."

# The options of `inspect`, by parameter of `api.build_config`. Defaults are in its signature.
INSPECT: Mapping[str, Any] = {
    "inputs": Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="idx, npy, npz (FILE.npz:ARRAY picks one array), CSV, Parquet, image, folder, zip, tar, or a glob.",
            show_default=False,
        ),
    ],
    "files_from": Annotated[
        str | None,
        _input(metavar="LIST", help="File of paths to read in its order, one per line; - for stdin. Instead of INPUT."),
    ],
    "null": Annotated[bool, _input("--null", help="Paths in LIST end with a null byte, as from find -print0.")],
    "labels": Annotated[
        str, _input(help="auto, none, or a file: idx or npy, or CSV, JSON Lines or Parquet with id,label.")
    ],
    "image_column": Annotated[
        str | None, _input(help="Parquet column of the images, if there are several candidates.")
    ],
    "label_column": Annotated[
        str | None, _input(help="Column of the labels; first, last or none in a CSV without header.")
    ],
    "id_column": Annotated[str | None, _input(help="Column of the ids, instead of FILE#ROW.")],
    "pixel_range": Annotated[config.PixelRange | None, _input(help="Range of float pixels, from black to white.")],
    "preprocess": Annotated[
        config.Preprocess,
        _input(
            help="auto: frame images that are not in MNIST form. frame: frame all. none: reject all that are not 28x28."
        ),
    ],
    "transpose": Annotated[bool, _input("--transpose", help="Exchange rows and columns first, for EMNIST.")],
    "rows_per_part": Annotated[int, _option(help="Input rows per part file.")],
}
# The options of `predict`.
PREDICT: Mapping[str, Any] = {
    **INSPECT,
    "output": Annotated[
        str, _option("--output", "-o", metavar="PATH", help="Folder to write to: new, empty, or from an earlier run.")
    ],
    "model": Annotated[str, _scoring(help=_MODEL)],
    "scale": Annotated[
        config.Scale | None, _scoring(help="Pixel scale of a model without a card. By default, a self-test finds it.")
    ],
    "batch_size": Annotated[int, _scoring(help="Images per model call, 16 to 65536.")],
    "format": Annotated[config.OutputFormat, _output(help="Format of predictions and rejects.")],
    "keep": Annotated[str, _output(metavar="A,B", help="Columns to copy to the output.", show_default=False)],
    "probabilities": Annotated[bool, _output("--probabilities", help="Add the columns p0 to p9.")],
    "overwrite": Annotated[bool, _output("--overwrite", help="Replace another run's output.")],
    "max_reject_rate": Annotated[float, _check(help="Gate: exit 3 if a larger share of the rows is rejected.")],
    "min_accuracy": Annotated[
        float | None,
        _check(help="Gate: exit 3 if a smaller share of the labelled rows is correct.", show_default=False),
    ],
    "strict": Annotated[
        bool,
        _check("--strict", help="Gate: exit 3 if something skipped may be images, or only some rows have labels."),
    ],
    "baseline": Annotated[
        Path | None, _check(help="Another run, or its report.json, to compare with.", show_default=False)
    ],
}

# The options of how the outcome of `predict` is reported
OnEmpty = Annotated[config.OnEmpty, _check(help="If the input holds no image: fail with 66, or skip with 99.")]
Json = Annotated[bool, _reporting("--json", help="One JSON object as the last line of stdout, on every exit.")]
Quiet = Annotated[
    bool,
    _reporting("--quiet", "-q", help="Print nothing, except one line for an error. Silent also on 75 and 99."),
]
LogFormat = Annotated[config.LogFormat, _reporting(help="Format of the lines on stderr: text or JSON objects.")]
SummaryFile = Annotated[Path | None, _reporting(help="Also write the object of --json to this file, on every exit.")]
MetricsFile = Annotated[Path | None, _reporting(help="Write NAME.prom for node_exporter's textfile collector.")]

# inspect
Sheet = Annotated[Path | None, _option(help="Write a PNG of sampled images before and after.", show_default=False)]

# report
ReportOf = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a complete run.", show_default=False)]
ReportFormat = Annotated[config.ReportFormat, _option(help="html writes OUT/report.html; md and junit go to stdout.")]
Baseline = PREDICT["baseline"]

# check-model
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
ModelScale = PREDICT["scale"]

# train
ModelOutput = Annotated[str, _option("--output", "-o", metavar="PATH", help="Folder to save the model into.")]
Data = Annotated[
    Path | None,
    _option(help="Folder of the four idx files, or mnist.npz. By default Keras's copy.", show_default=False),
]
Recipe = Annotated[str, _option(help="seed: Dense 512, Dense 512, softmax, RMSprop.")]
Validation = Annotated[float, _option(help="Share of rows to hold out, by writer if known, to keep the best epoch.")]
Seed = Annotated[int | None, _option(help="Seed for a repeatable training.")]
Epochs = Annotated[int | None, _option(help="Number of epochs, instead of the recipe's.", show_default=False)]
OverwriteModel = Annotated[bool, _option("--overwrite", help="Replace what is in the folder.")]


def options_of(
    build: Callable[..., Config], options: Mapping[str, Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command some parameters of `build` as options. The command gets what `build` returns as `config`.

    options: the type and help of each option, by the name of its parameter.
    """
    parameters = [
        parameter.replace(
            kind=Parameter.KEYWORD_ONLY,
            annotation=options[name],
            default=() if parameter.kind is Parameter.VAR_POSITIONAL else parameter.default,
        )
        for name, parameter in signature(build).parameters.items()
        if name in options
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        context, _, *others = signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def run(context: typer.Context, **values: Any) -> None:
            given = {parameter.name: values.pop(parameter.name) for parameter in parameters}
            command(context, build(*given.pop("inputs"), **given), **values)

        keywords = [*parameters, *(parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in others)]
        run.__signature__ = Signature([context, *keywords])  # type: ignore[attr-defined]  # read by Typer
        return run

    return decorate
