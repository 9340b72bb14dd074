"""Which column of a Parquet file holds the images, found by its type and never by guess, and its values as pixels.

Forms: see `ImageLayout`. Where several columns could be meant, nobody chooses for the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import ReadOptions, ValueRange
from mnist_batch.errors import InputError, UsageError
from mnist_batch.images.header import image_format
from mnist_batch.records import IMAGE_SIDE, ImageError, Pixels, RejectReason

_PIXELS = IMAGE_SIDE * IMAGE_SIDE
# Kaggle's Digit Recognizer counts from pixel0, OpenML's mnist_784 from pixel1.
_PIXEL_COLUMNS = tuple(tuple(f"pixel{i}" for i in range(first, first + _PIXELS)) for first in (0, 1))


class ImageLayout(StrEnum):
    """How a column holds images."""

    STRUCT = "struct of bytes and path (Hugging Face)"
    BINARY = "binary: encoded images, or 784 raw bytes"
    NUMBERS = "list of 784 numbers"
    NESTED = "28 lists of 28 numbers"
    TENSOR = "tensor of 28x28"
    COLUMNS = "784 columns"


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """The column, or the 784 columns, of the images; pixel_range: what their numbers mean, 0..255 for integers."""

    names: tuple[str, ...] = field(repr=False)  # up to 784 of them
    layout: ImageLayout
    pixel_range: ValueRange


# With which the files begin that `image_format` knows.
_FIRST_BYTES = np.frombuffer(b"\x89\xffGIMRB", np.uint8)


def find_image_column(schema: pa.Schema, where: str, options: ReadOptions) -> ImageColumn:
    """The one image column of a Parquet file.

    Raises InputError where there is none, more than one, or one of floats without a range; UsageError where the
    column named by `--image-column` is not there.
    """
    if options.image_column is not None and options.image_column not in schema.names:
        raise UsageError(
            f"--image-column {options.image_column}: must be a column of {where}, {_describe_columns(schema)}"
        )
    taken = {options.label_column or "label", options.id_column, *options.keep}
    layouts = {field.name: layout for field in schema if (layout := _find_layout(field.type)) is not None}
    candidates: list[tuple[tuple[str, ...], ImageLayout]] = [
        ((name,), layout) for name, layout in layouts.items() if name == options.image_column or name not in taken
    ]
    numbers = {field.name for field in schema if _is_number(field.type)}
    candidates += [(names, ImageLayout.COLUMNS) for names in _PIXEL_COLUMNS if numbers.issuperset(names)]
    if options.image_column is not None:  # of 784 columns, the first stands for all
        candidates = [candidate for candidate in candidates if candidate[0][0] == options.image_column]
    if not candidates:
        must = "must hold images" if options.image_column is None else f"column {options.image_column} must hold images"
        raise InputError(
            f"{where}: {must} (as {', '.join(layout for layout in ImageLayout)}), {_describe_columns(schema)}: check the file"
        )
    if len(candidates) > 1:
        several = join_names([f"{names[0]} ({layout})" for names, layout in candidates])
        raise InputError(f"{where}: must have one image column, has {several}: name one with --image-column")
    names, layout = candidates[0]
    check_single(schema, names, where)
    return ImageColumn(names, layout, _find_pixel_range(schema, names, where, options))


def check_single(schema: pa.Schema, names: Iterable[str], where: str) -> None:
    """Raises InputError where more than one column has one of these names."""
    counts = Counter(schema.names)
    if (name := next((name for name in names if counts[name] > 1), None)) is not None:
        raise InputError(
            f"{where}: must have one column {join_names([name])}, has {counts[name]} of that name: rename them"
        )


def join_names(names: Sequence[str]) -> str:
    """The first eight names of columns, on one line whatever they are called."""
    return " ".join((", ".join(names[:8]) + (", ..." if len(names) > 8 else "")).splitlines())


def read_encoded_images(table: pa.Table, column: ImageColumn) -> list[bytes | Pixels | ImageError]:
    """The images of some rows where the form is STRUCT or BINARY: encoded, or raw pixels, or why there are none."""
    image = _read_struct if column.layout is ImageLayout.STRUCT else _read_binary
    return [image(value) for value in table[column.names[0]].to_pylist()]


def read_raw_images(table: pa.Table, column: ImageColumn) -> Pixels | None:
    """The images of some rows of the form BINARY where each is raw pixels for certain: uint8 [n, 28, 28]."""
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
    # An image file may be of that size too; few images begin as one does.
    return None if np.isin(images[:, 0, 0], _FIRST_BYTES).any() else images


def read_numeric_images(table: pa.Table, column: ImageColumn) -> tuple[npt.NDArray[Any], dict[int, ImageError]]:
    """The images of some rows where the form is one of numbers: [n, 28, 28] as stored, and the rows that are none."""
    if column.layout is ImageLayout.COLUMNS:
        arrays = [table[name].combine_chunks() for name in column.names]
        if not any(array.null_count for array in arrays):
            stacked = np.stack([array.to_numpy(zero_copy_only=False) for array in arrays], axis=1)
            return stacked.reshape(-1, IMAGE_SIDE, IMAGE_SIDE), {}
        return _read_row_by_row([list(row) for row in zip(*(array.to_pylist() for array in arrays), strict=True)])
    rows = table[column.names[0]].combine_chunks()
    while isinstance(rows.type, pa.BaseExtensionType):
        rows = rows.storage
    lists, sizes = rows, [IMAGE_SIDE, IMAGE_SIDE] if column.layout is ImageLayout.NESTED else [_PIXELS]
    for size in sizes:
        if lists.null_count or (pc.list_value_length(lists).to_numpy() != size).any():
            return _read_row_by_row(rows.to_pylist())
        lists = lists.flatten()
    if lists.null_count:
        return _read_row_by_row(rows.to_pylist())
    return lists.to_numpy(zero_copy_only=False).reshape(-1, IMAGE_SIDE, IMAGE_SIDE), {}


def _read_row_by_row(rows: list[Any]) -> tuple[npt.NDArray[Any], dict[int, ImageError]]:
    """As `read_numeric_images`, where some row is null or of another length: slower, and each such row gets its reason."""
    images = np.zeros((len(rows), IMAGE_SIDE, IMAGE_SIDE))
    image_errors: dict[int, ImageError] = {}
    for index, row in enumerate(rows):
        if row is None:
            image_errors[index] = ImageError(RejectReason.NULL_IMAGE, "the image is null")
            continue
        lines = [line if isinstance(line, list) else [line] for line in row]
        numbers = [number for line in lines for number in line]
        square = len(row) == _PIXELS or (len(row) == IMAGE_SIDE and all(len(line) == IMAGE_SIDE for line in lines))
        if len(numbers) != _PIXELS or not square:
            image_errors[index] = ImageError(RejectReason.NOT_28X28, f"{len(numbers)} numbers in a list of {len(row)}")
        elif None in numbers:
            image_errors[index] = ImageError(RejectReason.PIXEL_OUT_OF_RANGE, "a pixel is null")
        else:
            images[index] = np.reshape(numbers, (IMAGE_SIDE, IMAGE_SIDE))
    return images, image_errors


def _find_layout(kind: pa.DataType) -> ImageLayout | None:
    if isinstance(kind, pa.FixedShapeTensorType):
        sides = [side for side in kind.shape if side != 1]
        row_by_row = kind.permutation is None or list(kind.permutation) == sorted(kind.permutation)
        return ImageLayout.TENSOR if sides in ([IMAGE_SIDE, IMAGE_SIDE], [_PIXELS]) and row_by_row else None
    if isinstance(kind, pa.BaseExtensionType):
        return _find_layout(kind.storage_type)
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return ImageLayout.STRUCT if index >= 0 and _is_binary(kind.field(index).type) else None
    if _is_binary(kind) or (pa.types.is_fixed_size_binary(kind) and kind.byte_width == _PIXELS):
        return ImageLayout.BINARY
    if _is_list(kind):
        if _is_number(kind.value_type):
            return ImageLayout.NUMBERS if not _is_fixed(kind) or kind.list_size == _PIXELS else None
        if _is_list(kind.value_type) and _is_number(kind.value_type.value_type):
            return ImageLayout.NESTED
    return None


def _find_pixel_range(schema: pa.Schema, names: tuple[str, ...], where: str, options: ReadOptions) -> ValueRange:
    """What the numbers mean: for floats the field's own metadata `pixel_range`, else the option; else gray levels."""
    floats = next((name for name in names if pa.types.is_floating(_number_type(schema.field(name).type))), None)
    if floats is None:
        return ValueRange.BYTE
    stated = (schema.field(floats).metadata or {}).get(b"pixel_range", b"").decode("utf-8", "replace")
    if stated in list(ValueRange):
        return ValueRange(stated)
    if options.pixel_range is None:
        raise InputError(
            f"{where}: float pixels must come with their range, column {join_names([floats])} is "
            f"{schema.field(floats).type}: say what black and white are with --pixel-range 0..1, 0..255 or -1..1"
        )
    return options.pixel_range


def _number_type(kind: pa.DataType) -> pa.DataType:
    """What the lists or tensors hold; any other type is its own."""
    while _is_list(kind) or isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
    return kind


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


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_fixed(kind))


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _describe_columns(schema: pa.Schema) -> str:
    return f"its columns are {join_names([f'{field.name} ({field.type})' for field in schema])}"
