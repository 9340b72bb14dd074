"""What a person sees: progress on stderr while a run goes on, a summary on stdout when it is done.

Knows the shape of results, not how they come about.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from mnist_batch.cli.log import Log
from mnist_batch.errors import SkippedRun
from mnist_batch.names import printable

if TYPE_CHECKING:
    from mnist_batch.model.bundled import BundledModel
    from mnist_batch.run.result import Result
    from mnist_batch.sources.discover import Inputs

_BAR_WIDTH = 30
# `records.Preprocessing`, which is not imported here: NumPy's threads must not start before signals are blocked.
_TREATMENTS = {"as_is": "as they are", "inverted": "with dark ink inverted", "framed": "framed"}
# A log file wants a sign of life, not a film.
_LOG_SECONDS = 10.0
_TERMINAL_SECONDS = 0.1


class Progress:
    """A bar that is drawn over itself on a terminal; elsewhere one plain line every ten seconds."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._started = self._shown = time.monotonic()

    def __call__(self, done: int, rows: int) -> None:
        now = time.monotonic()
        if now - self._shown < (_TERMINAL_SECONDS if self._log.live else _LOG_SECONDS) and done < rows:
            return
        self._shown = now
        rate = f"{done / max(now - self._started, 1e-6):,.0f} images/s"
        if self._log.live:
            filled = _BAR_WIDTH * done // rows
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            end = "\n" if done == rows else ""
            print(f"\r[{bar}] {done:,} of {rows:,}  {rate}", end=end, file=self._log.stream, flush=True)
        elif done < rows:
            self._log.info(f"{done:,} of {rows:,} rows, {rate}", done=done, rows=rows)


def format_summary(result: Result) -> str:
    """The end of a run, for a person."""
    report = result.report
    model = report["model"]["name"]
    first = f"{result.rows:,} rows scored by model {model} in {result.seconds:.1f} s"
    if result.already_done:
        first = f"{result.rows:,} rows were scored before by model {model}; nothing has changed since"
    elif result.resumed:
        first += f", going on after {result.resumed:,} finished part{'s' if result.resumed > 1 else ''}"
    lines = [
        first,
        "",
        f"  predicted  {result.predicted:>10,}",
        f"  rejected   {result.rejected:>10,}{_format_counts(report['rejects_by_reason'])}",
    ]
    if report["skipped"]:
        lines.append(f"  skipped    {sum(report['skipped'].values()):>10,}{_format_counts(report['skipped'])}")
    if result.accuracy is not None:
        low, high = report["accuracy_interval"]
        lines.append(
            f"  accuracy   {result.accuracy:>10.2%}  of {result.labelled:,} labelled; "
            f"95 % interval {low:.2%} to {high:.2%}"
        )
    treated = [f"{report['preprocessing'][name]:,} {text}" for name, text in _TREATMENTS.items()]
    if report["preprocessing"]["as_is"] < result.predicted:
        lines.append(f"  prepared   {result.predicted:>10,}  " + ", ".join(t for t in treated if t[:2] != "0 "))
    lines += [f"  GATE FAILED  {gate}" for gate in result.failed_gates]
    lines += ["", f"  predictions  {result.predictions}"]
    if result.rejects is not None:
        lines.append(f"  rejects      {result.rejects}")
    return "\n".join([*lines, f"  report       {result.output / 'report.html'}"])


def build_run_object(result: Result) -> dict[str, Any]:
    """The `--json` object of a run that came to its end."""
    failed = format_failed_gates(result)
    return {
        "status": "gate_failed" if failed else "already_done" if result.already_done else "done",
        "exit_code": result.exit_code,
        "error": failed,
        "output": printable(result.output),
        "rows": result.rows,
        "predicted": result.predicted,
        "rejected": result.rejected,
        "labelled": result.labelled,
        "accuracy": result.accuracy,
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.scored / result.seconds, 1),
        "stages": {} if result.already_done else _stage_shares(result.report["timings"]),
        "model": result.report["model"]["sha256"],
        "fingerprint": result.fingerprint,
    }


def _stage_shares(timings: Mapping[str, Any]) -> dict[str, float]:
    """What each stage took of the time that scoring took; the first three run beside the model."""
    return {stage: round(seconds / timings["score"], 3) for stage, seconds in timings["stages"].items()}


def format_failed_gates(result: Result) -> str | None:
    """What a set that failed a gate is told by; None where none failed."""
    gates = "; ".join(map(str, result.failed_gates))
    return f"{printable(result.output)}: {gates}: the set is there, its _SUCCESS is not" if gates else None


def build_error_object(line: str, exit_code: int, output: str | None) -> dict[str, Any]:
    """The `--json` object of a run that ended in an error: the same keys, null where nothing is known."""
    known = {
        "status": "skipped" if exit_code == SkippedRun.exit_code else "failed",
        "exit_code": exit_code,
        "error": line,
        "output": output,
    }
    keys = ("rows", "predicted", "rejected", "labelled", "accuracy", "seconds", "images_per_second", "stages")
    return known | dict.fromkeys((*keys, "model", "fingerprint"))


def describe_inputs(
    inputs: Inputs, label_file: bool, shards: int, rows_per_part: int, mode: str, verdicts: Sequence[str]
) -> dict[str, Any]:
    """What `inspect` found, as an object.

    label_file: whether labels come from a file of their own; verdicts: what would become of the sampled images.
    """
    counts = Counter(verdicts)
    return {
        "root": printable(inputs.root),
        "rows": inputs.rows,
        "labelled": label_file or inputs.labelled,
        "shards": shards,
        "rows_per_part": rows_per_part,
        "sources": [
            {
                "format": source.format,
                "name": source.name or ".",
                "rows": source.rows,
                "labelled": label_file or source.labelled,
            }
            for source in inputs.sources
        ],
        "skipped": dict(inputs.skipped),
        "preprocessing": {
            "mode": mode,
            "sampled": len(verdicts),
            **{treatment: counts[treatment] for treatment in _TREATMENTS},
            "rejected": {name: count for name, count in sorted(counts.items()) if name not in _TREATMENTS},
        },
    }


def format_inspection(found: Mapping[str, Any]) -> str:
    """What `inspect` found, for a person; of many sources the first twenty."""
    sources = found["sources"]
    rows = [[s["format"], f"{s['rows']:,}", "yes" if s["labelled"] else "no", s["name"]] for s in sources[:20]]
    lines = [f"{found['root']}", "", _format_table(["format", "rows", "labels", "name"], rows, right=(1,))]
    if len(sources) > len(rows):
        lines.append(f"... and {len(sources) - len(rows):,} more")
    parts = f"{found['shards']:,} part{'s' if found['shards'] != 1 else ''} of up to {found['rows_per_part']:,}"
    lines += ["", f"{found['rows']:,} rows in {parts}", _sample_line(found["preprocessing"])]
    if found["skipped"]:
        lines.append(f"skipped{_format_counts(found['skipped'])}")
    return "\n".join(lines)


def _sample_line(found: Mapping[str, Any]) -> str:
    counts = [f"{found[name]:,} {text}" for name, text in _TREATMENTS.items() if found[name]]
    counts += [f"{count:,} rejected as {reason}" for reason, count in found["rejected"].items()]
    return f"preprocessing {found['mode']}, {found['sampled']:,} images sampled: {', '.join(counts)}"


def format_models(models: Sequence[BundledModel]) -> str:
    """The bundled models, a line each."""
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


def redirect_native_output() -> None:
    """Sends what C libraries write to file descriptors 1 and 2 nowhere; Python's own streams go on as before.

    libpng and OpenCV complain there of every damaged image, which is already a row among the rejects, and TensorFlow
    of the machine. Once for the process, since doing it for each image would cost more than decoding it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stdout, sys.stderr = _redirect(sys.stdout, 1), _redirect(sys.stderr, 2)


def _redirect(stream: TextIO | None, number: int) -> TextIO:
    """A stream that leads where that of this number did; the number itself then leads nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # Where it was closed by who started the program, the number must not become that of a file of ours.
    ours = os.dup(nowhere if stream is None else number)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    # A name must not end a run whose locale cannot write it.
    encoding = "utf-8" if stream is None else stream.encoding
    return os.fdopen(ours, "w", buffering=1, encoding=encoding, errors="backslashreplace")


def discard_output() -> None:
    """Nothing follows the last line: what is printed from now on, by whomever, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
        os.dup2(nowhere, stream.fileno())


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
