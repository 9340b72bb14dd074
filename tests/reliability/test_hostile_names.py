"""Names made to do harm, and what is no plain file or may not be read: each has an outcome (docs/reliability.md)."""

import csv
import io
import os
import socket
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from contracts import (
    DIGITS,
    ids_of,
    opened,
    png_of,
    rejects_of,
    write_files,
    write_idx_pair,
    write_zip,
)

from mnist_batch import predict
from mnist_batch.errors import InputError, StorageError
from mnist_batch.output.formats import sink_for

PNG = png_of(DIGITS.pixels[0])
NAMES = [
    b"../../etc/passwd.png",
    b"/abs/x.png",
    b"new\nline.png",
    b'a,"b";c.png',
    b"=HYPERLINK(0).png",
    b"caf\xe9.png",
    b" .png",
    b"twice.png",
    b"twice.png",
    b"\xe2\x80\xa8.png",
]
WRITTEN = [
    *["../../etc/passwd.png", "/abs/x.png", "new\nline.png", 'a,"b";c.png', "=HYPERLINK(0).png", "caf\\xe9.png"],
    *[" .png", "twice.png", "twice.png#2", "\u2028.png"],
]


class RawName(zipfile.ZipInfo):
    """A member whose name is written as it is, which `zipfile` would not do."""

    def _encodeFilenameFlags(self):
        return self.comment, self.flag_bits


def as_zip(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for row, name in enumerate(NAMES):
            member = RawName(f"{row}.png")
            member.comment = name
            archive.writestr(member, PNG)
    return folder / "a.zip"


def as_tar(folder):
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name in NAMES:
            member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            member.size = len(PNG)
            archive.addfile(member, io.BytesIO(PNG))
    return folder / "a.tar"


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("make", [as_zip, as_tar])
def test_members_of_any_name_are_rows_under_it_and_nothing_outside_the_output_is_touched(make, format, tmp_path):
    path = make(tmp_path)
    before = snapshot(tmp_path)
    result = predict(path, output=tmp_path / "out", format=format)
    assert {path: time for path, time in snapshot(tmp_path).items() if "out" not in path.parts} == before
    assert result.to_pandas()["id"].tolist() == [f"{path.name}!{name}" for name in WRITTEN]
    if format == "csv":
        with (result.predictions / "part-00000.csv").open(newline="", encoding="utf-8") as file:
            assert [row["id"] for row in csv.DictReader(file)] == [f"{path.name}!{name}" for name in WRITTEN]


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_files_of_any_name_are_rows_or_rejects_under_it(format, tmp_path):
    (tmp_path / "in").mkdir()
    names = sorted({name for name in NAMES if b"/" not in name})
    for name in names:
        for kind, content in ((b"", PNG), (b"~", b"")):
            (tmp_path / "in" / os.fsdecode(kind + name)).write_bytes(content)
    result = predict(tmp_path / "in", output=tmp_path / "out", format=format)
    written = [name.decode("utf-8", "backslashreplace") for name in names]
    assert result.to_pandas()["id"].tolist() == written
    rejects = sink_for(format).read(next(result.rejects.iterdir())).to_pydict()
    assert rejects["id"] == [f"~{name}" for name in written]
    assert set(rejects["reason"]) == {"empty"}


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.zip", "a.zip!0.png"), ("a-images-idx3-ubyte", "a-images-idx3-ubyte#0"), ("a.zip", "a.zip#2.zip")],
)
def test_a_file_that_is_called_like_a_row_of_another_is_an_error(first, second, tmp_path):
    for name in (first, second):
        if name.endswith(".zip"):
            write_zip(tmp_path / name, {"0.png": PNG})
        elif name.endswith("ubyte"):
            write_idx_pair(tmp_path, stem="a")
        else:
            (tmp_path / name).write_bytes(PNG)
    with pytest.raises(InputError, match="must not be written like a row of"):
        opened(tmp_path)


def test_what_is_no_file_in_a_folder_is_skipped_and_counted(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    write_files(folder, {"deep/er/good.png": PNG})
    os.mkfifo(folder / "pipe.png")
    for name, target in (
        *[("self.png", "self.png"), ("there", "back"), ("back", "there"), ("gone.png", "nowhere")],
        *[("up", ".."), ("zero.png", "/dev/zero"), ("twice.png", "deep/er/good.png")],
    ):
        (folder / name).symlink_to(target)
    monkeypatch.chdir(folder)  # the name of a socket has at most some 100 bytes
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("socket.png")
    (folder / "up").unlink()
    (folder / "deep" / "up").symlink_to("..")
    inputs = opened(folder)
    assert ids_of(inputs) == ["deep/er/good.png", "twice.png"]
    assert inputs.skipped == {"(dangling link)": 4, "(special file)": 3, "(link to a folder above)": 1}


@contextmanager
def nobody():
    """Permission bits do not bind root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def shared_folder():
    """A folder that others may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_file_that_may_not_be_read_is_a_reject_if_its_name_says_that_it_is_an_image(shared_folder):
    write_files(shared_folder, {"a.png": PNG, "b.png": PNG})
    (shared_folder / "a.png").chmod(0)
    with nobody():
        inputs = opened(shared_folder)
        assert rejects_of(inputs) == [("a.png", "unreadable")]
        assert ids_of(inputs) == ["b.png"]


@pytest.mark.parametrize("name", ["scans", "scans.zip", "notes"])
def test_a_folder_or_a_file_of_unknown_kind_that_may_not_be_read_stops_the_run(name, shared_folder):
    write_files(shared_folder, {"b.png": PNG})
    (shared_folder / name).mkdir() if name == "scans" else (shared_folder / name).write_bytes(b"")
    (shared_folder / name).chmod(0)
    with nobody(), pytest.raises(StorageError, match=f"{name}: .*must be readable"):
        opened(shared_folder)
