"""What flows through the program: image batches in, predictions and rejects out.

The unit is a batch of up to a few thousand rows, never one image, so that Python stays out of the inner loop.
Nothing here knows where images come from or how they are scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import ValueRange
from mnist_batch.names import to_text

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

IMAGE_SIDE = 28
CLASSES = 10


class RejectReason(StrEnum):
    """The fixed vocabulary of `rejects/`: why a row has no prediction."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    NULL_IMAGE = "null_image"
    NOT_28X28 = "not_28x28"
    BLANK = "blank"
    TOO_SMALL = "too_small"
    NO_INK = "no_ink"
    SEVERAL_OBJECTS = "several_objects"
    PIXEL_OUT_OF_RANGE = "pixel_out_of_range"
    UNSCORABLE = "unscorable"


class Preprocessing(StrEnum):
    """What was done to an image before it was scored: nothing; inverted, and framed where needed; framed."""

    AS_IS = "as_is"
    INVERTED = "inverted"
    FRAMED = "framed"


@dataclass(frozen=True, slots=True)
class ImageError:
    """Why one image could not be brought to MNIST form; becomes a `Reject` where its row's id is known."""

    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Reject:
    """One input row that could not be scored."""

    id: str
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Consecutive rows as they are stored, image by image.

    images: n of them, read as they are iterated over: encoded, or gray [height, width], or why there is none;
    ids, labels, extra_columns: as in `ImageBatch`, n rows.
    """

    ids: pa.StringArray
    labels: pa.Int32Array
    images: Iterable[bytes | Pixels | ImageError]
    extra_columns: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class NumericRows:
    """Consecutive rows as they are stored, in one array.

    values: [n, 784], [n, height, width] or [n, height, width, 1] of any numeric type, integers being gray levels
    0..255; pixel_range: what floats mean, needed for them; image_errors: by row, what is known to be no image already.
    """

    ids: pa.StringArray
    labels: pa.Int32Array
    values: npt.NDArray[Any]
    pixel_range: ValueRange | None = None
    extra_columns: pa.Table | None = None
    image_errors: Mapping[int, ImageError] = field(default_factory=dict)


Rows = EncodedRows | NumericRows


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Consecutive input rows: `n` images in MNIST form, and the rows among them that were rejected.

    ids: string [n]; pixels: uint8 [n, 28, 28], white ink (255) on black (0); labels: int32 [n] of 0..9 or null;
    positions: int64 [n], where among the rows read each image stood, from 0, ascending; extra_columns: the input columns named by
    `--keep`, n rows, None where none was named; preprocessing: how many of the images were treated in which way.
    """

    ids: pa.StringArray
    pixels: Pixels
    labels: pa.Int32Array
    positions: Ints
    rejects: Sequence[Reject] = ()
    extra_columns: pa.Table | None = None
    preprocessing: Counter[Preprocessing] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> int:
        """Input rows this batch accounts for, rejects included."""
        return len(self.ids) + len(self.rejects)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Columns for the rows of one shard that were scored, in input order.

    ids: string [n]; labels: int32 [n] of 0..9 or null; digits: int32 [n] of 0..9;
    confidence: float32 [n] in 0..1, the probability of `digits`; probabilities: float32 [n, 10], rows sum to 1.
    """

    ids: pa.StringArray
    labels: pa.Int32Array
    digits: npt.NDArray[np.int32]
    confidence: Floats
    probabilities: Floats
    extra_columns: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.digits)


def concat_batches(batches: Sequence[ImageBatch]) -> ImageBatch:
    """One batch with the rows of all, in order. `batches` is not empty."""
    if len(batches) == 1:
        return batches[0]
    extra_columns = [b.extra_columns for b in batches if b.extra_columns is not None]
    before = np.cumsum([0, *(b.rows for b in batches)])
    return ImageBatch(
        ids=pa.concat_arrays([b.ids for b in batches]),
        pixels=np.concatenate([b.pixels for b in batches]),
        labels=pa.concat_arrays([b.labels for b in batches]),
        positions=np.concatenate([b.positions + first for b, first in zip(batches, before[:-1], strict=True)]),
        rejects=[r for b in batches for r in b.rejects],
        extra_columns=pa.concat_tables(extra_columns, promote_options="permissive") if extra_columns else None,
        preprocessing=sum((b.preprocessing for b in batches), Counter()),
    )


def null_labels(rows: int) -> pa.Int32Array:
    """`rows` labels, none of them known."""
    return pa.nulls(rows, pa.int32())


def string_array(values: Iterable[Any]) -> pa.StringArray:
    """An Arrow string column; spelled once because pyarrow guesses `null` for an empty one."""
    return pa.array(values, pa.string())


def text_array(paths: pa.BinaryArray) -> pa.StringArray:
    """Paths as they are written in ids: `to_text` each."""
    try:
        return paths.cast(pa.string())
    except pa.ArrowInvalid:  # some are no UTF-8
        return string_array(map(to_text, paths.to_pylist()))


def first_line(error: Exception) -> str:
    """What a library's error says, for an error of one line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
