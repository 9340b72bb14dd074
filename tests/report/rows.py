"""Random images, labels and probabilities for tallies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mnist_batch.records import CLASSES, Floats, ImageBatch, Ints, Pixels, Reject, RejectReason, Scores, string_array
from mnist_batch.report.tally import Tally, merge, tally_batch, tally_rejects

Scored = tuple[int | None, int, float]
Row = Scored | RejectReason


def tally(rows: Sequence[Row], first_row: int = 0) -> Tally:
    """Counts rows. Each is (label, prediction, confidence), or the reason why it was rejected."""
    scored = [(position, *row) for position, row in enumerate(rows) if isinstance(row, tuple)]
    rejects = [(position, row) for position, row in enumerate(rows) if isinstance(row, RejectReason)]
    rejected = tally_rejects(
        ((position, Reject(f"row {first_row + position}", reason, "")) for position, reason in rejects), first_row
    )
    if not scored:
        return rejected
    positions, labels, digits, confidence = zip(*scored, strict=True)
    probabilities = np.repeat(((1 - np.array(confidence)) / (CLASSES - 1))[:, None], CLASSES, axis=1)
    probabilities[np.arange(len(scored)), digits] = confidence
    batch = ImageBatch(
        ids=string_array(f"row {first_row + position}" for position in positions),
        pixels=np.stack([draw_image(first_row + position) for position in positions]),
        labels=pa.array(labels, pa.int32()),
        positions=np.array(positions),
    )
    return merge([tally_batch(batch, first_row, scores_of(probabilities.astype(np.float32))), rejected])


def scores_of(probabilities: Floats) -> Scores:
    """What a model gives that has these probabilities, float32 [n, 10]."""
    return Scores(probabilities, probabilities.max(axis=1))


def draw_image(seed: int) -> Pixels:
    """A box of random level, size and position; the same for the same seed."""
    generator = np.random.default_rng(seed)
    image = np.zeros((28, 28), np.uint8)
    top, left, height, width = generator.integers(0, 14, 4)
    image[top : top + height + 1, left : left + width + 1] = generator.integers(0, 256)
    return image


def guessed(rows: int, seed: int = 0, sharpness: float = 3.0) -> tuple[Floats, Ints]:
    """Probabilities, float32 [n, 10], and labels, int64 [n], for which they are calibrated."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, CLASSES)) * sharpness
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    return probabilities.astype(np.float32), labels


def batch_of(pixels: Pixels, labels: Ints | None = None) -> ImageBatch:
    """Images as one batch. labels: int [n]."""
    column = pa.nulls(len(pixels), pa.int32()) if labels is None else pa.array(labels.astype(np.int32))
    ids = string_array(f"a.idx#{row}" for row in range(len(pixels)))
    return ImageBatch(ids, pixels, column, np.arange(len(pixels)))
