"""Gates: the limits that a run must meet to get `_SUCCESS`. They can be judged at any time from `report.json` alone."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_batch.report.document import Report


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit and its verdict. value: what was found; None if it is not known, and then the gate fails."""

    name: str
    limit: float
    value: float | None
    passed: bool

    def __str__(self) -> str:
        found = "not known, no row has a label" if self.value is None else f"{self.value:.4g}"
        bound = "at most" if self.name == "max_reject_rate" else "at least"
        return f"{self.name} must be {bound} {self.limit:g}, is {found}"


def judge_gates(report: Report, max_reject_rate: float, min_accuracy: float | None) -> list[Gate]:
    """Returns the verdicts on a report. Rates and accuracies are in 0..1. A value equal to its limit passes."""
    rate = report.rejected / report.rows
    gates = [Gate("max_reject_rate", max_reject_rate, rate, rate <= max_reject_rate)]
    if min_accuracy is not None:
        accuracy = report.accuracy
        gates.append(Gate("min_accuracy", min_accuracy, accuracy, accuracy is not None and accuracy >= min_accuracy))
    return gates
