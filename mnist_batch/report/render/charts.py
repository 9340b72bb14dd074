"""The geometry of the page's charts, in units of the SVG's view box. The templates draw them.

Three small charts do not justify a plotting library (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from mnist_batch.report.document import CalibrationBin, Coverage, CoverageTarget, Feature
from mnist_batch.report.metrics import wilson_interval

# Width and height of the plot area. The templates leave room beside and below it for the axes.
SIDE = 300
# The height of the tallest bar.
_BAR_HEIGHT = 32


@dataclass(frozen=True, slots=True)
class Dot:
    """A calibration bin. low, high: the y of its 95 % interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick on both axes. at: its x; up: its y."""

    at: float
    up: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The point of the coverage curve where a target accuracy is reached."""

    x: float
    y: float
    target: float


@dataclass(frozen=True, slots=True)
class ReliabilityChart:
    """Accuracy (y) against confidence (x)."""

    side: int
    dots: Sequence[Dot]
    ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class CoverageChart:
    """Accuracy (y) against the share of accepted rows (x). ticks: of the y axis; across: of the x axis."""

    side: int
    path: str
    ticks: Sequence[Tick]
    across: Sequence[Tick]
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class BarPair:
    """The heights of the two bars of a bin."""

    expected: float
    found: float


def layout_reliability(bins: Sequence[CalibrationBin]) -> ReliabilityChart:
    """Returns a dot and its 95 % interval for each bin with rows."""
    dots = []
    for bin in bins:
        if bin.rows and bin.confidence is not None and bin.accuracy is not None:
            low, high = wilson_interval(round(bin.accuracy * bin.rows), bin.rows)
            dots.append(Dot(x=_x(bin.confidence), y=_y(bin.accuracy), low=_y(low), high=_y(high)))
    return ReliabilityChart(SIDE, dots, [Tick(_x(tick / 4), _y(tick / 4), f"{tick * 25}") for tick in range(5)])


def layout_coverage(curve: Coverage, targets: Sequence[CoverageTarget] | None) -> CoverageChart:
    """Returns the curve of accuracy against the share of accepted rows.

    The y axis starts at or just below the lowest accuracy and ends at 1.
    """
    total = curve.rows[0]
    points = [(rows / total, correct / rows) for rows, correct in zip(curve.rows, curve.correct, strict=True)]
    lowest = min(accuracy for _, accuracy in points)
    step = next((s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (1 - lowest) / s <= 5), 0.25)
    bottom = min(floor(lowest / step + 1e-9) * step, 1 - step)

    def y(accuracy: float) -> float:
        return _y((accuracy - bottom) / (1 - bottom))

    levels = [1 - n * step for n in range(round((1 - bottom) / step) + 1)]
    return CoverageChart(
        side=SIDE,
        path=" ".join(f"{_x(share):g},{y(accuracy):g}" for share, accuracy in points),
        ticks=[Tick(0, y(level), f"{100 * level:.4g}") for level in levels],
        across=[Tick(_x(tick / 4), SIDE, f"{tick * 25}") for tick in range(5)],
        marks=[
            Mark(x=_x(target.rows / total), y=y(target.correct / target.rows), target=target.accuracy)
            for target in targets or ()
            if target.rows and target.correct is not None
        ],
    )


def layout_bars(feature: Feature) -> list[BarPair]:
    """Returns the heights of two bars, expected and found, for each bin of a feature of `drift`."""
    largest = max(*feature.expected, *feature.found)
    return [
        BarPair(round(_BAR_HEIGHT * expected / largest, 2), round(_BAR_HEIGHT * found / largest, 2))
        for expected, found in zip(feature.expected, feature.found, strict=True)
    ]


def _x(share: float) -> float:
    return round(SIDE * share, 2)


def _y(share: float) -> float:
    """From the top, because y grows downwards in SVG."""
    return round(SIDE * (1 - share), 2)
