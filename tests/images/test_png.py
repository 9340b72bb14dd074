import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_batch.config import PreprocessOptions
from mnist_batch.images import png
from mnist_batch.images.decode import decode
from mnist_batch.images.png import inflate, unfilter
from mnist_batch.images.preprocess import preprocess
from mnist_batch.records import EncodedRows, RejectReason, null_labels, string_array


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_of(lines: bytes, level: int = 6) -> bytes:
    header = (28).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, level)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def random_lines(seed: int, kinds: list[int]) -> bytes:
    generator = np.random.default_rng(seed)
    lines = generator.integers(0, 256, (28, 29), np.uint8)
    lines[:, 0] = generator.choice(kinds, 28)
    return lines.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 4), min_size=1)), min_size=1, max_size=20))
def test_every_filter_is_undone_as_opencv_does(images: list[tuple[int, set[int]]]) -> None:
    files = [png_of(random_lines(seed, sorted(kinds))) for seed, kinds in images]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "_LEAST_STEPWISE", 0)
        pixels, decoded = unfilter(inflate(files)[0])
    assert decoded.all()
    for image, file in zip(pixels, files, strict=True):
        np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED))


def test_few_with_stepwise_filters_are_left_to_opencv_and_come_out_the_same() -> None:
    files = [png_of(random_lines(seed, [0, 1, 2] if seed % 2 else [0, 4])) for seed in range(20)]
    _, decoded = unfilter(inflate(files)[0])
    assert decoded.tolist() == [False, True] * 10
    ids = string_array(map(str, range(20)))
    for preprocess_options in (PreprocessOptions(), PreprocessOptions(transpose=True)):
        rows = [EncodedRows(ids, null_labels(20), images) for images in (files, [decode(file) for file in files])]
        batches = [preprocess(each, preprocess_options) for each in rows]
        np.testing.assert_array_equal(batches[0].pixels, batches[1].pixels)
        assert batches[0].rejects == batches[1].rejects


def test_a_filter_that_does_not_exist_is_not_decoded() -> None:
    lines = bytearray(random_lines(0, [0]))
    lines[29] = 5
    assert unfilter(inflate([png_of(bytes(lines))])[0])[1].tolist() == [False]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_every_damaged_byte_is_noticed(level: int) -> None:
    file = png_of(random_lines(0, [1]), level)
    flipped = [file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :] for at in range(len(file))]
    assert inflate([*flipped, file, file[:-1], file + b"\0", b""])[1] == [len(flipped)]


@pytest.mark.parametrize("lines", [bytes(28 * 29 - 1), bytes(28 * 29 + 1), bytes(100_000)])
def test_another_number_of_lines_is_not_plain(lines: bytes) -> None:
    assert inflate([png_of(lines)]) == ([], [])


def test_a_damaged_png_among_plain_ones_is_a_reject_under_its_own_id() -> None:
    good = png_of(random_lines(3, [1]))
    files = [good, good[:-20] + b"\0" + good[-19:], good]
    batch = preprocess(EncodedRows(string_array("abc"), null_labels(3), files), PreprocessOptions())
    assert "b" in [reject.id for reject in batch.rejects if reject.reason is RejectReason.UNDECODABLE]
