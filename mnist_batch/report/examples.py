"""The rows that a report shows one by one: which are chosen, and what is stored of each.

Among equally confident rows the first of the run are chosen, so that the choice does not depend on how rows are split.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mnist_batch.records import Floats, ImageBatch, Ints, Pixels

# Images of each kind.
MAX_EXAMPLES = 40
# Rejects of each reason.
MAX_REJECT_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Example:
    """A row to show in the report.

    row: its number in the run, from 0.
    pixels: its 784 bytes as they were scored.
    """

    row: int
    id: str
    label: int | None
    prediction: int
    confidence: float
    pixels: bytes

    def as_json(self) -> dict[str, Any]:
        """The form in `report.json`, with plain pixels."""
        return asdict(self) | {"pixels": b64encode(self.pixels).decode()}

    def as_record(self) -> dict[str, Any]:
        """The form in a shard record, with compressed pixels, because there may be thousands of records."""
        return asdict(self) | {"pixels": b64encode(zlib.compress(self.pixels)).decode()}

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Example:
        """Reads what `as_record` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        try:
            return cls(**(dict(fields) | {"pixels": zlib.decompress(b64decode(fields["pixels"], validate=True))}))
        except zlib.error as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class RejectExample:
    """A rejected row to show in the report. row: its number in the run, from 0."""

    row: int
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
