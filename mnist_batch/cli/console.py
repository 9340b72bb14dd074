"""What a person sees: progress on stderr during a run, a summary on stdout at its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_batch.cli.log import Log
from mnist_batch.errors import SkippedRun
from mnist_batch.names import printable

if TYPE_CHECKING:
    from mnist_batch.model.bundled import BundledModel
    from mnist_batch.model.checking import ModelCheck
    from mnist_batch.report.document import PreprocessingCounts, Timings
    from mnist_batch.run.inspection import InspectionSummary, SampleSummary
    from mnist_batch.run.result import Result

_BAR_WIDTH = 30
# Keys of `records.Preprocessing`, which is not imported here: signals must be blocked before NumPy starts threads.
_PREPROCESSING = {"as_is": "as they are", "inverted": "with dark ink inverted", "framed": "framed"}
_EVIDENCE = ("scale", "right", "confidence", "loss", "temperature")
_TERMINAL_SECONDS = 0.1
_LOG_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The object that `--json` prints and `--summary-file` holds. After an error, most values are not known: null.

    status: done, already_done, gate_failed, skipped or failed.
    error: what is on stderr; null after a run that succeeded.
    seconds, images_per_second: of this start.
    stages: the share of the scoring time that each stage took.
    model: the SHA-256 of the model.
    """

    status: str
    exit_code: int
    error: str | None
    output: str | None
    rows: int | None = None
    predicted: int | None = None
    rejected: int | None = None
    labelled: int | None = None
    accuracy: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    stages: Mapping[str, float] | None = None
    model: str | None = None
    fingerprint: str | None = None


class Progress:
    """A `ProgressCallback` that draws a bar on a terminal, and logs a plain line elsewhere.

    interval: seconds between two updates; by default 0.1 on a terminal and 10 elsewhere.
    """

    def __init__(self, log: Log, interval: float | None = None) -> None:
        self._log = log
        self._interval = (_TERMINAL_SECONDS if log.live else _LOG_SECONDS) if interval is None else interval
        self._started = self._updated = time.monotonic()

    def __call__(self, done: int, rows: int) -> None:
        now = time.monotonic()
        if now - self._updated < self._interval and done < rows:
            return
        self._updated = now
        rate = f"{done / max(now - self._started, 1e-6):,.0f} images/s"
        if self._log.live:
            filled = _BAR_WIDTH * done // rows
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            end = "\n" if done == rows else ""
            with suppress(OSError):  # a closed terminal does not end a run
                print(f"\r[{bar}] {done:,} of {rows:,}  {rate}", end=end, file=self._log.stream, flush=True)
        elif done < rows:
            self._log.info(f"{done:,} of {rows:,} rows, {rate}", done=done, rows=rows)


def format_summary(result: Result) -> str:
    """The summary of a run, for a person."""
    report = result.report
    model = report.model.name
    first = f"{result.rows:,} rows scored by model {model} in {result.seconds:.1f} s"
    if result.already_done:
        first = f"{result.rows:,} rows were scored before by model {model}; nothing has changed since"
    elif result.resumed:
        first += f", continuing after {result.resumed:,} finished part{'s' if result.resumed > 1 else ''}"
    lines = [
        first,
        "",
        f"  predicted  {result.predicted:>10,}",
        f"  rejected   {result.rejected:>10,}{_format_counts(report.rejects_by_reason)}",
    ]
    if report.skipped:
        lines.append(f"  skipped    {sum(report.skipped.values()):>10,}{_format_counts(report.skipped)}")
    if result.accuracy is not None and report.accuracy_interval is not None:
        low, high = report.accuracy_interval
        lines.append(
            f"  accuracy   {result.accuracy:>10.2%}  of {result.labelled:,} labelled; "
            f"95 % interval {low:.2%} to {high:.2%}"
        )
    treated = report.preprocessing
    if treated.as_is < result.predicted:
        lines.append(f"  preprocess {result.predicted:>10,}  {', '.join(_list_treatments(treated))}")
    lines += [f"  GATE FAILED  {gate}" for gate in result.failed_gates]
    lines += ["", f"  predictions  {result.predictions}"]
    if result.rejects is not None:
        lines.append(f"  rejects      {result.rejects}")
    return "\n".join([*lines, f"  report       {result.output / 'report.html'}"])


def summarize_result(result: Result) -> RunSummary:
    """The summary of a run that finished."""
    failed = format_failed_gates(result)
    return RunSummary(
        status="gate_failed" if failed else "already_done" if result.already_done else "done",
        exit_code=result.exit_code,
        error=failed,
        output=printable(result.output),
        rows=result.rows,
        predicted=result.predicted,
        rejected=result.rejected,
        labelled=result.labelled,
        accuracy=result.accuracy,
        seconds=round(result.seconds, 3),
        images_per_second=round(result.scored / result.seconds, 1),
        stages={} if result.already_done else _stage_shares(result.report.timings),
        model=result.report.model.sha256,
        fingerprint=result.fingerprint,
    )


def _stage_shares(timings: Timings) -> dict[str, float]:
    """The share of the scoring time that each stage took. The first three stages overlap with the model."""
    return {stage: round(seconds / timings.score, 3) for stage, seconds in timings.stages.items()}


def format_failed_gates(result: Result) -> str | None:
    """One line that names the failed gates; None if all passed."""
    gates = "; ".join(map(str, result.failed_gates))
    return f"{printable(result.output)}: {gates}: the set is written, but without _SUCCESS" if gates else None


def summarize_error(line: str, exit_code: int, output: str | None) -> RunSummary:
    """The summary of a run that ended in an error."""
    return RunSummary("skipped" if exit_code == SkippedRun.exit_code else "failed", exit_code, line, output)


def format_inspection(inspection: InspectionSummary) -> str:
    """The output of `inspect`, for a person. At most twenty sources are listed."""
    sources = inspection.sources
    rows = [[s.format, f"{s.rows:,}", "yes" if s.labelled else "no", s.name] for s in sources[:20]]
    lines = [inspection.root, "", _format_table(["format", "rows", "labels", "name"], rows, right=(1,))]
    if len(sources) > len(rows):
        lines.append(f"... and {len(sources) - len(rows):,} more")
    parts = f"{inspection.shards:,} part{'s' if inspection.shards != 1 else ''}"
    parts += f" of up to {inspection.rows_per_part:,}"
    lines += ["", f"{inspection.rows:,} rows in {parts}", _format_sample(inspection.preprocessing)]
    if inspection.skipped:
        lines.append(f"skipped{_format_counts(inspection.skipped)}")
    lines += [f"warning: {line}" for line in inspection.warnings]
    return "\n".join(lines)


def _format_sample(sample: SampleSummary) -> str:
    counts = _list_treatments(sample)
    counts += [f"{count:,} rejected as {reason}" for reason, count in sample.rejected.items()]
    return f"preprocessing {sample.mode}, {sample.sampled:,} images sampled: {', '.join(counts)}"


def _list_treatments(counts: PreprocessingCounts | SampleSummary) -> list[str]:
    """How many images were treated in each way, without the ways that no image was treated in."""
    return [f"{count:,} {text}" for name, text in _PREPROCESSING.items() if (count := getattr(counts, name))]


def format_models(models: Sequence[BundledModel]) -> str:
    """The bundled models, one line each."""
    rows = [
        [
            model.name,
            f"{model.size / 1e6:.1f} MB",
            f"{model.card.accuracy:.2%}",
            f"{model.card.ece:.4f}",
            f"{model.card.evaluated_on} ({model.card.evaluated_rows:,} rows)",
            next(iter(model.card.digests.values()))[:12],
        ]
        for model in models
    ]
    return _format_table(["model", "size", "accuracy", "ECE", "measured on", "digest"], rows, right=(1, 2, 3))


def format_check(check: ModelCheck) -> str:
    """The output of `check-model`."""
    facts = {
        "form": check.form,
        "layers": check.layers,
        "input": check.input,
        "output": check.output,
        "scale": f"{check.scale}, from the {check.scale_from}",
        "repaired": "; ".join(check.repairs),
        "accuracy": f"{check.accuracy:.0%} of the drawn digits",
        "speed": f"{check.images_per_second:,.0f} images/s",
    }
    rows = [
        [
            result.scale,
            f"{result.accuracy:.0%}",
            f"{result.confidence:.2f}",
            f"{result.loss:.2f}",
            f"{result.temperature:.2g}",
        ]
        for result in check.evidence
    ]
    lines = [check.model, ""]
    lines += [f"  {name:<10}{value}" for name, value in facts.items() if value]
    lines += ["", "What the self-test gave at each scale:", ""]
    lines += [f"  {line}" for line in _format_table(_EVIDENCE, rows, right=(1, 2, 3, 4)).splitlines()]
    lines += [f"warning: {line}" for line in check.warnings]
    return "\n".join(lines)


def discard_output() -> None:
    """Discards everything printed from now on, by any library, so that nothing follows the last line."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
        os.dup2(null, stream.fileno())


def _format_counts(counts: Mapping[str, int]) -> str:
    return "  " + ", ".join(f"{count:,} x {name}" for name, count in counts.items()) if counts else ""


def _format_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = (
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    )
    return "\n".join(lines)
