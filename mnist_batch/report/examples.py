"""The rows that a report shows one by one: which are kept, and what is kept of each.

Of rows that are equally remarkable those that come first in the run are kept, so that no split changes the choice.
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
    """A row that is kept to be looked at. row: its number in the run; pixels: its 784 bytes, as they were scored."""

    row: int
    id: str
    label: int | None
    prediction: int
    confidence: float
    pixels: bytes

    def as_json(self) -> dict[str, Any]:
        """As the report shows it."""
        return asdict(self) | {"pixels": b64encode(self.pixels).decode()}

    def as_record(self) -> dict[str, Any]:
        """As a shard's record holds it, of which there may be thousands."""
        return asdict(self) | {"pixels": b64encode(zlib.compress(self.pixels)).decode()}

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Example:
        """Raises KeyError, TypeError or ValueError where `as_record` did not make it."""
        try:
            return cls(**(dict(fields) | {"pixels": zlib.decompress(b64decode(fields["pixels"], validate=True))}))
        except zlib.error as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class RejectExample:
    """A row that was rejected, by name. row: its number in the run."""

    row: int
    id: str
    detail: str


def find_lowest(keys: Floats) -> Ints:
    """Where the lowest of them stand, ascending; of equal ones the first."""
    found = np.arange(len(keys))
    if len(keys) > MAX_EXAMPLES:
        found = np.flatnonzero(keys <= np.partition(keys, MAX_EXAMPLES - 1)[MAX_EXAMPLES - 1])
    return found[np.argsort(keys[found], kind="stable")[:MAX_EXAMPLES]]


def make_example(
    batch: ImageBatch, first_row: int, index: int, pixels: Pixels, digit: int, confidence: float
) -> Example:
    """The row of a batch at `index`; first_row: the number in the run of the first row that was read for the batch."""
    return Example(
        row=first_row + int(batch.positions[index]),
        id=batch.ids[index].as_py(),
        label=batch.labels[index].as_py(),
        prediction=int(digit),
        confidence=float(confidence),
        pixels=pixels.tobytes(),
    )
