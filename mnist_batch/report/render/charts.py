"""The geometry of the page's charts, in the units of an SVG's view box; how they look is the template's.

Three small charts do not pay for a plotting library (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from mnist_batch.report.metrics import wilson_interval

# The plane that is drawn into, and the room left of and below it for the axes' numbers.
SIDE = 300
_TALLEST = 32


def layout_reliability(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each bin that holds rows: its point, confidence to the right and accuracy up, and its 95 % interval."""
    dots = []
    for found in bins:
        if found["rows"]:
            low, high = wilson_interval(round(found["accuracy"] * found["rows"]), found["rows"])
            x = _x(found["confidence"])
            dots.append({"x": x, "y": _y(found["accuracy"]), "low": _y(low), "high": _y(high)})
    ticks = [{"at": _x(tick / 4), "up": _y(tick / 4), "text": f"{tick * 25}"} for tick in range(5)]
    return {"side": SIDE, "dots": dots, "ticks": ticks}


def layout_coverage(curve: Mapping[str, Sequence[Any]], targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Share of rows kept to the right, accuracy of those up, from the accuracy of all (or a little less) to 1."""
    total = curve["rows"][0]
    points = [(rows / total, correct / rows) for rows, correct in zip(curve["rows"], curve["correct"], strict=True)]
    least = min(accuracy for _, accuracy in points)
    step = next((s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (1 - least) / s <= 5), 0.25)
    floor_ = min(floor(least / step + 1e-9) * step, 1 - step)

    def up(accuracy: float) -> float:
        return _y((accuracy - floor_) / (1 - floor_))

    ticks = [
        {"up": up(1 - n * step), "text": f"{100 * (1 - n * step):.4g}"} for n in range(round((1 - floor_) / step) + 1)
    ]
    marks = [
        {"x": _x(t["rows"] / total), "y": up(t["correct"] / t["rows"]), "target": t["accuracy"]}
        for t in targets
        if t["confidence"] is not None
    ]
    return {
        "side": SIDE,
        "path": " ".join(f"{_x(share):g},{up(accuracy):g}" for share, accuracy in points),
        "ticks": ticks,
        "across": [{"at": _x(tick / 4), "text": f"{tick * 25}"} for tick in range(5)],
        "marks": marks,
    }


def layout_bars(feature: Mapping[str, Any]) -> list[dict[str, float]]:
    """For each bin of a feature of `drift` the heights of two bars, expected and found."""
    tallest = max(*feature["expected"], *feature["found"])
    return [
        {"expected": round(_TALLEST * expected / tallest, 2), "found": round(_TALLEST * found / tallest, 2)}
        for expected, found in zip(feature["expected"], feature["found"], strict=True)
    ]


def _x(share: float) -> float:
    return round(SIDE * share, 2)


def _y(share: float) -> float:
    """SVG counts downwards."""
    return round(SIDE * (1 - share), 2)
