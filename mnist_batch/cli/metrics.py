"""`--metrics-file`: the figures of a run in Prometheus's text format, for node_exporter's textfile collector.

If a run fails, the time of the last success is copied from the existing file, so that an alert can use its age.
"""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mnist_batch.cli.console import RunSummary
from mnist_batch.names import printable
from mnist_batch.regular_files import open_regular
from mnist_batch.report.document import Timings

_LAST_SUCCESS = "mnist_batch_last_success_timestamp_seconds"
# Metrics by field of `RunSummary`.
_FIGURES = {
    "exit_code": ("mnist_batch_last_run_exit_code", "Exit code of the last run."),
    "seconds": ("mnist_batch_last_run_seconds", "How long the last run took."),
    "rows": ("mnist_batch_rows", "Rows of the set."),
    "rejected": ("mnist_batch_rejected_rows", "Rows of the set that could not be scored."),
    "labelled": ("mnist_batch_labelled_rows", "Rows of the set that have a label."),
    "accuracy": ("mnist_batch_accuracy_ratio", "Share of the labelled rows that were predicted right."),
}


def format_metrics(path: Path, summary: RunSummary, timings: Timings | None) -> bytes:
    """The content of the metrics file at `path`.

    summary: values that are None are left out.
    timings: None if the run failed.
    Every sample has the name of the file as a label, because the collector rejects two files with the same sample.
    """
    registry, task = CollectorRegistry(), printable(path.stem)

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(name, text, ["task"], registry=registry).labels(task).set(value)

    now = time.time()
    gauge("mnist_batch_last_run_timestamp_seconds", "When the last run ended.", now)
    success = now if summary.exit_code == 0 else _read_last_success(path)
    if success is not None:
        gauge(_LAST_SUCCESS, "When the last successful run ended.", success)
    for key, (name, text) in _FIGURES.items():
        if (value := getattr(summary, key)) is not None:
            gauge(name, text, value)
    stage = Gauge(
        "mnist_batch_stage_seconds", "How long each stage of the scoring took.", ["task", "stage"], registry=registry
    )
    if timings is not None:
        for name, seconds in {"start": timings.start, "score": timings.score, **timings.stages}.items():
            stage.labels(task, name).set(seconds)
    return generate_latest(registry)


def _read_last_success(path: Path) -> float | None:
    """Reads the time of the last success from the existing file; None if it has none or is not a metrics file."""
    try:
        with open_regular(path) as file:
            text = file.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == _LAST_SUCCESS:
                    return sample.value
    except (OSError, ValueError, KeyError):
        return None
    return None
