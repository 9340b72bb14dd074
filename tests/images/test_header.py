from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.encoders import PNG_GRAY, chunk, digit, encode, exif, jpeg_with_exif, png, tiff
from mnist_batch.images.decode import decode
from mnist_batch.images.header import (
    exif_orientation,
    has_more_frames,
    image_format,
    image_size,
    may_hold_exif,
    tiff_white_is_zero,
)
from mnist_batch.records import ImageError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".bmp": "BMP",
    ".tiff": "TIFF",
    ".webp": "WebP",
    ".gif": "GIF",
}
IMAGES = [
    *(encode(suffix, np.dstack([digit()] * 3)) for suffix in FORMATS),
    encode(".webp", np.dstack([digit()] * 4), cv2.IMWRITE_WEBP_QUALITY, 101),
    encode(".tiff", digit().astype(np.uint16)),
    png(digit(), PNG_GRAY, chunk(b"tRNS", b"\0\0"), chunk(b"eXIf", exif(6))),
    jpeg_with_exif(encode(".jpg", digit()), 6),
    tiff(digit(), {274: 6}),
]


def check_all(data: bytes) -> None:
    """Calls everything that reads untrusted bytes. Each call must return an answer or an error, never raise."""
    kind, size = image_format(data), image_size(data)
    assert kind is not None or size is None
    may_hold_exif(data)
    tiff_white_is_zero(data)
    assert 1 <= exif_orientation(data) <= 8
    decoded = decode(data)
    assert isinstance(decoded, ImageError) or (decoded.dtype == np.uint8 and decoded.ndim == 2)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (3, 17), (300, 7), (255, 257)])
def test_header_has_format_and_size(suffix: str, size: tuple[int, int]) -> None:
    width, height = size
    data = encode(suffix, np.zeros((height, width, 3), np.uint8))
    assert image_format(data) == FORMATS[suffix]
    assert image_size(data) == size
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape[:2] == (height, width)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("channels", [3, 4])
def test_size_of_each_kind_of_webp(lossless: bool, channels: int) -> None:
    data = encode(".webp", np.full((9, 31, channels), 90, np.uint8), cv2.IMWRITE_WEBP_QUALITY, 101 if lossless else 50)
    assert image_size(data) == (31, 9)


def test_size_of_progressive_jpeg_with_exif() -> None:
    data = encode(".jpg", np.zeros((9, 31), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert image_size(jpeg_with_exif(data, 6)) == (31, 9)


def test_size_of_top_down_and_old_bmp() -> None:
    start = b"BM" + bytes(8) + struct.pack("<I", 54)
    assert image_size(start + struct.pack("<Iii", 40, 31, -9)) == (31, 9)
    assert image_size(start + struct.pack("<IHH", 12, 31, 9)) == (31, 9)


def test_each_page_of_a_tiff_has_its_size() -> None:
    done, data = cv2.imencodemulti(".tiff", [np.zeros(shape, np.uint8) for shape in ((9, 31), (5, 7), (12, 4))])
    assert done
    assert [image_size(data.tobytes(), page) for page in range(4)] == [(31, 9), (7, 5), (4, 12), None]


def test_truncated_header_has_no_size() -> None:
    for data in IMAGES:
        assert image_size(data[:7]) is None


@pytest.mark.parametrize("text", [b"BMW,Audi\n1,2\n", b"GIFTS\n", b"RIFFxxxxWAVE", b"II, 3", b"", b"\x89PNG"])
def test_other_files_are_not_images(text: bytes) -> None:
    assert image_format(text) is None
    assert image_size(text) is None


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_invalid_orientation_means_upright(value: int) -> None:
    assert exif_orientation(exif(value)) == 1


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:14] for data in IMAGES)]))
@settings(deadline=None)
def test_random_bytes_raise_nothing(data: bytes, start: bytes) -> None:
    check_all(start + data)


@given(st.sampled_from(IMAGES), st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_images_raise_nothing(image: bytes, data: st.DataObject) -> None:
    damaged = bytearray(image)
    for position in data.draw(st.lists(st.integers(0, len(image) - 1) | st.integers(0, 60), min_size=1, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    check_all(bytes(damaged[: data.draw(st.just(len(image)) | st.integers(0, len(image)))]))


def animation(suffix: str, frames: int) -> bytes:
    content = cv2.Animation()
    # Equal frames would be joined.
    content.frames = [np.full((28, 28, 4), 50 + 150 * number // frames, np.uint8) for number in range(frames)]
    content.durations = [100] * frames
    encoded, data = cv2.imencodeanimation(suffix, content)
    assert encoded
    return data.tobytes()


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_animations_have_more_frames(suffix: str) -> None:
    data = animation(suffix, 3)
    assert has_more_frames(data)
    for size in range(0, len(data), 7):
        has_more_frames(data[:size])  # raises nothing


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".jpg", ".tif"])
def test_still_image_has_one_frame(suffix: str) -> None:
    assert not has_more_frames(encode(suffix, np.full((28, 28, 3), 100, np.uint8)))
