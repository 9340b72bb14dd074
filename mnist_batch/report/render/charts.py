"""The geometry of the page's charts, in units of the SVG's view box. The templates draw them.

Three small charts do not justify a plotting library (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from mnist_batch.report.metrics import wilson_interval

# Width and height of the plot area. The templates leave room beside and below it for the axes.
SIDE = 300
# The height of the tallest bar.
_BAR_HEIGHT = 32


def layout_reliability(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a dot and its 95 % interval for each bin with rows. x is the confidence, y the accuracy."""
    dots = []
    for bin in bins:
        if bin["rows"]:
            low, high = wilson_interval(round(bin["accuracy"] * bin["rows"]), bin["rows"])
            dots.append({"x": _x(bin["confidence"]), "y": _y(bin["accuracy"]), "low": _y(low), "high": _y(high)})
    ticks = [{"at": _x(tick / 4), "up": _y(tick / 4), "text": f"{tick * 25}"} for tick in range(5)]
    return {"side": SIDE, "dots": dots, "ticks": ticks}


def layout_coverage(curve: Mapping[str, Sequence[Any]], targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the curve of accuracy (y) against the share of accepted rows (x).

    The y axis starts at or just below the lowest accuracy and ends at 1.
    """
    total = curve["rows"][0]
    points = [(rows / total, correct / rows) for rows, correct in zip(curve["rows"], curve["correct"], strict=True)]
    lowest = min(accuracy for _, accuracy in points)
    step = next((s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (1 - lowest) / s <= 5), 0.25)
    bottom = min(floor(lowest / step + 1e-9) * step, 1 - step)

    def y(accuracy: float) -> float:
        return _y((accuracy - bottom) / (1 - bottom))

    ticks = [
        {"up": y(1 - n * step), "text": f"{100 * (1 - n * step):.4g}"} for n in range(round((1 - bottom) / step) + 1)
    ]
    marks = [
        {"x": _x(t["rows"] / total), "y": y(t["correct"] / t["rows"]), "target": t["accuracy"]}
        for t in targets
        if t["confidence"] is not None
    ]
    return {
        "side": SIDE,
        "path": " ".join(f"{_x(share):g},{y(accuracy):g}" for share, accuracy in points),
        "ticks": ticks,
        "across": [{"at": _x(tick / 4), "text": f"{tick * 25}"} for tick in range(5)],
        "marks": marks,
    }


def layout_bars(feature: Mapping[str, Any]) -> list[dict[str, float]]:
    """Returns the heights of two bars, expected and found, for each bin of a feature of `drift`."""
    largest = max(*feature["expected"], *feature["found"])
    return [
        {"expected": round(_BAR_HEIGHT * expected / largest, 2), "found": round(_BAR_HEIGHT * found / largest, 2)}
        for expected, found in zip(feature["expected"], feature["found"], strict=True)
    ]


def _x(share: float) -> float:
    return round(SIDE * share, 2)


def _y(share: float) -> float:
    """From the top, because y grows downwards in SVG."""
    return round(SIDE * (1 - share), 2)
