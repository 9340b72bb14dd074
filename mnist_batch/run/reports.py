"""Reports of runs: build, read, compare and render them. `mnist-batch report OUT` renders one again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_batch.config import PredictConfig, ReportFormat
from mnist_batch.documents import DocumentError
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.names import printable
from mnist_batch.output.files import read_document, write_text
from mnist_batch.output.fingerprint import MAX_LISTED
from mnist_batch.output.lock import hold_lock
from mnist_batch.output.store import PAGE, OutputStore
from mnist_batch.records import Preprocessing
from mnist_batch.report.baseline import compare_reports
from mnist_batch.report.build import Origin, build_report
from mnist_batch.report.document import ModelFacts, PreprocessingCounts, Report, RunFacts, Timings, parse_report
from mnist_batch.report.gates import Gate
from mnist_batch.report.preprocessing import preprocessing_warnings

if TYPE_CHECKING:
    from mnist_batch.run.plan import Plan
    from mnist_batch.run.scoring import ScoredShards


def build_run_report(config: PredictConfig, plan: Plan, scored: ScoredShards, finished: str, started: float) -> Report:
    """Builds the report of a run, without a baseline.

    finished: date and time, ISO 8601.
    started: when the run started, by `time.monotonic`.
    """
    model, run_tally = scored.model, scored.run_tally
    by_source: dict[str, Counter[str]] = {}
    for source, counts in run_tally.preprocessing.items():
        by_source.setdefault(plan.inputs.sources[source].name, Counter()).update(counts)
    all_sources: Counter[str] = sum(by_source.values(), Counter())
    origin = Origin(
        skipped=plan.inputs.skipped,
        model=ModelFacts(
            name=printable(config.model),
            sha256=model.digest,
            scale=model.scale,
            output=model.output,
            carded=model.card is not None,
            input=str(model.form),
            repairs=model.opened.repairs,
        ),
        run=RunFacts(
            inputs=[printable(name) for name in config.inputs[:MAX_LISTED]],
            more_inputs=max(0, len(config.inputs) - MAX_LISTED),
            finished=finished,
            version=plan.fingerprint_inputs.version,
            fingerprint=plan.fingerprint,
        ),
        timings=Timings(
            start=time.monotonic() - started - scored.seconds, score=scored.seconds, stages=run_tally.seconds
        ),
        preprocessing=PreprocessingCounts(
            mode=config.reading.preprocess_options.preprocess,
            as_is=all_sources[Preprocessing.AS_IS],
            inverted=all_sources[Preprocessing.INVERTED],
            framed=all_sources[Preprocessing.FRAMED],
        ),
        warnings=[*plan.inputs.warnings, *preprocessing_warnings(by_source), *scored.warnings],
    )
    return build_report(run_tally.tally, plan.profile, origin)


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


def read_report(path: Path) -> Report:
    """Reads the report of a run, given its folder or its `report.json`.

    Raises InputMissingError if there is none, InputError if it is damaged or of a later version.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        content = read_document(file)
        if content is None:
            raise InputMissingError(f"{file}: must be the report of a complete run, found nothing: check the path")
        return parse_report(content)
    except DocumentError as error:
        raise InputError(
            f"{file}: must be a report as a run wrote it, found {error}: score the input again with --overwrite"
        ) from error


def compare_with_baseline(report: Report, path: Path | None, baseline: Report | None) -> Report:
    """Returns the report with the comparison with `baseline`, which was read from `path`; unchanged without one."""
    return report if baseline is None else replace(report, baseline=compare_reports(report, baseline, printable(path)))


def render_page(report: Report, gates: Sequence[Gate]) -> str:
    """Renders `report.html`."""
    from mnist_batch.report.render.page import render_html

    return render_html(report, gates)


def _read_gates(output: Path) -> Sequence[Gate]:
    try:
        manifest = OutputStore(output).manifest()
    except DocumentError as error:
        raise InputError(
            f"{output}/manifest.json: must be as a run wrote it, found {error}: score the input again with --overwrite"
        ) from error
    if manifest is None:
        raise InputMissingError(f"{output}: must hold a complete set, found none: run `mnist-batch predict` first")
    return manifest.gates


def _render(output: Path, format: ReportFormat, baseline: Path | None) -> str:
    from mnist_batch.report.render import text

    report = read_report(output)
    if baseline is not None:
        report = compare_with_baseline(report, baseline, read_report(baseline))
    render = {
        ReportFormat.HTML: render_page,
        ReportFormat.MARKDOWN: text.render_markdown,
        ReportFormat.JUNIT: text.render_junit,
    }
    return render[format](report, _read_gates(output))
