"""Counts over rows: everything a report needs, in a fixed size, as integers that can be merged in any order.

Any split of the rows and any order of merging give the same numbers, and so the same bytes of `report.json`. For this,
fractions are summed in fixed point, and among equally confident rows the first ones are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_batch.documents import Count, DocumentError
from mnist_batch.records import CLASSES, ImageBatch, Ints, Reject, Scores, first_line
from mnist_batch.report.bins import CONFIDENCE_BINS, IMAGE_BINS, confidence_bin
from mnist_batch.report.examples import (
    MAX_EXAMPLES,
    MAX_REJECT_EXAMPLES,
    Example,
    RejectExample,
    find_lowest,
    make_example,
)
from mnist_batch.report.pixels import measure_pixels

# Sums of probabilities and Brier scores are integers in units of 1 / UNIT. A confidence is a float32 of at least 0.1,
# and so a whole number of units. An int64 holds the sum of 8,000 million probabilities.
UNIT = 2**30
# The same for sums of negative log-likelihoods. Each is at most 87.4.
NLL_UNIT = 2**24

SparseCounts = tuple[list[Count], list[Count]]

_SHAPES: dict[str, tuple[int, ...]] = {
    "confusion": (CLASSES, CLASSES),
    "predictions": (CLASSES,),
    "confidence": (CONFIDENCE_BINS,),
    "confidence_sum": (CONFIDENCE_BINS,),
    "labelled_confidence": (CONFIDENCE_BINS,),
    "labelled_confidence_sum": (CONFIDENCE_BINS,),
    "mistakes": (CLASSES, CONFIDENCE_BINS),
    "own_probability": (CLASSES,),
    "nll": (),
    "brier": (),
    "animations": (),
    **{name: (bins,) for name, bins in IMAGE_BINS.items()},
}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over some rows. Arrays are int64, and their bins are those of `bins`.

    confusion: [10, 10] as [label, prediction], the labelled rows.
    predictions: [10], the predicted rows by predicted digit.
    confidence: [bin], the predicted rows by confidence.
    confidence_sum: [bin], the sum of their confidences times `UNIT`.
    labelled_confidence, labelled_confidence_sum: the same for labelled rows.
    mistakes: [10, bin] as [prediction, bin], the labelled rows whose prediction is wrong.
    own_probability: [10], by label, the sum of the rows' probabilities of their own label, times `UNIT`.
    nll: the sum of negative log-likelihoods over labelled rows, times `NLL_UNIT`.
    brier: the sum of Brier scores over labelled rows, times `UNIT`.
    animations: the images with more frames, of which the first was scored.
    ink, stroke, width, height: [bin], the images by what `pixels` measures.
    rejects: the rejected rows by reason.
    reject_examples: the first rejected rows of each reason.
    doubtful: the least confident rows.
    wrong: the most confident mistakes.
    """

    confusion: Ints
    predictions: Ints
    confidence: Ints
    confidence_sum: Ints
    labelled_confidence: Ints
    labelled_confidence_sum: Ints
    mistakes: Ints
    own_probability: Ints
    nll: Ints
    brier: Ints
    animations: Ints
    ink: Ints
    stroke: Ints
    width: Ints
    height: Ints
    rejects: Counter[str]
    reject_examples: Mapping[str, Sequence[RejectExample]]
    doubtful: Sequence[Example]
    wrong: Sequence[Example]

    @property
    def predicted(self) -> int:
        return int(self.predictions.sum())

    @property
    def rejected(self) -> int:
        return self.rejects.total()

    @property
    def labelled(self) -> int:
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        return int(self.confusion.trace())


@dataclass(frozen=True, slots=True)
class TallyRecord:
    """A tally as it is stored. counts: each array of the tally as the positions and values that are not 0."""

    counts: Mapping[str, SparseCounts]
    rejects: Mapping[str, Count]
    reject_examples: Mapping[str, Sequence[RejectExample]]
    doubtful: Sequence[Example]
    wrong: Sequence[Example]


_NO_COUNTS: dict[str, Any] = {name: np.zeros(shape, np.int64) for name, shape in _SHAPES.items()}
EMPTY_TALLY = Tally(**_NO_COUNTS, rejects=Counter(), reject_examples={}, doubtful=(), wrong=())


def tally_batch(batch: ImageBatch, first_row: int, scores: Scores) -> Tally:
    """Counts a batch.

    first_row: the number, in the run, of the first row that the batch was read from.
    scores: of the batch. Rows that are not finite are not counted.
    """
    finite = scores.finite()
    scored = np.flatnonzero(finite)
    empty = replace(EMPTY_TALLY, animations=np.array(batch.animations))
    if not len(scored):
        return empty
    pixels, labels = batch.pixels, np.asarray(batch.labels.fill_null(-1)).astype(np.int64)
    if len(scored) < len(batch):
        pixels, labels, scores = pixels[scored], labels[scored], scores.take(finite)
    digits, confidence = scores.probabilities.argmax(axis=1), scores.confidence

    def make_examples(indices: Ints) -> list[Example]:
        return [make_example(batch, first_row, scored[i], pixels[i], digits[i], confidence[i]) for i in indices]

    bins = confidence_bin(confidence)
    image_counts: dict[str, Any] = {str(name): counts for name, counts in measure_pixels(pixels).items()}
    wrong = np.flatnonzero((labels >= 0) & (labels != digits))
    return replace(
        empty,
        predictions=np.bincount(digits, minlength=CLASSES),
        confidence=np.bincount(bins, minlength=CONFIDENCE_BINS),
        confidence_sum=_sum_by_group(bins, confidence, CONFIDENCE_BINS),
        **_count_labelled(labels, digits, scores, bins),
        **image_counts,
        doubtful=make_examples(find_lowest(confidence)),
        wrong=make_examples(wrong[find_lowest(-confidence[wrong])]),
    )


def tally_rejects(rejects: Iterable[tuple[int, Reject]], first_row: int) -> Tally:
    """Counts rejected rows.

    rejects: each with its position relative to `first_row`.
    first_row: the number, in the run, of the row at position 0.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, list[RejectExample]] = {}
    for position, reject in rejects:
        reason = str(reject.reason)
        counts[reason] += 1
        if counts[reason] <= MAX_REJECT_EXAMPLES:
            examples.setdefault(reason, []).append(RejectExample(first_row + position, reject.id, reject.detail))
    return replace(EMPTY_TALLY, rejects=counts, reject_examples=examples)


def merge(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum of all tallies. Without any, all counts are 0."""
    total = EMPTY_TALLY
    for tally in tallies:
        total = _merge_two(total, tally)
    return total


def to_record(tally: Tally) -> TallyRecord:
    """Returns a tally in the form that is stored for each shard."""
    return TallyRecord(
        counts={name: _to_sparse(getattr(tally, name)) for name in _SHAPES},
        rejects=dict(sorted(tally.rejects.items())),
        reject_examples=dict(sorted(tally.reject_examples.items())),
        doubtful=tally.doubtful,
        wrong=tally.wrong,
    )


def from_record(record: TallyRecord) -> Tally:
    """Returns the tally that `to_record` stored. Raises DocumentError if a count is missing or out of place."""
    try:
        counts = {name: _to_dense(record.counts[name], shape) for name, shape in _SHAPES.items()}
    except (LookupError, ValueError, OverflowError) as error:
        raise DocumentError(f"counts that are not those of this version: {first_line(error)}") from error
    return Tally(
        **counts,
        rejects=Counter(record.rejects),
        reject_examples=record.reject_examples,
        doubtful=record.doubtful,
        wrong=record.wrong,
    )


def _count_labelled(labels: Ints, digits: Ints, scores: Scores, bins: Ints) -> dict[str, Any]:
    """Returns the counts over labelled rows, by field of `Tally`. A label of -1 means that the row has none."""
    labelled = labels >= 0
    if not labelled.any():
        return {}
    if not labelled.all():
        labels, digits, scores, bins = labels[labelled], digits[labelled], scores.take(labelled), bins[labelled]
    probabilities = scores.probabilities
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    # Added one class at a time, because the order in which `sum` adds ten values could depend on their memory layout.
    squares = np.zeros(len(labels))
    for digit in range(CLASSES):
        squares += (probabilities[:, digit] - (labels == digit).astype(np.float64)) ** 2
    # A probability of 0 would make the mean infinite, so it counts as the smallest normal float32.
    nll = -np.log(np.maximum(own, np.finfo(np.float32).tiny))
    wrong = labels != digits
    return {
        "confusion": np.bincount(labels * CLASSES + digits, minlength=CLASSES**2).reshape(CLASSES, CLASSES),
        "labelled_confidence": np.bincount(bins, minlength=CONFIDENCE_BINS),
        "labelled_confidence_sum": _sum_by_group(bins, scores.confidence, CONFIDENCE_BINS),
        "mistakes": np.bincount(
            digits[wrong] * CONFIDENCE_BINS + bins[wrong], minlength=CLASSES * CONFIDENCE_BINS
        ).reshape(CLASSES, CONFIDENCE_BINS),
        "own_probability": _sum_by_group(labels, own, CLASSES),
        "nll": _to_fixed_point(nll, NLL_UNIT).sum(),
        "brier": _to_fixed_point(squares, UNIT).sum(),
    }


def _to_fixed_point(values: npt.NDArray[Any], unit: int) -> Ints:
    return np.rint(values.astype(np.float64) * unit).astype(np.int64)


def _sum_by_group(groups: Ints, values: npt.NDArray[Any], length: int) -> Ints:
    """The sum of the values of each group, times `UNIT`.

    Does not use `bincount`, which adds floats and is exact only up to 2**53.
    """
    sums = np.zeros(length, np.int64)
    np.add.at(sums, groups, _to_fixed_point(values, UNIT))
    return sums


def _merge_two(one: Tally, other: Tally) -> Tally:
    return Tally(
        **{name: getattr(one, name) + getattr(other, name) for name in _SHAPES},
        rejects=one.rejects + other.rejects,
        reject_examples={
            reason: sorted(
                [*one.reject_examples.get(reason, ()), *other.reject_examples.get(reason, ())],
                key=lambda example: example.row,
            )[:MAX_REJECT_EXAMPLES]
            for reason in one.reject_examples.keys() | other.reject_examples.keys()
        },
        doubtful=sorted([*one.doubtful, *other.doubtful], key=lambda row: (row.confidence, row.row))[:MAX_EXAMPLES],
        wrong=sorted([*one.wrong, *other.wrong], key=lambda row: (-row.confidence, row.row))[:MAX_EXAMPLES],
    )


def _to_sparse(counts: Ints) -> SparseCounts:
    flat = np.atleast_1d(counts).ravel()
    positions = np.flatnonzero(flat)
    return positions.tolist(), flat[positions].tolist()


def _to_dense(sparse: SparseCounts, shape: tuple[int, ...]) -> Ints:
    flat = np.zeros(prod(shape), np.int64)
    positions, counts = sparse
    flat[np.array(positions, np.int64)] = np.array(counts, np.int64)
    return flat.reshape(shape)
