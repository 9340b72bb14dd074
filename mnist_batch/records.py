"""The records that flow through a run: rows, image batches, predictions and rejects.

The unit is a batch of up to a few thousand rows, never a single image, which keeps Python out of the inner loop.
This module does not know where images come from or how they are scored.
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

from mnist_batch.config import PixelRange
from mnist_batch.names import to_text

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

IMAGE_SIDE = 28
CLASSES = 10


class RejectReason(StrEnum):
    """Why a row has no prediction: the fixed vocabulary of `rejects/`."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    SEVERAL_PAGES = "several_pages"
    NULL_IMAGE = "null_image"
    NOT_28X28 = "not_28x28"
    BLANK = "blank"
    TOO_SMALL = "too_small"
    NO_INK = "no_ink"
    SEVERAL_OBJECTS = "several_objects"
    PIXEL_OUT_OF_RANGE = "pixel_out_of_range"
    UNSCORABLE = "unscorable"


class Preprocessing(StrEnum):
    """What was done to an image before it was scored.

    AS_IS: nothing.
    INVERTED: dark ink was made light, and the image was framed if that was still needed.
    FRAMED: the image was framed.
    """

    AS_IS = "as_is"
    INVERTED = "inverted"
    FRAMED = "framed"


@dataclass(frozen=True, slots=True)
class ImageError:
    """Why one image cannot be scored. It becomes a `Reject` as soon as the id of its row is known."""

    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Reject:
    """One input row that could not be scored."""

    id: str
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class EncodedPage:
    """One page of a TIFF. content: the whole file; page: the number of its directory, counted from 0."""

    content: bytes
    page: int


# An image as a container stores it: encoded, gray pixels [height, width], or the reason there is none.
StoredImage = bytes | EncodedPage | Pixels | ImageError


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Consecutive rows of a source that stores images one by one.

    images: n images, read while iterating.
    ids, labels, extra_columns: as in `ImageBatch`, n rows.
    """

    ids: pa.StringArray
    labels: pa.Int32Array
    images: Iterable[StoredImage]
    extra_columns: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class NumericRows:
    """Consecutive rows of a source that stores images in one array.

    values: [n, 784], [n, height, width] or [n, height, width, 1] of any numeric type. Integers are gray levels 0..255.
    pixel_range: the range of float values, required for floats.
    image_errors: rows already known not to be images, by row number.
    """

    ids: pa.StringArray
    labels: pa.Int32Array
    values: npt.NDArray[Any]
    pixel_range: PixelRange | None = None
    extra_columns: pa.Table | None = None
    image_errors: Mapping[int, ImageError] = field(default_factory=dict)


Rows = EncodedRows | NumericRows


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Consecutive input rows: `n` images in MNIST form, and the rejected rows among them.

    ids: string [n].
    pixels: uint8 [n, 28, 28], white ink (255) on black (0).
    labels: int32 [n] of 0..9 or null.
    positions: int64 [n], ascending: the position of each image among the rows that were read, counted from 0.
    extra_columns: the input columns named by `--keep`, n rows; None if no column was named.
    preprocessing: number of images by what was done to them.
    animations: number of images with more frames, of which the first was taken.
    """

    ids: pa.StringArray
    pixels: Pixels
    labels: pa.Int32Array
    positions: Ints
    rejects: Sequence[Reject] = ()
    extra_columns: pa.Table | None = None
    preprocessing: Counter[Preprocessing] = field(default_factory=Counter)
    animations: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> int:
        """Number of input rows in this batch, rejects included."""
        return len(self.ids) + len(self.rejects)


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model gives for `n` images.

    probabilities: float32 [n, 10], rows sum to 1.
    confidence: float32 [n] in 0..1, the highest of the probabilities.
    digit_score: float32 [n] in 0..1, how much the image looks like a digit at all; None if the model does not give it.
    A row that the model cannot score is not finite in at least one of them.
    """

    probabilities: Floats
    confidence: Floats
    digit_score: Floats | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, rows: slice | npt.NDArray[np.bool_]) -> Scores:
        """The scores of some rows."""
        digit_score = None if self.digit_score is None else self.digit_score[rows]
        return Scores(self.probabilities[rows], self.confidence[rows], digit_score)

    def put(self, first: int, scores: Scores) -> None:
        """Writes `scores` over the rows from `first` on."""
        rows = slice(first, first + len(scores))
        self.probabilities[rows], self.confidence[rows] = scores.probabilities, scores.confidence
        if self.digit_score is not None and scores.digit_score is not None:
            self.digit_score[rows] = scores.digit_score

    def finite(self) -> npt.NDArray[np.bool_]:
        """Which rows were scored: bool [n]."""
        finite = np.isfinite(self.probabilities).all(axis=1) & np.isfinite(self.confidence)
        return finite if self.digit_score is None else finite & np.isfinite(self.digit_score)


def unscored(rows: int, digit_score: bool = False) -> Scores:
    """Scores of rows that were not scored: NaN. digit_score: whether there is one."""
    probabilities = np.full((rows, CLASSES), np.nan, np.float32)
    return Scores(probabilities, probabilities[:, 0].copy(), probabilities[:, 0].copy() if digit_score else None)


def concat_scores(scores: Sequence[Scores]) -> Scores:
    """Joins scores in order. `scores` must not be empty, and all must have a digit score or none."""
    digit_scores = [s.digit_score for s in scores if s.digit_score is not None]
    return Scores(
        np.concatenate([s.probabilities for s in scores]),
        np.concatenate([s.confidence for s in scores]),
        np.concatenate(digit_scores) if digit_scores else None,
    )


@dataclass(frozen=True, slots=True)
class Predictions:
    """The scored rows of one shard as columns, in input order.

    ids: string [n].
    labels: int32 [n] of 0..9 or null.
    digits: int32 [n] of 0..9, the predictions.
    extra_columns: as in `ImageBatch`.
    """

    ids: pa.StringArray
    labels: pa.Int32Array
    digits: npt.NDArray[np.int32]
    scores: Scores
    extra_columns: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.digits)


def concat_batches(batches: Sequence[ImageBatch]) -> ImageBatch:
    """Joins batches in order. `batches` must not be empty."""
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
        animations=sum(b.animations for b in batches),
    )


def null_labels(rows: int) -> pa.Int32Array:
    """`rows` unknown labels."""
    return pa.nulls(rows, pa.int32())


def string_array(values: Iterable[Any]) -> pa.StringArray:
    """An Arrow string array. The type is given because pyarrow infers `null` for an empty list."""
    return pa.array(values, pa.string())


def text_array(paths: pa.BinaryArray) -> pa.StringArray:
    """Converts paths to the text used in ids, as `names.to_text` does for one path."""
    try:
        return paths.cast(pa.string())
    except pa.ArrowInvalid:  # some paths are not UTF-8
        return string_array(map(to_text, paths.to_pylist()))


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type if there is no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
