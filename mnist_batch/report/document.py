"""`report.json`: the figures of a run as one JSON object, unrounded.

`schema.json` is generated from these classes by `make goldens`. Figures that need labels are null without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from mnist_batch.config import Preprocess
from mnist_batch.documents import (
    Count,
    Digit,
    DocumentError,
    Interval,
    Json,
    Share,
    check_readable,
    parse_document,
)
from mnist_batch.report.bins import CALIBRATION_BINS, CONFIDENCE_EDGES, IMAGE_EDGES, FeatureName
from mnist_batch.report.examples import MAX_EXAMPLES, MAX_REJECT_EXAMPLES, Example, RejectExample

# Rises only for a change that breaks a reader. New keys do not.
REPORT_VERSION = 1

# The report counts the rows below each of these confidences.
CONFIDENCE_LIMITS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
MAX_PAIRS = 10
# The fields that need labels. They are null without any.
LABEL_FIELDS = (
    "accuracy",
    "accuracy_interval",
    "confusion",
    "per_digit",
    "confused_pairs",
    "calibration",
    "coverage",
    "coverage_targets",
    "label_errors",
    "mistakes",
)
Level = Literal["stable", "moderate", "major"]
TenCounts = Annotated[list[Count], Meta(min_length=10, max_length=10)]
Number = int | float


@dataclass(frozen=True, slots=True)
class Histogram:
    """One more edge than counts. A bin includes its lower edge; the last bin includes both."""

    edges: Sequence[Number]
    counts: Sequence[Count]


@dataclass(frozen=True, slots=True)
class Below:
    """Predicted rows below a confidence. share: of the predicted rows, null if there are none."""

    confidence: Share
    rows: Count
    share: Share | None


@dataclass(frozen=True, slots=True)
class Images:
    """Measurements of the images as they were scored.

    Share of ink (0 to 1), stroke width in pixels, width and height of the bounding box of the ink in pixels.
    """

    ink: Histogram
    stroke: Histogram
    width: Histogram
    height: Histogram


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of the images or predictions, compared with a reference."""

    name: FeatureName
    psi: Annotated[float, Meta(ge=0, description="Population stability index.")]
    psi_by_chance: Annotated[
        float,
        Meta(
            ge=0,
            description="The psi that chance exceeds once in a thousand runs if the distribution has not changed.",
        ),
    ]
    level: Level
    edges: Annotated[Sequence[Number], Meta(description="The lower edge of each bin.")]
    expected: Sequence[Share]
    found: Sequence[Share]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The psi from which a feature counts as moved, and from which it is flagged."""

    moderate: float
    major: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Comparison with the profile of the training data in the model's card. flagged: the features of level major."""

    thresholds: Thresholds
    profile_rows: Count
    confidence_of: str | None
    flagged: Sequence[FeatureName]
    features: Sequence[Feature]


@dataclass(frozen=True, slots=True)
class DigitFigures:
    """Precision, recall and F1 of a digit. Null if the denominator is 0. support: rows with that label."""

    digit: Digit
    precision: Share | None
    recall: Share | None
    f1: Share | None
    support: Count


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A kind of mistake. share: of the rows with that label."""

    label: Digit
    prediction: Digit
    rows: Count
    share: Share


@dataclass(frozen=True, slots=True)
class ErrorByChance:
    """The ece of simulated runs in which each row is correct with the probability of its confidence."""

    mean: Share
    percentile_95: Share


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Labelled rows with a confidence from low to high. confidence and accuracy are null if there are none."""

    low: Share
    high: Share
    rows: Count
    confidence: Share | None
    accuracy: Share | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well confidences match accuracies."""

    ece: Annotated[Share, Meta(description="Expected calibration error over 15 bins of equal width.")]
    ece_by_chance: ErrorByChance
    nll: Annotated[float, Meta(ge=0, description="Mean negative log-likelihood of the labels, in nats.")]
    brier: Annotated[
        float,
        Meta(ge=0, le=2, description="Mean squared distance of the ten probabilities from the one-hot label."),
    ]
    mean_confidence: Share
    bins: Annotated[Sequence[CalibrationBin], Meta(min_length=CALIBRATION_BINS, max_length=CALIBRATION_BINS)]


@dataclass(frozen=True, slots=True)
class Coverage:
    """For each confidence that occurs: the labelled rows at or above it, and how many of them are correct."""

    confidence: Sequence[Share]
    rows: Sequence[Count]
    correct: Sequence[Count]


@dataclass(frozen=True, slots=True)
class CoverageTarget:
    """The lowest confidence at and above which labelled rows reach an accuracy. All null if no confidence does.

    below: the rows of the run below it, labelled or not.
    """

    accuracy: Share
    confidence: Share | None = None
    rows: Count | None = None
    correct: Count | None = None
    interval: Interval | None = None
    below: Count | None = None
    below_share: Share | None = None


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """Suspected label errors (confident learning)."""

    thresholds: Annotated[
        Sequence[Share | None],
        Meta(
            min_length=10,
            max_length=10,
            description="For each digit, the mean probability of that digit over the rows labelled with it; "
            "null if there are none.",
        ),
    ]
    rows: Annotated[
        Count,
        Meta(
            description="Rows whose prediction is wrong and whose confidence is at least the threshold of the "
            "predicted digit. Thresholds are rounded up to the next bin."
        ),
    ]


@dataclass(frozen=True, slots=True)
class Mistake(Example):
    """A row whose prediction is not its label."""

    suspected_label_error: bool


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model of a run.

    carded: whether a model card belongs to it.
    input: how it takes an image.
    repairs: what was changed in a copy of its file, so that it could be opened.
    """

    name: str
    sha256: str
    scale: str
    output: str
    carded: bool
    input: str = "28x28"
    repairs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run. version: of mnist-batch."""

    inputs: Sequence[str]
    more_inputs: Annotated[Count, Meta(description="The number of inputs that are not named in `inputs`.")]
    finished: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    version: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. stages: of `score`, by `timing.Stage`; the first stages overlap with the model."""

    start: float
    score: float
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreprocessingCounts:
    """How images were brought to MNIST form. mode: the option `--preprocess`; the others count images."""

    mode: Preprocess
    as_is: Count
    inverted: Count
    framed: Count


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """The accuracy now minus the accuracy then."""

    change: float
    interval: Annotated[
        tuple[float, float], Meta(description="95 % confidence interval (Newcombe), for independent rows.")
    ]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The run that this one was compared with: its figures and what changed."""

    name: str
    finished: str
    model: str
    same_model: bool
    rows: Count
    rejected: Count
    labelled: Count
    accuracy: Share | None
    accuracy_change: AccuracyChange | None
    mean_confidence: Share | None
    features: Sequence[Feature]


@dataclass(frozen=True, slots=True)
class Report:
    """The content of `report.json`."""

    report_version: Annotated[int, Meta(ge=1)]
    rows: Annotated[Count, Meta(description="Rows of the input: predicted rows plus rejected rows.")]
    predicted: Count
    rejected: Count
    rejects_by_reason: Mapping[str, Count]
    reject_examples: Annotated[
        Mapping[str, Annotated[Sequence[RejectExample], Meta(max_length=MAX_REJECT_EXAMPLES)]],
        Meta(description="The first rejects of each reason, by reason."),
    ]
    prediction_counts: Annotated[TenCounts, Meta(description="Predicted rows by digit.")]
    mean_confidence: Annotated[
        Share | None,
        Meta(description="The expected accuracy if the model is calibrated; null if no row was predicted."),
    ]
    confidence_histogram: Histogram
    below: Annotated[Sequence[Below], Meta(description="Predicted rows below each of several confidences.")]
    least_confident: Annotated[
        Sequence[Example],
        Meta(max_length=MAX_EXAMPLES, description="The least confident rows, in ascending order of confidence."),
    ]
    images: Images
    drift: Annotated[Drift | None, Meta(description="null if there is no profile or no row was predicted.")]
    labelled: Annotated[
        Count,
        Meta(description="Predicted rows that have a label. Figures that need labels are null if this is 0."),
    ]
    accuracy: Share | None
    accuracy_interval: Annotated[Interval | None, Meta(description="95 % confidence interval (Wilson).")]
    confusion: Annotated[
        Annotated[list[TenCounts], Meta(min_length=10, max_length=10)] | None,
        Meta(description="One row per label, one column per prediction."),
    ]
    per_digit: Annotated[Sequence[DigitFigures], Meta(min_length=10, max_length=10)] | None
    confused_pairs: Annotated[
        Annotated[Sequence[ConfusedPair], Meta(max_length=MAX_PAIRS)] | None,
        Meta(description="The most frequent mistakes, in descending order."),
    ]
    calibration: Calibration | None
    coverage: Coverage | None
    coverage_targets: Annotated[Sequence[CoverageTarget] | None, Meta(description="For each target accuracy.")]
    label_errors: LabelErrors | None
    mistakes: Annotated[
        Annotated[Sequence[Mistake], Meta(max_length=MAX_EXAMPLES)] | None,
        Meta(description="The most confident mistakes, in descending order of confidence."),
    ]
    skipped: Annotated[Mapping[str, Count], Meta(description="Skipped files that are not images, by suffix.")]
    model: ModelFacts
    run: RunFacts
    timings: Timings
    preprocessing: PreprocessingCounts
    warnings: Sequence[str]
    baseline: Annotated[Baseline | None, Meta(description="null if the run was not compared with another.")]
    animations: Annotated[Count, Meta(description="Images with more frames, of which the first was scored.")] = 0


def parse_report(content: Mapping[str, Json]) -> Report:
    """Returns the report of a JSON object.

    Raises DocumentError if it has a later version, if a field is not as declared, or if fields contradict each other.
    """
    if "report_version" not in content:
        raise DocumentError("no `report_version`")
    check_readable(content, "report_version", REPORT_VERSION)
    report = parse_document(content, Report)
    for name in _find_contradictions(report):
        raise DocumentError(f"`{name}` contradicts other fields")
    return report


def _find_contradictions(report: Report) -> Iterator[str]:
    """Yields the names of the fields that a reader cannot rely on: each is valid alone, but not with the others."""
    histograms: dict[FeatureName, Histogram] = {"confidence": report.confidence_histogram}
    histograms |= {name: getattr(report.images, name) for name in IMAGE_EDGES}
    for name, histogram in histograms.items():
        edges = CONFIDENCE_EDGES if name == "confidence" else IMAGE_EDGES[name]
        valid = list(histogram.edges) == edges.tolist() and len(histogram.counts) == len(edges) - 1
        if not valid or sum(histogram.counts) != report.predicted:
            yield "confidence_histogram" if name == "confidence" else f"images.{name}"
    if not report.rows or report.rows != report.predicted + report.rejected:
        yield "rows"
    if report.predicted != sum(report.prediction_counts):
        yield "predicted"
    if [row.confidence for row in report.below] != list(CONFIDENCE_LIMITS):
        yield "below"
    if report.drift is not None and not all(map(_is_comparable, report.drift.features)):
        yield "drift"
    if report.baseline is not None and not (
        report.baseline.rows and all(map(_is_comparable, report.baseline.features))
    ):
        yield "baseline"
    if report.labelled:
        yield from _find_label_contradictions(report)
    elif any(getattr(report, name) is not None for name in LABEL_FIELDS):
        yield "labelled"


def _find_label_contradictions(report: Report) -> Iterator[str]:
    for name in LABEL_FIELDS:
        if getattr(report, name) is None:
            yield name
            return
    confusion, coverage, calibration = report.confusion, report.coverage, report.calibration
    if confusion is None or coverage is None or calibration is None:  # named above
        return
    if report.labelled != sum(map(sum, confusion)):
        yield "confusion"
    lengths = {len(coverage.confidence), len(coverage.rows), len(coverage.correct)}
    if len(lengths) != 1 or not coverage.rows or not all(coverage.rows):
        yield "coverage"
    if any(bin.rows and (bin.confidence is None or bin.accuracy is None) for bin in calibration.bins):
        yield "calibration"
    if any(
        target.confidence is not None and (not target.rows or target.correct is None or target.interval is None)
        for target in report.coverage_targets or ()
    ):
        yield "coverage_targets"


def _is_comparable(feature: Feature) -> bool:
    lengths = {len(feature.edges), len(feature.expected), len(feature.found)}
    return len(lengths) == 1 and bool(feature.edges) and max(*feature.expected, *feature.found) > 0
