"""Label columns of tables: by their names and values, as numbers or text."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contracts import DIGITS, read_all

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.sources.discover import Inputs, open_inputs
from mnist_batch.sources.labels import parse_label_column

PNGS, LABELS = DIGITS.pngs[:12], DIGITS.labels[:12].tolist()
TEXTS = [str(label) for label in LABELS]


def opened(path: Path, columns: dict[str, pa.Array]) -> Inputs:
    pq.write_table(pa.table({"image": PNGS, **columns}), path / "a.parquet")
    return open_inputs((str(path / "a.parquet"),), ReadOptions())


def labels_of(inputs: Inputs) -> list[int | None]:
    return [label for batch in read_all(inputs) for label in batch.labels.to_pylist()]


@pytest.mark.parametrize(
    "labels",
    [TEXTS, [f" {text} " for text in TEXTS], [f"{text}.0" for text in TEXTS], pa.array(TEXTS).dictionary_encode(),
     pa.array(TEXTS, pa.large_string())],
    ids=["text", "with spaces", "with decimals", "category", "large"],
)  # fmt: skip
def test_labels_may_be_text(labels: pa.Array, tmp_path: Path) -> None:
    assert labels_of(opened(tmp_path, {"label": labels})) == LABELS


@pytest.mark.parametrize("text", ["seven", "10", "", "1.5", "-1"])
def test_other_text_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match=r"labels must be digits 0\.\.9, row 1 has"):
        parse_label_column(pa.array(["3", text]), "a.parquet, column label")


@pytest.mark.parametrize("name", ["class", "target", "digit", "Label", "y"])
def test_label_column_of_another_name(name: str, tmp_path: Path) -> None:
    inputs = opened(tmp_path, {name: pa.array(LABELS)})
    assert (labels_of(inputs), inputs.warnings) == (LABELS, [])


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (
            {"class": [label + 10 for label in LABELS]},
            "such as class may hold labels.*not all of their values are digits",
        ),
        ({"class": ["cat"] * 12}, "such as class may hold labels.*not all of their values are digits"),
        ({"class": LABELS, "target": LABELS}, "such as class, target may hold labels.*several of them hold digits"),
    ],
)
def test_doubtful_label_columns_are_a_warning(columns: dict[str, pa.Array], why: str, tmp_path: Path) -> None:
    inputs = opened(tmp_path, columns)
    (warning,) = inputs.warnings
    assert not inputs.labelled
    assert re.search(why, warning)
    assert "--label-column" in warning


def test_other_columns_are_no_labels(tmp_path: Path) -> None:
    inputs = opened(tmp_path, {"writer": LABELS, "page": TEXTS})
    assert (inputs.labelled, inputs.warnings) == (False, [])


def test_partition_is_the_label_of_a_file(tmp_path: Path) -> None:
    for label in (3, 7):
        (tmp_path / f"label={label}").mkdir()
        pq.write_table(pa.table({"image": PNGS}), tmp_path / f"label={label}" / "part-0.parquet")
    inputs = open_inputs((str(tmp_path),), ReadOptions())
    assert inputs.labelled
    assert labels_of(inputs) == [3] * 12 + [7] * 12
    assert labels_of(open_inputs((str(tmp_path),), ReadOptions(labels=AutoLabels.NONE))) == [None] * 24


def test_column_is_taken_before_the_partition(tmp_path: Path) -> None:
    (tmp_path / "label=3").mkdir()
    assert labels_of(opened(tmp_path / "label=3", {"label": pa.array(LABELS)})) == LABELS


def test_partition_that_is_no_digit_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "class=cat").mkdir()
    inputs = opened(tmp_path / "class=cat", {})
    assert not inputs.labelled
    assert inputs.warnings == [
        f"{tmp_path}/class=cat: the partition class=cat may name labels, but is not taken; "
        "give their labels with --labels FILE, or switch labels off with --labels none"
    ]
