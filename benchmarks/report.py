"""The cost of the report for 10 thousand and 10 million rows: seconds to count, build and render it, and bytes.

    .venv/bin/python benchmarks/report.py [--rows N ...]

No model runs. The rows are simulated: random pixels, labels and probabilities as from a good model, ids of a hundred
characters. Counting is what `score_shard` does for the report with each batch, in addition to scoring it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from report.rows import guessed, scores_of, tally
from report.runs import GATES, report

from mnist_batch.documents import to_json
from mnist_batch.records import ImageBatch, RejectReason, string_array
from mnist_batch.report.drift import build_profile
from mnist_batch.report.tally import Tally, merge, tally_batch
from mnist_batch.run.shard_result import ShardResult, encode_result

BATCH, PASSES = 4096, 5


def simulate_batch(first: int) -> tuple[ImageBatch, np.ndarray]:
    """4,096 rows and their probabilities. first: the number of the first row."""
    generator = np.random.default_rng(first)
    probabilities, labels = guessed(BATCH, first, sharpness=9.0)
    pixels = np.zeros((BATCH, 28, 28), np.uint8)
    pixels[:, 4:24, 8:20] = generator.integers(0, 256, (BATCH, 20, 12), np.uint8)
    ids = string_array(f"{'scans/of/a/long/name/' * 4}{first + row:012}.png" for row in range(BATCH))
    return ImageBatch(ids, pixels, pa.array(labels.astype(np.int32)), np.arange(BATCH)), probabilities


def time_work(work: Callable[[], Any]) -> tuple[float, Any]:
    """The median of `PASSES` passes in seconds, and the result of the last one."""
    times = []
    for _ in range(PASSES):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return sorted(times)[PASSES // 2], result


def count_rows(rows: int) -> tuple[Tally, float]:
    """The tally of that many rows in batches, and its processor time in seconds, without simulating them."""
    total, seconds = tally([RejectReason.EMPTY] * 7 + [RejectReason.BLANK] * 9), 0.0
    for first in range(0, rows, BATCH):
        batch, probabilities = simulate_batch(first)
        started = time.process_time()
        total = merge([total, tally_batch(batch, first, scores_of(probabilities))])
        seconds += time.process_time() - started
    return total, seconds


def measure_row(rows: int, render_html: Callable[[Any, Any], str]) -> str:
    """The cost of that many rows, as a row of a Markdown table."""
    total, counting = count_rows(rows)
    profile = build_profile(total, total)
    building, document = time_work(lambda: report(total, profile))
    writing, json_text = time_work(lambda: to_json(document))
    rendering, html = time_work(lambda: render_html(document, GATES))
    times = [f"{counting / total.predicted * 1e6:.2f} µs", f"{building + writing:.3f} s", f"{rendering:.3f} s"]
    record = encode_result(ShardResult(0, rows, total, {}, {}, 0, {}))
    sizes = [len(json_text.encode()), len(html.encode()), len(record)]
    return " | ".join(["", f"{total.predicted:,}", *times, *(f"{size / 1000:,.0f} KB" for size in sizes), ""]).strip()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 10_000_000])
    options = parser.parse_args()
    started = time.perf_counter()
    from mnist_batch.report.render.page import render_html

    print(f"importing Jinja2 and the page: {time.perf_counter() - started:.3f} s\n")
    print("| rows | counting, per row | report.json | page | report.json, size | page, size | record of a shard |")
    print("|---|---|---|---|---|---|---|")
    for rows in options.rows:
        print(measure_row(rows, render_html))


if __name__ == "__main__":
    main()
