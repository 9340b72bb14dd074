"""Which files the inputs name, in what order they are read, and under which ids."""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import (
    LABELS,
    PIXELS,
    ids_of,
    idx_bytes,
    opened,
    png_of,
    read_all,
    write_files,
    write_idx_pair,
    write_parquet,
    write_tar,
    write_zip,
)

from mnist_batch.config import PixelRange, ReadOptions
from mnist_batch.errors import InputError, InputMissingError, UsageError
from mnist_batch.shards import cut_shards

WriteArchive = Callable[[Path, Mapping[str, bytes]], Path]
PNG = png_of(PIXELS[0])
THREE = slice(0, 3)


# Which format a file has


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (idx_bytes(PIXELS), "idx"),
        (gzip.compress(idx_bytes(PIXELS), mtime=0), "idx"),
        (PNG, "images"),
    ],
)
def test_content_decides_the_format(tmp_path: Path, content: bytes, format: str) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    (source,) = opened(tmp_path / "x.bin").sources
    assert source.format == format


def test_container_names_do_not_matter(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.dat", {"1.png": PNG})
    write_tar(tmp_path / "b.zip", {"1.png": PNG})
    write_parquet(tmp_path / "c", {"image": [PNG]})
    np.savez(tmp_path / "d.npz", x_test=PIXELS[THREE])
    (tmp_path / "d.npz").rename(tmp_path / "d.tar")
    assert [source.format for source in opened(tmp_path).sources] == ["zip", "tar", "parquet", "npz"]


def test_old_tar_is_known_by_its_checksum(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "a.tar", {"1.png": PNG}).read_bytes())
    content[257:265] = bytes(8)
    checksum = sum(content[:148]) + 8 * 32 + sum(content[156:512])
    content[148:156] = b"%06o\0 " % checksum
    (tmp_path / "a.tar").write_bytes(content)
    assert ids_of(opened(tmp_path / "a.tar")) == ["a.tar!1.png"]


def test_suffix_or_content_makes_a_row(tmp_path: Path) -> None:
    write_files(tmp_path, {"bare": PNG, "empty.png": b"", "fake.JPG": b"text", "upper.PNG": PNG})
    inputs = opened(tmp_path)
    assert inputs.rows == 4
    assert ids_of(inputs) == ["bare", "upper.PNG"]


def test_csv_beside_images_is_not_a_row(tmp_path: Path) -> None:
    write_files(tmp_path, {"1.png": PNG, "list.csv": b"id,label\n"})
    assert opened(tmp_path).rows == 1


# Order and ids


def test_order_is_bytewise_by_path(tmp_path: Path) -> None:
    write_files(tmp_path, {"B.png": PNG, "a/2.png": PNG, "a/10.png": PNG, "c.png": PNG, "é.png": PNG})
    write_zip(tmp_path / "b.zip", {"z.png": PNG, "a.png": PNG})
    write_idx_pair(tmp_path / "a", PIXELS[THREE], LABELS[THREE], "1")
    assert ids_of(opened(tmp_path)) == [
        "B.png",
        "a/1-images-idx3-ubyte#0",
        "a/1-images-idx3-ubyte#1",
        "a/1-images-idx3-ubyte#2",
        "a/10.png",
        "a/2.png",
        "b.zip!z.png",
        "b.zip!a.png",
        "c.png",
        "é.png",
    ]


@pytest.mark.parametrize(
    ("inputs", "ids"),
    [
        (["one/x.png"], ["x.png"]),
        (["one"], ["x.png", "y.png"]),
        (["two/x.png", "one/x.png"], ["one/x.png", "two/x.png"]),
        (["one/y.png", "two"], ["one/y.png", "two/deep/z.png", "two/x.png"]),
        (["two", "two/../one/y.png"], ["one/y.png", "two/deep/z.png", "two/x.png"]),
        (["*/x.png"], ["one/x.png", "two/x.png"]),
        (["**/z.png"], ["z.png"]),
        (["tw?"], ["deep/z.png", "x.png"]),
    ],
)
def test_ids_start_below_the_common_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], ids: list[str]
) -> None:
    write_files(tmp_path, dict.fromkeys(["one/x.png", "one/y.png", "two/x.png", "two/deep/z.png"], PNG))
    assert ids_of(opened(*(tmp_path / text for text in inputs))) == ids
    monkeypatch.chdir(tmp_path)
    assert ids_of(opened(*inputs)) == ids


def test_existing_name_is_not_a_pattern(tmp_path: Path) -> None:
    write_files(tmp_path, {"scan[1].png": PNG, "scan1.png": PNG})
    assert ids_of(opened(tmp_path / "scan[1].png")) == ["scan[1].png"]


@pytest.mark.parametrize("inputs", [("a", "a/x.png"), ("a/x.png", "a/*.png"), ("a", "."), ("a/x.png", "a/../a/x.png")])
def test_file_given_twice_is_an_error(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    write_files(tmp_path, {"a/x.png": PNG})
    with pytest.raises(UsageError, match=r"x\.png.*given once"):
        opened(*(tmp_path / text for text in inputs))


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_repeated_member_name_is_numbered(tmp_path: Path, write: WriteArchive) -> None:
    path = write(tmp_path / "x", {"a.png": PNG, "b.png": PNG, "c.png": PNG, "a.png#2": PNG})
    path.write_bytes(path.read_bytes().replace(b"b.png", b"a.png").replace(b"c.png", b"a.png"))
    if write is write_tar:
        path.write_bytes(with_checksums(path.read_bytes()))
    assert ids_of(opened(path)) == ["x!a.png", "x!a.png#2", "x!a.png#3", "x!a.png#2#2"]


def with_checksums(tar: bytes) -> bytes:
    """The tar with correct checksums in its headers, after names were replaced."""
    content = bytearray(tar)
    for at in range(0, len(content), 512):
        if content[at + 257 : at + 262] == b"ustar":
            content[at + 148 : at + 156] = b"%06o\0 " % (
                sum(content[at : at + 512]) - sum(content[at + 148 : at + 156]) + 256
            )
    return bytes(content)


def test_non_utf8_file_name_is_escaped(tmp_path: Path) -> None:
    for name in (b"\xff.png", b"a\xe9.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(PNG)
    inputs = opened(tmp_path)
    assert ids_of(inputs) == ["a\\xe9.png", "\\xff.png"]
    assert inputs.rows == 2


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_non_utf8_member_name_is_escaped(tmp_path: Path, write: WriteArchive) -> None:
    path = write(tmp_path / "x", {"aQ.png": PNG})
    path.write_bytes(with_checksums(path.read_bytes().replace(b"aQ.png", b"a\xe9.png")))
    assert ids_of(opened(path)) == ["x!a\\xe9.png"]


def test_two_names_with_one_id_are_an_error(tmp_path: Path) -> None:
    for name in (b"a\xe9.png", b"a\\xe9.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(PNG)
    with pytest.raises(InputError, match="rename one"):
        opened(tmp_path)


def test_link_to_a_folder_above_is_skipped(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/x.png": PNG})
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nothing")
    inputs = opened(tmp_path)
    assert ids_of(inputs) == ["a/x.png"]
    assert inputs.skipped == {"(link to a folder above)": 1, "(dangling link)": 1}


def test_many_small_files_make_one_shard(tmp_path: Path) -> None:
    for number in range(50):
        write_idx_pair(tmp_path, PIXELS[THREE], LABELS[THREE], f"{number:02}")
    inputs = opened(tmp_path)
    (shard,) = cut_shards(inputs.spans, 65_536)
    assert shard.rows == inputs.rows == 150
    assert len(inputs.sources) == 50
    assert ids_of(inputs)[148:] == ["49-images-idx3-ubyte#1", "49-images-idx3-ubyte#2"]


def test_parquet_is_cut_at_row_groups(tmp_path: Path) -> None:
    inputs = opened(write_parquet(tmp_path / "a", {"image": [PNG] * 40}))
    assert [(span.start, span.stop) for span in inputs.spans] == [(0, 17), (17, 34), (34, 40)]


# Missing and empty inputs


@pytest.mark.parametrize("text", ["nothing.png", "no/such/folder", "*.png", "nothing.npz:x_test", "x" * 300])
def test_missing_input_is_named_in_the_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputMissingError, match=text[:20].replace("*", r"\*")) as caught:
        opened(tmp_path / text)
    assert caught.value.exit_code == 66


def test_empty_input_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a.png": PNG})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="every INPUT must name something, one is empty"):
        opened("a.png", "")
    assert ids_of(opened(".")) == ["a.png"]


def test_error_without_images_counts_files(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="found nothing"):
        opened(tmp_path)
    write_files(tmp_path, {"a.txt": b"", "b.txt": b"", "c.csv": b""})
    with pytest.raises(InputMissingError, match=r"found 1 x \.csv, 2 x \.txt"):
        opened(tmp_path)


# npz


def test_npz_array_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS[:2], extra=PIXELS[2:5].reshape(3, 784))
    assert ids_of(opened(f"{tmp_path}/a.npz:extra")) == ["a.npz:extra#0", "a.npz:extra#1", "a.npz:extra#2"]
    assert opened(f"{tmp_path}/a.npz:extra", f"{tmp_path}/a.npz:x_test").rows == 5
    with pytest.raises(UsageError, match="holds extra, x_test"):
        opened(f"{tmp_path}/a.npz:x_train")


def test_array_named_twice_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS[:2])
    with pytest.raises(UsageError, match="given once"):
        opened(f"{tmp_path}/a.npz:x_test", f"{tmp_path}/a.npz:x_test")


@pytest.mark.parametrize(
    ("option", "file"),
    [
        ({"image_column": "image"}, "a.zip"),
        ({"label_column": "label"}, "a.npz"),
        ({"pixel_range": PixelRange.UNIT}, "a.zip"),
    ],
)
def test_option_no_input_uses_is_an_error(tmp_path: Path, option: dict[str, Any], file: str) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS[:2])
    write_zip(tmp_path / "a.zip", {"0.png": PNG})
    write_parquet(tmp_path / "a.parquet", {"image": [PNG], "label": [3]})
    with pytest.raises(UsageError, match=f"--{next(iter(option)).replace('_', '-')}: .* Parquet.*: leave it out"):
        opened(tmp_path / file, options=ReadOptions(**option))
    assert opened(tmp_path / file, tmp_path / "a.parquet", options=ReadOptions(**option)).rows > 1
    assert opened(tmp_path / "a.npz", options=ReadOptions(pixel_range=PixelRange.UNIT)).rows == 2


@pytest.mark.parametrize(
    ("other", "message"),
    [("a.npz", "every file must be given once"), ("b.png", "only an npz file holds arrays")],
)
def test_misplaced_array_is_an_error(tmp_path: Path, other: str, message: str) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS[:2])
    (tmp_path / "b.png").write_bytes(PNG)
    with pytest.raises(UsageError, match=message):
        opened(f"{tmp_path}/a.npz:x_test" if other == "a.npz" else f"{tmp_path}/b.png:x_test", tmp_path / "a.npz")


def test_utf8_member_keeps_its_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x", {"ü/é.png": PNG}, zipfile.ZIP_STORED)
    assert ids_of(opened(path)) == ["x!ü/é.png"]


def test_sources_read_their_own_rows(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, PIXELS[:5], LABELS[:5], "a")
    write_zip(tmp_path / "b.zip", {f"{row}.png": png_of(PIXELS[row]) for row in (5, 6)})
    assert np.array_equal(np.concatenate([batch.pixels for batch in read_all(opened(tmp_path))]), PIXELS[:7])
