"""Everything a report needs of any number of rows, in fixed size: integer counts that merge in any order.

Any split of the rows and any order of merging give the same numbers, and so the same bytes of `report.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_batch.records import CLASSES, Ints, Predictions, Reject


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over some rows. confusion: int64 [10, 10], [label, prediction], over the rows that have a label;
    predictions: int64 [10], rows by predicted digit; rejects: rows by reason.
    """

    confusion: Ints
    predictions: Ints
    rejects: Counter[str]

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


def tally_of(predictions: Predictions, rejects: Sequence[Reject]) -> Tally:
    """The counts of one shard."""
    labels = np.asarray(predictions.labels.fill_null(-1))
    known = labels >= 0
    pairs = labels[known].astype(np.int64) * CLASSES + predictions.digits[known]
    return Tally(
        confusion=np.bincount(pairs, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES).astype(np.int64),
        predictions=np.bincount(predictions.digits, minlength=CLASSES).astype(np.int64),
        rejects=Counter(str(reject.reason) for reject in rejects),
    )


def merge(tallies: Iterable[Tally]) -> Tally:
    """The counts of all together; of none, zeros."""
    total = Tally(np.zeros((CLASSES, CLASSES), np.int64), np.zeros(CLASSES, np.int64), Counter())
    for tally in tallies:
        total = Tally(
            total.confusion + tally.confusion, total.predictions + tally.predictions, total.rejects + tally.rejects
        )
    return total


def as_json(tally: Tally) -> dict[str, Any]:
    """A tally as a shard's record holds it."""
    return {
        "confusion": tally.confusion.tolist(),
        "predictions": tally.predictions.tolist(),
        "rejects": dict(sorted(tally.rejects.items())),
    }


def from_json(fields: Mapping[str, Any]) -> Tally:
    """The tally that `as_json` wrote. Raises KeyError, TypeError or ValueError where it is none."""
    return Tally(
        np.array(fields["confusion"], np.int64).reshape(CLASSES, CLASSES),
        np.array(fields["predictions"], np.int64).reshape(CLASSES),
        Counter(fields["rejects"]),
    )
