"""Labels from a separate file (`--labels FILE`)."""

from __future__ import annotations

import errno
import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from contracts import LABELS, PIXELS, idx_bytes, png_of, read_all, write_files

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError, InputMissingError, StorageError
from mnist_batch.output.csv import CsvSink
from mnist_batch.records import string_array
from mnist_batch.sources import label_file
from mnist_batch.sources.discover import open_inputs
from mnist_batch.sources.label_file import open_label_file

IDS = ["a.png", "b,c.png", 'd "e".png', "two\nlines.png", "007", "NA", "é"]
Write = Callable[..., Path]  # (path, **columns)


def labels_by_id(path: Path, ids: list[str]) -> list[int | None]:
    return open_label_file(path, len(ids))[0].labels(string_array(ids), np.arange(len(ids))).to_pylist()


def write_csv(path: Path, **columns: Any) -> Path:
    pa.csv.write_csv(pa.table(columns), path)
    return path


def write_parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.int32), np.eye(10, dtype=np.uint8)[LABELS]])
@pytest.mark.parametrize("gzipped", [True, False])
def test_idx_file_labels_by_position(tmp_path: Path, labels: np.ndarray, gzipped: bool) -> None:
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(idx_bytes(labels)) if gzipped else idx_bytes(labels))
    assert labels_by_id(path, [f"row {row}" for row in range(60)]) == LABELS.tolist()


def test_positions_count_rejected_rows(tmp_path: Path) -> None:
    write_files(tmp_path / "images", {f"{row}.png": b"" if row % 3 == 1 else png_of(PIXELS[row]) for row in range(9)})
    (tmp_path / "labels").write_bytes(idx_bytes(LABELS[:9]))
    inputs = open_inputs((str(tmp_path / "images"),), ReadOptions(labels=tmp_path / "labels"))
    (batch,) = read_all(inputs)
    assert not inputs.labelled
    labels = open_label_file(tmp_path / "labels", inputs.rows)[0].labels(batch.ids, batch.positions)
    assert labels.to_pylist() == [int(LABELS[int(name[0])]) for name in batch.ids.to_pylist()]
    assert len(labels) == 6


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_table_labels_by_id_in_any_order(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "labels", id=IDS, label=list(range(7)), more=["x"] * 7)
    assert labels_by_id(path, IDS[::-1]) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_unknown_ids_and_nulls_get_null(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "labels", id=["a", "b", "c"], label=pa.array([1, None, 3], pa.int64()))
    assert labels_by_id(path, ["c", "unknown", "b", "a", ""]) == [3, None, None, 1, None]


def test_all_labels_may_be_null(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label\na,\nb,\n")
    assert labels_by_id(tmp_path / "labels.csv", ["a", "b"]) == [None, None]


def test_parquet_labels_may_be_one_hot(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "labels", id=["a", "b"], label=np.eye(10, dtype=int)[[4, 2]].tolist())
    assert labels_by_id(path, ["a", "b"]) == [4, 2]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_numeric_ids_match_as_written(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "labels", id=[7, 12], label=[1, 2])
    assert labels_by_id(path, ["7", "12", "007"]) == [1, 2, None]


def test_csv_predictions_can_be_a_label_file(tmp_path: Path) -> None:
    table = pa.table({"id": string_array(IDS), "label": pa.array(range(7), pa.int32())})
    with (tmp_path / "part.csv").open("wb") as file:
        CsvSink().write(table, file, {})
    assert labels_by_id(tmp_path / "part.csv", IDS) == list(range(7))


@pytest.mark.parametrize("name", ["labels.csv.gz", "labels.csv"])
def test_gzipped_csv_is_read_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"id,label\na,4\n"))
    assert labels_by_id(tmp_path / name, ["a"]) == [4]
    (tmp_path / name).write_bytes(gzip.compress(b"id,label\na,4\n")[:-6])
    with pytest.raises(InputError, match="gzip stream must be whole, but: "):
        open_label_file(tmp_path / name, 1)


def test_multiline_ids_in_a_large_csv(tmp_path: Path) -> None:
    ids = [f"page {row}\nline 2" for row in range(70_000)]  # 1 MB and more, because Arrow reads 1 MB at a time
    path = write_csv(tmp_path / "labels.csv", id=ids, label=[row % 10 for row in range(len(ids))])
    assert labels_by_id(path, ids) == [row % 10 for row in range(len(ids))]


def test_label_file_can_be_pickled(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels", id=["a", "b"], label=[1, 2])
    labels, _ = open_label_file(path, 2)
    labels.labels(string_array(["a"]), np.arange(1))
    assert pickle.loads(pickle.dumps(labels)).labels(string_array(["b"]), np.arange(1)).to_pylist() == [2]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"id": ["a", "b", "a"], "label": [1, 2, 3]}, "'a' occurs 2 times"),
        ({"page": ["a"], "label": [1]}, "must have the columns id and label, has page, label"),
        ({"id": ["a"]}, "must have the columns id and label"),
        ({"id": ["a", "b"], "label": [1, 10]}, "column label: labels must be digits 0..9, row 1 has 10"),
        ({"id": ["a"], "label": ["one"]}, "row 0 has 'one'"),
        ({"id": [], "label": []}, "must hold a label, holds none"),
    ],
)
def test_unusable_table_is_an_error(tmp_path: Path, write: Write, columns: dict[str, Any], match: str) -> None:
    path = write(tmp_path / "labels", **columns)
    with pytest.raises(InputError, match=match) as caught:
        open_label_file(path, 2)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_idx_file_with_another_row_count(tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(idx_bytes(LABELS))
    with pytest.raises(InputError, match="each of the 61 rows of the input, holds 60"):
        open_label_file(tmp_path / "labels", 61)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1 cut short",
        b'id,label\n"a,1\n',
        b"id,label\na,1,2\n",
        idx_bytes(PIXELS[:1]),
        idx_bytes(LABELS)[:-1],
        gzip.compress(idx_bytes(LABELS), mtime=0)[:-9],
        gzip.compress(idx_bytes(LABELS), mtime=0)[:12],
        b"\x1f\x8b not gzip",
        b"\xff\xfe\xfd",
    ],
)
def test_unusable_file_is_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_label_file(tmp_path / "labels", 60)
    assert str(tmp_path / "labels") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_file_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels").write_text("id,label\n")

    def deny(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(label_file, "open_plain_or_gzip", deny)  # root may read any file
    with pytest.raises(StorageError, match=r"labels: labels must be readable, but: Permission denied; start again"):
        open_label_file(tmp_path / "labels", 1)


def test_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"--labels .*must be a file"):
        open_label_file(tmp_path / "labels", 1)
