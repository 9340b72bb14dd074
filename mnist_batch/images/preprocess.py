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

from mnist_batch.config import Preprocess, PreprocessOptions, ValueRange
from mnist_batch.images.mnist_form import is_mnist_form
from mnist_batch.records import (
    IMAGE_SIDE,
    EncodedRows,
    ImageBatch,
    ImageError,
    NumericRows,
    Pixels,
    Preprocessing,
    Reject,
    RejectReason,
    Rows,
)
from mnist_batch.timing import Stage, Stopwatch

# Encoded images held at once, so that reading and decoding can be told apart; one alone may be larger.
_READ_BYTES = 1 << 22

if TYPE_CHECKING:
    from mnist_batch.images.framing.frame import Framed


def preprocess(rows: Rows, preprocess_options: PreprocessOptions, watch: Stopwatch | None = None) -> ImageBatch:
    """The rows as a batch in MNIST form, in order; what cannot be brought to it is a reject."""
    watch = watch or Stopwatch()
    with watch.stage(Stage.DECODE):
        if isinstance(rows, NumericRows):
            pixels, others = _read_numbers(rows, preprocess_options, watch)
        else:
            pixels, others = _decode_images(rows, preprocess_options, watch)
    with watch.stage(Stage.FRAME):
        return _frame_batch(rows, pixels, others, preprocess_options)


def _frame_batch(
    rows: Rows, pixels: Pixels, others: dict[int, Framed | ImageError], preprocess_options: PreprocessOptions
) -> ImageBatch:
    on_grid = np.ones(len(pixels), bool)
    on_grid[list(others)] = False
    as_is = _select_as_is(pixels, on_grid, preprocess_options.mode)
    if not as_is.all():
        pixels = np.array(pixels)  # what was read may not be written to
        others |= _frame_images(pixels, np.flatnonzero(on_grid & ~as_is), preprocess_options.mode)
    return _build_batch(rows, pixels, int(as_is.sum()), others)


def decode_to_gray(rows: Rows) -> Iterable[Pixels | ImageError] | Pixels:
    """Each row's image, uint8 [height, width], or why there is none; one array where all are of one size."""
    if isinstance(rows, NumericRows):
        return _numbers_to_gray(rows)
    return _decode_rows(rows)


def _decode_rows(rows: EncodedRows) -> Iterator[Pixels | ImageError]:
    for image in rows.images:
        yield _decode(image) if isinstance(image, bytes) else image


def _numbers_to_gray(rows: NumericRows) -> Iterable[Pixels | ImageError] | Pixels:
    values = rows.values
    if values.ndim == 2 and values.shape[1] != IMAGE_SIDE**2:
        detail = f"a line of {values.shape[1]} numbers, whose height and width nobody knows"
        return (ImageError(RejectReason.NOT_28X28, detail) for _ in rows.ids)
    images = values.reshape(-1, IMAGE_SIDE, IMAGE_SIDE) if values.ndim == 2 else values
    images = images[..., 0] if images.ndim == 4 else images
    pixels, valid = to_gray_levels(images, rows.pixel_range)
    if valid.all() and not rows.image_errors:
        return pixels
    return _check_range(rows, images, pixels, valid)


def _check_range(
    rows: NumericRows, images: npt.NDArray[Any], pixels: Pixels, valid: npt.NDArray[np.bool_]
) -> Iterator[Pixels | ImageError]:
    for row in range(len(rows.ids)):
        if row in rows.image_errors:
            yield rows.image_errors[row]
        elif not valid[row]:
            low, high = images[row].min(), images[row].max()
            yield ImageError(RejectReason.PIXEL_OUT_OF_RANGE, f"pixels from {low} to {high}")
        else:
            yield pixels[row]


def to_gray_levels(images: npt.NDArray[Any], pixel_range: ValueRange | None) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """`images` [n, h, w] as uint8, rounded to the nearest, and bool [n]: which lie within the range throughout."""
    if images.dtype == np.uint8:
        return images, np.ones(len(images), bool)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not valid is computed all the same, and not used
        levels = np.rint(_scale_to_bytes(images, pixel_range)) if images.dtype.kind == "f" else images
        valid = np.asarray(((levels >= 0) & (levels <= 255)).all(axis=(1, 2)))  # NaN compares false: not valid
        return levels.astype(np.uint8), valid


def _scale_to_bytes(images: npt.NDArray[Any], pixel_range: ValueRange | None) -> npt.NDArray[Any]:
    """Floats of any range as floats in 0..255."""
    match pixel_range:
        case ValueRange.UNIT:
            return images.astype(np.float64) * 255
        case ValueRange.SYMMETRIC:
            return (images.astype(np.float64) + 1) * 127.5
        case ValueRange.BYTE:
            return images
    raise TypeError("float pixels reached the batch without a range")


def _read_numbers(
    rows: NumericRows, preprocess_options: PreprocessOptions, watch: Stopwatch
) -> tuple[Pixels, dict[int, Framed | ImageError]]:
    """Images of 28x28 as one array, [n, 28, 28], and by row what became of the others."""
    images = _numbers_to_gray(rows)
    if isinstance(images, np.ndarray) and images.shape[1:] == (IMAGE_SIDE, IMAGE_SIDE):
        return images.transpose(0, 2, 1) if preprocess_options.transpose else images, {}
    grid = _ImageGrid(len(rows.ids), preprocess_options, watch)
    for row, image in enumerate(images):
        grid.put(row, image)
    return grid.pixels, grid.others


def _decode_images(
    rows: EncodedRows, preprocess_options: PreprocessOptions, watch: Stopwatch
) -> tuple[Pixels, dict[int, Framed | ImageError]]:
    """The same for encoded images. The plainest of them, which often are all, are decoded together."""
    from mnist_batch.images.png import decode_plain

    grid = _ImageGrid(len(rows.ids), preprocess_options, watch)
    for first, images in _read_pieces(rows.images, watch):
        pixels, positions = decode_plain([image if isinstance(image, bytes) else b"" for image in images])
        grid.pixels[first + positions] = pixels.transpose(0, 2, 1) if preprocess_options.transpose else pixels
        others = np.ones(len(images), bool)
        others[positions] = False
        for position in np.flatnonzero(others).tolist():
            image = images[position]
            grid.put(first + position, _decode(image) if isinstance(image, bytes) else image)
    return grid.pixels, grid.others


def _decode(image: bytes) -> Pixels | ImageError:
    # Not at the top: runs on plain numbers and plain PNGs do without OpenCV, which takes 0.3 s to import.
    from mnist_batch.images.decode import decode

    return decode(image)


def _read_pieces(
    images: Iterable[bytes | Pixels | ImageError], watch: Stopwatch
) -> Iterator[tuple[int, list[bytes | Pixels | ImageError]]]:
    """The images as they are read, some at a time, each time with the row of the first."""
    coming, first = iter(images), 0
    while True:
        some: list[bytes | Pixels | ImageError] = []
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


class _ImageGrid:
    """Gathers images. pixels: [n, 28, 28], those of that size; others: by row, what became of the others.

    The others are framed at once, for they may be large.
    """

    def __init__(self, count: int, preprocess_options: PreprocessOptions, watch: Stopwatch) -> None:
        self.pixels: Pixels = np.zeros((count, IMAGE_SIDE, IMAGE_SIDE), np.uint8)
        self.others: dict[int, Framed | ImageError] = {}
        self._preparation = preprocess_options
        self._watch = watch

    def put(self, row: int, image: Pixels | ImageError) -> None:
        if isinstance(image, ImageError):
            self.others[row] = image
            return
        gray = image.T if self._preparation.transpose else image
        if gray.shape == (IMAGE_SIDE, IMAGE_SIDE):
            self.pixels[row] = gray
        elif self._preparation.mode is Preprocess.NONE:
            self.others[row] = ImageError(RejectReason.NOT_28X28, f"{gray.shape[1]}x{gray.shape[0]}")
        else:
            with self._watch.stage(Stage.FRAME):
                self.others[row] = _frame(gray)


def _select_as_is(pixels: Pixels, on_grid: npt.NDArray[np.bool_], mode: Preprocess) -> npt.NDArray[np.bool_]:
    """bool [n]: which images are scored as they are."""
    match mode:
        case Preprocess.NONE:
            return on_grid
        case Preprocess.FRAME:
            return np.zeros(len(pixels), bool)
    return on_grid & is_mnist_form(pixels)


def _frame_images(pixels: Pixels, positions: npt.NDArray[np.int64], mode: Preprocess) -> dict[int, Framed | ImageError]:
    """What becomes of the images of 28x28 at these places, which are not in MNIST form."""
    from mnist_batch.images.framing.frame import Framed

    inverse = ~pixels[positions]
    # MNIST's images as a negative: the way back is exact.
    negative = is_mnist_form(inverse) if mode is Preprocess.AUTO else np.zeros(len(positions), bool)
    return {
        int(position): Framed(inverse[i], inverted=True) if negative[i] else _frame(pixels[position])
        for i, position in enumerate(positions)
    }


def _frame(gray: Pixels) -> Framed | ImageError:
    from mnist_batch.images.framing.frame import frame

    return frame(np.ascontiguousarray(gray))


def _build_batch(rows: Rows, pixels: Pixels, as_is: int, others: Mapping[int, Framed | ImageError]) -> ImageBatch:
    preprocessing = Counter({Preprocessing.AS_IS: as_is})
    good = np.ones(len(pixels), bool)
    rejects: list[Reject] = []
    for row, outcome in sorted(others.items()):
        if isinstance(outcome, ImageError):
            good[row] = False
            rejects.append(Reject(rows.ids[row].as_py(), outcome.reason, outcome.detail))
        else:
            pixels[row] = outcome.pixels
            preprocessing[Preprocessing.INVERTED if outcome.inverted else Preprocessing.FRAMED] += 1
    if not rejects:
        return ImageBatch(rows.ids, pixels, rows.labels, np.arange(len(pixels)), (), rows.extra_columns, preprocessing)
    mask = pa.array(good)
    extra_columns = None if rows.extra_columns is None else rows.extra_columns.filter(mask)
    ids, labels = rows.ids.filter(mask), rows.labels.filter(mask)
    return ImageBatch(ids, pixels[good], labels, np.flatnonzero(good), rejects, extra_columns, preprocessing)
