"""Measures the networks for choosing at each scale, so that thresholds can be fitted without training them again.

    MNIST_BATCH_DATA=... python benchmarks/scale_evidence.py --folder build/networks

Appends a line of JSON per network to `scale_evidence.jsonl`: what the self-test gave at each scale, the slope of the
weights at the border (see `model/background.py`) with its standard error, and the error and calibration error on `rows`
training images that no network was trained on, at each scale that is likely. Networks in the file are skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.networks import SPECS, Spec, read_held_out
from benchmarks.scale_choice import measure
from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.background import measure_slope
from mnist_batch.model.loading import load_model
from mnist_batch.model.scale_choice import is_strong
from mnist_batch.records import Ints, Pixels

# Scales with a higher loss, as a multiple of the lowest, are not measured on real images.
_MAX_LOSS_RATIO = 1.6


def collect(spec: Spec, path: Path, images: Pixels, labels: Ints) -> dict[str, Any]:
    """Returns the line of a network. Raises ModelError if it is not even usable at its own scale."""
    model = load_model(path, Scale(spec.scale))
    weights = model.opened.first_dense
    real = {}
    lowest = min((result.loss for result in model.selftest.results if is_strong(result)), default=0.0)
    for result in model.selftest.results:
        is_likely = is_strong(result) and result.loss <= lowest * _MAX_LOSS_RATIO
        if is_likely or result.scale == spec.scale:
            with suppress(ModelError):
                _, measured = measure(path, result.scale, images, labels)
                real[result.scale] = [round(measured.error, 4), round(measured.ece, 4)]
    return {
        "name": spec.name,
        "scale": spec.scale,
        "slope": [float(f"{value:.4g}") for value in measure_slope(weights)] if weights else None,
        "results": {
            result.scale: [
                round(result.accuracy, 4),
                round(result.confidence, 4),
                round(result.loss, 4),
                float(f"{result.temperature:.5g}"),
            ]
            for result in model.selftest.results
        },
        "rows": len(labels),
        "real": real,
    }


def main() -> None:
    """Measures the networks that are missing in the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/networks"))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("scale_evidence.jsonl"))
    parser.add_argument("--rows", type=int, default=10_000, help="held-out training images to measure on")
    given = parser.parse_args()
    images, labels = read_held_out()
    known = set()
    if given.output.exists():
        known = {json.loads(line)["name"] for line in given.output.read_text().splitlines()}
    with given.output.open("a") as file:
        for spec in SPECS:
            path = given.folder / f"{spec.name}.keras"
            if spec.is_for_judging or spec.name in known or not path.exists():
                continue
            with suppress(ModelError):
                line = collect(spec, path, images[: given.rows], labels[: given.rows])
                print(json.dumps(line), file=file, flush=True)
            print(spec.name, flush=True)


if __name__ == "__main__":
    main()
