"""Tables of labels as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mnist_batch.errors import InputError
from mnist_batch.records import string_array
from mnist_batch.sources.label_file import open_label_file
from mnist_batch.sources.label_table import match_ids

IDS = [f"{row}.png" for row in range(12)]
DIGITS = [row % 10 for row in range(12)]


def labels_of(path: Path, ids: list[str], names: list[str] | None = None) -> list[int | None]:
    labels, _ = open_label_file(path, len(ids), numbered=False, list_names=lambda: string_array(names or ids))
    return labels.labels(string_array(ids), np.arange(len(ids))).to_pylist()


@pytest.mark.parametrize("id_name", ["id", "image", "file", "file_name", "filename", "filepath", "path", "ImageId"])
@pytest.mark.parametrize("label_name", ["label", "class", "digit", "target", "Label"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_column_names_and_delimiters(id_name: str, label_name: str, delimiter: str, tmp_path: Path) -> None:
    rows = [f"{name}{delimiter}{digit}" for name, digit in zip(IDS, DIGITS, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join([f"{id_name}{delimiter}{label_name}", *rows]))
    assert labels_of(tmp_path / "a.csv", IDS) == DIGITS


@pytest.mark.parametrize("label_first", [True, False])
def test_table_without_header(label_first: bool, tmp_path: Path) -> None:
    rows = [f"{digit},{name}" if label_first else f"{name},{digit}" for name, digit in zip(IDS, DIGITS, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert labels_of(tmp_path / "a.csv", IDS) == DIGITS


def test_parquet_with_other_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": IDS, "digit": DIGITS}), tmp_path / "a.parquet")
    assert labels_of(tmp_path / "a.parquet", IDS) == DIGITS


def test_id_and_label_win_over_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,path,label,class\na,x,3,9\n")
    assert labels_of(tmp_path / "a.csv", ["a"]) == [3]


@pytest.mark.parametrize("text", ["path,file,label\na,b,1\n", "id,class,digit\na,1,2\n", "x,y,z\na,b,c\n"])
def test_unclear_columns_are_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match="labels must have the columns id and label, has"):
        labels_of(tmp_path / "a.csv", ["a"])


@pytest.mark.parametrize(
    ("ids", "rows", "expected"),
    [
        (["1.png"], ["x/1.png", "x/2.png"], ["x/1.png"]),
        (["1"], ["x/1.png"], ["x/1.png"]),
        (["x/1"], ["x/1.png", "y/1.png"], ["x/1.png"]),
        (["train/1.png"], ["a.zip!train/1.png"], ["a.zip!train/1.png"]),
        (["data/train/1.png"], ["train/1.png"], ["train/1.png"]),
        (["data/1.png"], ["train/1.png"], ["data/1.png"]),  # another folder
        (["1.jpg"], ["1.png"], ["1.jpg"]),  # another suffix
        (["1.png"], ["x/1.png", "y/1.png"], ["1.png"]),  # two rows fit
        (["a/1.png", "b/1.png"], ["x/1.png"], ["a/1.png", "b/1.png"]),  # two ids fit
        (["1.png", "x/1.png"], ["x/1.png"], ["1.png", "x/1.png"]),  # one fits exactly
        (["3"], [], ["3"]),
    ],
)
def test_ids_may_leave_out_folder_and_suffix(ids: list[str], rows: list[str], expected: list[str]) -> None:
    assert match_ids(string_array(ids), lambda: string_array(rows)).to_pylist() == expected
