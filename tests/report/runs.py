"""Reports in the form that `run/job.py` makes them, without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnist_batch.report.document import build_report
from mnist_batch.report.drift import drift_warnings
from mnist_batch.report.tally import Tally

GATES = [
    {"name": "max_reject_rate", "limit": 0.05, "value": 0.0125, "passed": True},
    {"name": "min_accuracy", "limit": 0.99, "value": 0.9012, "passed": False},
]


def report(
    tally: Tally, profile: Mapping[str, Any] | None = None, inputs: Sequence[str] = ("scans",)
) -> dict[str, Any]:
    """A complete `report.json` for a tally."""
    document = build_report(tally, profile)
    return document | {
        "skipped": {".txt": 2},
        "preprocessing": {"mode": "auto", "as_is": tally.predicted, "inverted": 0, "framed": 0},
        "warnings": drift_warnings(document["drift"]),
        "model": {"name": "seed", "sha256": "c0ffee", "scale": "0..1", "output": "probabilities", "carded": True},
        "run": {
            "inputs": list(inputs),
            "more_inputs": 0,
            "finished": "2026-11-24T22:00:00+00:00",
            "version": "0.1.0",
            "fingerprint": "f00",
        },
        "timings": {
            "start": 2.5,
            "score": 71.0,
            "stages": {"read": 4.0, "decode": 9.0, "frame": 20.0, "model": 66.0, "write": 1.0},
        },
        "baseline": None,
    }
