"""The rows that a report shows one by one: which are chosen, and what is stored of each.

Among equally confident rows the first of the run are chosen, so that the choice does not depend on how rows are split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from mnist_batch.documents import Count, Digit, Share
from mnist_batch.records import IMAGE_SIDE, Floats, ImageBatch, Ints, Pixels

# Images of each kind.
MAX_EXAMPLES = 40
# Rejects of each reason.
MAX_REJECT_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Example:
    """A row to show in the report."""

    row: Annotated[Count, Meta(description="The number of the row in the run, from 0.")]
    id: str
    label: Digit | None
    prediction: Digit
    confidence: Share
    pixels: Annotated[
        bytes,
        Meta(
            min_length=IMAGE_SIDE**2,
            max_length=IMAGE_SIDE**2,
            description="784 gray levels as they were scored: white ink on black, row by row.",
        ),
    ]


@dataclass(frozen=True, slots=True)
class RejectExample:
    """A rejected row to show in the report. row: its number in the run, from 0."""

    row: Count
    id: str
    detail: str


def find_lowest(keys: Floats) -> Ints:
    """Returns the indices of the lowest keys in ascending order, at most `MAX_EXAMPLES`. Ties keep their order."""
    candidates = np.arange(len(keys))
    if len(keys) > MAX_EXAMPLES:
        candidates = np.flatnonzero(keys <= np.partition(keys, MAX_EXAMPLES - 1)[MAX_EXAMPLES - 1])
    return candidates[np.argsort(keys[candidates], kind="stable")[:MAX_EXAMPLES]]


def make_example(
    batch: ImageBatch, first_row: int, index: int, pixels: Pixels, digit: int, confidence: float
) -> Example:
    """Returns the row at `index` of a batch.

    first_row: the number, in the run, of the first row that the batch was read from.
    """
    return Example(
        row=first_row + int(batch.positions[index]),
        id=batch.ids[index].as_py(),
        label=batch.labels[index].as_py(),
        prediction=int(digit),
        confidence=float(confidence),
        pixels=pixels.tobytes(),
    )
