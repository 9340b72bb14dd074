"""`--metrics-file`: a run's figures in Prometheus's text format, for node_exporter's textfile collector.

The last success is taken over from the file that is there when a run fails, so that an alert can go by its age.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from mnist_batch.names import printable
from mnist_batch.output.files import storage_errors

_LAST_SUCCESS = "mnist_batch_last_success_timestamp_seconds"
# By their names in the object that `--json` prints.
_FIGURES = {
    "exit_code": ("mnist_batch_last_run_exit_code", "What the last run ended with."),
    "seconds": ("mnist_batch_last_run_seconds", "How long the last run took."),
    "rows": ("mnist_batch_rows", "Rows of the set."),
    "rejected": ("mnist_batch_rejected_rows", "Rows of the set that could not be scored."),
    "labelled": ("mnist_batch_labelled_rows", "Rows of the set that have a label."),
    "accuracy": ("mnist_batch_accuracy_ratio", "Share of the labelled rows that were predicted right."),
}


def write_metrics(path: Path, said: Mapping[str, Any], timings: Mapping[str, Any]) -> None:
    """Writes the file, whole or not at all. Raises StorageError.

    said: the run's `--json` object, of which what is null is left out; timings: those of its report. Every sample is
    labelled with the file's name, since the collector refuses two files with the same sample.
    """
    registry, task = CollectorRegistry(), printable(path.stem)

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(name, text, ["task"], registry=registry).labels(task).set(value)

    now = time.time()
    gauge("mnist_batch_last_run_timestamp_seconds", "When the last run ended.", now)
    success = now if said["exit_code"] == 0 else _last_success(path)
    if success is not None:
        gauge(_LAST_SUCCESS, "When the last run that ended with 0 did.", success)
    for key, (name, text) in _FIGURES.items():
        if said[key] is not None:
            gauge(name, text, said[key])
    stage = Gauge(
        "mnist_batch_stage_seconds", "How long each stage of the scoring took.", ["task", "stage"], registry=registry
    )
    for name, seconds in _stages(timings):
        stage.labels(task, name).set(seconds)
    with storage_errors(path):
        write_to_textfile(str(path), registry)


def _stages(timings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What took how long, by name; what is given in stages of its own, too."""
    for name, value in timings.items():
        if isinstance(value, Mapping):
            yield from _stages(value)
        else:
            yield name, float(value)


def _last_success(path: Path) -> float | None:
    """What the file that is there says; None where it says nothing, or is not of this format."""
    try:
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
            for sample in family.samples:
                if sample.name == _LAST_SUCCESS:
                    return sample.value
    except (OSError, ValueError, KeyError):
        return None
    return None
