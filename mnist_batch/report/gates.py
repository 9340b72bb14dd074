"""Gates: the limits that a run must meet to get `_SUCCESS`. They can be judged at any time from `report.json` alone."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_batch.report.document import Report
from mnist_batch.signatures import may_hold_images

# Gates whose values are counts of files or rows. The others are shares.
COUNTS = frozenset(("max_skipped", "max_unlabelled"))


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit and its verdict. value: what was found; None if it is not known, and then the gate fails."""

    name: str
    limit: float
    value: float | None
    passed: bool

    @property
    def is_upper_limit(self) -> bool:
        return self.name.startswith("max_")

    def __str__(self) -> str:
        found = "not known, no row has a label" if self.value is None else f"{self.value:.4g}"
        bound = "at most" if self.is_upper_limit else "at least"
        return f"{self.name} must be {bound} {self.limit:g}, is {found}"


def judge_gates(report: Report, max_reject_rate: float, min_accuracy: float | None, strict: bool = False) -> list[Gate]:
    """Returns the verdicts on a report. Rates and accuracies are in 0..1. A value equal to its limit passes.

    strict: whether it is a failure if skipped files may hold images, if frames of animations were left out, or if some
        rows have a label and others none.
    """
    rate = report.rejected / report.rows
    gates = [Gate("max_reject_rate", max_reject_rate, rate, rate <= max_reject_rate)]
    if min_accuracy is not None:
        accuracy = report.accuracy
        gates.append(Gate("min_accuracy", min_accuracy, accuracy, accuracy is not None and accuracy >= min_accuracy))
    if strict:
        skipped = report.animations + sum(n for kind, n in report.skipped.items() if may_hold_images(kind))
        unlabelled = report.predicted - report.labelled if report.labelled else 0
        gates.append(Gate("max_skipped", 0, skipped, skipped == 0))
        gates.append(Gate("max_unlabelled", 0, unlabelled, unlabelled == 0))
    return gates
