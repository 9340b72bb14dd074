from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from images.encoders import digit, encode
from mnist_batch.config import PixelRange, Preprocess, PreprocessOptions
from mnist_batch.images.preprocess import preprocess, to_gray_levels
from mnist_batch.records import EncodedRows, ImageBatch, ImageError, NumericRows, Pixels, RejectReason, string_array

BLACK_TO_WHITE = {PixelRange.UNIT: (0.0, 1.0), PixelRange.BYTE: (0.0, 255.0), PixelRange.SYMMETRIC: (-1.0, 1.0)}
EVERY_LEVEL = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def preprocess_numbers(
    values: npt.NDArray[Any],
    pixel_range: PixelRange | None = None,
    image_errors: Mapping[int, ImageError] | None = None,
) -> ImageBatch:
    """Rows with the ids "row 0", "row 1", ... and their last digits as labels, without framing."""
    rows = len(values)
    ids = string_array(f"row {row}" for row in range(rows))
    labels = pa.array(np.arange(rows) % 10, pa.int32())
    numeric = NumericRows(ids, labels, values, pixel_range, image_errors=image_errors or {})
    return preprocess(numeric, PreprocessOptions(Preprocess.NONE))


@pytest.mark.parametrize("pixel_range", PixelRange)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_every_gray_level_survives_as_float(pixel_range: PixelRange, dtype: npt.DTypeLike) -> None:
    black, white = BLACK_TO_WHITE[pixel_range]
    floats = (black + EVERY_LEVEL.astype(np.float64) / 255 * (white - black)).astype(dtype)
    levels, valid = to_gray_levels(floats, pixel_range)
    assert levels.dtype == np.uint8
    assert np.array_equal(levels, EVERY_LEVEL)
    assert valid.all()


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">i2", "i4", "i8", "u8"])
def test_integers_are_gray_levels(dtype: str) -> None:
    levels, valid = to_gray_levels(EVERY_LEVEL.astype(dtype), None)
    assert np.array_equal(levels, EVERY_LEVEL)
    assert valid.all()


@given(nps.arrays(np.float64, (1, 2, 2), elements=st.floats(0, 255)))
@settings(deadline=None)
def test_gray_levels_are_rounded(values: npt.NDArray[np.float64]) -> None:
    levels, valid = to_gray_levels(values, PixelRange.BYTE)
    assert valid.all()
    assert np.abs(levels - values).max() <= 0.5


@pytest.mark.parametrize("pixel_range", PixelRange)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1, -1.1, 1.7e308])
def test_float_out_of_range_is_a_reject(pixel_range: PixelRange, bad: float) -> None:
    black, white = BLACK_TO_WHITE[pixel_range]
    values = np.full((3, 28, 28), (black + white) / 2)
    values[1, 5, 5] = bad * 255 if pixel_range is PixelRange.BYTE and abs(bad) < 2 else bad
    batch = preprocess_numbers(values, pixel_range)
    assert batch.ids.to_pylist() == ["row 0", "row 2"]
    assert batch.labels.to_pylist() == [0, 2]
    assert batch.positions.tolist() == [0, 2]
    assert [(reject.id, reject.reason) for reject in batch.rejects] == [("row 1", RejectReason.PIXEL_OUT_OF_RANGE)]
    assert batch.rows == 3


@pytest.mark.parametrize(("dtype", "bad"), [("i2", -1), ("i2", 256), ("i8", 2**40), ("u8", 2**64 - 1), ("i1", -128)])
def test_integer_out_of_range_is_a_reject(dtype: str, bad: int) -> None:
    values = np.zeros((3, 28, 28), dtype)
    values[1, 27, 27] = bad
    batch = preprocess_numbers(values)
    assert batch.ids.to_pylist() == ["row 0", "row 2"]
    assert batch.rejects[0].id == "row 1"
    assert str(bad) in batch.rejects[0].detail


def test_floats_without_a_range_are_a_bug() -> None:
    with pytest.raises(TypeError, match="float pixels reached the batch without a range"):
        preprocess_numbers(np.zeros((1, 28, 28)))


@pytest.mark.parametrize("shape", [(4, 784), (4, 28, 28), (4, 28, 28, 1)])
def test_every_shape_of_28x28_is_accepted(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape)
    assert np.array_equal(preprocess_numbers(values).pixels, values.reshape(4, 28, 28))


@pytest.mark.parametrize("shape", [(2, 783), (2, 27, 28), (2, 14, 56), (2, 32, 32, 1)])
def test_other_shapes_reject_each_row(shape: tuple[int, ...]) -> None:
    batch = preprocess_numbers(np.zeros(shape, np.uint8))
    assert len(batch) == 0
    assert batch.pixels.shape == (0, 28, 28)
    assert [reject.id for reject in batch.rejects] == ["row 0", "row 1"]
    assert {reject.reason for reject in batch.rejects} == {RejectReason.NOT_28X28}


def test_errors_of_the_source_come_first() -> None:
    image_error = ImageError(RejectReason.NULL_IMAGE, "the image is null")
    batch = preprocess_numbers(np.full((2, 28, 28), 300), image_errors={0: image_error})
    assert [reject.reason for reject in batch.rejects] == [RejectReason.NULL_IMAGE, RejectReason.PIXEL_OUT_OF_RANGE]


@given(st.lists(st.sampled_from(["png", "pixels", "empty", "text", "small", "error"]), max_size=12))
@settings(deadline=None)
def test_every_row_is_an_image_or_a_reject(kinds: list[str]) -> None:
    images: dict[str, bytes | Pixels | ImageError] = {
        "png": encode(".png", digit()),
        "pixels": digit(),
        "empty": b"",
        "text": b"label",
        "small": encode(".png", digit()[:27]),
        "error": ImageError(RejectReason.UNREADABLE, "encrypted"),
    }
    ids = [f"{row} {kind}" for row, kind in enumerate(kinds)]
    pages = pa.table({"page": pa.array(range(len(kinds)), pa.int64())})
    rows = EncodedRows(string_array(ids), pa.nulls(len(ids), pa.int32()), [images[k] for k in kinds], pages)
    batch = preprocess(rows, PreprocessOptions(Preprocess.NONE))
    good = [row for row, kind in enumerate(kinds) if kind in ("png", "pixels")]
    assert batch.ids.to_pylist() == [ids[row] for row in good]
    assert batch.extra_columns is not None
    assert batch.positions.tolist() == batch.extra_columns["page"].to_pylist() == good
    assert [reject.id for reject in batch.rejects] == [ids[row] for row in range(len(ids)) if row not in good]
    assert all(np.array_equal(image, digit()) for image in batch.pixels)
    assert batch.rows == len(kinds)
