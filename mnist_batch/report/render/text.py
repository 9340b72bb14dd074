"""How figures are written for a person, and a report as Markdown and as JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_batch.report.drift import FEATURES
from mnist_batch.report.gates import Gate

_NAMES = {"max_reject_rate": "share of rejects", "min_accuracy": "accuracy"}
_NONE, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_PERCENT = "\N{NO-BREAK SPACE}%"
# What XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def number(count: float) -> str:
    """With its thousands apart."""
    return f"{count:,}"


def percent(share: float | None, digits: int = 2) -> str:
    """A share with so many digits, never rounded to none or all of the rows where it is not that."""
    if share is None:
        return _NONE
    least = 10.0**-digits
    if 0 < share * 100 < least / 2:
        return f"< {least:g}{_PERCENT}"
    if 100 - least / 2 < share * 100 < 100:
        return f"> {100 - least:.{digits}f}{_PERCENT}"
    return f"{share * 100:.{digits}f}{_PERCENT}"


def points(change: float) -> str:
    """A difference of two shares."""
    return f"{change * 100:+.2f}".replace("-", _MINUS)


def confidence(value: float | None) -> str:
    """Four digits, more where they would all be nines."""
    if value is None:
        return _NONE
    return f"{value:.7f}" if 0.99995 <= value < 1 else f"{value:.4f}"


def significant(value: float) -> str:
    """Three digits that count, or whole numbers."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def seconds(value: float) -> str:
    """A span of time."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def gate_lines(gates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gates as a manifest holds them, with what they say to a person."""
    return [
        {
            **gate,
            "title": _NAMES.get(gate["name"], gate["name"]),
            "bound": f"{'at most' if gate['name'].startswith('max') else 'at least'} {percent(gate['limit'])}",
            "found": "not known" if gate["value"] is None else percent(gate["value"]),
        }
        for gate in gates
    ]


def render_markdown(report: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]) -> str:
    """The first screen of the page, for a pull request or a message."""
    run, drift, baseline = report["run"], report["drift"], report["baseline"]
    rows = [
        ("rows", number(report["rows"])),
        ("predicted", number(report["predicted"])),
        ("rejected", number(report["rejected"]) + _format_reasons(report["rejects_by_reason"])),
    ]
    if report["labelled"]:
        low, high = report["accuracy_interval"]
        interval = f"95 % interval {percent(low)} to {percent(high)}, n = {number(report['labelled'])}"
        rows += [
            ("accuracy", f"{percent(report['accuracy'])} ({interval})"),
            ("calibration error (ECE)", significant(report["calibration"]["ece"])),
        ]
    rows.append(("mean confidence", percent(report["mean_confidence"])))
    if baseline is not None:
        rows.append((f"against {_escape_markdown(baseline['name'])}", _format_change(baseline)))
    if drift is not None:
        rows.append(("drift", ", ".join(FEATURES[name] for name in drift["flagged"]) or "none flagged"))
    verdicts = [
        f"- {'passed' if gate['passed'] else '**FAILED**'}: {gate['title']} {gate['found']}, must be {gate['bound']}"
        for gate in gate_lines(gates)
    ]
    return "\n".join(
        [
            f"### {', '.join(map(_escape_markdown, run['inputs']))} scored by {_escape_markdown(report['model']['name'])}",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            *verdicts,
            *(f"- {_escape_markdown(warning)}" for warning in report["warnings"]),
            "",
            f"{run['finished']}, mnist-batch {run['version']}",
        ]
    )


def render_junit(report: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]) -> str:
    """A test case for each gate, as CI servers read them."""
    failed = sum(not gate["passed"] for gate in gates)
    suite = ET.Element(
        "testsuite",
        name="mnist-batch gates",
        tests=str(len(gates)),
        failures=str(failed),
        errors="0",
        skipped="0",
        timestamp=report["run"]["finished"],
    )
    properties = ET.SubElement(suite, "properties")
    for name in ("rows", "predicted", "rejected", "labelled", "accuracy", "mean_confidence"):
        ET.SubElement(properties, "property", name=name, value=str(report[name]))
    ET.SubElement(properties, "property", name="model", value=_NOT_XML.sub("?", report["model"]["name"]))
    for gate in gates:
        case = ET.SubElement(suite, "testcase", classname="mnist-batch", name=gate["name"])
        if not gate["passed"]:
            ET.SubElement(case, "failure", message=str(Gate(**gate)), type="gate")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def _format_change(baseline: Mapping[str, Any]) -> str:
    change = baseline["accuracy_change"]
    if change is None:
        return f"mean confidence was {percent(baseline['mean_confidence'])}"
    low, high = change["interval"]
    return f"accuracy {points(change['change'])} points (95 % interval {points(low)} to {points(high)})"


def _format_reasons(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{number(count)} {reason}' for reason, count in counts.items())})" if counts else ""


def _escape_markdown(text: str) -> str:
    """Text from outside, such that Markdown makes nothing of it, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&@-])", r"\\\1", " ".join(text.split()))
