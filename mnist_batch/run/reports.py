"""`mnist-batch report OUT`: the report of a set that is there, rendered again; and the report it is compared with."""

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


def render_report(output: Path, form: ReportFormat, baseline: Path | None) -> str:
    """The report of the set in `output` as text; as a page, which is written beside it, the path of that.

    baseline: a run or its `report.json`, which takes the place of the one the run itself was compared with.
    """
    # Known to be a set of ours before anything is written into the folder, be it a lock.
    _read_gates(OutputStore(output))
    if form is not ReportFormat.HTML:
        return _render_checked(form, output, *_read(output, baseline))
    with hold_lock(output):
        render_html = output / PAGE
        write_text(render_html, _render_checked(form, output, *_read(output, baseline)))
    return str(render_html)


def read_report(path: Path) -> dict[str, Any]:
    """The report of a run, by its folder or its `report.json`. Raises InputMissingError, or InputError for another."""
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
    """A report to compare with. Refused now if it cannot be compared, and not when a run comes to its end."""
    report = read_report(path)
    try:
        compare_reports(report, report, "")
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InputError(
            f"{path}: must be a report as a run wrote it, found it changed ({error!r}): choose another --baseline"
        ) from error
    return report


def compare_with_baseline(
    report: dict[str, Any], baseline: Path | None, earlier: dict[str, Any] | None
) -> dict[str, Any] | None:
    """What changed since `earlier`, the report at `baseline`; None where there is none."""
    return None if earlier is None else compare_reports(report, earlier, printable(baseline))


def render_page(report: dict[str, Any], gates: list[dict[str, Any]]) -> str:
    """`report.html`. gates: as a manifest holds them."""
    from mnist_batch.report.render.page import render_html

    return render_html(report, gates)


def _read(output: Path, baseline: Path | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    report = read_report(output)
    if baseline is not None:
        report["baseline"] = compare_with_baseline(report, baseline, read_baseline(baseline))
    return report, _read_gates(OutputStore(output))


def _read_gates(store: OutputStore) -> list[dict[str, Any]]:
    manifest = store.manifest()
    if manifest is None:
        raise InputMissingError(f"{store.path}: must hold a complete set, found none: run `mnist-batch predict` first")
    return manifest["gates"]


def _render_checked(form: ReportFormat, output: Path, report: dict[str, Any], gates: list[dict[str, Any]]) -> str:
    try:
        return _render(form, report, gates)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InputError(
            f"{output}: its report must be as a run wrote it, found it changed ({error!r}): "
            "score the input again with --overwrite"
        ) from error


def _render(form: ReportFormat, report: dict[str, Any], gates: list[dict[str, Any]]) -> str:
    if form is ReportFormat.HTML:
        return render_page(report, gates)
    from mnist_batch.report.render import text

    return text.render_markdown(report, gates) if form is ReportFormat.MARKDOWN else text.render_junit(report, gates)
