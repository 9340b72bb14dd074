"""Turns rows as a container stores them, encoded images or arrays of numbers, into an `ImageBatch` in MNIST form.

The rows of every source pass through here, so a corrupt row is handled the same way in every format: it becomes a
reject under its own id, and the rows around it keep theirs. The result for an image depends on that image alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mnist_batch.config import PixelRange, Preprocess, PreprocessOptions
from mnist_batch.images.header import has_more_frames
from mnist_batch.images.mnist_form import is_mnist_form
from mnist_batch.records import (
    IMAGE_SIDE,
    EncodedPage,
    EncodedRows,
    ImageBatch,
    ImageError,
    NumericRows,
    Pixels,
    Preprocessing,
    Reject,
    RejectReason,
    Rows,
    StoredImage,
)
from mnist_batch.timing import Stage, Stopwatch

if TYPE_CHECKING:
    from mnist_batch.images.framing.frame import Framed

    # By row: what became of an image that is not scored as it is.
    Outcomes = dict[int, Framed | ImageError]

# Encoded images are read in chunks of this size, so that reading and decoding are timed apart. One image may be larger.
_CHUNK_BYTES = 1 << 22


def preprocess(rows: Rows, preprocess_options: PreprocessOptions, watch: Stopwatch | None = None) -> ImageBatch:
    """Returns the rows as a batch in MNIST form, in order. Images that cannot be brought to it become rejects."""
    watch = watch or Stopwatch()
    with watch.stage(Stage.DECODE):
        if isinstance(rows, NumericRows):
            pixels, outcomes, animations = *_read_numbers(rows, preprocess_options, watch), 0
        else:
            pixels, outcomes, animations = _decode_images(rows, preprocess_options, watch)
    with watch.stage(Stage.FRAME):
        on_grid = np.ones(len(pixels), bool)
        on_grid[list(outcomes)] = False
        as_is = _select_as_is(pixels, on_grid, preprocess_options.preprocess)
        if not as_is.all():
            pixels = np.array(pixels)  # the array from the reader may be read-only
            outcomes |= _frame_images(pixels, np.flatnonzero(on_grid & ~as_is), preprocess_options.preprocess)
        return _build_batch(rows, pixels, int(as_is.sum()), outcomes, animations)


def decode_to_gray(rows: Rows) -> Iterable[Pixels | ImageError] | Pixels:
    """Each row's image, uint8 [height, width], or its error; a single array if all images have the same size."""
    if isinstance(rows, NumericRows):
        return _numbers_to_gray(rows)
    return map(_decode, rows.images)


def _numbers_to_gray(rows: NumericRows) -> Iterable[Pixels | ImageError] | Pixels:
    values = rows.values
    if values.ndim == 2 and values.shape[1] != IMAGE_SIDE**2:
        detail = f"a row of {values.shape[1]} numbers, whose height and width are unknown"
        return (ImageError(RejectReason.NOT_28X28, detail) for _ in rows.ids)
    images = values.reshape(-1, IMAGE_SIDE, IMAGE_SIDE) if values.ndim == 2 else values
    images = images[..., 0] if images.ndim == 4 else images
    pixels, valid = to_gray_levels(images, rows.pixel_range)
    if valid.all() and not rows.image_errors:
        return pixels
    return _check_rows(rows, images, pixels, valid)


def _check_rows(
    rows: NumericRows, images: npt.NDArray[Any], pixels: Pixels, valid: npt.NDArray[np.bool_]
) -> Iterator[Pixels | ImageError]:
    """Each row's pixels, or the error from the source or for values out of range."""
    for row in range(len(rows.ids)):
        if row in rows.image_errors:
            yield rows.image_errors[row]
        elif not valid[row]:
            low, high = images[row].min(), images[row].max()
            yield ImageError(RejectReason.PIXEL_OUT_OF_RANGE, f"pixels from {low} to {high}")
        else:
            yield pixels[row]


def to_gray_levels(images: npt.NDArray[Any], pixel_range: PixelRange | None) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Converts `images` [n, h, w] to uint8, rounded to the nearest level.

    Returns the levels, and bool [n]: which images have all values in range. The levels of the others are meaningless.
    Raises TypeError for floats without a range.
    """
    if images.dtype == np.uint8:
        return images, np.ones(len(images), bool)
    with np.errstate(invalid="ignore", over="ignore"):  # invalid images are computed too, but not used
        levels = np.rint(_scale_to_255(images, pixel_range)) if images.dtype.kind == "f" else images
        valid = np.asarray(((levels >= 0) & (levels <= 255)).all(axis=(1, 2)))  # comparisons with NaN are false
        return levels.astype(np.uint8), valid


def _scale_to_255(images: npt.NDArray[Any], pixel_range: PixelRange | None) -> npt.NDArray[Any]:
    """Scales floats of the given range to 0..255."""
    match pixel_range:
        case PixelRange.UNIT:
            return images.astype(np.float64) * 255
        case PixelRange.SYMMETRIC:
            return (images.astype(np.float64) + 1) * 127.5
        case PixelRange.BYTE:
            return images
    raise TypeError("float pixels reached the batch without a range")


def _read_numbers(
    rows: NumericRows, preprocess_options: PreprocessOptions, watch: Stopwatch
) -> tuple[Pixels, Outcomes]:
    """The images of 28x28 in one array, [n, 28, 28], and the outcomes of the others."""
    images = _numbers_to_gray(rows)
    if isinstance(images, np.ndarray) and images.shape[1:] == (IMAGE_SIDE, IMAGE_SIDE):
        return images.transpose(0, 2, 1) if preprocess_options.transpose else images, {}
    grid = _ImageGrid(len(rows.ids), preprocess_options, watch)
    for row, image in enumerate(images):
        grid.put(row, image)
    return grid.pixels, grid.outcomes


def _decode_images(
    rows: EncodedRows, preprocess_options: PreprocessOptions, watch: Stopwatch
) -> tuple[Pixels, Outcomes, int]:
    """As `_read_numbers`, for encoded images. Also returns the number of animations.

    Plain PNGs, which are often all of them, are decoded together.
    """
    from mnist_batch.images.png import decode_plain

    grid, animations = _ImageGrid(len(rows.ids), preprocess_options, watch), 0
    for first, images in _read_chunks(rows.images, watch):
        pixels, positions = decode_plain([image if isinstance(image, bytes) else b"" for image in images])
        grid.pixels[first + positions] = pixels.transpose(0, 2, 1) if preprocess_options.transpose else pixels
        others = np.ones(len(images), bool)
        others[positions] = False
        for position in np.flatnonzero(others).tolist():
            image = images[position]
            animations += isinstance(image, bytes) and has_more_frames(image)
            grid.put(first + position, _decode(image))
    return grid.pixels, grid.outcomes, animations


def _decode(image: StoredImage) -> Pixels | ImageError:
    if isinstance(image, (np.ndarray, ImageError)):
        return image
    # Imported here because runs on plain numbers or plain PNGs do not need OpenCV, which takes 0.3 s to import.
    from mnist_batch.images.decode import decode

    return decode(image)


def _read_chunks(images: Iterable[StoredImage], watch: Stopwatch) -> Iterator[tuple[int, list[StoredImage]]]:
    """Reads the images in chunks of about `_CHUNK_BYTES`, each with the row of its first image."""
    unread, first = iter(images), 0
    while True:
        chunk: list[StoredImage] = []
        size = 0
        with watch.stage(Stage.READ):
            for image in unread:
                chunk.append(image)
                content = image.content if isinstance(image, EncodedPage) else image
                size += len(content) if isinstance(content, bytes) else 0
                if size > _CHUNK_BYTES:
                    break
        if not chunk:
            return
        yield first, chunk
        first += len(chunk)


class _ImageGrid:
    """Collects images by row.

    pixels: [n, 28, 28], the images of that size.
    outcomes: the framed images of other sizes, and the errors. Framed at once, because the images may be large.
    """

    def __init__(self, count: int, preprocess_options: PreprocessOptions, watch: Stopwatch) -> None:
        self.pixels: Pixels = np.zeros((count, IMAGE_SIDE, IMAGE_SIDE), np.uint8)
        self.outcomes: Outcomes = {}
        self._options = preprocess_options
        self._watch = watch

    def put(self, row: int, image: Pixels | ImageError) -> None:
        if isinstance(image, ImageError):
            self.outcomes[row] = image
            return
        gray = image.T if self._options.transpose else image
        if gray.shape == (IMAGE_SIDE, IMAGE_SIDE):
            self.pixels[row] = gray
        elif self._options.preprocess is Preprocess.NONE:
            self.outcomes[row] = ImageError(RejectReason.NOT_28X28, f"{gray.shape[1]}x{gray.shape[0]}")
        else:
            with self._watch.stage(Stage.FRAME):
                self.outcomes[row] = _frame(gray)


def _select_as_is(pixels: Pixels, on_grid: npt.NDArray[np.bool_], mode: Preprocess) -> npt.NDArray[np.bool_]:
    """bool [n]: which images are scored as they are."""
    match mode:
        case Preprocess.NONE:
            return on_grid
        case Preprocess.FRAME:
            return np.zeros(len(pixels), bool)
    return on_grid & is_mnist_form(pixels)


def _frame_images(pixels: Pixels, positions: npt.NDArray[np.int64], mode: Preprocess) -> Outcomes:
    """Inverts or frames the images of 28x28 at these positions, which are not scored as they are."""
    from mnist_batch.images.framing.frame import Framed

    inverse = ~pixels[positions]
    # The negative of an image in MNIST form is only inverted, which restores it exactly.
    negative = is_mnist_form(inverse) if mode is Preprocess.AUTO else np.zeros(len(positions), bool)
    return {
        int(position): Framed(inverse[i], inverted=True) if negative[i] else _frame(pixels[position])
        for i, position in enumerate(positions)
    }


def _frame(gray: Pixels) -> Framed | ImageError:
    from mnist_batch.images.framing.frame import frame

    return frame(np.ascontiguousarray(gray))


def _build_batch(rows: Rows, pixels: Pixels, as_is: int, outcomes: Outcomes, animations: int) -> ImageBatch:
    """Combines images and outcomes into a batch.

    as_is: how many images are scored as they are. animations: as in `ImageBatch`.
    """
    preprocessing = Counter({Preprocessing.AS_IS: as_is})
    good = np.ones(len(pixels), bool)
    rejects: list[Reject] = []
    for row, outcome in sorted(outcomes.items()):
        if isinstance(outcome, ImageError):
            good[row] = False
            rejects.append(Reject(rows.ids[row].as_py(), outcome.reason, outcome.detail))
        else:
            pixels[row] = outcome.pixels
            preprocessing[Preprocessing.INVERTED if outcome.inverted else Preprocessing.FRAMED] += 1
    if not rejects:
        return ImageBatch(
            rows.ids, pixels, rows.labels, np.arange(len(pixels)), (), rows.extra_columns, preprocessing, animations
        )
    mask = pa.array(good)
    extra_columns = None if rows.extra_columns is None else rows.extra_columns.filter(mask)
    ids, labels = rows.ids.filter(mask), rows.labels.filter(mask)
    return ImageBatch(
        ids, pixels[good], labels, np.flatnonzero(good), rejects, extra_columns, preprocessing, animations
    )
