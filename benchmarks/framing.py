"""The speed of framing, in images per second on one core, and the accuracy of the bundled model with it.

    MNIST_BATCH_DATA=... python benchmarks/framing.py [--rows 10000]

Prints two Markdown tables, for docs/performance.md and docs/preprocessing.md. Speed is measured in process time, with
one thread, as the median of five passes. Accuracy is measured on MNIST's test images, transformed as in
tests/images/transforms.py, and compared with the same images untouched. No choice is based on it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from images.transforms import MORE, PROMISED, Gray, Transform, inverted, on_paper, resized

from mnist_batch.config import PreprocessOptions
from mnist_batch.images.framing.frame import frame
from mnist_batch.images.mnist_form import is_mnist_form
from mnist_batch.images.preprocess import preprocess
from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.loading import load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.records import EncodedRows, null_labels, string_array
from mnist_batch.sources.idx import read_idx, read_labels

PASSES = 5
# Images of 4 megapixels take longer to make than to frame, so fewer of them are used.
LARGE_ROWS = 1000


def measure_rate(work: Callable[[], object], count: int) -> float:
    """Images per second of process time: the median of the passes, after one to warm up."""
    work()
    seconds = []
    for _ in range(PASSES):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return count / statistics.median(seconds)


def speed_table(images: Gray) -> str:
    """A Markdown table with a row per case: the target and what was measured."""
    generator = np.random.default_rng(0)

    def measure_framing(transform: Transform, count: int) -> float:
        scans = [np.asarray(transform(image, generator), np.uint8) for image in images[:count]]
        return measure_rate(lambda: [frame(scan) for scan in scans], count)

    dark, moved = (lambda image, _: 255 - np.roll(image, 3, 1)), (lambda image, _: np.roll(image, 3, 1))
    rows = [
        ("as-is check, 28x28", 1_500_000, measure_rate(lambda: is_mnist_form(images), len(images))),
        ("framing 28x28, light ink", 20_000, measure_framing(moved, 2000)),
        ("framing 28x28, dark ink", 20_000, measure_framing(dark, 2000)),
        ("framing 28x28, on gray paper with noise", None, measure_framing(on_paper(28, 6), 2000)),
        ("framing 200x200", 2_500, measure_framing(lambda image, g: inverted(resized(200, 200)(image, g), g), 500)),
        ("framing 200x200, on gray paper with noise", None, measure_framing(on_paper(200, 15), 500)),
        ("framing 2000x2000", None, measure_framing(resized(2000, 2000), 50)),
    ]
    lines = ["| case | at least | measured | |", "|---|---|---|---|"]
    for name, target, measured in rows:
        verdict = "" if target is None else "met" if measured >= target else "missed"
        lines.append(f"| {name} | {f'{target:,}/s' if target else '-'} | {measured:,.0f}/s | {verdict} |")
    return "\n".join(lines)


def accuracy_table(images: Gray, labels: Gray) -> str:
    """A Markdown table with a row per transform: accuracy with and without it, and rejects by reason."""
    predictor = TensorFlowPredictor(load_model(resolve_model("seed"), None), 4096)

    def count_correct(pixels: Gray, labels: Gray) -> int:
        return int((next(iter(predictor.score([pixels]))).probabilities.argmax(axis=1) == labels).sum())

    lines = ["| images | rows | untouched | transformed | may fall by | rejected |", "|---|---|---|---|---|---|"]
    cases = [(name, *case) for name, case in PROMISED.items()] + [(name, case, None) for name, case in MORE.items()]
    for name, transform, allowed in cases:
        rows = min(len(images), LARGE_ROWS) if name == "2000x2000" else len(images)
        generator, correct, untouched = np.random.default_rng(7), 0, 0
        rejects: Counter[str] = Counter()
        for first in range(0, rows, 500):
            part = slice(first, min(rows, first + 500))
            scans = [transform(image, generator) for image in images[part]]
            ids = string_array(str(row) for row in range(len(scans)))
            batch = preprocess(EncodedRows(ids, null_labels(len(scans)), scans), PreprocessOptions())
            correct += count_correct(batch.pixels, labels[part][batch.positions]) if len(batch) else 0
            untouched += count_correct(images[part], labels[part])
            rejects.update(str(reject.reason) for reject in batch.rejects)
        rejected = ", ".join(f"{count} {reason}" for reason, count in rejects.items()) or "-"
        verdict = "-"
        if allowed is not None:
            verdict = f"{allowed * 100:.0f} points: {'met' if correct >= untouched - allowed * rows else 'missed'}"
        lines.append(f"| {name} | {rows:,} | {untouched / rows:.2%} | {correct / rows:.2%} | {verdict} | {rejected} |")
    return "\n".join(lines)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000, help="test images per transform")
    rows = parser.parse_args().rows
    cv2.setNumThreads(1)
    mnist = Path(os.environ["MNIST_BATCH_DATA"]) / "mnist"
    images = np.array(read_idx(mnist / "t10k-images-idx3-ubyte.gz"))[:rows]
    labels = np.asarray(read_labels(mnist / "t10k-labels-idx1-ubyte.gz"))[:rows]
    print(speed_table(images), end="\n\n", flush=True)
    print(accuracy_table(images, labels))


if __name__ == "__main__":
    main()
