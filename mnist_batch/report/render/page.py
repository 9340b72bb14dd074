"""`report.html`: one self-contained file, rendered from a report and the verdicts of its gates.

File names and warnings come from outside, so the templates escape every value.
"""

from __future__ import annotations

import re
import struct
import zlib
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from os.path import commonprefix

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mnist_batch.records import IMAGE_SIDE
from mnist_batch.report.document import Histogram, Report
from mnist_batch.report.drift import FEATURES, drift_warnings
from mnist_batch.report.examples import Example
from mnist_batch.report.gates import Gate
from mnist_batch.report.render import charts
from mnist_batch.report.render.text import confidence, gate_lines, number, percent, points, seconds, significant

# The page counts rows between these confidences. Each further nine is a step of its own.
_STEPS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0)


@dataclass(frozen=True, slots=True)
class Step:
    """The rows with a confidence from low to high. share, below: shares of all predicted rows."""

    low: float
    high: float
    rows: int
    share: float
    below: float


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An example and the end of its id, which no other example has."""

    example: Example
    end: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Some examples. shared: the prefix that all of their ids have."""

    shared: str
    thumbnails: Sequence[Thumbnail]


def render_html(report: Report, gates: Sequence[Gate]) -> str:
    """Returns the page as HTML."""
    calibration, coverage, targets = report.calibration, report.coverage, report.coverage_targets
    return _load_template().render(
        r=report,
        gates=gate_lines(gates),
        features=FEATURES,
        notes=[line for line in report.warnings if line not in drift_warnings(report.drift)],
        steps=_count_steps(report.confidence_histogram),
        worst=_max_mistakes(report.confusion),
        mistakes=_shorten_ids(report.mistakes or []),
        doubtful=_shorten_ids(report.least_confident),
        reliability=None if calibration is None else charts.layout_reliability(calibration.bins),
        coverage=None if coverage is None else charts.layout_coverage(coverage, targets),
        pairs_of_bars=charts.layout_bars,
    )


@cache
def _load_template() -> Template:
    environment = Environment(
        loader=PackageLoader("mnist_batch.report.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "confidence": confidence,
        "number": number,
        "percent": percent,
        "points": points,
        "seconds": seconds,
        "significant": significant,
        "thumbnail": thumbnail,
    }
    return environment.get_template("report.html")


def thumbnail(pixels: bytes) -> str:
    """Returns an image as the data URL of a PNG. pixels: 784 bytes, white ink on black."""
    lines = b"".join(b"\0" + pixels[at : at + IMAGE_SIDE] for at in range(0, len(pixels), IMAGE_SIDE))
    header = struct.pack(">2I5B", IMAGE_SIDE, IMAGE_SIDE, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return "data:image/png;base64," + b64encode(png).decode()


def _count_steps(histogram: Histogram) -> list[Step]:
    """The rows between each two of `_STEPS`, and all rows below the upper one."""
    edges, counts = histogram.edges, histogram.counts
    at = [bisect_left(edges, step) for step in _STEPS]
    total = sum(counts) or 1
    return [
        Step(
            low=edges[low],
            high=edges[high],
            rows=sum(counts[low:high]),
            share=sum(counts[low:high]) / total,
            below=sum(counts[:high]) / total,
        )
        for low, high in pairwise(at)
    ]


def _max_mistakes(confusion: Sequence[Sequence[int]] | None) -> int:
    """The count of the most frequent mistake, at least 1. The page shades mistakes relative to it."""
    if confusion is None:
        return 1
    return max(1, *(count for i, row in enumerate(confusion) for j, count in enumerate(row) if i != j))


def _shorten_ids(rows: Sequence[Example]) -> Gallery:
    """Splits ids into the prefix that all of them share, up to a separator, and the rest of each."""
    common = commonprefix([row.id for row in rows]) if len(rows) > 1 else ""  # noqa: RUF071 - not of paths
    match = re.match(r".*[/#!:]", common, re.DOTALL)
    shared = match[0] if match else ""
    return Gallery(shared, [Thumbnail(row, row.id[len(shared) :] or row.id) for row in rows])
