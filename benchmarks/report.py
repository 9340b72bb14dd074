"""What the report costs: seconds to count, to build and to render, and bytes, for 10 thousand and 10 million rows.

    .venv/bin/python benchmarks/report.py [--rows N ...]

Rows are simulated: drawn pixels, labels and probabilities such as a good model gives, with ids of a hundred characters;
no model runs. Counting is what `score_shard` does for the report with each batch beside scoring it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from report.rows import guessed, tally
from report.runs import GATES, report

from mnist_batch.output.files import to_json
from mnist_batch.records import ImageBatch, RejectReason, string_array
from mnist_batch.report.drift import build_profile
from mnist_batch.report.tally import Tally, as_json, merge, tally_batch

BATCH, PASSES = 4096, 5


def batch(first: int) -> tuple[ImageBatch, np.ndarray]:
    """4,096 rows, and their probabilities."""
    generator = np.random.default_rng(first)
    probabilities, labels = guessed(BATCH, first, sharpness=9.0)
    pixels = np.zeros((BATCH, 28, 28), np.uint8)
    pixels[:, 4:24, 8:20] = generator.integers(0, 256, (BATCH, 20, 12), np.uint8)
    ids = string_array(f"{'scans/of/a/long/name/' * 4}{first + row:012}.png" for row in range(BATCH))
    return ImageBatch(ids, pixels, pa.array(labels.astype(np.int32)), np.arange(BATCH)), probabilities


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The median of some passes, in seconds, and what the last gave."""
    times = []
    for _ in range(PASSES):
        began = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - began)
    return sorted(times)[PASSES // 2], result


def counted(rows: int) -> tuple[Tally, float]:
    """The tally of so many rows in batches, and the processor's seconds it took, without those of drawing them."""
    total, seconds = tally([RejectReason.EMPTY] * 7 + [RejectReason.BLANK] * 9), 0.0
    for first in range(0, rows, BATCH):
        drawn, probabilities = batch(first)
        began = time.process_time()
        total = merge([total, tally_batch(drawn, first, probabilities)])
        seconds += time.process_time() - began
    return total, seconds


def row(rows: int, render_html: Callable[[Any, Any], str]) -> str:
    """What so many rows cost, as a row of a Markdown table."""
    total, counting = counted(rows)
    profile = build_profile(total, total)
    building, document = timed(lambda: report(total, profile))
    writing, written = timed(lambda: to_json(document))
    drawing, html = timed(lambda: render_html(document, GATES))
    times = [f"{counting / total.predicted * 1e6:.2f} µs", f"{building + writing:.3f} s", f"{drawing:.3f} s"]
    sizes = [len(text.encode()) for text in (written, html, json.dumps(as_json(total)))]
    return " | ".join(["", f"{total.predicted:,}", *times, *(f"{size / 1000:,.0f} KB" for size in sizes), ""]).strip()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 10_000_000])
    began = time.perf_counter()
    from mnist_batch.report.render.render_html import render_html

    print(f"importing Jinja2 and the page: {time.perf_counter() - began:.3f} s\n")
    print("| rows | counting, of a row | report.json | page | report.json, size | page, size | record of a shard |")
    print("|---|---|---|---|---|---|---|")
    for rows in parser.parse_args().rows:
        print(row(rows, render_html))


if __name__ == "__main__":
    main()
