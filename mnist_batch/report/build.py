"""Builds the report of a run from its counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mnist_batch.profile import Profile
from mnist_batch.records import CLASSES, Ints
from mnist_batch.report.bins import CALIBRATION_STARTS, CONFIDENCE_EDGES, IMAGE_EDGES
from mnist_batch.report.document import (
    CONFIDENCE_LIMITS,
    MAX_PAIRS,
    REPORT_VERSION,
    Below,
    Calibration,
    CalibrationBin,
    ConfusedPair,
    Coverage,
    CoverageTarget,
    ErrorByChance,
    Histogram,
    Images,
    LabelErrors,
    Mistake,
    ModelFacts,
    PreprocessingCounts,
    Report,
    RunFacts,
    Timings,
)
from mnist_batch.report.drift import drift_warnings, measure_drift
from mnist_batch.report.labels import label_warnings
from mnist_batch.report.metrics import (
    calibration_error_by_chance,
    expected_calibration_error,
    precision_recall_f1,
    wilson_interval,
)
from mnist_batch.report.preprocessing import animation_warnings
from mnist_batch.report.tally import NLL_UNIT, UNIT, Tally

# The report gives the confidence threshold that reaches each of these accuracies.
_TARGET_ACCURACIES = (0.99, 0.995, 0.999, 0.9999)
Figure = TypeVar("Figure")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a report says of its run besides figures. Fields as in `Report`.

    warnings: those that do not depend on the figures.
    """

    skipped: Mapping[str, int]
    model: ModelFacts
    run: RunFacts
    timings: Timings
    preprocessing: PreprocessingCounts
    warnings: Sequence[str]


def build_report(tally: Tally, profile: Profile | None, origin: Origin) -> Report:
    """Returns the report of a run, without a baseline.

    profile: the profile of the training data in the model's card.
    """
    predicted = tally.predicted
    drift = measure_drift(tally, profile)

    def if_labelled(measure: Callable[[Tally], Figure]) -> Figure | None:
        return measure(tally) if tally.labelled else None

    return Report(
        report_version=REPORT_VERSION,
        rows=predicted + tally.rejected,
        predicted=predicted,
        rejected=tally.rejected,
        rejects_by_reason=dict(sorted(tally.rejects.items())),
        reject_examples=dict(sorted(tally.reject_examples.items())),
        prediction_counts=tally.predictions.tolist(),
        mean_confidence=_sum_fixed_point(tally.confidence_sum) / predicted if predicted else None,
        confidence_histogram=Histogram(CONFIDENCE_EDGES.tolist(), tally.confidence.tolist()),
        below=[_count_below(tally, limit) for limit in CONFIDENCE_LIMITS],
        least_confident=tally.doubtful,
        images=Images(
            **{name: Histogram(edges.tolist(), getattr(tally, name).tolist()) for name, edges in IMAGE_EDGES.items()}
        ),
        drift=drift,
        labelled=tally.labelled,
        accuracy=if_labelled(lambda tally: tally.correct / tally.labelled),
        accuracy_interval=if_labelled(lambda tally: wilson_interval(tally.correct, tally.labelled)),
        confusion=if_labelled(lambda tally: tally.confusion.tolist()),
        per_digit=if_labelled(lambda tally: precision_recall_f1(tally.confusion)),
        confused_pairs=if_labelled(lambda tally: _rank_confused_pairs(tally.confusion)),
        calibration=if_labelled(measure_calibration),
        coverage=if_labelled(_measure_coverage),
        coverage_targets=if_labelled(lambda tally: [_find_threshold(tally, target) for target in _TARGET_ACCURACIES]),
        label_errors=if_labelled(_suspect_labels),
        mistakes=if_labelled(_list_mistakes),
        skipped=dict(sorted(origin.skipped.items())),
        model=origin.model,
        run=origin.run,
        timings=origin.timings,
        preprocessing=origin.preprocessing,
        warnings=[*origin.warnings, *animation_warnings(tally), *label_warnings(tally), *drift_warnings(drift)],
        baseline=None,
        animations=int(tally.animations),
    )


def _sum_fixed_point(sums: Ints) -> float:
    """The total of sums that are stored times `UNIT`."""
    return int(sums.sum()) / UNIT


def _count_below(tally: Tally, limit: float) -> Below:
    rows = int(tally.confidence[: np.searchsorted(CONFIDENCE_EDGES, limit)].sum())
    return Below(limit, rows, rows / tally.predicted if tally.predicted else None)


def _rank_confused_pairs(confusion: Ints) -> list[ConfusedPair]:
    """The most frequent mistakes. share: of the rows with that label."""
    pairs = [
        (-int(confusion[i, j]), i, j) for i in range(CLASSES) for j in range(CLASSES) if i != j and confusion[i, j]
    ]
    return [ConfusedPair(i, j, -count, -count / int(confusion[i].sum())) for count, i, j in sorted(pairs)[:MAX_PAIRS]]


def _count_correct(tally: Tally) -> Ints:
    """int64 [confidence bins]: labelled rows whose prediction is their label."""
    return tally.labelled_confidence - tally.mistakes.sum(axis=0)


def measure_calibration(tally: Tally) -> Calibration:
    """Measures the calibration on the labelled rows. There must be one."""
    confidence = tally.labelled_confidence_sum / UNIT
    rows, sums, correct = (
        np.add.reduceat(counts, CALIBRATION_STARTS)
        for counts in (tally.labelled_confidence, confidence, _count_correct(tally))
    )
    edges = [*CONFIDENCE_EDGES[CALIBRATION_STARTS].tolist(), 1.0]
    mean, high = calibration_error_by_chance(tally.labelled_confidence, confidence, CALIBRATION_STARTS)
    return Calibration(
        ece=float(expected_calibration_error(sums, correct, tally.labelled)),
        ece_by_chance=ErrorByChance(mean, high),
        nll=int(tally.nll) / NLL_UNIT / tally.labelled,
        brier=int(tally.brier) / UNIT / tally.labelled,
        mean_confidence=_sum_fixed_point(tally.labelled_confidence_sum) / tally.labelled,
        bins=[
            CalibrationBin(
                low=edges[i],
                high=edges[i + 1],
                rows=int(rows[i]),
                confidence=float(sums[i] / rows[i]) if rows[i] else None,
                accuracy=float(correct[i] / rows[i]) if rows[i] else None,
            )
            for i in range(len(rows))
        ],
    )


def _count_from_bin_up(counts: Ints) -> Ints:
    """For each bin, the rows in it and in all higher bins."""
    return counts[::-1].cumsum()[::-1]


def _measure_coverage(tally: Tally) -> Coverage:
    """For each confidence that occurs: the labelled rows at or above it, and how many of them are correct."""
    occurs = tally.labelled_confidence > 0
    return Coverage(
        confidence=CONFIDENCE_EDGES[:-1][occurs].tolist(),
        rows=_count_from_bin_up(tally.labelled_confidence)[occurs].tolist(),
        correct=_count_from_bin_up(_count_correct(tally))[occurs].tolist(),
    )


def _find_threshold(tally: Tally, target: float) -> CoverageTarget:
    """The lowest confidence at and above which labelled rows reach the target accuracy."""
    rows, correct = _count_from_bin_up(tally.labelled_confidence), _count_from_bin_up(_count_correct(tally))
    sufficient = np.flatnonzero((rows > 0) & (correct >= target * rows))
    if not len(sufficient):
        return CoverageTarget(target)
    at = int(sufficient[0])
    below = int(tally.confidence[:at].sum())
    return CoverageTarget(
        accuracy=target,
        confidence=float(CONFIDENCE_EDGES[at]),
        rows=int(rows[at]),
        correct=int(correct[at]),
        interval=wilson_interval(int(correct[at]), int(rows[at])),
        below=below,
        below_share=below / tally.predicted,
    )


def _mean_own_probability(tally: Tally) -> list[float | None]:
    """For each digit, the mean probability of that digit over the rows labelled with it; None if there are none."""
    support = tally.confusion.sum(axis=1)
    return [
        int(total) / UNIT / int(rows) if rows else None
        for total, rows in zip(tally.own_probability, support, strict=True)
    ]


def _list_mistakes(tally: Tally) -> list[Mistake]:
    thresholds = _mean_own_probability(tally)
    return [
        Mistake(
            row=row.row,
            id=row.id,
            label=row.label,
            prediction=row.prediction,
            confidence=row.confidence,
            pixels=row.pixels,
            suspected_label_error=row.confidence >= (thresholds[row.prediction] or 2),
        )
        for row in tally.wrong
    ]


def _suspect_labels(tally: Tally) -> LabelErrors:
    """Counts wrong predictions that are at least as confident as rows labelled with that digit are on average.

    Northcutt et al. 2021, "Confident Learning": the off-diagonal of the confident joint. Only the predicted digit is
    considered, and thresholds are rounded up to the next bin.
    """
    thresholds = _mean_own_probability(tally)
    starts = [np.searchsorted(CONFIDENCE_EDGES, 2 if threshold is None else threshold) for threshold in thresholds]
    return LabelErrors(thresholds, sum(int(tally.mistakes[digit, start:].sum()) for digit, start in enumerate(starts)))
