"""The options of the commands: names, types and help. Defaults are in `app.py` and `config.py`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mnist_batch import config

_option = partial(typer.Option, show_envvar=False)  # EXAMPLES states the rule for all options
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

# predict and inspect
_READING = "Input"
_SCORING = "Scoring"
_WRITING = "Output"
_JUDGING = "Checks"
_REPORTING = "Reporting"
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="idx, npz (FILE.npz:ARRAY picks one array), image, folder, zip, tar, Parquet, or a glob.",
        show_default=False,
    ),
]
Labels = Annotated[
    str, _option(help="auto, none, or a file: idx, or CSV / Parquet with id,label.", rich_help_panel=_READING)
]
ImageColumn = Annotated[
    str | None,
    _option(help="Parquet column of the images, if there are several candidates.", rich_help_panel=_READING),
]
LabelColumn = Annotated[
    str | None, _option(help="Parquet column of the labels, if it is not 'label'.", rich_help_panel=_READING)
]
IdColumn = Annotated[
    str | None, _option(help="Parquet column of the ids, instead of FILE#ROW.", rich_help_panel=_READING)
]
PixelRange = Annotated[
    config.ValueRange | None, _option(help="Range of float pixels, from black to white.", rich_help_panel=_READING)
]
Preprocess = Annotated[
    config.Preprocess,
    _option(
        help="auto: frame images that are not in MNIST form. frame: frame all. none: reject all that are not 28x28.",
        rich_help_panel=_READING,
    ),
]
Transpose = Annotated[
    bool, _option("--transpose", help="Exchange rows and columns first, for EMNIST.", rich_help_panel=_READING)
]
RowsPerPart = Annotated[int, _option(help="Input rows per part file.")]
Json = Annotated[
    bool,
    _option("--json", help="One JSON object as the last line of stdout, on every exit.", rich_help_panel=_REPORTING),
]

# predict
Output = Annotated[
    str, _option("--output", "-o", metavar="PATH", help="Folder to write to: new, empty, or from an earlier run.")
]
Model = Annotated[str, _option(help="A bundled model, or a .keras, .h5 or SavedModel path.", rich_help_panel=_SCORING)]
Scale = Annotated[
    config.ValueRange | None,
    _option(help="Pixel scale of a model without a card. By default, a self-test finds it.", rich_help_panel=_SCORING),
]
Format = Annotated[config.OutputFormat, _option(help="Format of predictions and rejects.", rich_help_panel=_WRITING)]
Keep = Annotated[
    str,
    _option(metavar="A,B", help="Parquet columns to copy to the output.", show_default=False, rich_help_panel=_WRITING),
]
Probabilities = Annotated[bool, _option("--probabilities", help="Add the columns p0 to p9.", rich_help_panel=_WRITING)]
BatchSize = Annotated[int, _option(help="Images per model call, 16 to 65536.", rich_help_panel=_SCORING)]
Overwrite = Annotated[bool, _option("--overwrite", help="Replace another run's output.", rich_help_panel=_WRITING)]
MaxRejectRate = Annotated[
    float, _option(help="Gate: exit 3 if a larger share of the rows is rejected.", rich_help_panel=_JUDGING)
]
MinAccuracy = Annotated[
    float | None,
    _option(
        help="Gate: exit 3 if a smaller share of the labelled rows is correct.",
        show_default=False,
        rich_help_panel=_JUDGING,
    ),
]
OnEmpty = Annotated[
    config.OnEmpty,
    _option(help="If the input holds no image: fail with 66, or skip with 99.", rich_help_panel=_JUDGING),
]
Quiet = Annotated[
    bool,
    _option(
        "--quiet",
        "-q",
        help="Print nothing, except one line for an error. Silent also on 75 and 99.",
        rich_help_panel=_REPORTING,
    ),
]
LogFormat = Annotated[
    config.LogFormat, _option(help="Format of the lines on stderr: text or JSON objects.", rich_help_panel=_REPORTING)
]
SummaryFile = Annotated[
    Path | None,
    _option(help="Also write the object of --json to this file, on every exit.", rich_help_panel=_REPORTING),
]
MetricsFile = Annotated[
    Path | None,
    _option(help="Write NAME.prom for node_exporter's textfile collector.", rich_help_panel=_REPORTING),
]
Baseline = Annotated[
    Path | None,
    _option(help="Another run, or its report.json, to compare with.", show_default=False, rich_help_panel=_JUDGING),
]

# inspect
Sheet = Annotated[Path | None, _option(help="Write a PNG of sampled images before and after.", show_default=False)]

# report
ReportOf = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a complete run.", show_default=False)]
ReportFormat = Annotated[config.ReportFormat, _option(help="html writes OUT/report.html; md and junit go to stdout.")]

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
