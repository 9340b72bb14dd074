"""Invalid Parquet input: a bad file is an error of one line, a bad row is a reject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contracts import (
    CUBE,
    DIGITS,
    FRAME_NOTHING,
    PIXELS,
    SPARK,
    ids_of,
    labels_of,
    png_of,
    read_all,
    rejects_of,
    write_files,
    write_parquet,
    write_zip,
)

from mnist_batch.config import PixelRange, ReadOptions
from mnist_batch.errors import InputError, UsageError
from mnist_batch.sources.discover import open_inputs
from sources.failing import fails

PNG = png_of(PIXELS[0])
PNGS = {f"{row}.png": png_of(PIXELS[row]) for row in range(4)}


def parquet(folder: Path, **columns: Any) -> Path:
    return write_parquet(folder / "a.parquet", columns)


def rows(values: np.ndarray = PIXELS) -> list[Any]:
    return values.reshape(len(values), -1).tolist()


# Bad files


def test_no_image_column_is_an_error(tmp_path: Path) -> None:
    fails(parquet(tmp_path, text=["a"], n=[1]), InputError, r"must hold images .*its columns are text \(string\), n")


def test_two_image_columns_need_the_option(tmp_path: Path) -> None:
    path = parquet(tmp_path, front=[PNG], back=[PNG])
    fails(path, InputError, r"must have one image column, has front .*, back .*--image-column")
    assert ids_of(open_inputs((str(path),), ReadOptions(image_column="back"))) == ["a.parquet#0"]


def test_first_pixel_column_names_all_784(tmp_path: Path) -> None:
    path = parquet(tmp_path, image=[png_of(PIXELS[0])], **{f"pixel{i}": [v] for i, v in enumerate(rows()[1])})
    fails(path, InputError, r"has image .*, pixel0 \(784 columns\): name one with --image-column")
    (batch,) = read_all(open_inputs((str(path),), ReadOptions(image_column="pixel0")))
    assert np.array_equal(batch.pixels[0], PIXELS[1])
    fails(path, InputError, "column pixel7 must hold images", image_column="pixel7")


@pytest.mark.parametrize(
    "dtype",
    [
        pa.fixed_shape_tensor(pa.uint8(), [14, 56]),
        pa.fixed_shape_tensor(pa.uint8(), [28, 28], permutation=[1, 0]),
        pa.list_(pa.uint8(), 783),
        pa.list_(pa.string()),
        pa.binary(783),
        pa.list_(pa.list_(pa.list_(pa.list_(pa.uint8())))),
        pa.struct([("height", pa.int32()), ("data", pa.binary())]),
    ],
)
def test_types_that_cannot_hold_28x28_images(tmp_path: Path, dtype: pa.DataType) -> None:
    fails(parquet(tmp_path, image=pa.nulls(1, dtype)), InputError, "must hold images")


def test_text_pixel_columns_are_not_images(tmp_path: Path) -> None:
    fails(parquet(tmp_path, **{f"pixel{i}": ["0"] for i in range(784)}), InputError, "must hold images")


@pytest.mark.parametrize("floats", [range(784), [300]])
def test_float_pixel_columns_need_a_range(tmp_path: Path, floats: list[int]) -> None:
    columns = {f"pixel{i}": pa.array([1], pa.float64() if i in floats else pa.int64()) for i in range(784)}
    fails(parquet(tmp_path, **columns), InputError, "--pixel-range")


@pytest.mark.parametrize("dtype", [pa.list_(pa.float32()), pa.list_(pa.float64(), 784), pa.large_list(pa.float16())])
def test_float_pixels_need_a_range(tmp_path: Path, dtype: pa.DataType) -> None:
    path = parquet(tmp_path, image=pa.nulls(1, dtype))
    fails(path, InputError, "column image is .*--pixel-range 0..1")
    assert open_inputs((str(path),), ReadOptions(pixel_range=PixelRange.UNIT)).rows == 1


def test_pixel_range_in_the_schema_wins(tmp_path: Path) -> None:
    field = pa.field("image", pa.list_(pa.float64()), metadata={"pixel_range": "-1..1"})
    table = pa.table([pa.array([[1.0] * 784, [-1.0] * 784])], schema=pa.schema([field]))
    pq.write_table(table, tmp_path / "a.parquet")
    inputs = open_inputs((str(tmp_path / "a.parquet"),), ReadOptions(pixel_range=PixelRange.BYTE))
    (batch,) = read_all(inputs, FRAME_NOTHING)
    assert [batch.pixels[0].min(), batch.pixels[1].max()] == [255, 0]


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("end", [4, 100, -1])
def test_truncated_file_is_an_error(tmp_path: Path, start: int, end: int) -> None:
    path = parquet(tmp_path, image=[PNG] * 50)
    path.write_bytes(b"PAR1"[:start] + path.read_bytes()[start:end])
    fails(path, InputError, "must be readable as Parquet")


def test_damaged_data_is_an_error_when_read(tmp_path: Path) -> None:
    path = parquet(tmp_path, image=list(PNGS.values()))
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    fails(path, InputError, "must be readable as Parquet")


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"label_column": "digit"}, "--label-column digit"),
        ({"id_column": "page"}, "--id-column page"),
        ({"keep": ("page",)}, "--keep page"),
        ({"image_column": "scan"}, "--image-column scan"),
    ],
)
def test_option_naming_a_missing_column(tmp_path: Path, options: dict[str, Any], option: str) -> None:
    fails(parquet(tmp_path, image=[PNG], n=[1]), UsageError, f"{option}: must be a column of .*image", **options)


@pytest.mark.parametrize(
    ("duplicate", "options"),
    [
        ("image", {}),
        ("label", {}),
        ("digit", {"label_column": "digit"}),
        ("page", {"id_column": "page"}),
        ("page", {"keep": ("page",)}),
    ],
)
def test_two_columns_of_a_name_that_is_read(tmp_path: Path, duplicate: str, options: dict[str, Any]) -> None:
    names = ["image", "label", "digit", "page", duplicate]
    columns = [pa.array([PNG if name == "image" else 1]) for name in names]
    pq.write_table(pa.Table.from_arrays(columns, names), tmp_path / "a.parquet")
    fails(tmp_path / "a.parquet", InputError, f"must have one column {duplicate}, has 2 of that name", **options)


def test_two_columns_of_an_unused_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([PNG]), pa.array([1]), pa.array([2])], ["image", "note", "note"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert ids_of(open_inputs((str(tmp_path / "a.parquet"),), ReadOptions())) == ["a.parquet#0"]


@pytest.mark.parametrize("options", [{"id_column": "n"}, {"keep": ("n",)}])
def test_column_options_need_parquet(tmp_path: Path, options: dict[str, Any]) -> None:
    parquet(tmp_path, image=[PNG], n=[1])
    write_zip(tmp_path / "b.zip", PNGS)
    with pytest.raises(UsageError, match=r"b\.zip has no columns"):
        open_inputs((str(tmp_path),), ReadOptions(**options))


@pytest.mark.parametrize("ids", [[[1, 2]], [{"x": 1}]])
def test_nested_ids_are_a_usage_error(tmp_path: Path, ids: list[Any]) -> None:
    path = parquet(tmp_path, image=[PNG], page=ids)
    with pytest.raises(
        UsageError, match=r"--id-column page: must hold text or numbers, in .* it is .*: choose another"
    ):
        open_inputs((str(path),), ReadOptions(id_column="page"))


def test_null_id_is_an_error(tmp_path: Path) -> None:
    path = parquet(tmp_path, image=[PNG] * 20, page=[*"abcdefghijklmnopqr", None, "t"])
    fails(path, InputError, "row 18 of column page is null", id_column="page")


@pytest.mark.parametrize(
    ("label", "match"),
    [
        ([0] * 19 + [10], "row 19 has 10"),
        (["three"] * 20, "row 0 has 'three'"),
        ([[1] * 10] * 20, "one-hot"),
        ([1.5] * 20, "1.5"),
    ],
)
def test_labels_that_are_not_digits(tmp_path: Path, label: list[Any], match: str) -> None:
    fails(parquet(tmp_path, image=[PNG] * 20, label=label), InputError, match)


# Bad rows


@pytest.mark.parametrize(
    ("dtype", "bad", "reason"),
    [
        (pa.list_(pa.uint8()), None, "null_image"),
        (pa.list_(pa.uint8()), [0] * 783, "not_28x28"),
        (pa.list_(pa.uint8()), [], "not_28x28"),
        (pa.list_(pa.uint8()), [None] + [0] * 783, "pixel_out_of_range"),
        (pa.list_(pa.int32()), [300] + [0] * 783, "pixel_out_of_range"),
        (pa.list_(pa.int64()), [-1] + [0] * 783, "pixel_out_of_range"),
        (pa.list_(pa.float32()), [float("nan")] + [0.0] * 783, "pixel_out_of_range"),
        (pa.list_(pa.uint8(), 784), None, "null_image"),
        (pa.list_(pa.uint8(), 784), [None] + [0] * 783, "pixel_out_of_range"),
        (pa.binary(784), None, "null_image"),
        (pa.binary(), None, "null_image"),
        (pa.binary(), b"", "empty"),
        (pa.binary(), bytes(783), "not_an_image"),
    ],
)
def test_bad_row_is_a_reject_others_are_read(tmp_path: Path, dtype: pa.DataType, bad: Any, reason: str) -> None:
    good = [image.tobytes() for image in PIXELS[:2]] if "binary" in str(dtype) else rows(PIXELS[:2])
    path = parquet(tmp_path, image=pa.array([good[0], bad, good[1]], dtype), page=["x", "y", "z"], label=[1, 2, None])
    options = ReadOptions(pixel_range=PixelRange.BYTE, id_column="page", keep=("page",))
    (batch,) = read_all(open_inputs((str(path),), options))
    assert batch.extra_columns is not None
    assert batch.ids.to_pylist() == batch.extra_columns["page"].to_pylist() == ["x", "z"]
    assert batch.labels.to_pylist() == [1, None]
    assert np.array_equal(batch.pixels, PIXELS[:2])
    assert [(reject.id, reject.reason) for reject in batch.rejects] == [("y", reason)]


@pytest.mark.parametrize("bad", [None, [[0] * 28] * 27, [[0] * 27] * 28, [*[[0] * 28] * 27, None], [[0] * 784]])
def test_bad_row_of_nested_lists_is_a_reject(tmp_path: Path, bad: Any) -> None:
    dtype = pa.list_(pa.list_(pa.uint8()))
    path = parquet(tmp_path, image=pa.array([PIXELS[0].tolist(), bad, PIXELS[1].tolist()], dtype))
    inputs = open_inputs((str(path),), ReadOptions())
    assert ids_of(inputs) == ["a.parquet#0", "a.parquet#2"]
    assert [name for name, _ in rejects_of(inputs)] == ["a.parquet#1"]


def test_null_tensor_is_a_reject(tmp_path: Path) -> None:
    dtype = pa.fixed_shape_tensor(pa.uint8(), [28, 28])
    storage = pa.array([rows()[0], None, rows()[1]], pa.list_(pa.uint8(), 784))
    inputs = open_inputs((str(parquet(tmp_path, image=pa.ExtensionArray.from_storage(dtype, storage))),), ReadOptions())
    assert rejects_of(inputs) == [("a.parquet#1", "null_image")]
    assert np.array_equal(read_all(inputs)[0].pixels, PIXELS[:2])


def test_null_in_a_pixel_column_is_a_reject(tmp_path: Path) -> None:
    columns: dict[str, Any] = {f"pixel{i}": PIXELS[:3].reshape(3, 784)[:, i] for i in range(784)}
    columns["pixel5"] = pa.array([0, None, 0])
    inputs = open_inputs((str(parquet(tmp_path, **columns)),), ReadOptions())
    assert rejects_of(inputs) == [("a.parquet#1", "pixel_out_of_range")]
    assert np.array_equal(read_all(inputs)[0].pixels, PIXELS[[0, 2]])


def test_struct_path_is_not_followed(tmp_path: Path) -> None:
    write_files(tmp_path, {"x.png": PNG})
    path = parquet(
        tmp_path, image=[{"bytes": None, "path": str(tmp_path / "x.png")}, {"bytes": PNG, "path": None}, None]
    )
    inputs = open_inputs((str(path),), ReadOptions())
    assert rejects_of(inputs) == [("a.parquet#0", "null_image"), ("a.parquet#2", "null_image")]


@pytest.mark.parametrize("dtype", [pa.int8(), pa.int64(), pa.float64()])
def test_labels_of_any_numeric_type_and_null(tmp_path: Path, dtype: pa.DataType) -> None:
    label = pa.array([3, None, 7], dtype)
    for column in (label, label.dictionary_encode()):
        path = parquet(tmp_path, image=[PNG] * 3, label=column)
        assert labels_of(open_inputs((str(path),), ReadOptions())) == [3, None, 7]


def test_damaged_images_of_spark_are_rejects(tmp_path: Path) -> None:
    good = DIGITS.spark_images[1]
    changes: list[dict[str, Any]] = [
        {},
        {"data": good["data"][:-1]},
        {"mode": 21},
        {"height": -1, "width": -1, "nChannels": -1, "mode": -1, "data": b""},
        {"height": 100_000, "width": 100_000},
        {"height": 0, "data": b""},
        {"data": None},
        {"nChannels": 2, "mode": 8},
    ]
    column = pa.array([good | change for change in changes] + [None], SPARK)
    (batch,) = read_all(open_inputs((str(parquet(tmp_path, image=column)),), ReadOptions()))
    assert np.array_equal(batch.pixels, DIGITS.pixels[1:2])
    reasons = ["undecodable", "undecodable", "undecodable", "too_large", "undecodable", "null_image", "undecodable"]
    assert [str(reject.reason) for reject in batch.rejects] == [*reasons, "null_image"]


@pytest.mark.parametrize("field", ["height", "width", "nChannels", "mode", "data"])
def test_struct_that_lacks_a_field_of_spark_holds_no_images(field: str, tmp_path: Path) -> None:
    images = [{name: value for name, value in row.items() if name != field} for row in DIGITS.spark_images]
    with pytest.raises(InputError, match=r"must hold images .*, its columns are image \(struct<origin"):
        open_inputs((str(parquet(tmp_path, image=images)),), ReadOptions())


def test_irregular_lists_with_a_channel_are_rejects(tmp_path: Path) -> None:
    good = DIGITS.cubes[0]
    two_channels = [[cell * 2 for cell in line] for line in good]
    rows = [good, [DIGITS.images[1]], two_channels, good[:-1], None, [*good[:-1], None], [[], *good[1:]]]
    (batch,) = read_all(open_inputs((str(parquet(tmp_path, image=pa.array(rows, CUBE))),), ReadOptions()))
    assert np.array_equal(batch.pixels, DIGITS.pixels[:2])
    reasons = ["not_28x28", "not_28x28", "null_image", "not_28x28", "not_28x28"]
    assert [str(reject.reason) for reject in batch.rejects] == reasons
