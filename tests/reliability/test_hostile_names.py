"""Hostile names, special files and unreadable files: each has a fixed outcome (docs/reliability.md)."""

import csv
import io
import os
import socket
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
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
from mnist_batch.config import OutputFormat
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
# How they are written in ids.
IDS = [
    *["../../etc/passwd.png", "/abs/x.png", "new\nline.png", 'a,"b";c.png', "=HYPERLINK(0).png", "caf\\xe9.png"],
    *[" .png", "twice.png", "twice.png#2", "\u2028.png"],
]


class RawNameInfo(zipfile.ZipInfo):
    """A member whose comment is written as its name, byte for byte. `zipfile` itself would encode the name."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.comment, self.flag_bits


def write_named_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for row, name in enumerate(NAMES):
            member = RawNameInfo(f"{row}.png")
            member.comment = name
            archive.writestr(member, PNG)
    return folder / "a.zip"


def write_named_tar(folder: Path) -> Path:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name in NAMES:
            member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            member.size = len(PNG)
            archive.addfile(member, io.BytesIO(PNG))
    return folder / "a.tar"


def modification_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("format", list(OutputFormat))
@pytest.mark.parametrize("write", [write_named_zip, write_named_tar], ids=["zip", "tar"])
def test_hostile_member_names_become_ids(write: Callable[[Path], Path], format: OutputFormat, tmp_path: Path) -> None:
    path = write(tmp_path)
    before = modification_times(tmp_path)
    result = predict(path, output=tmp_path / "out", format=format)
    # Nothing outside the output folder was touched.
    assert {path: time for path, time in modification_times(tmp_path).items() if "out" not in path.parts} == before
    assert result.to_pandas()["id"].tolist() == [f"{path.name}!{name}" for name in IDS]
    if format is OutputFormat.CSV:
        with (result.predictions / "part-00000.csv").open(newline="", encoding="utf-8") as file:
            assert [row["id"] for row in csv.DictReader(file)] == [f"{path.name}!{name}" for name in IDS]


@pytest.mark.parametrize("format", list(OutputFormat))
def test_hostile_file_names_become_ids(format: OutputFormat, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = sorted({name for name in NAMES if b"/" not in name})
    for name in names:
        for prefix, content in ((b"", PNG), (b"~", b"")):
            (tmp_path / "in" / os.fsdecode(prefix + name)).write_bytes(content)
    result = predict(tmp_path / "in", output=tmp_path / "out", format=format)
    ids = [name.decode("utf-8", "backslashreplace") for name in names]
    assert result.to_pandas()["id"].tolist() == ids
    assert result.rejects is not None
    rejects = sink_for(format).read(next(result.rejects.iterdir())).to_pydict()
    assert rejects["id"] == [f"~{name}" for name in ids]
    assert set(rejects["reason"]) == {"empty"}


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.zip", "a.zip!0.png"), ("a-images-idx3-ubyte", "a-images-idx3-ubyte#0"), ("a.zip", "a.zip#2.zip")],
)
def test_file_named_like_a_row_is_an_error(first: str, second: str, tmp_path: Path) -> None:
    for name in (first, second):
        if name.endswith(".zip"):
            write_zip(tmp_path / name, {"0.png": PNG})
        elif name.endswith("ubyte"):
            write_idx_pair(tmp_path, stem="a")
        else:
            (tmp_path / name).write_bytes(PNG)
    with pytest.raises(InputError, match="must not look like the id of a row of"):
        opened(tmp_path)


def test_special_files_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    write_files(folder, {"deep/er/good.png": PNG})
    os.mkfifo(folder / "pipe.png")
    for name, target in (
        *[("self.png", "self.png"), ("there", "back"), ("back", "there"), ("gone.png", "nowhere")],
        *[("up", ".."), ("zero.png", "/dev/zero"), ("twice.png", "deep/er/good.png")],
    ):
        (folder / name).symlink_to(target)
    monkeypatch.chdir(folder)  # a socket's path has at most about 100 bytes, so it is bound by its relative path
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.png")
    (folder / "up").unlink()
    (folder / "deep" / "up").symlink_to("..")
    inputs = opened(folder)
    assert ids_of(inputs) == ["deep/er/good.png"]
    links = {"(dangling link)": 4, "(link to a folder above)": 1, "(link to a file that is read)": 1}
    assert inputs.skipped == {"(special file)": 3, **links}


@contextmanager
def unprivileged() -> Iterator[None]:
    """Runs as the user nobody, because root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter. They may not enter pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_unreadable_image_file_is_a_reject(shared_folder: Path) -> None:
    write_files(shared_folder, {"a.png": PNG, "b.png": PNG})
    (shared_folder / "a.png").chmod(0)
    with unprivileged():
        inputs = opened(shared_folder)
        assert rejects_of(inputs) == [("a.png", "unreadable")]
        assert ids_of(inputs) == ["b.png"]


@pytest.mark.parametrize("name", ["scans", "scans.zip", "notes"])
def test_other_unreadable_path_ends_the_run(name: str, shared_folder: Path) -> None:
    write_files(shared_folder, {"b.png": PNG})
    (shared_folder / name).mkdir() if name == "scans" else (shared_folder / name).write_bytes(b"")
    (shared_folder / name).chmod(0)
    with unprivileged(), pytest.raises(StorageError, match=f"{name}: .*must be readable"):
        opened(shared_folder)
