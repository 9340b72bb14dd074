"""Everything a report needs of any number of rows, in fixed size: whole numbers that merge in any order.

Any split of the rows and any order of merging give the same numbers, and so the same bytes of `report.json`: sums of
fractions are taken in fixed point, and of rows that are equally remarkable those that come first are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_batch.records import CLASSES, Floats, ImageBatch, Ints, Reject
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

# Unit of the sums of probabilities and of Brier scores. A confidence, which is a float32 of at least 0.1, is a whole
# number of them; 8,000 million of them fit an int64.
UNIT = 2**30
# Unit of the sums of negative log-likelihoods, of which one is at most 87.4.
NLL_UNIT = 2**24

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
    **{name: (bins,) for name, bins in IMAGE_BINS.items()},
}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over some rows; int64, bins as in `bins`.

    confusion: [10, 10], [label, prediction], of the rows that have a label; predictions: [10], rows by predicted digit;
    confidence, confidence_sum: rows by confidence, and their confidences together in `UNIT`s; labelled_confidence,
    labelled_confidence_sum: the same of rows that have a label; mistakes: [prediction, bin], rows predicted wrong;
    own_probability: [10], the probabilities that rows of each label have of it, together, in `UNIT`s; nll, brier: sums
    over labelled rows; ink, stroke, width, height: images by what was measured of them; rejects: rows by reason;
    reject_examples: the first of each; doubtful, wrong: the least confident rows, and the most confident mistakes.
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


_NO_COUNTS: dict[str, Any] = {name: np.zeros(shape, np.int64) for name, shape in _SHAPES.items()}
EMPTY_TALLY = Tally(**_NO_COUNTS, rejects=Counter(), reject_examples={}, doubtful=(), wrong=())


def tally_batch(batch: ImageBatch, first_row: int, probabilities: Floats) -> Tally:
    """The counts of a batch's images.

    first_row: the number in the run of the first row that was read for the batch; probabilities: float32 [n, 10], a
    row of which that is not finite is not counted.
    """
    scored = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    if not len(scored):
        return EMPTY_TALLY
    pixels, labels = batch.pixels, np.asarray(batch.labels.fill_null(-1)).astype(np.int64)
    if len(scored) < len(batch):
        pixels, labels, probabilities = pixels[scored], labels[scored], probabilities[scored]
    digits, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)

    def kept(chosen: Ints) -> list[Example]:
        return [make_example(batch, first_row, scored[i], pixels[i], digits[i], confidence[i]) for i in chosen]

    bins = confidence_bin(confidence)
    measured: dict[str, Any] = measure_pixels(pixels)
    wrong = np.flatnonzero((labels >= 0) & (labels != digits))
    return replace(
        EMPTY_TALLY,
        predictions=np.bincount(digits, minlength=CLASSES),
        confidence=np.bincount(bins, minlength=CONFIDENCE_BINS),
        confidence_sum=_sum_by_group(bins, confidence, CONFIDENCE_BINS),
        **_count_labelled(labels, digits, confidence, probabilities, bins),
        **measured,
        doubtful=kept(find_lowest(confidence)),
        wrong=kept(wrong[find_lowest(-confidence[wrong])]),
    )


def tally_rejects(placed: Iterable[tuple[int, Reject]], first_row: int) -> Tally:
    """The counts of rejected rows, each with its place among rows of which the first has that number in the run."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[RejectExample]] = {}
    for position, reject in placed:
        reason = str(reject.reason)
        counts[reason] += 1
        if counts[reason] <= MAX_REJECT_EXAMPLES:
            examples.setdefault(reason, []).append(RejectExample(first_row + position, reject.id, reject.detail))
    return replace(EMPTY_TALLY, rejects=counts, reject_examples=examples)


def merge(tallies: Iterable[Tally]) -> Tally:
    """The counts of all together; of none, zeros."""
    total = EMPTY_TALLY
    for tally in tallies:
        total = _merge_two(total, tally)
    return total


def as_json(tally: Tally) -> dict[str, Any]:
    """A tally as a shard's record holds it: of each array, where it is not zero and what stands there."""
    return {
        "counts": {name: _to_sparse(getattr(tally, name)) for name in _SHAPES},
        "rejects": dict(sorted(tally.rejects.items())),
        "reject_examples": {
            reason: [asdict(example) for example in examples]
            for reason, examples in sorted(tally.reject_examples.items())
        },
        "doubtful": [row.as_record() for row in tally.doubtful],
        "wrong": [row.as_record() for row in tally.wrong],
    }


def from_json(fields: Mapping[str, Any]) -> Tally:
    """The tally that `as_json` wrote. Raises KeyError, TypeError, ValueError, ... where it is none."""
    return Tally(
        **{name: _to_dense(fields["counts"][name], shape) for name, shape in _SHAPES.items()},
        rejects=Counter(fields["rejects"]),
        reject_examples={
            reason: [RejectExample(**example) for example in examples]
            for reason, examples in fields["reject_examples"].items()
        },
        doubtful=[Example.from_record(row) for row in fields["doubtful"]],
        wrong=[Example.from_record(row) for row in fields["wrong"]],
    )


def _count_labelled(
    labels: Ints, digits: Ints, confidence: Floats, probabilities: Floats, bins: Ints
) -> dict[str, Any]:
    """What is counted of rows that have a label; -1 stands for none."""
    known = labels >= 0
    if not known.any():
        return {}
    if not known.all():
        labels, digits, confidence, bins = labels[known], digits[known], confidence[known], bins[known]
        probabilities = probabilities[known]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    # Element by element and in one order: a library's sum over ten could depend on where in memory they lie.
    squares = np.zeros(len(labels))
    for digit in range(CLASSES):
        squares += (probabilities[:, digit] - (labels == digit).astype(np.float64)) ** 2
    # A probability of 0 would make the mean infinite: the smallest float32 that has all its digits stands for it.
    nll = -np.log(np.maximum(own, np.finfo(np.float32).tiny))
    wrong = labels != digits
    return {
        "confusion": np.bincount(labels * CLASSES + digits, minlength=CLASSES**2).reshape(CLASSES, CLASSES),
        "labelled_confidence": np.bincount(bins, minlength=CONFIDENCE_BINS),
        "labelled_confidence_sum": _sum_by_group(bins, confidence, CONFIDENCE_BINS),
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
    """The values of each group together, in `UNIT`s. `bincount` adds floats, of which 2**53 are exact."""
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


def _to_sparse(counts: Ints) -> list[list[int]]:
    flat = np.atleast_1d(counts).ravel()
    positions = np.flatnonzero(flat)
    return [positions.tolist(), flat[positions].tolist()]


def _to_dense(sparse: Sequence[Sequence[int]], shape: tuple[int, ...]) -> Ints:
    flat = np.zeros(prod(shape), np.int64)
    positions, counts = sparse
    flat[np.array(positions, np.int64)] = np.array(counts, np.int64)
    return flat.reshape(shape)
