"""`--strict`: a gate that fails if something skipped may be images, or if only some rows have labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Cli
from contracts import DIGITS, write_files, write_zip

from mnist_batch import predict

LABELLED = {f"{label}/{row}.png": png for row, (label, png) in enumerate(zip(DIGITS.labels, DIGITS.pngs, strict=True))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "in", LABELLED | {"readme.txt": b"digits", "Thumbs.db": b"x"})


def test_other_files_pass(folder: Path, tmp_path: Path) -> None:
    assert predict(folder, output=tmp_path / "out", strict=True).exit_code == 0


@pytest.mark.parametrize(
    ("files", "failed"),
    [
        ({"more.7z": b"7z\xbc\xaf\x27\x1c"}, "max_skipped must be at most 0, is 1"),
        ({"a.h5": b"\x89HDF\r\n\x1a\n", "b.pt": b"PK"}, "max_skipped must be at most 0, is 2"),
        ({"unsorted.png": DIGITS.pngs[0]}, "max_unlabelled must be at most 0, is 1"),
    ],
    ids=["archive", "arrays", "no label"],
)
def test_what_may_be_missing_fails(files: dict[str, bytes], failed: str, folder: Path, tmp_path: Path) -> None:
    write_files(folder, files)
    result = predict(folder, output=tmp_path / "out", strict=True)
    assert (result.exit_code, [str(gate) for gate in result.failed_gates]) == (3, [failed])
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert predict(folder, output=tmp_path / "out").exit_code == 0  # judged again, without the gate
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_archive_in_an_archive_fails(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "in.zip", LABELLED | {"more.zip": b"PK\3\4"})
    assert predict(archive, output=tmp_path / "out", strict=True).exit_code == 3


def test_rows_without_any_label_pass(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {"a.png": DIGITS.pngs[0]})
    assert predict(folder, output=tmp_path / "out", strict=True).exit_code == 0


def test_report_shows_the_gate(folder: Path, tmp_path: Path, cli: Cli) -> None:
    write_files(folder, {"more.7z": b"7z\xbc\xaf\x27\x1c"})
    assert cli("predict", folder, "-o", tmp_path / "out", "--strict").code == 3
    markdown = cli("report", tmp_path / "out", "--format", "md").stdout
    assert "files or frames skipped that may be images" in markdown
    assert "at most 0" in markdown
