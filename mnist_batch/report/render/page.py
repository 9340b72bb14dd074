"""`report.html`: one file that needs nothing else, made of a report and the verdicts of its gates.

Names of files and what is said of them come from outside: the template escapes everything it is given.
"""

from __future__ import annotations

import re
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from itertools import pairwise
from os.path import commonprefix
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from mnist_batch.records import IMAGE_SIDE
from mnist_batch.report.drift import FEATURES, drift_warnings
from mnist_batch.report.render import charts
from mnist_batch.report.render.text import confidence, gate_lines, number, percent, points, seconds, significant

# Confidences between which rows are counted on the render_html: each nine is a step of its own.
_STEPS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0)


def render_html(report: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]) -> str:
    """The page as text. gates: as a manifest holds them.

    Raises LookupError, TypeError, ValueError or AttributeError where the report is not as a run wrote it.
    """
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
    try:
        return _fill_template(environment, report, gates)
    except UndefinedError as error:
        raise LookupError(error.message) from error


def _fill_template(environment: Environment, report: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]) -> str:
    return environment.get_template("report.html").render(
        r=report,
        gates=gate_lines(gates),
        features=FEATURES,
        notes=[line for line in report["warnings"] if line not in drift_warnings(report["drift"])],
        steps=_count_steps(report["confidence_histogram"]),
        worst=_max_mistakes(report["confusion"]),
        mistakes=_shorten_ids(report["mistakes"] or []),
        doubtful=_shorten_ids(report["least_confident"]),
        reliability=charts.layout_reliability(report["calibration"]["bins"]) if report["labelled"] else None,
        coverage=charts.layout_coverage(report["coverage"], report["coverage_targets"]) if report["labelled"] else None,
        pairs_of_bars=charts.layout_bars,
    )


def thumbnail(pixels: str) -> str:
    """784 bytes in base64, white ink on black, as the address of a PNG."""
    gray = b64decode(pixels)
    lines = b"".join(b"\0" + gray[at : at + IMAGE_SIDE] for at in range(0, len(gray), IMAGE_SIDE))
    header = struct.pack(">2I5B", IMAGE_SIDE, IMAGE_SIDE, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return "data:image/png;base64," + b64encode(png).decode()


def _count_steps(histogram: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows between two of `_STEPS`, and all below the upper one."""
    edges, counts = histogram["edges"], histogram["counts"]
    at = [edges.index(step) for step in _STEPS]
    total = sum(counts) or 1
    return [
        {
            "low": edges[low],
            "high": edges[high],
            "rows": sum(counts[low:high]),
            "share": sum(counts[low:high]) / total,
            "below": sum(counts[:high]) / total,
        }
        for low, high in pairwise(at)
    ]


def _max_mistakes(confusion: Sequence[Sequence[int]] | None) -> int:
    """The most frequent mistake, which the others are shaded against; at least 1."""
    if confusion is None:
        return 1
    return max(1, *(count for i, row in enumerate(confusion) for j, count in enumerate(row) if i != j))


def _shorten_ids(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows with the end of their ids, and once what all ids begin with, up to a separator."""
    common = commonprefix([row["id"] for row in rows]) if len(rows) > 1 else ""  # noqa: RUF071 - of characters
    found = re.match(r".*[/#!:]", common, re.DOTALL)
    shared = found[0] if found else ""
    return {"shared": shared, "rows": [dict(row) | {"end": row["id"][len(shared) :] or row["id"]} for row in rows]}
