"""`--files-from`: a list of files, scored in its order."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Cli
from contracts import DIGITS, idx_bytes, write_files, write_zip

from mnist_batch import predict
from mnist_batch.errors import EmptyInputError, InputMissingError, UsageError

ORDER = ["b/2.png", "a/10.png", "b/1.png", "a/9.png"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with images that a list may name."""
    write_files(tmp_path, {name: DIGITS.pngs[row] for row, name in enumerate(ORDER)} | {"a/other.png": DIGITS.pngs[9]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(folder: Path) -> list[str]:
    return pq.read_table(folder / "out" / "predictions")["id"].to_pylist()


def write_list(folder: Path, names: list[str], end: str = "\n") -> Path:
    path = folder / "list.txt"
    path.write_bytes(os.fsencode("".join(name + end for name in names)))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_rows_are_in_the_order_of_the_list(end: str, folder: Path) -> None:
    predict(files_from=write_list(folder, ORDER, end), output="out")
    assert scored(folder) == ORDER
    assert pq.read_table("out/predictions")["prediction"].to_pylist() == DIGITS.labels[:4].tolist()


def test_ids_are_relative_to_the_folder_of_all(folder: Path) -> None:
    predict(files_from=write_list(folder, [f"{folder}/a/9.png", "a/10.png"]), output="out")
    assert scored(folder) == ["9.png", "10.png"]


def test_names_may_end_with_null_bytes(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a/line\nbreak.png", "b/\udcff.png", *ORDER]
    write_files(folder, {names[0]: DIGITS.pngs[5], names[1]: DIGITS.pngs[6]})
    content = os.fsencode("\0".join(names))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert cli("predict", "--files-from", "-", "--null", "-o", "out").code == 0
    assert scored(folder) == ["a/line\nbreak.png", "b/\\xff.png", *ORDER]


def test_containers_are_read_in_place(folder: Path) -> None:
    write_zip(folder / "c.zip", {"x.png": DIGITS.pngs[5]})
    (folder / "a.idx").write_bytes(idx_bytes(DIGITS.pixels[:2]))
    names = ["b/2.png", "c.zip", "a/9.png", "a.idx", "b/1.png"]
    predict(files_from=write_list(folder, names), output="out")
    assert scored(folder) == ["b/2.png", "c.zip!x.png", "a/9.png", "a.idx#0", "a.idx#1", "b/1.png"]


def test_gzip_copy_is_read_once_in_any_order(folder: Path) -> None:
    images = idx_bytes(DIGITS.pixels[:2])
    write_files(folder, {"x": images, "x.gz": gzip.compress(images, mtime=0)})
    predict(files_from=write_list(folder, ["x.gz", "x"]), output="out")
    assert scored(folder) == ["x#0", "x#1"]


def test_another_order_is_another_run(folder: Path, cli: Cli) -> None:
    assert cli("predict", "--files-from", write_list(folder, ORDER), "-o", "out").code == 0
    assert cli("predict", "--files-from", write_list(folder, ORDER), "-o", "out").code == 0
    assert cli("predict", "--files-from", write_list(folder, ORDER[::-1]), "-o", "out").code == 73


def test_list_is_inspected(folder: Path, cli: Cli) -> None:
    summary = cli("inspect", "--files-from", write_list(folder, ORDER), "--json").json
    assert (summary["rows"], summary["skipped"]) == (4, {})


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (
            ["b/2.png", "no.png"],
            InputMissingError,
            r"^no\.png: must be a file, but: No such file or directory; check the list$",
        ),
        (
            ["no.png", "b/2.png", "x*.png"],
            InputMissingError,
            r"No such file or directory, and 1 more cannot be opened either",
        ),
        (
            ["no.png", "b/2.png", "x*.png", "y"],
            InputMissingError,
            r"No such file or directory, and 2 more cannot be opened either",
        ),
        (["b/2.png", "a"], UsageError, "^a: must be a file, a list may not name folders"),
        (["b/2.png", "/dev/null"], InputMissingError, "^/dev/null: must be a file, is a device or a pipe"),
        (["b/2.png", "./b/2.png"], UsageError, r"^b/2\.png|^2\.png: every file must be given once"),
        ([], EmptyInputError, "must name a file, names none"),
        (["b/2.png\0b/1.png"], InputMissingError, "holds null bytes: pass null"),
    ],
    ids=["missing", "two missing", "three missing", "folder", "device", "twice", "empty", "null bytes"],
)
def test_what_a_list_may_not_name(names: list[str], error: type[Exception], message: str, folder: Path) -> None:
    with pytest.raises(error, match=message):
        predict(files_from=write_list(folder, names), output="out")
    assert not (folder / "out" / "predictions").exists()


def test_list_is_the_only_input(folder: Path, cli: Cli) -> None:
    path = write_list(folder, ORDER)
    assert cli("predict", "a", "--files-from", path, "-o", "out").stderr == (
        "mnist-batch: --files-from: must be the only input, got a too: leave one of them out\n"
    )
    assert cli("predict", "a", "--null", "-o", "out").code == 2
    assert cli("predict", "--files-from", "none.txt", "-o", "out").code == 66
    assert cli("predict", "--files-from", "s3://bucket/list", "-o", "out").code == 2


def test_many_files_are_listed(folder: Path) -> None:
    names = [f"many/{row:03}.png" for row in np.random.default_rng(0).permutation(500)]
    write_files(folder, dict.fromkeys(names, DIGITS.pngs[0]))
    predict(files_from=write_list(folder, names), output="out", rows_per_part=64)
    assert scored(folder) == [name.removeprefix("many/") for name in names]
