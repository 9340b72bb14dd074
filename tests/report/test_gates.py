"""The verdicts on a report: which figures pass which limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnist_batch.records import RejectReason
from mnist_batch.report.document import Report
from mnist_batch.report.gates import Gate, judge_gates
from report.rows import Row, tally
from report.runs import report

RIGHT: Row = (3, 3, 0.9)
WRONG: Row = (4, 5, 0.8)
UNLABELLED: Row = (None, 7, 0.7)


def verdicts(found: Report, max_reject_rate: float = 1, min_accuracy: float | None = None, strict: bool = False) -> str:
    """The gates that fail, by name."""
    gates = judge_gates(found, max_reject_rate, min_accuracy, strict)
    return ", ".join(gate.name for gate in gates if not gate.passed)


def test_reject_rate_may_reach_its_limit() -> None:
    found = report(tally([RIGHT, WRONG, UNLABELLED, RejectReason.EMPTY]))
    assert judge_gates(found, 0.25, None) == [Gate("max_reject_rate", 0.25, 0.25, passed=True)]
    assert verdicts(found, 0.249) == "max_reject_rate"
    assert verdicts(found, 0) == "max_reject_rate"


def test_accuracy_may_reach_its_limit() -> None:
    found = report(tally([RIGHT, RIGHT, RIGHT, WRONG, UNLABELLED]))
    assert judge_gates(found, 0, 0.75)[1:] == [Gate("min_accuracy", 0.75, 0.75, passed=True)]
    assert verdicts(found, 0, 0.76) == "min_accuracy"
    assert verdicts(found, 0, 0) == ""


def test_unknown_accuracy_fails() -> None:
    (gate,) = judge_gates(report(tally([UNLABELLED])), 0, 0)[1:]
    assert gate == Gate("min_accuracy", 0, None, passed=False)
    assert str(gate) == "min_accuracy must be at least 0, is not known, no row has a label"


@pytest.mark.parametrize(
    ("skipped", "animations", "count"),
    [({}, 0, 0), ({".txt": 5}, 0, 0), ({".zip": 2, ".txt": 5, ".idx3-ubyte": 1}, 0, 3), ({}, 3, 3)],
)
def test_strict_counts_what_may_be_images(skipped: dict[str, int], animations: int, count: int) -> None:
    found = replace(report(tally([RIGHT])), skipped=skipped, animations=animations)
    gates = judge_gates(found, 0, None, strict=True)
    assert gates[1] == Gate("max_skipped", 0, count, passed=count == 0)


def test_strict_counts_rows_without_a_label_among_labelled_ones() -> None:
    mixed, unlabelled = report(tally([RIGHT, UNLABELLED, UNLABELLED, WRONG])), report(tally([UNLABELLED]))
    labelled = report(tally([RIGHT, WRONG]))
    found = [judge_gates(replace(each, skipped={}), 0, None, strict=True)[2] for each in (mixed, unlabelled, labelled)]
    assert [(gate.name, gate.value, gate.passed) for gate in found] == [
        ("max_unlabelled", 2, False),
        ("max_unlabelled", 0, True),
        ("max_unlabelled", 0, True),
    ]


def test_gates_say_what_was_found() -> None:
    assert (
        str(Gate("max_reject_rate", 0.05, 0.123456, passed=False)) == "max_reject_rate must be at most 0.05, is 0.1235"
    )
    assert str(Gate("min_accuracy", 0.9, 0.5, passed=False)) == "min_accuracy must be at least 0.9, is 0.5"
    assert str(Gate("max_skipped", 0, 3, passed=False)) == "max_skipped must be at most 0, is 3"
