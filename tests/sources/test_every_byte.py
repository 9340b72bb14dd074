"""Every byte of an input is read or reported: files joined by `cat`, and files with more than they declare."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contracts import (
    DIGITS,
    PIXELS,
    ids_of,
    idx_bytes,
    opened,
    png_of,
    write_files,
    write_parquet,
    write_tar,
    write_zip,
)

from mnist_batch.errors import InputError
from mnist_batch.sources import idx

FILES = [{f"{part}-{row}.png": png for row, png in enumerate(DIGITS.pngs[:4])} for part in "ab"]


def write_joined(path: Path, write: Callable[[Path, dict[str, bytes]], Path]) -> Path:
    """Two archives, one after the other."""
    parts = [write(path.with_name(f"{part}{path.name}"), files) for part, files in zip("ab", FILES, strict=True)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return path


@pytest.mark.parametrize("name", ["joined.tar", "joined.tar.gz"])
def test_joined_tars_are_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must end at its end mark, but more data follows"):
        opened(write_joined(tmp_path / name, write_tar))


def test_tar_with_a_long_name_and_more_after_its_end_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"x" * 150: b"", **FILES[0]})
    assert opened(path).rows == 4
    path.write_bytes(path.read_bytes() + b"\0" * 10240 + b"x")
    with pytest.raises(InputError, match="must end at its end mark, but more data follows"):
        opened(path)


def test_tar_padded_with_zeros_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", FILES[0])
    path.write_bytes(path.read_bytes() + b"\0" * 100_000)
    assert opened(path).rows == 4


def test_joined_zips_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"zip must be whole, but: its directory lists no member for .* at offset 0"):
        opened(write_joined(tmp_path / "a.zip", write_zip))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("gone", [0, 1, 3])
def test_member_that_the_directory_does_not_list_is_an_error(method: int, gone: int, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES[0], method)
    content = path.read_bytes()
    first = content.index(b"PK\1\2")
    entries = content[first:-22].split(b"PK\1\2")[1:]
    del entries[gone]
    directory = b"".join(b"PK\1\2" + entry for entry in entries)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(directory), first, 0)
    path.write_bytes(content[:first] + directory + end)
    with pytest.raises(InputError, match="its directory lists no member for"):
        opened(path)


def test_wrong_number_of_entries_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES[0])
    content = path.read_bytes()
    path.write_bytes(content[:-14] + struct.pack("<2H", 5, 5) + content[-10:])
    with pytest.raises(InputError, match="its directory has 4 entries instead of 5"):
        opened(path)


def test_data_after_the_end_of_a_zip_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES[0])
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match="zip must be whole, but: something follows its end"):
        opened(path)


def test_zip_with_comment_folders_and_extra_fields_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"scans of November"
        archive.mkdir("folder-with-a-long-name-" + "x" * 120)
        for name, content in FILES[0].items():
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<2H", 0xCAFE, 300) + bytes(300)
            archive.writestr(info, content)
    assert opened(path).rows == 4


def test_zip_written_as_a_stream_is_whole(tmp_path: Path) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError("a stream has no position")

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES[0].items():
            archive.writestr(name, content)
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    assert opened(tmp_path / "a.zip").rows == 4


def test_joined_npz_files_are_an_error(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        content = io.BytesIO()
        np.savez(content, x_test=PIXELS)
        contents.append(content.getvalue())
    write_files(tmp_path, {"a.npz": b"".join(contents)})
    with pytest.raises(InputError, match="its directory lists no member for"):
        opened(tmp_path / "a.npz")


def test_joined_gzip_members_are_one_file(tmp_path: Path) -> None:
    data = idx_bytes(PIXELS)
    write_files(tmp_path, {"images.gz": gzip.compress(data[:1000]) + gzip.compress(data[1000:])})
    assert opened(tmp_path / "images.gz").rows == len(PIXELS)


@pytest.mark.parametrize(
    "more", [b"x", gzip.compress(b"x"), gzip.compress(idx_bytes(PIXELS))], ids=["text", "member", "images"]
)
@pytest.mark.parametrize("chunk", [1 << 20, PIXELS.nbytes, PIXELS.nbytes + 1, 1000])
def test_more_after_the_images_of_a_gzip_is_an_error(
    more: bytes, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx, "_INFLATE_CHUNK", chunk)
    write_files(tmp_path, {"images.gz": gzip.compress(idx_bytes(PIXELS)) + more})
    with pytest.raises(InputError, match=r"gzip stream must be whole|the header probably belongs to another file"):
        opened(tmp_path / "images.gz")


@pytest.mark.parametrize("rows", [(5, 5), (60, 5), (5, 60)])
def test_joined_parquet_files_are_an_error(rows: tuple[int, int], tmp_path: Path) -> None:
    paths = [write_parquet(tmp_path / f"{at}.parquet", {"image": DIGITS.pngs[:count]}) for at, count in enumerate(rows)]
    (tmp_path / "joined.parquet").write_bytes(b"".join(path.read_bytes() for path in paths))
    with pytest.raises(InputError, match="it is several Parquet files, one after the other"):
        opened(tmp_path / "joined.parquet")


def test_parquet_with_page_indexes_is_whole(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": DIGITS.pngs}), tmp_path / "a.parquet", write_page_index=True, row_group_size=7)
    assert len(ids_of(opened(tmp_path / "a.parquet"))) == 60


def test_image_in_a_png_after_its_end_is_read_as_before(tmp_path: Path) -> None:
    """Cameras append data to images, and decoders stop at the end mark."""
    write_files(tmp_path, {"1.png": png_of(PIXELS[0]) + b"maker note"})
    assert ids_of(opened(tmp_path)) == ["1.png"]
