"""CSV files of pixels: how they may be written, and rows that do not fit."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from contracts import DIGITS, Array, read_all

from mnist_batch.config import AutoLabels, PixelRange, ReadOptions
from mnist_batch.errors import InputError, UsageError
from mnist_batch.sources import csv
from mnist_batch.sources.discover import Inputs, open_inputs

X, Y = DIGITS.pixels[:12], DIGITS.labels[:12]
ROWS = [[label, *row] for label, row in zip(Y.tolist(), X.reshape(12, 784).tolist(), strict=True)]
PIXELS = [f"pixel{position}" for position in range(784)]
GRID = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]


def write(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",", end: str = "\n") -> Path:
    path.write_text("".join(delimiter.join(map(str, row)) + end for row in rows), newline="")
    return path


def opened(path: Path, **options: object) -> Inputs:
    return open_inputs((str(path),), ReadOptions(**options))  # type: ignore[arg-type]  # any option


def read(inputs: Inputs) -> tuple[list[str], list[int | None], Array]:
    """The ids, labels and pixels of all images."""
    batches = list(read_all(inputs))
    ids = [name for batch in batches for name in batch.ids.to_pylist()]
    labels = [label for batch in batches for label in batch.labels.to_pylist()]
    return ids, labels, np.concatenate([batch.pixels for batch in batches])


def rejects_of(inputs: Inputs) -> list[tuple[str, str, str]]:
    return [(reject.id, str(reject.reason), reject.detail) for batch in read_all(inputs) for reject in batch.rejects]


@pytest.mark.parametrize(
    "header",
    [PIXELS, [f"pixel{i}" for i in range(1, 785)], GRID, [f"c{i}" for i in range(784)], [*map(str, range(784))]],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_headers(header: list[str], end: str, tmp_path: Path) -> None:
    if all(name.isdigit() for name in header):
        header = [f"{name}.x" for name in header]
    ids, labels, pixels = read(opened(write(tmp_path / "a.csv", [["label", *header], *ROWS], end=end)))
    assert (ids[0], labels) == ("a.csv#0", Y.tolist())
    assert np.array_equal(pixels, X)


def test_columns_sorted_as_text_are_put_in_order(tmp_path: Path) -> None:
    order = sorted(range(784), key=lambda position: GRID[position])
    rows = [[GRID[position] for position in order], *([row[1 + position] for position in order] for row in ROWS)]
    assert np.array_equal(read(opened(write(tmp_path / "a.csv", rows)))[2], X)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (ROWS, Y.tolist()),
        ([[*row[1:], row[0]] for row in ROWS], Y.tolist()),
        ([row[1:] for row in ROWS], [None] * 12),
    ],
    ids=["label first", "label last", "no label"],
)
def test_label_without_header(rows: Sequence[Sequence[int]], labels: list[int | None], tmp_path: Path) -> None:
    _, found, pixels = read(opened(write(tmp_path / "a.csv", rows)))
    assert found == labels
    assert np.array_equal(pixels, X)


def test_label_without_header_is_no_pixel_if_labels_are_off(tmp_path: Path) -> None:
    inputs = opened(write(tmp_path / "a.csv", ROWS), labels=AutoLabels.NONE)
    _, labels, pixels = read(inputs)
    assert labels == [None] * 12
    assert np.array_equal(pixels, X)


@pytest.mark.parametrize("value", ["", "x"])
def test_damaged_first_row_is_a_reject(value: str, tmp_path: Path) -> None:
    rows = [["label", *PIXELS], [*ROWS[0][:-1], value], *ROWS[1:]]
    inputs = opened(write(tmp_path / "a.csv", rows))
    assert [name for name, _, _ in rejects_of(inputs)] == ["a.csv#0"]
    assert np.array_equal(read(inputs)[2], X[1:])


def test_unclear_label_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [[*row[:-1], row[0]] for row in ROWS])
    with pytest.raises(InputError, match=r"must be clear which of 785 columns is the label.*--label-column"):
        opened(path)
    assert read(opened(path, label_column="first"))[1] == Y.tolist()
    assert read(opened(path, label_column="last"))[1] == Y.tolist()
    with pytest.raises(UsageError, match="must be first, last or none"):
        opened(path, label_column="label")


def test_pandas_index_is_no_pixel(tmp_path: Path) -> None:
    rows = [["", "label", *PIXELS[::-1]], *([number, *row] for number, row in enumerate(ROWS))]
    assert opened(write(tmp_path / "a.csv", rows)).rows == 12


def test_ids_and_kept_columns(tmp_path: Path) -> None:
    rows = [["name", "page", *PIXELS], *([f'"a\n{at},b"', at, *row[1:]] for at, row in enumerate(ROWS))]
    inputs = opened(write(tmp_path / "a.csv", rows), id_column="name", keep=("page",))
    ids, _, pixels = read(inputs)
    assert ids == [f"a\n{at},b" for at in range(12)]
    assert np.array_equal(pixels, X)
    (batch,) = read_all(inputs)
    assert batch.extra_columns is not None
    assert batch.extra_columns["page"].to_pylist() == [str(at) for at in range(12)]


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (lambda row: row[:-1], "not_28x28", "a row of 784 values instead of 785"),
        (lambda row: [*row, 5], "not_28x28", "a row of 786 values instead of 785"),
        (lambda row: [*row[:-1], "x"], "pixel_out_of_range", "a pixel is 'x'"),
        (lambda row: [*row[:-1], ""], "pixel_out_of_range", "a pixel is null"),
        (lambda row: [*row[:-1], 256], "pixel_out_of_range", "pixels from 0"),
        (lambda row: [*row[:-1], -1], "pixel_out_of_range", "pixels from -1"),
    ],
)
def test_row_that_does_not_fit_is_a_reject(change: object, reason: str, detail: str, tmp_path: Path) -> None:
    rows = [row if at != 5 else change(row) for at, row in enumerate(ROWS)]  # type: ignore[operator]  # a function
    inputs = opened(write(tmp_path / "a.csv", [["label", *PIXELS], *rows]))
    ((name, found, text),) = rejects_of(inputs)
    assert (name, found) == ("a.csv#5", reason)
    assert detail in text
    assert np.array_equal(read(inputs)[2], np.delete(X, 5, axis=0))


@pytest.mark.parametrize("block", [3_000, 10_000, 1 << 24])
@pytest.mark.parametrize("packed", [False, True])
def test_blocks_give_the_same_rows(block: int, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "_BLOCK_BYTES", block)
    path = write(tmp_path / "a.csv", [["label", *PIXELS], *ROWS[:4], [], *ROWS[4:], []], end="\r\n")
    if packed:
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    inputs = opened(path)
    (source,) = inputs.sources
    assert inputs.rows == 12
    assert isinstance(source, csv.CsvSource)
    assert len(source.blocks) > 1 or block > 20_000
    reader = source.open()
    for start, stop in ((5, 9), (0, 12), (11, 12), (3, 4)):
        pieces = list(reader.read(start, stop))
        assert [name for rows in pieces for name in rows.ids.to_pylist()] == [
            f"{path.name}#{row}" for row in range(start, stop)
        ]
        assert [label for rows in pieces for label in rows.labels.to_pylist()] == Y[start:stop].tolist()
    reader.close()


def test_byte_order_mark_and_missing_last_line_end(tmp_path: Path) -> None:
    text = write(tmp_path / "a.csv", ROWS).read_text()
    (tmp_path / "a.csv").write_text("\ufeff" + text.rstrip("\n"))
    assert read(opened(tmp_path / "a.csv"))[1] == Y.tolist()


def test_floats_need_their_range(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", np.column_stack([Y, X.reshape(12, 784) / 255]), delimiter=",")
    with pytest.raises(InputError, match="--pixel-range"):
        opened(tmp_path / "a.csv", label_column="first")
    inputs = opened(tmp_path / "a.csv", label_column="first", pixel_range=PixelRange.UNIT)
    _, labels, pixels = read(inputs)
    assert labels == Y.tolist()
    assert np.array_equal(pixels, X)


def test_tables_of_labels_are_not_images(tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", [["id", "label"], ["a", 1]])
    write(tmp_path / "x.csv", [["label", *PIXELS], *ROWS])
    inputs = opened(tmp_path, labels=AutoLabels.AUTO)
    assert (inputs.rows, inputs.skipped) == (12, {"(table of labels)": 1})


def test_endless_line_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "_BLOCK_BYTES", 5000)
    write(tmp_path / "a.csv", [["label", *PIXELS], *ROWS, ["1"] * 50_000])
    with pytest.raises(InputError, match="every line must end"):
        opened(tmp_path / "a.csv")
