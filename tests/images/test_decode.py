from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from images.encoders import (
    PNG_GRAY,
    PNG_GRAY_ALPHA,
    PNG_PALETTE,
    PNG_RGB,
    Gray,
    chunk,
    digit,
    encode,
    exif,
    jpeg_with_exif,
    png,
    tiff,
)
from mnist_batch.images.decode import decode
from mnist_batch.records import ImageError, RejectReason

LOSSLESS = [".png", ".bmp", ".tiff", ".webp"]
# How a camera stores an upright image in each orientation (CIPA DC-008).
STORED: dict[int, Callable[[Gray], Gray]] = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda image: np.rot90(image, 2).T,
    8: lambda image: np.rot90(image, -1),
}


def colour(gray: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.dstack([gray, gray, gray])


def with_alpha(ink: int, alpha: Gray) -> npt.NDArray[Any]:
    """One gray level everywhere, with the given opacity."""
    return np.dstack([*[np.full_like(alpha, ink)] * 3, alpha])


def pixels(data: bytes) -> Gray:
    image = decode(data)
    assert not isinstance(image, ImageError)
    return image


def reason(data: bytes) -> RejectReason:
    image_error = decode(data)
    assert isinstance(image_error, ImageError)
    assert "\n" not in image_error.detail
    return image_error.reason


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_8_bit_is_decoded_exactly(suffix: str) -> None:
    flags = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
    assert np.array_equal(pixels(encode(suffix, digit(), *flags)), digit())
    assert np.array_equal(pixels(encode(suffix, colour(digit()), *flags)), digit())


@pytest.mark.parametrize("suffix", [".jpg", ".gif", ".webp"])
def test_lossy_formats_are_nearly_exact(suffix: str) -> None:
    decoded = pixels(encode(suffix, colour(digit())))
    assert np.abs(decoded.astype(int) - digit()).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_is_scaled_to_8(suffix: str) -> None:
    assert np.array_equal(pixels(encode(suffix, digit().astype(np.uint16) * 257)), digit())
    assert pixels(encode(suffix, np.full((2, 2), 128, np.uint16))).tolist() == [[0, 0], [0, 0]]
    assert pixels(encode(suffix, np.full((2, 2), 129, np.uint16))).tolist() == [[1, 1], [1, 1]]


def test_1_bit_becomes_black_and_white() -> None:
    white = digit() > 0
    packed = np.packbits(white, axis=1)
    expected = white * np.uint8(255)
    assert np.array_equal(pixels(png(packed, PNG_GRAY, depth=1)), expected)
    assert np.array_equal(pixels(tiff(packed, packed_width=28)), expected)
    assert np.array_equal(pixels(encode(".png", expected, cv2.IMWRITE_PNG_BILEVEL, 1)), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_may_count_from_white(dtype: type[np.unsignedinteger], order: Literal["<", ">"]) -> None:
    top = np.iinfo(dtype).max
    stored = top - digit().astype(dtype) * (top // 255)
    assert np.array_equal(pixels(tiff(stored, {262: 0}, order)), digit())


def test_1_bit_tiff_may_count_from_white() -> None:
    white = digit() > 0
    assert np.array_equal(pixels(tiff(np.packbits(~white, axis=1), {262: 0}, packed_width=28)), white * np.uint8(255))


def test_colour_becomes_luminance() -> None:
    red, green, blue = (
        pixels(encode(".png", np.full((1, 1, 3), bgr, np.uint8)))[0, 0] for bgr in np.eye(3)[::-1] * 255
    )
    assert (red, green, blue) == (76, 150, 29)  # 0.299, 0.587, 0.114 of 255


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_is_applied(depth: int) -> None:
    indices = (digit() > 0).astype(np.uint8)
    bits = np.unpackbits(indices[..., np.newaxis], axis=2)[..., 8 - depth :].reshape(28, -1)
    palette = chunk(b"PLTE", bytes([10, 10, 10, 240, 240, 240]))
    decoded = pixels(png(np.packbits(bits, axis=1), PNG_PALETTE, palette, depth=depth))
    assert np.array_equal(decoded, np.where(indices, 240, 10))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_background_contrasts_with_the_ink(suffix: str) -> None:
    flags = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
    assert np.array_equal(pixels(encode(suffix, with_alpha(0, digit()), *flags)), 255 - digit())
    assert np.array_equal(pixels(encode(suffix, with_alpha(255, digit()), *flags)), digit())


@pytest.mark.parametrize("dtype", [">u1", ">u2"])
@pytest.mark.parametrize("ink", [0, 255])
def test_gray_with_alpha_is_composited(dtype: str, ink: int) -> None:
    rows = np.dstack([np.full((28, 28), ink), digit()]) * (np.iinfo(dtype).max // 255)
    decoded = pixels(png(rows.astype(dtype), PNG_GRAY_ALPHA, depth=8 * np.dtype(dtype).itemsize))
    assert np.array_equal(decoded, digit() if ink else 255 - digit())


def test_palette_may_be_transparent() -> None:
    indices = (digit() > 0).astype(np.uint8)
    chunks = chunk(b"PLTE", bytes([0] * 6)), chunk(b"tRNS", b"\0\xff")
    assert np.array_equal(pixels(png(indices, PNG_PALETTE, *chunks)), np.where(indices, 0, 255))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_gray_may_be_transparent(depth: int) -> None:
    black = digit() > 0
    top = (1 << depth) - 1
    values = np.where(black, 0, top)
    rows: npt.NDArray[Any]
    if depth >= 8:
        rows = values.astype(f">u{depth // 8}")
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., np.newaxis], axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(28, -1), axis=1)
    # If white is transparent, the ink is black and stays so on white. The same holds if black is transparent.
    ink_on_white = pixels(png(rows, PNG_GRAY, chunk(b"tRNS", struct.pack(">H", top)), depth=depth))
    assert np.array_equal(ink_on_white, np.where(black, 0, 255))
    ink_on_black = pixels(png(rows, PNG_GRAY, chunk(b"tRNS", struct.pack(">H", 0)), depth=depth))
    assert np.array_equal(ink_on_black, np.where(black, 0, 255))


def test_transparent_gray_is_not_visible() -> None:
    rows = np.where(digit() > 0, 0, 90).astype(np.uint8)  # black ink on a transparent gray
    assert np.array_equal(pixels(png(rows, PNG_GRAY, chunk(b"tRNS", b"\0\x5a"))), np.where(digit() > 0, 0, 255))


def test_one_colour_may_be_transparent() -> None:
    rows = colour(np.where(digit() > 0, 0, 90).astype(np.uint8))
    decoded = pixels(png(rows, PNG_RGB, chunk(b"tRNS", b"\0\x5a" * 3)))
    assert np.array_equal(decoded, np.where(digit() > 0, 0, 255))


def test_fully_transparent_is_black() -> None:
    assert not pixels(encode(".png", with_alpha(255, np.zeros((28, 28), np.uint8)))).any()


def test_opaque_alpha_changes_nothing() -> None:
    image = np.dstack([digit(), digit(), digit(), np.full((28, 28), 255, np.uint8)])
    assert np.array_equal(pixels(encode(".png", image)), digit())


@pytest.mark.parametrize("orientation", STORED)
def test_png_orientation_is_applied(orientation: int) -> None:
    upright = digit()[:, :20]
    stored = np.ascontiguousarray(STORED[orientation](upright))
    data = png(stored, PNG_GRAY, chunk(b"eXIf", exif(orientation)), width=stored.shape[1])
    assert np.array_equal(pixels(data), upright)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rgb", [False, True])
def test_tiff_orientation_is_applied(orientation: int, dtype: type[np.unsignedinteger], rgb: bool) -> None:
    upright = digit()[:, :20]
    stored = np.ascontiguousarray(STORED[orientation](upright)).astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    assert np.array_equal(pixels(tiff(colour(stored) if rgb else stored, {274: orientation})), upright)


@pytest.mark.parametrize("orientation", STORED)
def test_jpeg_webp_orientation_is_applied(orientation: int) -> None:
    upright = digit()[:, :20]
    stored = np.ascontiguousarray(STORED[orientation](upright))
    jpeg = jpeg_with_exif(encode(".jpg", stored, cv2.IMWRITE_JPEG_QUALITY, 100), orientation)
    block = np.frombuffer(exif(orientation), np.uint8)
    done, webp = cv2.imencodeWithMetadata(
        ".webp", colour(stored), [cv2.IMAGE_METADATA_EXIF], [block], [cv2.IMWRITE_WEBP_QUALITY, 101]
    )
    assert done
    for data in (jpeg, webp.tobytes()):
        decoded = pixels(data)
        assert decoded.shape == upright.shape
        assert np.abs(decoded.astype(int) - upright).max() < 16


def test_too_large_is_found_in_the_header() -> None:
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    assert decode(header) == ImageError(RejectReason.TOO_LARGE, "PNG of 20000x20000 pixels")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".gif", ".tiff"])
def test_truncated_image_is_undecodable(suffix: str) -> None:
    data = encode(suffix, colour(digit()))
    for size in range(16, len(data)):
        assert reason(data[:size]) is RejectReason.UNDECODABLE, size


def test_opencv_logs_no_damaged_image() -> None:
    data = encode(".png", digit())[:100]
    code = f"from mnist_batch.images.decode import decode; decode({data!r})"  # OpenCV reads its log level at import
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""


def test_flipped_bit_in_a_png_is_found() -> None:
    whole = encode(".png", digit())
    start, end = whole.index(b"IDAT") + 4, whole.index(b"IEND") - 8
    for position in range(start, end):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        assert reason(bytes(damaged)) is RejectReason.UNDECODABLE, position


def test_each_non_image_has_its_reason() -> None:
    assert reason(b"") is RejectReason.EMPTY
    assert reason(b"label,pixel0\n5,0\n") is RejectReason.NOT_AN_IMAGE
    assert reason(b"\x89PNG\r\n\x1a\n") is RejectReason.UNDECODABLE


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int8, np.uint32])
def test_other_sample_types_are_undecodable(dtype: type[np.number]) -> None:
    formats = {"f": 3, "i": 2, "u": 1}
    data = tiff(digit().astype(dtype), {339: formats[np.dtype(dtype).kind]})
    assert reason(data) is RejectReason.UNDECODABLE
