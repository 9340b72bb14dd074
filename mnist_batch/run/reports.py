"""Reports of finished runs: read them, compare with them, and render them again (`mnist-batch report OUT`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_batch.config import ReportFormat
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.names import printable
from mnist_batch.output.files import read_json, write_text
from mnist_batch.output.lock import hold_lock
from mnist_batch.output.store import PAGE, OutputStore
from mnist_batch.report.baseline import compare_reports
from mnist_batch.report.document import REPORT_VERSION

# What reading a report raises if somebody has changed it.
_INVALID_REPORT = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


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
