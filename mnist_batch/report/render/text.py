"""Formats figures for people, and renders a report as Markdown and as JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnist_batch.report.document import Baseline, Report
from mnist_batch.report.drift import FEATURES
from mnist_batch.report.gates import COUNTS, Gate

_GATE_TITLES = {
    "max_reject_rate": "share of rejects",
    "min_accuracy": "accuracy",
    "max_skipped": "files or frames skipped that may be images",
    "max_unlabelled": "rows without a label, while others have one",
}
_NONE, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_PERCENT = "\N{NO-BREAK SPACE}%"
# The characters that XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def number(count: float) -> str:
    """Formats a number with thousands separators."""
    return f"{count:,}"


def percent(share: float | None, digits: int = 2) -> str:
    """Formats a share as a percentage with `digits` decimals. Only exactly 0 and 1 are shown as 0 % and 100 %."""
    if share is None:
        return _NONE
    step = 10.0**-digits
    if 0 < share * 100 < step / 2:
        return f"< {step:g}{_PERCENT}"
    if 100 - step / 2 < share * 100 < 100:
        return f"> {100 - step:.{digits}f}{_PERCENT}"
    return f"{share * 100:.{digits}f}{_PERCENT}"


def points(change: float) -> str:
    """Formats a difference of two shares in percentage points, with its sign."""
    return f"{change * 100:+.2f}".replace("-", _MINUS)


def confidence(value: float | None) -> str:
    """Formats a confidence with four decimals, or seven if they would all be nines."""
    if value is None:
        return _NONE
    return f"{value:.7f}" if 0.99995 <= value < 1 else f"{value:.4f}"


def significant(value: float) -> str:
    """Formats a number with three significant digits, or as an integer from 1000 on."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def seconds(value: float) -> str:
    """Formats a duration."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True, slots=True)
class GateLine:
    """A gate as text."""

    passed: bool
    title: str
    bound: str
    found: str


def _format_gate(name: str, value: float) -> str:
    return number(int(value)) if name in COUNTS else percent(value)


def gate_lines(gates: Sequence[Gate]) -> list[GateLine]:
    """Returns the gates as text."""
    return [
        GateLine(
            passed=gate.passed,
            title=_GATE_TITLES.get(gate.name, gate.name),
            bound=f"{'at most' if gate.is_upper_limit else 'at least'} {_format_gate(gate.name, gate.limit)}",
            found="not known" if gate.value is None else _format_gate(gate.name, gate.value),
        )
        for gate in gates
    ]


def render_markdown(report: Report, gates: Sequence[Gate]) -> str:
    """Renders the overview of the page as Markdown, for a pull request or a chat message."""
    run, drift, baseline = report.run, report.drift, report.baseline
    rows = [
        ("rows", number(report.rows)),
        ("predicted", number(report.predicted)),
        ("rejected", number(report.rejected) + _format_reasons(report.rejects_by_reason)),
    ]
    if report.accuracy_interval is not None:
        low, high = report.accuracy_interval
        interval = f"95 % interval {percent(low)} to {percent(high)}, n = {number(report.labelled)}"
        rows.append(("accuracy", f"{percent(report.accuracy)} ({interval})"))
    if report.calibration is not None:
        rows.append(("calibration error (ECE)", significant(report.calibration.ece)))
    rows.append(("mean confidence", percent(report.mean_confidence)))
    if baseline is not None:
        rows.append((f"compared with {_escape_markdown(baseline.name)}", _format_change(baseline)))
    if drift is not None:
        rows.append(("drift", ", ".join(FEATURES[name] for name in drift.flagged) or "none flagged"))
    verdicts = [
        f"- {'passed' if gate.passed else '**FAILED**'}: {gate.title} {gate.found}, must be {gate.bound}"
        for gate in gate_lines(gates)
    ]
    inputs = ", ".join(map(_escape_markdown, run.inputs))
    return "\n".join(
        [
            f"### {inputs} scored by {_escape_markdown(report.model.name)}",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            *verdicts,
            *(f"- {_escape_markdown(warning)}" for warning in report.warnings),
            "",
            f"{run.finished}, mnist-batch {run.version}",
        ]
    )


def render_junit(report: Report, gates: Sequence[Gate]) -> str:
    """Renders the gates as JUnit XML for CI servers, one test case per gate."""
    failed = sum(not gate.passed for gate in gates)
    suite = ET.Element(
        "testsuite",
        name="mnist-batch gates",
        tests=str(len(gates)),
        failures=str(failed),
        errors="0",
        skipped="0",
        timestamp=report.run.finished,
    )
    properties = ET.SubElement(suite, "properties")
    for name in ("rows", "predicted", "rejected", "labelled", "accuracy", "mean_confidence"):
        ET.SubElement(properties, "property", name=name, value=str(getattr(report, name)))
    ET.SubElement(properties, "property", name="model", value=_NOT_XML.sub("?", report.model.name))
    for gate in gates:
        case = ET.SubElement(suite, "testcase", classname="mnist-batch", name=gate.name)
        if not gate.passed:
            ET.SubElement(case, "failure", message=str(gate), type="gate")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def _format_change(baseline: Baseline) -> str:
    change = baseline.accuracy_change
    if change is None:
        return f"mean confidence was {percent(baseline.mean_confidence)}"
    low, high = change.interval
    return f"accuracy {points(change.change)} points (95 % interval {points(low)} to {points(high)})"


def _format_reasons(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{number(count)} {reason}' for reason, count in counts.items())})" if counts else ""


def _escape_markdown(text: str) -> str:
    """Escapes text from outside so that Markdown does not interpret it, and puts it on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&@-])", r"\\\1", " ".join(text.split()))
