"""The configuration of a run: checked when it is created, frozen afterwards.

The command line and the Python API build these objects. Nothing else sees an option string.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mnist_batch import columns
from mnist_batch.errors import UsageError

DEFAULT_MODEL = "seed"
# 4,096 images are 3.2 MB of pixels and 8 MB of hidden activations: large enough to make the cost per batch negligible,
# small enough to stay in the caches of a core and to keep memory constant.
DEFAULT_BATCH_SIZE = 4096
DEFAULT_ROWS_PER_PART = 65_536
# If more than one image in twenty is rejected, it is probably the wrong folder or the wrong size.
DEFAULT_MAX_REJECT_RATE = 0.05


class PixelRange(StrEnum):
    """The numbers for black and white in the input."""

    UNIT = "0..1"
    BYTE = "0..255"
    SYMMETRIC = "-1..1"


class Scale(StrEnum):
    """The pixel values that a model was trained on.

    UNIT, BYTE, SYMMETRIC, CENTRED: the numbers for black and white.
    STANDARDISED: 0..1 minus MNIST's mean, divided by its standard deviation.
    COLUMNS: each column of an image divided by its L2 norm, as `keras.utils.normalize(x, axis=1)` does.
    INVERTED: 1 for black and 0 for white.
    """

    UNIT = "0..1"
    BYTE = "0..255"
    SYMMETRIC = "-1..1"
    CENTRED = "-0.5..0.5"
    STANDARDISED = "standardised"
    COLUMNS = "columns"
    INVERTED = "inverted"


class OutputFormat(StrEnum):
    """The file format of `predictions/` and `rejects/`."""

    PARQUET = "parquet"
    CSV = "csv"


class ReportFormat(StrEnum):
    """Output of `mnist-batch report`: the HTML page, Markdown for a pull request, or the gates as JUnit XML."""

    HTML = "html"
    MARKDOWN = "md"
    JUNIT = "junit"


class AutoLabels(StrEnum):
    """Where labels come from if no file is given: AUTO takes those stored with the images, NONE takes no labels."""

    AUTO = "auto"
    NONE = "none"


class OnEmpty(StrEnum):
    """How a run ends if the input holds no image: with an error, or with 99, which schedulers take as *skipped*."""

    FAIL = "fail"
    SKIP = "skip"


class LogFormat(StrEnum):
    """Format of the lines on stderr: text for a person, or JSON objects for a log collector."""

    TEXT = "text"
    JSON = "json"


class Preprocess(StrEnum):
    """How images are brought to MNIST form.

    AUTO: frame the images that are not in MNIST form.
    NONE: score all images as they are, and reject those that are not 28x28.
    FRAME: frame all images.
    """

    AUTO = "auto"
    NONE = "none"
    FRAME = "frame"


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """How images are preprocessed. transpose: exchange rows and columns first, as EMNIST requires."""

    preprocess: Preprocess = Preprocess.AUTO
    transpose: bool = False


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the inputs are read. `predict` and `inspect` share it.

    listed: whether the inputs are a list of files, which are read in its order. No folders, patterns or arrays then.
    labels: AUTO, NONE, or the label file that overrides labels stored with the images.
    image_column, label_column, id_column, keep: names of columns, for Parquet inputs only.
    pixel_range: the range of float pixels.
    """

    listed: bool = False
    labels: AutoLabels | Path = AutoLabels.AUTO
    image_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    pixel_range: PixelRange | None = None
    keep: tuple[str, ...] = ()
    preprocess_options: PreprocessOptions = field(default_factory=PreprocessOptions)

    def __post_init__(self) -> None:
        taken = sorted(set(columns.ALL).intersection(self.keep))
        if taken:
            raise UsageError(
                f"--keep must not name a column of the output, got {', '.join(taken)}: "
                "rename it in the input, or leave it out"
            )
        if len(set(self.keep)) != len(self.keep):
            raise UsageError(f"--keep must name each column once, got {','.join(self.keep)}: remove the repetition")


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """One run of `predict`.

    inputs: paths, globs, or `file.npz:array`.
    model: the name of a bundled model, or a path.
    scale: the pixel scale that a model without a card was trained on; None to let the self-test find it.
    batch_size: images per model call, 16..65,536.
    rows_per_part: input rows per part file, at least 1.
    max_reject_rate, min_accuracy: gates, shares in 0..1. A set that fails a gate is written without `_SUCCESS`.
    strict: a gate. Fails if something skipped may be images, or if only some rows have labels.
    baseline: the folder or `report.json` of another run to compare with.
    """

    inputs: tuple[str, ...]
    output: Path
    reading: ReadOptions = field(default_factory=ReadOptions)
    model: str = DEFAULT_MODEL
    scale: Scale | None = None
    format: OutputFormat = OutputFormat.PARQUET
    probabilities: bool = False
    batch_size: int = DEFAULT_BATCH_SIZE
    rows_per_part: int = DEFAULT_ROWS_PER_PART
    overwrite: bool = False
    max_reject_rate: float = DEFAULT_MAX_REJECT_RATE
    min_accuracy: float | None = None
    strict: bool = False
    baseline: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_reject_rate <= 1:
            raise UsageError(
                f"--max-reject-rate must be in 0..1, got {self.max_reject_rate}: 0.05 is five in a hundred"
            )
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise UsageError(f"--min-accuracy must be in 0..1, got {self.min_accuracy}: 0.95 is 95 %")
        if not self.inputs:
            raise UsageError(
                "at least one INPUT must be given: name a file, a folder or an archive, or a list by --files-from"
            )
        # The matrix library computes a batch of one differently: its last bits differ (docs/architecture.md).
        if not 16 <= self.batch_size <= 65_536:
            raise UsageError(f"--batch-size must be in 16..65536, got {self.batch_size}: 4096 is a good choice")
        if self.rows_per_part < 1:
            raise UsageError(f"--rows-per-part must be at least 1, got {self.rows_per_part}: 65536 is a good choice")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run of `train`.

    output: the folder to save the model in.
    data: a folder of the four idx files, or `mnist.npz`; None for Keras's cached copy.
    seed: None for a different model each time.
    validation: the share of training rows held out, 0 <= validation < 1. 0 trains on all rows and keeps the last epoch.
    epochs: None for the recipe's number of epochs.
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
            raise UsageError(f"--seed must be in 0..4294967295, got {self.seed}: choose another")
