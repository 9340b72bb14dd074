"""Rows as a container stores them, encoded images or arrays of numbers, to an `ImageBatch` in MNIST form.

Every source's rows come through here, so that a corrupt row is treated alike wherever it lay: it becomes a reject under
its own id, and the rows around it keep theirs. What becomes of an image depends on that image alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import Preparation, Preprocess, ValueRange
from mnist_batch.images.mnist_form import in_mnist_form
from mnist_batch.records import (
    IMAGE_SIDE,
    EncodedRows,
    ImageBatch,
    NumericRows,
    Pixels,
    Refusal,
    Reject,
    RejectReason,
    Rows,
    Treatment,
)
from mnist_batch.timing import Stage, Stopwatch

# Encoded images held at once, so that reading and decoding can be told apart; one alone may be larger.
_READ_BYTES = 1 << 22

if TYPE_CHECKING:
    from mnist_batch.images.framing.frame import Framed


def prepared(rows: Rows, preparation: Preparation, watch: Stopwatch | None = None) -> ImageBatch:
    """The rows as a batch in MNIST form, in order; what cannot be brought to it is a reject."""
    watch = watch or Stopwatch()
    with watch.stage(Stage.DECODE):
        if isinstance(rows, NumericRows):
            pixels, others = _numeric_grid(rows, preparation, watch)
        else:
            pixels, others = _decoded_grid(rows, preparation, watch)
    with watch.stage(Stage.FRAME):
        return _framed(rows, pixels, others, preparation)


def _framed(rows: Rows, pixels: Pixels, others: dict[int, Framed | Refusal], preparation: Preparation) -> ImageBatch:
    on_grid = np.ones(len(pixels), bool)
    on_grid[list(others)] = False
    as_is = _as_is(pixels, on_grid, preparation.mode)
    if not as_is.all():
        pixels = np.array(pixels)  # what was read may not be written to
        others |= _brought_to_form(pixels, np.flatnonzero(on_grid & ~as_is), preparation.mode)
    return _batch(rows, pixels, int(as_is.sum()), others)


def gray_images(rows: Rows) -> Iterable[Pixels | Refusal] | Pixels:
    """Each row's image, uint8 [height, width], or why there is none; one array where all are of one size."""
    if isinstance(rows, NumericRows):
        return _gray_numbers(rows)
    return _decoded(rows)


def _decoded(rows: EncodedRows) -> Iterator[Pixels | Refusal]:
    for image in rows.images:
        yield _decode(image) if isinstance(image, bytes) else image


def _gray_numbers(rows: NumericRows) -> Iterable[Pixels | Refusal] | Pixels:
    values = rows.values
    if values.ndim == 2 and values.shape[1] != IMAGE_SIDE**2:
        detail = f"a line of {values.shape[1]} numbers, whose height and width nobody knows"
        return (Refusal(RejectReason.NOT_28X28, detail) for _ in rows.ids)
    images = values.reshape(-1, IMAGE_SIDE, IMAGE_SIDE) if values.ndim == 2 else values
    images = images[..., 0] if images.ndim == 4 else images
    pixels, valid = gray_levels(images, rows.pixel_range)
    if valid.all() and not rows.refusals:
        return pixels
    return _checked(rows, images, pixels, valid)


def _checked(
    rows: NumericRows, images: npt.NDArray[Any], pixels: Pixels, valid: npt.NDArray[np.bool_]
) -> Iterator[Pixels | Refusal]:
    for row in range(len(rows.ids)):
        if row in rows.refusals:
            yield rows.refusals[row]
        elif not valid[row]:
            low, high = images[row].min(), images[row].max()
            yield Refusal(RejectReason.PIXEL_OUT_OF_RANGE, f"pixels from {low} to {high}")
        else:
            yield pixels[row]


def gray_levels(images: npt.NDArray[Any], pixel_range: ValueRange | None) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """`images` [n, h, w] as uint8, rounded to the nearest, and bool [n]: which lie within the range throughout."""
    if images.dtype == np.uint8:
        return images, np.ones(len(images), bool)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not valid is computed all the same, and not used
        levels = np.rint(_scaled(images, pixel_range)) if images.dtype.kind == "f" else images
        valid = np.asarray(((levels >= 0) & (levels <= 255)).all(axis=(1, 2)))  # NaN compares false: not valid
        return levels.astype(np.uint8), valid


def _scaled(images: npt.NDArray[Any], pixel_range: ValueRange | None) -> npt.NDArray[Any]:
    """Floats of any range as floats in 0..255."""
    match pixel_range:
        case ValueRange.UNIT:
            return images.astype(np.float64) * 255
        case ValueRange.SYMMETRIC:
            return (images.astype(np.float64) + 1) * 127.5
        case ValueRange.BYTE:
            return images
    raise TypeError("float pixels reached the batch without a range")


def _numeric_grid(
    rows: NumericRows, preparation: Preparation, watch: Stopwatch
) -> tuple[Pixels, dict[int, Framed | Refusal]]:
    """Images of 28x28 as one array, [n, 28, 28], and by row what became of the others."""
    images = _gray_numbers(rows)
    if isinstance(images, np.ndarray) and images.shape[1:] == (IMAGE_SIDE, IMAGE_SIDE):
        return images.transpose(0, 2, 1) if preparation.transpose else images, {}
    grid = _Grid(len(rows.ids), preparation, watch)
    for row, image in enumerate(images):
        grid.put(row, image)
    return grid.pixels, grid.others


def _decoded_grid(
    rows: EncodedRows, preparation: Preparation, watch: Stopwatch
) -> tuple[Pixels, dict[int, Framed | Refusal]]:
    """The same for encoded images. The plainest of them, which often are all, are decoded together."""
    from mnist_batch.images.png import decoded

    grid = _Grid(len(rows.ids), preparation, watch)
    for first, images in _read(rows.images, watch):
        pixels, places = decoded([image if isinstance(image, bytes) else b"" for image in images])
        grid.pixels[first + places] = pixels.transpose(0, 2, 1) if preparation.transpose else pixels
        others = np.ones(len(images), bool)
        others[places] = False
        for place in np.flatnonzero(others).tolist():
            image = images[place]
            grid.put(first + place, _decode(image) if isinstance(image, bytes) else image)
    return grid.pixels, grid.others


def _decode(image: bytes) -> Pixels | Refusal:
    # Not at the top: runs on plain numbers and plain PNGs do without OpenCV, which takes 0.3 s to import.
    from mnist_batch.images.decode import decode

    return decode(image)


def _read(
    images: Iterable[bytes | Pixels | Refusal], watch: Stopwatch
) -> Iterator[tuple[int, list[bytes | Pixels | Refusal]]]:
    """The images as they are read, some at a time, each time with the row of the first."""
    coming, first = iter(images), 0
    while True:
        some: list[bytes | Pixels | Refusal] = []
        size = 0
        with watch.stage(Stage.READ):
            for image in coming:
                some.append(image)
                size += len(image) if isinstance(image, bytes) else 0
                if size > _READ_BYTES:
                    break
        if not some:
            return
        yield first, some
        first += len(some)


class _Grid:
    """Gathers images. pixels: [n, 28, 28], those of that size; others: by row, what became of the others.

    The others are framed at once, for they may be large.
    """

    def __init__(self, count: int, preparation: Preparation, watch: Stopwatch) -> None:
        self.pixels: Pixels = np.zeros((count, IMAGE_SIDE, IMAGE_SIDE), np.uint8)
        self.others: dict[int, Framed | Refusal] = {}
        self._preparation = preparation
        self._watch = watch

    def put(self, row: int, image: Pixels | Refusal) -> None:
        if isinstance(image, Refusal):
            self.others[row] = image
            return
        gray = image.T if self._preparation.transpose else image
        if gray.shape == (IMAGE_SIDE, IMAGE_SIDE):
            self.pixels[row] = gray
        elif self._preparation.mode is Preprocess.NONE:
            self.others[row] = Refusal(RejectReason.NOT_28X28, f"{gray.shape[1]}x{gray.shape[0]}")
        else:
            with self._watch.stage(Stage.FRAME):
                self.others[row] = _frame(gray)


def _as_is(pixels: Pixels, on_grid: npt.NDArray[np.bool_], mode: Preprocess) -> npt.NDArray[np.bool_]:
    """bool [n]: which images are scored as they are."""
    match mode:
        case Preprocess.NONE:
            return on_grid
        case Preprocess.FRAME:
            return np.zeros(len(pixels), bool)
    return on_grid & in_mnist_form(pixels)


def _brought_to_form(pixels: Pixels, places: npt.NDArray[np.int64], mode: Preprocess) -> dict[int, Framed | Refusal]:
    """What becomes of the images of 28x28 at these places, which are not in MNIST form."""
    from mnist_batch.images.framing.frame import Framed

    inverse = ~pixels[places]
    # MNIST's images as a negative: the way back is exact.
    negative = in_mnist_form(inverse) if mode is Preprocess.AUTO else np.zeros(len(places), bool)
    return {
        int(place): Framed(inverse[i], inverted=True) if negative[i] else _frame(pixels[place])
        for i, place in enumerate(places)
    }


def _frame(gray: Pixels) -> Framed | Refusal:
    from mnist_batch.images.framing.frame import frame

    return frame(np.ascontiguousarray(gray))


def _batch(rows: Rows, pixels: Pixels, as_is: int, others: Mapping[int, Framed | Refusal]) -> ImageBatch:
    treatments = Counter({Treatment.AS_IS: as_is})
    good = np.ones(len(pixels), bool)
    rejects: list[Reject] = []
    for row, outcome in sorted(others.items()):
        if isinstance(outcome, Refusal):
            good[row] = False
            rejects.append(Reject(rows.ids[row].as_py(), outcome.reason, outcome.detail))
        else:
            pixels[row] = outcome.pixels
            treatments[Treatment.INVERTED if outcome.inverted else Treatment.FRAMED] += 1
    if not rejects:
        return ImageBatch(rows.ids, pixels, rows.labels, np.arange(len(pixels)), (), rows.kept, treatments)
    mask = pa.array(good)
    kept = None if rows.kept is None else rows.kept.filter(mask)
    ids, labels = rows.ids.filter(mask), rows.labels.filter(mask)
    return ImageBatch(ids, pixels[good], labels, np.flatnonzero(good), rejects, kept, treatments)
