"""How figures are written for people, and where the charts have their points."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from mnist_batch.records import RejectReason
from mnist_batch.report.baseline import compare_reports
from mnist_batch.report.document import (
    AccuracyChange,
    CalibrationBin,
    Coverage,
    CoverageTarget,
    Feature,
    Histogram,
)
from mnist_batch.report.drift import build_profile
from mnist_batch.report.gates import Gate
from mnist_batch.report.metrics import wilson_interval
from mnist_batch.report.render import page, text
from mnist_batch.report.render.charts import BarPair, Mark, layout_bars, layout_coverage, layout_reliability
from report.rows import tally
from report.runs import GATES, report

SPACE, NONE, MINUS = "\N{NO-BREAK SPACE}", "\N{EN DASH}", "\N{MINUS SIGN}"
REPORT = report(tally([(3, 3, 0.9), (3, 3, 0.9), (3, 5, 0.8), (None, 7, 0.7), *[RejectReason.EMPTY] * 1200]))


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (None, NONE),
        (0.0, "0.00 %"),
        (1.0, "100.00 %"),
        (0.5, "50.00 %"),
        (0.98765, "98.77 %"),
        (0.00001, "< 0.01 %"),
        (0.00005, "0.01 %"),
        (0.99999, "> 99.99 %"),
        (0.99995, "100.00 %"),
        (0.99994, "99.99 %"),
    ],
)
def test_share_is_a_percentage(share: float | None, written: str) -> None:
    assert text.percent(share).replace(SPACE, " ") == written


def test_percentage_may_have_other_decimals() -> None:
    assert text.percent(0.98765, 0).replace(SPACE, " ") == "99 %"
    assert text.percent(0.001, 0).replace(SPACE, " ") == "< 1 %"
    assert text.percent(0.9999, 1).replace(SPACE, " ") == "> 99.9 %"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.5, "0.5 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (61.6, "1 min 2 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7380, "2 h 3 min"),
    ],
)
def test_durations(value: float, written: str) -> None:
    assert text.seconds(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, NONE),
        (0.5, "0.5000"),
        (0.99994, "0.9999"),
        (0.99995, "0.9999500"),
        (0.9999999, "0.9999999"),
        (1.0, "1.0000"),
    ],
)
def test_confidences(value: float | None, written: str) -> None:
    assert text.confidence(value) == written


def test_other_numbers() -> None:
    assert [text.significant(value) for value in (0.012345, 12.345, 999.4, 1000, 1234567)] == [
        *("0.0123", "12.3", "999", "1,000", "1,234,567")
    ]
    assert [text.points(value) for value in (0.0667, -0.005, 0)] == ["+6.67", f"{MINUS}0.50", "+0.00"]
    assert text.number(1234567) == "1,234,567"


def test_gates_are_lines() -> None:
    gates = [*GATES, Gate("max_skipped", 0, 1200, passed=False), Gate("min_accuracy", 0.9, None, passed=False)]
    lines = [(line.passed, line.title, line.bound, line.found) for line in text.gate_lines(gates)]
    assert [tuple(str(part).replace(SPACE, " ") for part in line) for line in lines] == [
        ("True", "share of rejects", "at most 5.00 %", "1.25 %"),
        ("False", "accuracy", "at least 99.00 %", "90.12 %"),
        ("False", "files or frames skipped that may be images", "at most 0", "1,200"),
        ("False", "accuracy", "at least 90.00 %", "not known"),
    ]


def test_markdown_is_this() -> None:
    document = replace(REPORT, warnings=["look *here*"])
    document = replace(document, baseline=compare_reports(document, REPORT, "last_week"))
    found = text.render_markdown(document, GATES).replace(SPACE, " ")
    assert found == (
        "### scans scored by seed\n"
        "\n"
        "| | |\n"
        "|---|---|\n"
        "| rows | 1,204 |\n"
        "| predicted | 4 |\n"
        "| rejected | 1,200 (1,200 empty) |\n"
        "| accuracy | 66.67 % (95 % interval 20.77 % to 93.85 %, n = 3) |\n"
        "| calibration error (ECE) | 0.333 |\n"
        "| mean confidence | 82.50 % |\n"
        f"| compared with last\\_week | accuracy +0.00 points (95 % interval {MINUS}53.35 to +53.35) |\n"
        "\n"
        "- passed: share of rejects 1.25 %, must be at most 5.00 %\n"
        "- **FAILED**: accuracy 90.12 %, must be at least 99.00 %\n"
        "- look \\*here\\*\n"
        "\n"
        "2026-11-24T22:00:00+00:00, mnist-batch 0.1.0"
    )


def test_markdown_without_labels() -> None:
    unlabelled = report(tally([(None, 7, 0.7)] * 200), build_profile(tally([(1, 1, 0.9)] * 500), None))
    earlier = report(tally([(None, 7, 0.4)] * 2))
    document = replace(unlabelled, baseline=compare_reports(unlabelled, earlier, "old"))
    lines = text.render_markdown(document, []).replace(SPACE, " ").splitlines()
    assert lines[4:9] == [
        "| rows | 200 |",
        "| predicted | 200 |",
        "| rejected | 0 |",
        "| mean confidence | 70.00 % |",
        "| compared with old | mean confidence was 40.00 % |",
    ]
    assert lines[9].startswith("| drift | mix of digits")
    stable = report(tally([(None, 1, 0.9)]), build_profile(tally([(1, 1, 0.9)]), None))
    assert "| drift | none flagged |" in text.render_markdown(stable, [])


def test_junit_has_the_figures() -> None:
    root = ElementTree.fromstring(text.render_junit(REPORT, GATES))
    suite = root[0]
    assert suite.attrib == {
        "name": "mnist-batch gates",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
        "timestamp": "2026-11-24T22:00:00+00:00",
    }
    figures = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
    assert {name: figures[name] for name in ("rows", "predicted", "rejected", "labelled", "model")} == {
        "rows": "1204",
        "predicted": "4",
        "rejected": "1200",
        "labelled": "3",
        "model": "seed",
    }
    assert float(figures["accuracy"]) == pytest.approx(2 / 3)
    assert [(case.attrib["classname"], len(case)) for case in suite.iter("testcase")] == [
        ("mnist-batch", 0),
        ("mnist-batch", 1),
    ]


def test_reliability_chart() -> None:
    chart = layout_reliability([CalibrationBin(0, 0.5, 0, None, None), CalibrationBin(0.5, 1, 8, 0.75, 0.25)])
    low, high = wilson_interval(2, 8)
    (dot,) = chart.dots
    assert (dot.x, dot.y, dot.low, dot.high) == (225, 225, round(300 * (1 - low), 2), round(300 * (1 - high), 2))
    assert [(tick.at, tick.up, tick.text) for tick in chart.ticks] == [
        *((0, 300, "0"), (75, 225, "25"), (150, 150, "50"), (225, 75, "75"), (300, 0, "100"))
    ]


def test_coverage_chart() -> None:
    curve = Coverage(confidence=[0.5, 0.9], rows=[200, 50], correct=[194, 50])
    targets = [CoverageTarget(0.99, 0.9, 100, 99, (0.9, 1), 100, 0.5), CoverageTarget(0.999)]
    chart = layout_coverage(curve, targets)
    # The lowest accuracy is 0.97, so the axis begins there, in steps of 0.01.
    assert chart.path == "300,300 75,0"
    assert [(tick.up, tick.text) for tick in chart.ticks] == [(0, "100"), (100, "99"), (200, "98"), (300, "97")]
    assert [(tick.at, tick.up, tick.text) for tick in chart.across] == [
        *((0, 300, "0"), (75, 300, "25"), (150, 300, "50"), (225, 300, "75"), (300, 300, "100"))
    ]
    assert chart.marks == [Mark(150, 100, 0.99)]


@pytest.mark.parametrize(
    ("correct", "levels"),
    [
        (1000, ["100", "99.9"]),
        (996, ["100", "99.9", "99.8", "99.7", "99.6"]),
        (994, ["100", "99.8", "99.6", "99.4"]),
        (100, ["100", "80", "60", "40", "20", "0"]),
    ],
)
def test_axis_has_few_levels(correct: int, levels: list[str]) -> None:
    chart = layout_coverage(Coverage([0.5], [1000], [correct]), None)
    assert [tick.text for tick in chart.ticks] == levels


def test_bars_are_relative_to_the_tallest() -> None:
    feature = Feature("ink", 0, 0, "stable", [0, 1, 2], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1])
    assert layout_bars(feature) == [BarPair(8, 32), BarPair(20, 4), BarPair(12, 4)]


def test_steps_count_between_and_below() -> None:
    edges = [0, 0.5, 0.8, 0.85, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0]
    steps = page._count_steps(Histogram(edges, [1, 2, 3, 4, 0, 0, 5, 0, 5]))
    assert [(step.low, step.high, step.rows, step.share, step.below) for step in steps] == [
        (0, 0.5, 1, 0.05, 0.05),
        (0.5, 0.8, 2, 0.1, 0.15),
        (0.8, 0.9, 7, 0.35, 0.5),
        (0.9, 0.95, 0, 0, 0.5),
        (0.95, 0.99, 0, 0, 0.5),
        (0.99, 0.999, 5, 0.25, 0.75),
        (0.999, 0.9999, 0, 0, 0.75),
        (0.9999, 1.0, 5, 0.25, 1),
    ]
    assert [step.share for step in page._count_steps(Histogram(edges, [0] * 9))] == [0] * 8


def test_most_frequent_mistake() -> None:
    assert page._max_mistakes([[9, 2, 0], [3, 9, 1], [0, 0, 9]]) == 3
    assert page._max_mistakes([[9, 0], [0, 9]]) == 1
    assert page._max_mistakes(None) == 1


@pytest.mark.parametrize(
    ("ids", "shared", "ends"),
    [
        (["a/b1.png", "a/b2.png"], "a/", ["b1.png", "b2.png"]),
        (["a/b/1.png"], "", ["a/b/1.png"]),
        (["x#10", "x#1"], "x#", ["10", "1"]),
        (["a/", "a/b"], "a/", ["a/", "b"]),
        (["ab", "ac"], "", ["ab", "ac"]),
        ([], "", []),
    ],
)
def test_ids_are_shortened(ids: list[str], shared: str, ends: list[str]) -> None:
    example = REPORT.least_confident[0]
    gallery = page._shorten_ids([replace(example, id=name) for name in ids])
    assert (gallery.shared, [thumbnail.end for thumbnail in gallery.thumbnails]) == (shared, ends)


def test_change_is_later_minus_earlier() -> None:
    later = report(tally([(1, 1, 0.9)] * 3 + [(1, 2, 0.8)]))
    earlier = report(tally([(1, 1, 0.9)] * 2 + [(1, 2, 0.8)] * 3 + [RejectReason.EMPTY] * 7))
    change = compare_reports(later, earlier, "old")
    assert (change.rows, change.rejected, change.labelled, change.accuracy) == (12, 7, 5, 0.4)
    assert isinstance(change.accuracy_change, AccuracyChange)
    assert change.accuracy_change.change == pytest.approx(0.35)
    assert change.accuracy_change.interval[0] < 0.35 < change.accuracy_change.interval[1]
    assert change.mean_confidence == pytest.approx(0.84)
    assert compare_reports(later, report(tally([(None, 1, 0.9)])), "old").accuracy_change is None
    assert compare_reports(later, report(tally([RejectReason.EMPTY])), "old").features == []
