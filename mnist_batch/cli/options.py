"""The options of the commands: their names, types and help. What they mean, and their defaults, are told elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mnist_batch import config

_option = partial(typer.Option, show_envvar=False)  # the rule for all is told once, in EXAMPLES
EXAMPLES = """Examples:

  mnist-batch inspect scans/
  mnist-batch predict scans/ --output out/scans

Every option can be given in the environment, too: --max-reject-rate of predict as MNIST_BATCH_PREDICT_MAX_REJECT_RATE.
"""
PREDICT_EXAMPLES = """Examples:

  mnist-batch predict scans/ -o out/scans
  mnist-batch predict mnist.npz:x_test -o out/test --min-accuracy 0.97
  mnist-batch predict /data/2026-11-24 -o /out/2026-11-24 --quiet --on-empty skip

Exit: 0 done, 2 usage, 3 gate failed, 65 input broken, 66 no input, 70 bug, 73 output, 74 storage (start again),
75 another run is at it, 78 model, 99 skipped, 130 and 143 interrupted (start again).
"""

# Of predict and inspect
_READING = "How the input is read"
_SCORING = "How it is scored"
_WRITING = "What is written"
_JUDGING = "When a run is a success"
_TELLING = "What is told"
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
    _option(help="Parquet column of the images, where several could be meant.", rich_help_panel=_READING),
]
LabelColumn = Annotated[
    str | None, _option(help="Parquet column of the labels, if it is not 'label'.", rich_help_panel=_READING)
]
IdColumn = Annotated[
    str | None, _option(help="Parquet column of the ids, instead of FILE#ROW.", rich_help_panel=_READING)
]
PixelRange = Annotated[
    config.ValueRange | None, _option(help="What black and white are in float pixels.", rich_help_panel=_READING)
]
Preprocess = Annotated[
    config.Preprocess,
    _option(
        help="auto frames what is not in MNIST form, frame frames all, none rejects what is not 28x28.",
        rich_help_panel=_READING,
    ),
]
Transpose = Annotated[
    bool, _option("--transpose", help="Exchange rows and columns first (EMNIST).", rich_help_panel=_READING)
]
RowsPerPart = Annotated[int, _option(help="Rows of input a part file.")]
Json = Annotated[
    bool,
    _option("--json", help="One JSON object as the last line of stdout, on every exit.", rich_help_panel=_TELLING),
]

# Of predict
Output = Annotated[
    str, _option("--output", "-o", metavar="PATH", help="Folder to write to; new, empty, or an earlier run's.")
]
Model = Annotated[str, _option(help="A bundled model, or a .keras, .h5 or SavedModel path.", rich_help_panel=_SCORING)]
Scale = Annotated[
    config.ValueRange | None,
    _option(help="What a model without a card was trained on; found out if left out.", rich_help_panel=_SCORING),
]
Format = Annotated[config.OutputFormat, _option(help="Format of predictions and rejects.", rich_help_panel=_WRITING)]
Keep = Annotated[
    str,
    _option(metavar="A,B", help="Parquet columns to carry over.", show_default=False, rich_help_panel=_WRITING),
]
Probabilities = Annotated[bool, _option("--probabilities", help="Add the columns p0 to p9.", rich_help_panel=_WRITING)]
BatchSize = Annotated[int, _option(help="Images a model call, 16 to 65536.", rich_help_panel=_SCORING)]
Overwrite = Annotated[bool, _option("--overwrite", help="Replace another run's output.", rich_help_panel=_WRITING)]
MaxRejectRate = Annotated[
    float, _option(help="Gate: exit 3 if a larger share of the rows is rejected.", rich_help_panel=_JUDGING)
]
MinAccuracy = Annotated[
    float | None,
    _option(help="Gate: exit 3 if a smaller share is right.", show_default=False, rich_help_panel=_JUDGING),
]
OnEmpty = Annotated[
    config.OnEmpty,
    _option(help="An input without any image: exit 66, or 99, *skipped*.", rich_help_panel=_JUDGING),
]
Quiet = Annotated[
    bool,
    _option(
        "--quiet",
        "-q",
        help="Nothing at all on success, nor where another run holds the folder; else the error's one line.",
        rich_help_panel=_TELLING,
    ),
]
LogFormat = Annotated[
    config.LogFormat, _option(help="Lines on stderr: text, or JSON objects.", rich_help_panel=_TELLING)
]
SummaryFile = Annotated[
    Path | None, _option(help="Write the object of --json here, too, on every exit.", rich_help_panel=_TELLING)
]
MetricsFile = Annotated[
    Path | None,
    _option(help="Write NAME.prom for node_exporter's textfile collector.", rich_help_panel=_TELLING),
]
Baseline = Annotated[
    Path | None,
    _option(help="Another run, or its report.json, to be compared with.", show_default=False, rich_help_panel=_JUDGING),
]

# Of inspect
Sheet = Annotated[Path | None, _option(help="Write a PNG of sampled images before and after.", show_default=False)]

# Of report
ReportOf = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a complete run.", show_default=False)]
ReportFormat = Annotated[config.ReportFormat, _option(help="html writes OUT/report.html; md and junit go to stdout.")]

# Of train
ModelOutput = Annotated[str, _option("--output", "-o", metavar="PATH", help="Folder to save the model into.")]
Data = Annotated[
    Path | None,
    _option(help="Folder of the four idx files, or mnist.npz; without it Keras's copy.", show_default=False),
]
Recipe = Annotated[str, _option(help="seed: Dense 512, Dense 512, softmax, RMSprop.")]
Validation = Annotated[float, _option(help="Share held out, by writer where known; then the best epoch is kept.")]
Seed = Annotated[int | None, _option(help="Makes the training repeatable.")]
Epochs = Annotated[int | None, _option(help="Instead of the recipe's own number.", show_default=False)]
OverwriteModel = Annotated[bool, _option("--overwrite", help="Replace what is in the folder.")]
