"""TIFFs of several pages: a row per page in a folder, one reject in an archive."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Cli
from contracts import DIGITS, ids_of, labels_of, opened, png_of, read_all, rejects_of, write_files, write_zip

from mnist_batch import predict
from mnist_batch.errors import InputError

PAGE, REDUCED, MASK = 0, 1, 4


def tiff_of(*pages: tuple[int, np.ndarray], order: str = "<", after: int = 0) -> bytes:
    """A TIFF of gray images. Each page is its NewSubfileType and its pixels; `after` is what follows the last page."""
    content = b"II*\0" if order == "<" else b"MM\0*"
    offset = 8
    directories = b""
    for number, (kind, pixels) in enumerate(pages):
        height, width = pixels.shape
        data = pixels.tobytes() + b"\0" * (pixels.size % 2)
        start = offset + len(data)
        entries = [(254, 4, kind), (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
        entries += [(273, 4, offset), (277, 3, 1), (278, 4, height), (279, 4, pixels.size)]
        following = start + 2 + 12 * len(entries) + 4
        fields = b"".join(
            struct.pack(f"{order}HHI{'I' if type == 4 else 'Hxx'}", tag, type, 1, value) for tag, type, value in entries
        )
        is_last = number == len(pages) - 1
        chain = struct.pack(f"{order}I", after if is_last else following + pages[number + 1][1].size)
        directories += data + struct.pack(f"{order}H", len(entries)) + fields + chain
        offset = following
    first = 8 + pages[0][1].size
    return content + struct.pack(f"{order}I", first) + directories


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def digits(*rows: int) -> list[tuple[int, np.ndarray]]:
    return [(PAGE, DIGITS.pixels[row]) for row in rows]


@pytest.mark.parametrize("order", ["<", ">"])
def test_each_page_is_a_row(order: str, folder: Path) -> None:
    scan, two = tiff_of(*digits(0, 1, 2), order=order), tiff_of(*digits(3, 4), order=order)
    write_files(folder, {"a.png": DIGITS.pngs[5], "b/7/two.TIFF": two, "scan.tif": scan, "z.png": DIGITS.pngs[6]})
    inputs = opened(folder)
    names = ["a.png", "b/7/two.TIFF", "b/7/two.TIFF:page2", "scan.tif", "scan.tif:page2", "scan.tif:page3", "z.png"]
    assert ids_of(inputs) == names == inputs.list_names().to_pylist()
    assert labels_of(inputs) == [None, 7, 7, None, None, None, None]
    pixels = np.concatenate([batch.pixels for batch in read_all(inputs)])
    np.testing.assert_array_equal(pixels, DIGITS.pixels[[5, 3, 4, 0, 1, 2, 6]])


def test_containers_keep_their_place_among_pages(folder: Path) -> None:
    write_files(folder, {"a.tif": tiff_of(*digits(0, 1)), "c.tif": tiff_of(*digits(2, 3))})
    write_zip(folder / "b.zip", {"x.png": DIGITS.pngs[4]})
    assert ids_of(opened(folder)) == ["a.tif", "a.tif:page2", "b.zip!x.png", "c.tif", "c.tif:page2"]


def test_named_file_has_its_pages(folder: Path) -> None:
    write_files(folder, {"scan.tif": tiff_of(*digits(0, 1))})
    predict(folder / "scan.tif", output=folder / "out")
    table = pq.read_table(folder / "out" / "predictions")
    assert table["id"].to_pylist() == ["scan.tif", "scan.tif:page2"]
    assert table["prediction"].to_pylist() == DIGITS.labels[:2].tolist()


def test_smaller_copies_and_masks_are_no_pages(folder: Path) -> None:
    small = DIGITS.pixels[0][::2, ::2]
    pages = [(PAGE, DIGITS.pixels[0]), (REDUCED, small), (PAGE, DIGITS.pixels[1]), (MASK, small)]
    write_files(folder, {"scan.tif": tiff_of(*pages), "one.tif": tiff_of((PAGE, DIGITS.pixels[2]), (REDUCED, small))})
    inputs = opened(folder)
    assert ids_of(inputs) == ["one.tif", "scan.tif", "scan.tif:page3"]
    pixels = np.concatenate([batch.pixels for batch in read_all(inputs)])
    np.testing.assert_array_equal(pixels, DIGITS.pixels[[2, 0, 1]])


def test_file_in_an_archive_is_a_reject(folder: Path) -> None:
    archive = write_zip(folder / "a.zip", {"one.tif": tiff_of(*digits(0)), "two.tif": tiff_of(*digits(0, 1))})
    assert rejects_of(opened(archive)) == [("a.zip!two.tif", "several_pages")]


def test_page_that_is_cut_off_is_a_reject(folder: Path) -> None:
    scan = tiff_of(*digits(0, 1, 2))
    write_files(folder, {"scan.tif": scan[: len(scan) - 800]})
    inputs = opened(folder)
    assert [reject for reject, _ in rejects_of(inputs)] == ["scan.tif:page3"]
    assert ids_of(inputs) == ["scan.tif", "scan.tif:page2"]


def test_circle_of_pages_ends(folder: Path) -> None:
    first = 8 + DIGITS.pixels[0].size
    write_files(folder, {"scan.tif": tiff_of(*digits(0, 1), after=first)})
    assert ids_of(opened(folder)) == ["scan.tif", "scan.tif:page2"]


def test_other_file_with_the_suffix_is_one_row(folder: Path) -> None:
    write_files(folder, {"a.tif": DIGITS.pngs[0], "b.tif": b"", "c.tif": b"II*\0"})
    inputs = opened(folder)
    assert ids_of(inputs) == ["a.tif"]
    assert rejects_of(inputs) == [("b.tif", "empty"), ("c.tif", "undecodable")]


def test_file_with_the_id_of_a_page_is_an_error(folder: Path) -> None:
    write_files(folder, {"scan.tif": tiff_of(*digits(0, 1)), "scan.tif:page2": png_of(DIGITS.pixels[2])})
    with pytest.raises(InputError, match=r"^scan\.tif:page2: must be the id of one row"):
        opened(folder)


def test_animations_are_counted(folder: Path, cli: Cli) -> None:
    frames = cv2.Animation()
    frames.frames = [cv2.cvtColor(DIGITS.pixels[row], cv2.COLOR_GRAY2BGRA) for row in (0, 1)]
    frames.durations = [100, 100]
    contents = {f"{suffix}.{suffix}": cv2.imencodeanimation(f".{suffix}", frames)[1] for suffix in ("gif", "webp")}
    write_files(folder, {"a.png": DIGITS.pngs[5]} | {name: data.tobytes() for name, data in contents.items()})
    cli("predict", folder, "-o", folder.parent / "out", "--quiet")
    assert json.loads((folder.parent / "out" / "report.json").read_text())["warnings"][-1] == (
        "images with several frames (animations): 2, of each only the first frame was scored: save the others as files"
    )
    table = pq.read_table(folder.parent / "out" / "predictions")
    assert table["prediction"].to_pylist() == DIGITS.labels[[5, 0, 0]].tolist()
