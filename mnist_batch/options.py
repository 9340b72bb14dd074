"""The options of the commands: their names, types and help. What they mean, and their defaults, are told elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_batch import config

# Of predict and inspect
_READING = "How the input is read"
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="idx, npz (FILE.npz:ARRAY picks one array), image, folder, zip, tar, Parquet, or a glob.",
        show_default=False,
    ),
]
Labels = Annotated[
    str, typer.Option(help="auto, none, or a file: idx, or CSV / Parquet with id,label.", rich_help_panel=_READING)
]
ImageColumn = Annotated[
    str | None,
    typer.Option(help="Parquet column of the images, where several could be meant.", rich_help_panel=_READING),
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Parquet column of the labels, if it is not 'label'.", rich_help_panel=_READING)
]
IdColumn = Annotated[
    str | None, typer.Option(help="Parquet column of the ids, instead of FILE#ROW.", rich_help_panel=_READING)
]
PixelRange = Annotated[
    config.ValueRange | None, typer.Option(help="What black and white are in float pixels.", rich_help_panel=_READING)
]
Preprocess = Annotated[
    config.Preprocess,
    typer.Option(
        help="auto frames what is not in MNIST form, frame frames all, none rejects what is not 28x28.",
        rich_help_panel=_READING,
    ),
]
Transpose = Annotated[
    bool, typer.Option("--transpose", help="Exchange rows and columns first (EMNIST).", rich_help_panel=_READING)
]
RowsPerPart = Annotated[int, typer.Option(help="Rows of input a part file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]

# Of predict
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; new, empty, or an earlier run's.")]
Model = Annotated[str, typer.Option(help="A bundled model, or a .keras, .h5 or SavedModel path.")]
Scale = Annotated[
    config.ValueRange | None, typer.Option(help="What a model without a card was trained on; found out if left out.")
]
Format = Annotated[config.OutputFormat, typer.Option(help="Format of predictions and rejects.")]
Keep = Annotated[str, typer.Option(metavar="A,B", help="Parquet columns to carry over.", show_default=False)]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="Add the columns p0 to p9.")]
BatchSize = Annotated[int, typer.Option(help="Images a model call, 16 to 65536.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another run's output.")]
MaxRejectRate = Annotated[float, typer.Option(help="Gate: exit 3 if a larger share of the rows is rejected.")]
MinAccuracy = Annotated[
    float | None, typer.Option(help="Gate: exit 3 if a smaller share is right.", show_default=False)
]
Baseline = Annotated[
    Path | None, typer.Option(help="Another run, or its report.json, to be compared with.", show_default=False)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]

# Of inspect
Sheet = Annotated[Path | None, typer.Option(help="Write a PNG of sampled images before and after.", show_default=False)]

# Of report
ReportOf = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a complete run.", show_default=False)]
ReportFormat = Annotated[
    config.ReportFormat, typer.Option(help="html writes OUT/report.html; md and junit go to stdout.")
]

# Of train
ModelOutput = Annotated[Path, typer.Option("--output", "-o", help="Folder to save the model into.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder of the four idx files, or mnist.npz; without it Keras's copy.", show_default=False),
]
Recipe = Annotated[str, typer.Option(help="seed: Dense 512, Dense 512, softmax, RMSprop.")]
Validation = Annotated[float, typer.Option(help="Share held out, by writer where known; then the best epoch is kept.")]
Seed = Annotated[int | None, typer.Option(help="Makes the training repeatable.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of the recipe's own number.", show_default=False)]
OverwriteModel = Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")]
