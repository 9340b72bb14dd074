"""Tables of images: finds the columns to read, and turns rows of a table into `Rows`.

The image column is found by its type; `ImageLayout` lists the types. If several columns have one of them, the user must
name one: nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import AutoLabels, PixelRange, ReadOptions
from mnist_batch.errors import InputError, UsageError
from mnist_batch.images.header import MAX_PIXELS, image_format
from mnist_batch.records import (
    IMAGE_SIDE,
    EncodedRows,
    ImageError,
    NumericRows,
    Pixels,
    RejectReason,
    Rows,
    null_labels,
)
from mnist_batch.sources.folder_labels import digits_of_names
from mnist_batch.sources.labels import parse_label_column
from mnist_batch.sources.protocol import format_row_ids

_PIXELS = IMAGE_SIDE * IMAGE_SIDE
# Names of the 784 columns: Kaggle's Digit Recognizer counts from pixel0, OpenML's mnist_784 from pixel1.
_PIXEL_COLUMNS = tuple(tuple(f"pixel{i}" for i in range(first, first + _PIXELS)) for first in (0, 1))


class ImageLayout(StrEnum):
    """How a column holds images."""

    STRUCT = "struct of bytes and path (Hugging Face)"
    SPARK = "struct of height, width, nChannels, mode and data (Spark)"
    BINARY = "binary: encoded images, or 784 raw bytes"
    NUMBERS = "list of 784 numbers"
    NESTED = "28 lists of 28 numbers"
    NESTED_CHANNEL = "28x28x1 or 1x28x28 lists of numbers"
    TENSOR = "tensor of 28x28"
    COLUMNS = "784 columns"


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """The column, or the 784 columns, with the images.

    names: one name, or 784.
    pixel_range: what the numbers mean; 0..255 for integers.
    """

    names: tuple[str, ...] = field(repr=False)
    layout: ImageLayout
    pixel_range: PixelRange


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that are read.

    label, id_column: None if they are not read.
    classes: the digit of each class, if the label column holds indices of named classes.
    keep: the columns to copy to the output.
    warnings: about columns that are not read, one line each.
    """

    image: ImageColumn
    label: str | None
    classes: Mapping[int, int] | None
    id_column: str | None
    keep: tuple[pa.Field, ...]
    warnings: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The names of all columns to read, each once."""
        names = [*self.image.names, self.label, self.id_column, *(field.name for field in self.keep)]
        return list(dict.fromkeys(name for name in names if name is not None))


_NUMBERS = re.compile(r"[0-9]+")
_INDEX = re.compile(r"|Unnamed: [0-9]+|__index_level_[0-9]+__|id|index", re.IGNORECASE)
# Names of label columns, in lower case, that are taken if their values are digits. `label` is taken in any case.
LABEL_NAMES = ("label", "labels", "class", "target", "digit", "y")
# The lengths of lists, from the outermost on, by layout.
_LIST_SIZES: Mapping[ImageLayout, Sequence[Sequence[int]]] = {
    ImageLayout.NESTED: ((IMAGE_SIDE, IMAGE_SIDE),),
    ImageLayout.NESTED_CHANNEL: ((IMAGE_SIDE, IMAGE_SIDE, 1), (1, IMAGE_SIDE, IMAGE_SIDE)),
}
# The image struct of Spark's image data source, and its mode by the number of channels: CV_8UC1, CV_8UC3, CV_8UC4.
_SPARK_FIELDS = {"height", "width", "nChannels", "mode", "data"}
_SPARK_MODES = {1: 0, 3: 16, 4: 24}
# First bytes of the image files that `image_format` recognizes.
_FIRST_BYTES = np.frombuffer(b"\x89\xffGIMRB", np.uint8)


def find_columns(
    schema: pa.Schema, where: str, options: ReadOptions, read_column: Callable[[str], pa.Array]
) -> Columns:
    """Finds the columns to read.

    where: how messages name the file.
    read_column: reads all values of a column.

    Raises InputError if there is no image column, more than one, or one of floats without a range, or if two columns
    share a name that is read; UsageError if a column named by an option is missing.
    """
    for option, name in (("--label-column", options.label_column), ("--id-column", options.id_column)):
        _require_column(schema, name, option, where)
    if options.id_column is not None:
        _require_text_or_numbers(schema.field(schema.names.index(options.id_column)), where)
    for name in options.keep:
        _require_column(schema, name, "--keep", where)
    image = _find_image_column(schema, where, options)
    label, warnings = None, list[str]()
    if options.labels is AutoLabels.AUTO:
        label = options.label_column or ("label" if "label" in schema.names else None)
        if label is None:
            label, warnings = _find_label_column(schema, {*image.names, options.id_column}, where, read_column)
    _check_unique_columns(schema, filter(None, (label, options.id_column, *options.keep)), where)
    classes = None if label is None else _read_classes(schema, label, where)
    keep = tuple(schema.field(name) for name in options.keep)
    return Columns(image, label, classes, options.id_column, keep, tuple(warnings))


def read_rows(table: pa.Table, columns: Columns, name: str, where: str, start: int) -> Rows:
    """Returns the rows of a table.

    name: of the source. Without an id column, ids are made of it and the row numbers.
    where: how messages name the file.
    start: the number of the first row.

    Raises InputError if an id is null or a label is not a digit.
    """
    ids = format_row_ids(name, start, start + table.num_rows)
    if columns.id_column is not None:
        ids = table[columns.id_column].combine_chunks().cast(pa.string())
        if ids.null_count:
            row = start + ids.is_null().index(pa.scalar(True)).as_py()
            raise InputError(
                f"{where}: every row must have an id, row {row} of column {columns.id_column} is null: "
                "leave --id-column out to number the rows"
            )
    labels = null_labels(table.num_rows)
    if columns.label is not None:
        column = table[columns.label].combine_chunks()
        if columns.classes is not None:
            column = _to_digits(column, columns.classes)
        labels = parse_label_column(column, f"{where}, column {columns.label}", start)
    extra_columns = table.select([field.name for field in columns.keep]) if columns.keep else None
    table = _decode_dictionary(table, columns.image)
    if (pixels := _read_raw_images(table, columns.image)) is not None:
        return NumericRows(ids, labels, pixels, extra_columns=extra_columns)
    if columns.image.layout in _READ_VALUE:
        return EncodedRows(ids, labels, _read_encoded_images(table, columns.image), extra_columns)
    values, image_errors = _read_numeric_images(table, columns.image)
    return NumericRows(ids, labels, values, columns.image.pixel_range, extra_columns, image_errors)


def _find_label_column(
    schema: pa.Schema, others: set[str | None], where: str, read_column: Callable[[str], pa.Array]
) -> tuple[str | None, list[str]]:
    """Finds the label column of a table without a column `label`, by its name and its values.

    others: the columns that are something else. Returns the column, or None and a warning if one may hold labels.
    """
    names = [name for name in schema.names if name.lower() in LABEL_NAMES and name not in others]
    digits = [name for name in names if _holds_digits(read_column, name, where)]
    if len(digits) == 1:
        return digits[0], []
    if not names:
        return None, []
    why = "several of them hold digits" if digits else "not all of their values are digits"
    return None, [
        f"{where}: columns such as {join_names(digits or names)} may hold labels, but are not taken, because {why}: "
        "name the labels with --label-column, or switch them off with --labels none"
    ]


def _holds_digits(read_column: Callable[[str], pa.Array], name: str, where: str) -> bool:
    """Whether every value of a column that is not null is a label, and there is one."""
    try:
        labels = parse_label_column(read_column(name), where)
    except (InputError, pa.ArrowException):
        return False
    return labels.null_count < len(labels)


def _read_classes(schema: pa.Schema, label: str, where: str) -> Mapping[int, int] | None:
    """The digit of each class index, if Hugging Face's metadata name the classes of the label column.

    Raises InputError if a name is not a digit or a word for one.
    """
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[label]["names"]
    except (ValueError, LookupError, TypeError):
        return None
    if not isinstance(names, list) or not pa.types.is_integer(schema.field(label).type):
        return None
    classes = digits_of_names([str(name) for name in names])
    if classes is None:
        raise InputError(
            f"{where}: the classes of column {label} must be digits or words for digits, are {join_names(names)}: "
            "name another column with --label-column, or switch labels off with --labels none"
        )
    return classes


def _to_digits(column: pa.Array, classes: Mapping[int, int]) -> pa.Array:
    """The digits of class indices. An index without a class stays as it is, and is refused like any other number."""
    indices, digits = (pa.array(values, column.type) for values in (classes.keys(), classes.values()))
    positions = pc.index_in(column, indices)
    return pc.coalesce(digits.take(positions), column)


def _require_column(schema: pa.Schema, name: str | None, option: str, where: str) -> None:
    if name is not None and name not in schema.names:
        columns = join_names(schema.names)
        raise UsageError(
            f"{option} {name}: must be a column of {where}, its columns are {columns}: choose one of these"
        )


def _require_text_or_numbers(column: pa.Field, where: str) -> None:
    try:
        pa.nulls(0, column.type).cast(pa.string())
    except pa.ArrowNotImplementedError as error:
        raise UsageError(
            f"--id-column {column.name}: must hold text or numbers, in {where} it is {column.type}: choose another"
        ) from error


def _find_image_column(schema: pa.Schema, where: str, options: ReadOptions) -> ImageColumn:
    if options.image_column is not None and options.image_column not in schema.names:
        raise UsageError(
            f"--image-column {options.image_column}: must be a column of {where}, {_describe_columns(schema)}"
        )
    other_columns = {options.label_column or "label", options.id_column, *options.keep}
    layouts = {field.name: layout for field in schema if (layout := _find_layout(field.type)) is not None}
    candidates: list[tuple[tuple[str, ...], ImageLayout]] = [
        ((name,), layout)
        for name, layout in layouts.items()
        if name == options.image_column or name not in other_columns
    ]
    candidates += [(names, ImageLayout.COLUMNS) for names in _list_pixel_columns(schema, other_columns)]
    if options.image_column is not None:  # 784 columns are named by the first
        candidates = [candidate for candidate in candidates if candidate[0][0] == options.image_column]
    if not candidates:
        subject = "" if options.image_column is None else f"column {options.image_column} "
        raise InputError(
            f"{where}: {subject}must hold images (as {', '.join(ImageLayout)}), {_describe_columns(schema)}: "
            "check the file"
        )
    if len(candidates) > 1:
        columns = join_names([f"{names[0]} ({layout})" for names, layout in candidates])
        raise InputError(f"{where}: must have one image column, has {columns}: name one with --image-column")
    names, layout = candidates[0]
    _check_unique_columns(schema, names, where)
    return ImageColumn(names, layout, _find_pixel_range(schema, names, where, options))


def _check_unique_columns(schema: pa.Schema, names: Iterable[str], where: str) -> None:
    """Raises InputError if several columns share one of these names."""
    counts = Counter(schema.names)
    if (name := next((name for name in names if counts[name] > 1), None)) is not None:
        raise InputError(
            f"{where}: must have one column {join_names([name])}, has {counts[name]} of that name: rename them"
        )


def join_names(names: Sequence[str]) -> str:
    """The first eight column names for a message, on one line even if a name contains line breaks."""
    return " ".join((", ".join(names[:8]) + (", ..." if len(names) > 8 else "")).splitlines())


def _decode_dictionary(table: pa.Table, column: ImageColumn) -> pa.Table:
    """The table with the values of an image column that holds indices of a dictionary."""
    name = column.names[0]
    if not pa.types.is_dictionary(table.schema.field(name).type):
        return table
    values = table[name].combine_chunks().dictionary_decode()
    return table.set_column(table.column_names.index(name), name, values)


def _read_encoded_images(table: pa.Table, column: ImageColumn) -> list[bytes | Pixels | ImageError]:
    """One entry per row, for the layouts of `_READ_VALUE`: an encoded image, raw pixels, or why there is no image."""
    return [_READ_VALUE[column.layout](value) for value in table[column.names[0]].to_pylist()]


def _read_raw_images(table: pa.Table, column: ImageColumn) -> Pixels | None:
    """The images of all rows, uint8 [n, 28, 28]; None unless the layout is BINARY and every value is surely raw pixels.

    A fast path: `_read_encoded_images` gives the same pixels for these rows.
    """
    rows = table[column.names[0]].combine_chunks()
    if column.layout is not ImageLayout.BINARY or rows.null_count:
        return None
    if not pa.types.is_fixed_size_binary(rows.type):
        if pa.types.is_binary_view(rows.type) or (pc.binary_length(rows).to_numpy() != _PIXELS).any():
            return None
        rows = rows.cast(pa.binary(_PIXELS))
    data = rows.buffers()[1]
    pixels = np.frombuffer(data, np.uint8, len(rows) * _PIXELS, rows.offset * _PIXELS)
    images = pixels.reshape(-1, IMAGE_SIDE, IMAGE_SIDE)
    # An encoded image may be 784 bytes long, too. Raw pixels rarely start with one of these bytes.
    return None if np.isin(images[:, 0, 0], _FIRST_BYTES).any() else images


def _read_numeric_images(table: pa.Table, column: ImageColumn) -> tuple[npt.NDArray[Any], dict[int, ImageError]]:
    """The images of all rows, for the layouts that hold numbers.

    Returns the values as stored, [n, 28, 28], and by row index an error for each row without an image.
    """
    if column.layout is ImageLayout.COLUMNS:
        arrays = [table[name].combine_chunks() for name in column.names]
        if not any(array.null_count for array in arrays):
            stacked = np.stack([array.to_numpy(zero_copy_only=False) for array in arrays], axis=1)
            return stacked.reshape(-1, IMAGE_SIDE, IMAGE_SIDE), {}
        return _read_row_by_row([list(row) for row in zip(*(array.to_pylist() for array in arrays), strict=True)])
    rows = table[column.names[0]].combine_chunks()
    while isinstance(rows.type, pa.BaseExtensionType):
        rows = rows.storage
    for sizes in _LIST_SIZES.get(column.layout, ((_PIXELS,),)):
        if (numbers := _flatten_lists(rows, sizes)) is not None:
            return numbers.to_numpy(zero_copy_only=False).reshape(-1, IMAGE_SIDE, IMAGE_SIDE), {}
    values = rows.to_pylist()
    return _read_row_by_row([*map(_drop_channel, values)] if column.layout is ImageLayout.NESTED_CHANNEL else values)


def _flatten_lists(lists: pa.Array, sizes: Sequence[int]) -> pa.Array | None:
    """The numbers in lists of these lengths, from the outermost on. None if a length differs or a value is null."""
    for size in sizes:
        if lists.null_count or (pc.list_value_length(lists).to_numpy() != size).any():
            return None
        lists = lists.flatten()
    return None if lists.null_count else lists


def _drop_channel(row: list[list[list[Any] | None] | None] | None) -> list[Any] | None:
    """An image without its only channel, which comes first or last. With more channels, lines become longer."""
    if row is None or len(row) == 1:
        return None if row is None else row[0]
    return [[number for cell in line or () for number in (cell or [None])] for line in row]


def _read_row_by_row(rows: list[Any]) -> tuple[npt.NDArray[Any], dict[int, ImageError]]:
    """As `_read_numeric_images`, for rows of which some are null or of another length. Slower."""
    images = np.zeros((len(rows), IMAGE_SIDE, IMAGE_SIDE))
    image_errors: dict[int, ImageError] = {}
    for index, row in enumerate(rows):
        if row is None:
            image_errors[index] = ImageError(RejectReason.NULL_IMAGE, "the image is null")
            continue
        lines = [line if isinstance(line, list) else [line] for line in row]
        numbers = [number for line in lines for number in line]
        is_28x28 = len(row) == _PIXELS or (len(row) == IMAGE_SIDE and all(len(line) == IMAGE_SIDE for line in lines))
        if len(numbers) != _PIXELS or not is_28x28:
            image_errors[index] = ImageError(RejectReason.NOT_28X28, f"{len(numbers)} numbers in a list of {len(row)}")
        elif None in numbers:
            image_errors[index] = ImageError(RejectReason.PIXEL_OUT_OF_RANGE, "a pixel is null")
        else:
            images[index] = np.reshape(numbers, (IMAGE_SIDE, IMAGE_SIDE))
    return images, image_errors


def _list_pixel_columns(schema: pa.Schema, others: set[str | None]) -> list[tuple[str, ...]]:
    """The sets of 784 columns that may hold an image each row: by known names, or as the only columns of numbers.

    others: the columns that are something else.
    """
    numeric = [field.name for field in schema if _is_number(field.type)]
    known = [names for names in _PIXEL_COLUMNS if set(names) <= set(numeric)]
    if known:
        return known
    rest = [name for name in numeric if name not in others]
    if len(rest) > _PIXELS:
        # pandas writes an index without a name, and reads it as `Unnamed: 0`.
        rest = [name for name in rest if name.lower() not in LABEL_NAMES and not _INDEX.fullmatch(name)]
    return [tuple(_sort_by_number(rest))] if len(rest) == _PIXELS else []


def _sort_by_number(names: Sequence[str]) -> Sequence[str]:
    """Sorts `1x1`, `1x10`, `1x2` and the like by their numbers. Any other names stay in the order of the table."""
    parts = [_NUMBERS.findall(name) for name in names]
    words = {_NUMBERS.sub("#", name) for name in names}
    if len(words) > 1 or not all(parts):
        return names
    return [name for _, name in sorted(zip(([int(part) for part in group] for group in parts), names, strict=True))]


def _find_layout(dtype: pa.DataType) -> ImageLayout | None:
    """The layout of a column of this type; None if it cannot hold images of 28x28."""
    if isinstance(dtype, pa.FixedShapeTensorType):
        shape = [size for size in dtype.shape if size != 1]
        row_major = dtype.permutation is None or list(dtype.permutation) == sorted(dtype.permutation)
        return ImageLayout.TENSOR if shape in ([IMAGE_SIDE, IMAGE_SIDE], [_PIXELS]) and row_major else None
    if isinstance(dtype, pa.BaseExtensionType):
        return _find_layout(dtype.storage_type)
    if pa.types.is_dictionary(dtype):
        return _find_layout(dtype.value_type)
    if pa.types.is_struct(dtype):
        if {field.name for field in dtype} >= _SPARK_FIELDS and _is_binary(dtype.field("data").type):
            return ImageLayout.SPARK
        index = dtype.get_field_index("bytes")
        return ImageLayout.STRUCT if index >= 0 and _is_binary(dtype.field(index).type) else None
    if _is_binary(dtype) or (pa.types.is_fixed_size_binary(dtype) and dtype.byte_width == _PIXELS):
        return ImageLayout.BINARY
    if _is_list(dtype):
        if _is_number(dtype.value_type):
            return ImageLayout.NUMBERS if not _is_fixed_size_list(dtype) or dtype.list_size == _PIXELS else None
        inner = dtype.value_type
        if _is_list(inner) and _is_number(inner.value_type):
            return ImageLayout.NESTED
        if _is_list(inner) and _is_list(inner.value_type) and _is_number(inner.value_type.value_type):
            return ImageLayout.NESTED_CHANNEL
    return None


def _find_pixel_range(schema: pa.Schema, names: tuple[str, ...], where: str, options: ReadOptions) -> PixelRange:
    """What the numbers mean.

    For floats: the metadata `pixel_range` of the first float field, otherwise `--pixel-range`. For integers: 0..255.
    """
    float_column = next(
        (name for name in names if pa.types.is_floating(_innermost_type(schema.field(name).type))), None
    )
    if float_column is None:
        return PixelRange.BYTE
    stated = (schema.field(float_column).metadata or {}).get(b"pixel_range", b"").decode("utf-8", "replace")
    if stated in list(PixelRange):
        return PixelRange(stated)
    if options.pixel_range is None:
        raise InputError(
            f"{where}: float pixels must come with their range, column {join_names([float_column])} is "
            f"{schema.field(float_column).type}: say what black and white are with --pixel-range 0..1, 0..255 or -1..1"
        )
    return options.pixel_range


def _innermost_type(dtype: pa.DataType) -> pa.DataType:
    """The type of the values in lists or tensors, at any depth; any other type is returned unchanged."""
    while _is_list(dtype) or isinstance(dtype, pa.BaseExtensionType):
        dtype = dtype.storage_type if isinstance(dtype, pa.BaseExtensionType) else dtype.value_type
    return dtype


def _read_struct(value: Mapping[str, Any] | None) -> bytes | ImageError:
    if value is None:
        return ImageError(RejectReason.NULL_IMAGE, "the image is null")
    content = value["bytes"]
    if content is None:
        return ImageError(
            RejectReason.NULL_IMAGE, f"no bytes, only the path {value.get('path')}, which is not followed"
        )
    return bytes(content)


def _read_binary(value: bytes | None) -> bytes | Pixels | ImageError:
    if value is None:
        return ImageError(RejectReason.NULL_IMAGE, "the image is null")
    if len(value) == _PIXELS and image_format(value) is None:
        return np.frombuffer(value, np.uint8).reshape(IMAGE_SIDE, IMAGE_SIDE)
    return value


def _read_spark(value: Mapping[str, Any] | None) -> Pixels | ImageError:
    """The pixels of an image as Spark stores it: rows of bytes, blue first. Modes are OpenCV's types."""
    from mnist_batch.images.decode import to_gray

    if value is None or value["data"] is None:
        return ImageError(RejectReason.NULL_IMAGE, "the image is null")
    height, width, channels = (value[name] or 0 for name in ("height", "width", "nChannels"))
    if value["mode"] != _SPARK_MODES.get(channels):
        return ImageError(RejectReason.UNDECODABLE, f"an image of Spark's mode {value['mode']}: save it as 8 bit")
    if height * width > MAX_PIXELS:
        return ImageError(RejectReason.TOO_LARGE, f"{width}x{height} pixels")
    if height < 1 or width < 1 or len(value["data"]) != height * width * channels:
        detail = f"{len(value['data'])} bytes for an image of {width}x{height} pixels and {channels} channels"
        return ImageError(RejectReason.UNDECODABLE, detail)
    pixels = np.frombuffer(value["data"], np.uint8)
    return to_gray(pixels.reshape((height, width) if channels == 1 else (height, width, channels)))


# How one value of a column is read, for the layouts that hold images one by one.
_READ_VALUE: Mapping[ImageLayout, Callable[[Any], bytes | Pixels | ImageError]] = {
    ImageLayout.STRUCT: _read_struct,
    ImageLayout.SPARK: _read_spark,
    ImageLayout.BINARY: _read_binary,
}


def _is_binary(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_binary_view(dtype))


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or _is_fixed_size_list(dtype))


def _is_fixed_size_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(dtype))


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _describe_columns(schema: pa.Schema) -> str:
    return f"its columns are {join_names([f'{field.name} ({field.type})' for field in schema])}"
