"""What a run is asked to do, checked where it is born and frozen from then on.

The command line and the Python API build these; nothing downstream sees an option string.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mnist_batch.errors import UsageError

DEFAULT_MODEL = "seed"
# 4,096 images are 3.2 MB of pixels and 8 MB of hidden activations: large enough that the per-batch cost vanishes,
# small enough to stay in a core's caches and to keep memory flat.
DEFAULT_BATCH_SIZE = 4096
DEFAULT_ROWS_PER_PART = 65_536
# More than one bad image in twenty is rarely what was meant: a wrong folder, a wrong size.
DEFAULT_MAX_REJECT_RATE = 0.05


class ValueRange(StrEnum):
    """What black and white are as numbers: for float pixels in the input, and for what a model was trained on."""

    UNIT = "0..1"
    BYTE = "0..255"
    SYMMETRIC = "-1..1"


class OutputFormat(StrEnum):
    """The file format of `predictions/` and `rejects/`."""

    PARQUET = "parquet"
    CSV = "csv"


class ReportFormat(StrEnum):
    """What `mnist-batch report` makes of a report: the page, text for a pull request, gates for a CI server."""

    HTML = "html"
    MARKDOWN = "md"
    JUNIT = "junit"


class AutoLabels(StrEnum):
    """Where labels come from when no file is given: from beside the images, or from nowhere."""

    AUTO = "auto"
    NONE = "none"


class OnEmpty(StrEnum):
    """What an input without any image ends a run with: an error, or 99, which schedulers take for *skipped*."""

    FAIL = "fail"
    SKIP = "skip"


class LogFormat(StrEnum):
    """How a line on stderr is written: for a person, or as a JSON object for whatever collects logs."""

    TEXT = "text"
    JSON = "json"


class Preprocess(StrEnum):
    """What becomes of an image that is not in MNIST form: framed; refused if not 28x28; or all are framed."""

    AUTO = "auto"
    NONE = "none"
    FRAME = "frame"


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """How images are brought to the form the model knows. transpose: rows and columns are exchanged first (EMNIST)."""

    mode: Preprocess = Preprocess.AUTO
    transpose: bool = False


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the inputs are to be understood; the same for `predict` and `inspect`.

    `labels` is AUTO, NONE, or the file that overrides whatever stands beside the images.
    The column names apply to Parquet inputs only.
    """

    labels: AutoLabels | Path = AutoLabels.AUTO
    image_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    pixel_range: ValueRange | None = None
    keep: tuple[str, ...] = ()
    preprocess_options: PreprocessOptions = field(default_factory=PreprocessOptions)

    def __post_init__(self) -> None:
        reserved = {"id", "label", "prediction", "confidence", "digit_score", *(f"p{i}" for i in range(10))}
        taken = sorted(reserved.intersection(self.keep))
        if taken:
            raise UsageError(
                f"--keep must not name a column of the output, got {', '.join(taken)}: "
                "rename it in the input, or leave it out"
            )
        if len(set(self.keep)) != len(self.keep):
            raise UsageError(f"--keep must name each column once, got {','.join(self.keep)}: remove the repetition")


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """One run of `predict`: what is read, with what it is scored, where it is written.

    inputs: paths, globs, or `file.npz:array`; model: the name of a bundled model, or a path;
    scale: what a model without a card was trained on, None to let the self-test find out;
    batch_size: images a model call, 16..65,536; rows_per_part: rows of input a part file, at least 1;
    max_reject_rate, min_accuracy: gates, shares in 0..1; a set that fails one is there, but is no success;
    baseline: another run's folder or `report.json`, to be compared with.
    """

    inputs: tuple[str, ...]
    output: Path
    reading: ReadOptions = field(default_factory=ReadOptions)
    model: str = DEFAULT_MODEL
    scale: ValueRange | None = None
    format: OutputFormat = OutputFormat.PARQUET
    probabilities: bool = False
    batch_size: int = DEFAULT_BATCH_SIZE
    rows_per_part: int = DEFAULT_ROWS_PER_PART
    overwrite: bool = False
    max_reject_rate: float = DEFAULT_MAX_REJECT_RATE
    min_accuracy: float | None = None
    baseline: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_reject_rate <= 1:
            raise UsageError(
                f"--max-reject-rate must lie in 0..1, got {self.max_reject_rate}: 0.05 is five in a hundred"
            )
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise UsageError(f"--min-accuracy must lie in 0..1, got {self.min_accuracy}: 0.95 is 95 %")
        if not self.inputs:
            raise UsageError("at least one INPUT must be given: name a file, a folder or an archive")
        # A batch of one takes another path through the matrix library: its last bits differ (docs/architecture.md).
        if not 16 <= self.batch_size <= 65_536:
            raise UsageError(f"--batch-size must lie in 16..65536, got {self.batch_size}: 4096 is a good choice")
        check_rows_per_part(self.rows_per_part)


def check_rows_per_part(rows: int) -> None:
    """Raises UsageError where parts of that many rows cannot be cut; `inspect`, which has no config, asks too."""
    if rows < 1:
        raise UsageError(f"--rows-per-part must be at least 1, got {rows}: 65536 is a good choice")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run of `train`.

    data: a folder of the four idx files, or `mnist.npz`; None for the copy Keras keeps.
    output: the folder the model is saved into. seed: None for a different model each time.
    validation: the share of the training rows held out, 0 <= validation < 1; 0 trains on all and keeps the last epoch.
    epochs: None for the recipe's own.
    """

    output: Path
    data: Path | None = None
    recipe: str = "seed"
    seed: int | None = None
    validation: float = 0.0
    epochs: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.validation < 1.0:
            raise UsageError(
                f"--validation must be at least 0 and below 1, got {self.validation}: 0.1 holds out a tenth"
            )
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"--epochs must be at least 1, got {self.epochs}: leave it out for the recipe's own")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed must lie in 0..4294967295, got {self.seed}: choose another")
