import zlib

import cv2
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.encoders import chunk
from mnist_batch.config import PreprocessOptions
from mnist_batch.images.decode import decode
from mnist_batch.images.png import inflate, unfilter
from mnist_batch.images.preprocess import preprocess
from mnist_batch.records import EncodedRows, RejectReason, null_labels, string_array


def png_of(lines: bytes, level: int = 6) -> bytes:
    header = (28).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, level)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def random_lines(seed: int, kinds: list[int]) -> bytes:
    """Filtered lines of a 28x28 image, each with one of these kinds of filter."""
    generator = np.random.default_rng(seed)
    lines = generator.integers(0, 256, (28, 29), np.uint8)
    lines[:, 0] = generator.choice(kinds, 28)
    return lines.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 4), min_size=1)), min_size=1, max_size=20))
def test_every_filter_is_undone_as_in_opencv(images: list[tuple[int, set[int]]]) -> None:
    files = [png_of(random_lines(seed, sorted(kinds))) for seed, kinds in images]
    pixels, decoded = unfilter(inflate(files)[0], min_stepwise=0)
    assert decoded.all()
    for image, file in zip(pixels, files, strict=True):
        expected = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
        assert expected is not None
        npt.assert_array_equal(image, expected)


def test_few_stepwise_images_go_to_opencv() -> None:
    files = [png_of(random_lines(seed, [0, 1, 2] if seed % 2 else [0, 4])) for seed in range(20)]
    _, decoded = unfilter(inflate(files)[0])
    assert decoded.tolist() == [False, True] * 10
    ids = string_array(map(str, range(20)))
    for options in (PreprocessOptions(), PreprocessOptions(transpose=True)):
        together = preprocess(EncodedRows(ids, null_labels(20), files), options)
        one_by_one = preprocess(EncodedRows(ids, null_labels(20), [decode(file) for file in files]), options)
        npt.assert_array_equal(together.pixels, one_by_one.pixels)
        assert together.rejects == one_by_one.rejects


def test_unknown_filter_is_not_decoded() -> None:
    lines = bytearray(random_lines(0, [0]))
    lines[29] = 5
    assert unfilter(inflate([png_of(bytes(lines))])[0])[1].tolist() == [False]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_every_damaged_byte_is_found(level: int) -> None:
    file = png_of(random_lines(0, [1]), level)
    flipped = [file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :] for at in range(len(file))]
    assert inflate([*flipped, file, file[:-1], file + b"\0", b""])[1] == [len(flipped)]


@pytest.mark.parametrize("lines", [bytes(28 * 29 - 1), bytes(28 * 29 + 1), bytes(100_000)])
def test_other_data_sizes_are_not_plain(lines: bytes) -> None:
    assert inflate([png_of(lines)]) == ([], [])


def test_damaged_png_is_a_reject_with_its_id() -> None:
    good = png_of(random_lines(3, [1]))
    files = [good, good[:-20] + b"\0" + good[-19:], good]
    batch = preprocess(EncodedRows(string_array("abc"), null_labels(3), files), PreprocessOptions())
    assert "b" in [reject.id for reject in batch.rejects if reject.reason is RejectReason.UNDECODABLE]
