"""Reports of runs: build, read, compare and render them. `mnist-batch report OUT` renders one again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_batch.config import PredictConfig, ReportFormat
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.names import printable
from mnist_batch.output.files import read_json, write_text
from mnist_batch.output.lock import hold_lock
from mnist_batch.output.manifest import MAX_LISTED
from mnist_batch.output.store import PAGE, OutputStore
from mnist_batch.records import Preprocessing
from mnist_batch.report.baseline import compare_reports
from mnist_batch.report.document import REPORT_VERSION, build_report
from mnist_batch.report.drift import drift_warnings
from mnist_batch.report.preprocessing import preprocessing_warnings

if TYPE_CHECKING:
    from mnist_batch.run.plan import Plan
    from mnist_batch.run.scoring import ScoredShards

# What reading a report raises if somebody has changed it.
_INVALID_REPORT = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


def build_run_report(
    config: PredictConfig, plan: Plan, scored: ScoredShards, finished: str, started: float
) -> dict[str, Any]:
    """Builds `report.json` without the baseline: the figures of `build_report`, and what describes the run.

    finished: date and time, ISO 8601.
    started: when the run started, by `time.monotonic`.
    """
    model, run_tally = scored.model, scored.run_tally
    figures = build_report(run_tally.tally, plan.profile)
    by_source: dict[str, Counter[str]] = {}
    for source, counts in run_tally.preprocessing.items():
        by_source.setdefault(plan.inputs.sources[source].name, Counter()).update(counts)
    all_sources: Counter[str] = sum(by_source.values(), Counter())
    return figures | {
        "skipped": dict(sorted(plan.inputs.skipped.items())),
        "model": {
            "name": printable(config.model),
            "sha256": model.digest,
            "scale": model.scale,
            "output": model.output,
            "carded": model.carded,
        },
        "run": {
            "inputs": [printable(name) for name in config.inputs[:MAX_LISTED]],
            "more_inputs": max(0, len(config.inputs) - MAX_LISTED),
            "finished": finished,
            "version": plan.fingerprint_inputs["versions"]["mnist-batch"],
            "fingerprint": plan.fingerprint,
        },
        "timings": {
            "start": time.monotonic() - started - scored.seconds,
            "score": scored.seconds,
            "stages": run_tally.seconds,
        },
        "preprocessing": {
            "mode": config.reading.preprocess_options.preprocess,
            **{kind.value: all_sources[kind] for kind in Preprocessing},
        },
        "warnings": [*preprocessing_warnings(by_source), *scored.warnings, *drift_warnings(figures["drift"])],
    }


def render_report(output: Path, format: ReportFormat, baseline: Path | None) -> str:
    """Renders the report of the set in `output`. Returns its text; for HTML, writes the page and returns its path.

    baseline: another run or its `report.json`. It replaces the baseline that the run itself was compared with.
    """
    # Check that this is a complete set before writing anything into the folder, even a lock file.
    _read_gates(output)
    if format is not ReportFormat.HTML:
        return _render(output, format, baseline)
    with hold_lock(output):
        page = output / PAGE
        write_text(page, _render(output, format, baseline))
    return str(page)


def read_report(path: Path) -> dict[str, Any]:
    """Reads the report of a run, given its folder or its `report.json`.

    Raises InputMissingError if there is none, InputError if it is not a report of this version.
    """
    file = path / "report.json" if path.is_dir() else path
    if not file.exists():
        raise InputMissingError(f"{file}: must be the report of a complete run, found nothing: check the path")
    report = read_json(file)
    if report is None or report.get("report_version") != REPORT_VERSION:
        raise InputError(
            f"{file}: must be a report of version {REPORT_VERSION}, found another or none: "
            "score the input again with --overwrite"
        )
    return report


def read_baseline(path: Path) -> dict[str, Any]:
    """Reads a report to compare with. Raises as `read_report` does, and InputError if it cannot be compared.

    A run calls this at its start, because an error at its end would come too late.
    """
    report = read_report(path)
    try:
        compare_reports(report, report, "")
    except _INVALID_REPORT as error:
        raise InputError(
            f"{path}: must be a report as a run wrote it, found it changed ({error!r}): choose another --baseline"
        ) from error
    return report


def compare_with_baseline(
    report: dict[str, Any], path: Path | None, baseline: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Compares a report with `baseline`, which was read from `path`. Returns None without a baseline."""
    return None if baseline is None else compare_reports(report, baseline, printable(path))


def render_page(report: dict[str, Any], gates: list[dict[str, Any]]) -> str:
    """Renders `report.html`. gates: as in the manifest."""
    from mnist_batch.report.render.page import render_html

    return render_html(report, gates)


def _read_gates(output: Path) -> list[dict[str, Any]]:
    manifest = OutputStore(output).manifest()
    if manifest is None:
        raise InputMissingError(f"{output}: must hold a complete set, found none: run `mnist-batch predict` first")
    return manifest["gates"]


def _render(output: Path, format: ReportFormat, baseline: Path | None) -> str:
    from mnist_batch.report.render import text

    report = read_report(output)
    if baseline is not None:
        report["baseline"] = compare_with_baseline(report, baseline, read_baseline(baseline))
    render = {
        ReportFormat.HTML: render_page,
        ReportFormat.MARKDOWN: text.render_markdown,
        ReportFormat.JUNIT: text.render_junit,
    }
    try:
        return render[format](report, _read_gates(output))
    except _INVALID_REPORT as error:
        raise InputError(
            f"{output}: its report must be as a run wrote it, found it changed ({error!r}): "
            "score the input again with --overwrite"
        ) from error
