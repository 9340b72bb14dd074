"""CSV files of pixels, plain or gzip: one row of 784 numbers per image, with or without a label, an id and a header.

The file is read once while its rows are counted. This gives blocks of whole lines with their offsets, so that reading
can start at any block. pyarrow parses a block at once. If that fails, the block is parsed row by row, and a row that
does not have the right number of numbers is a reject.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError, UsageError
from mnist_batch.records import IMAGE_SIDE, ImageError, Ints, NumericRows, RejectReason, Rows
from mnist_batch.sources.gzipped import GZIP_ERRORS, gzip_error, open_plain_or_gzip
from mnist_batch.sources.head import MAX_HEAD_BYTES, Head
from mnist_batch.sources.protocol import Container, File, SourceDefaults
from mnist_batch.sources.tabular import Columns, find_columns, read_rows

_PIXELS = IMAGE_SIDE**2
# Text that is parsed at once: about 8,000 rows.
_BLOCK_BYTES = 1 << 24
_SAMPLE_BYTES = 4 * MAX_HEAD_BYTES
_DELIMITERS = (",", ";", "\t")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The label of 785 columns without a header, by --label-column.
_FIRST, _LAST, _NONE = "first", "last", "none"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written. names: of the columns; made up if the file has no header."""

    delimiter: str
    has_header: bool
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines. offset: of their first byte, inflated; first_row: the number of their first row."""

    offset: int
    size: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True, repr=False)
class CsvSource(SourceDefaults):
    """The rows of one CSV file."""

    file: File
    name: str
    dialect: Dialect
    columns: Columns
    floats: bool
    blocks: tuple[Block, ...]
    format: str = field(default="csv", init=False)

    @property
    def rows(self) -> int:
        return sum(block.rows for block in self.blocks)

    @property
    def labelled(self) -> bool:
        return self.columns.label is not None

    def list_kept_columns(self) -> Sequence[pa.Field]:
        return self.columns.keep

    def list_warnings(self) -> Sequence[str]:
        return self.columns.warnings

    def open(self) -> CsvReader:
        return CsvReader(self)


class CsvReader:
    def __init__(self, source: CsvSource) -> None:
        self._source = source
        self._file = open_plain_or_gzip(source.file)
        self._position = -1
        self._rows: NumericRows | None = None

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        for position, block in enumerate(self._source.blocks):
            first, last = max(start, block.first_row), min(stop, block.first_row + block.rows)
            if first < last:
                rows = self._read_block(position)
                yield _slice(rows, first - block.first_row, last - block.first_row)

    def close(self) -> None:
        self._file.close()

    def _read_block(self, position: int) -> NumericRows:
        """The rows of a block. The last block is kept, because reading goes on in it."""
        if self._rows is None or position != self._position:
            source, block = self._source, self._source.blocks[position]
            try:
                self._file.seek(block.offset)
                text = self._file.read(block.size)
            except GZIP_ERRORS as error:
                raise gzip_error(source.file, error) from error
            rows = _parse_block(source, text, block)
            if len(text) != block.size or len(rows.ids) != block.rows:
                raise InputError(
                    f"{source.file}: must stay as it was when the run began, has other rows now: start again"
                )
            self._rows, self._position = rows, position
        return self._rows


def is_pixel_table(head: Head) -> bool:
    """Whether the first line of a file has the fields of an image: 784 numbers or names, and up to four more."""
    start = head.content(4)
    if not start or start[:1] in b"\0\x89\xff" or b"\0" in start:
        return False
    line = _first_line(head.content(MAX_HEAD_BYTES))
    return line is not None and any(_PIXELS <= line.count(mark) + 1 <= _PIXELS + 4 for mark in _DELIMITERS)


def open_csv(container: Container) -> Sequence[CsvSource]:
    """The source for a CSV file. Reads it once, to count its rows.

    Raises InputError if it has no pixels, or if it is not clear which column is the label; UsageError if a column named
    by an option is missing.
    """
    file, options = container.file, container.options
    try:
        with open_plain_or_gzip(file) as opened:
            blocks, sample = _split_into_blocks(opened, file)
    except GZIP_ERRORS as error:
        raise gzip_error(file, error) from error
    dialect, options = _find_dialect(sample, file, options)
    examples = list(_read_lines(sample, dialect.delimiter, file))[1 if dialect.has_header else 0 :]
    if not examples:
        return []
    if dialect.has_header:
        first = blocks[0]
        blocks[0] = replace(first, rows=first.rows - 1)
        blocks = [blocks[0], *(replace(block, first_row=block.first_row - 1) for block in blocks[1:])]
    floats = any(not _is_integer(text) for row in examples for text in row if _is_number(text))
    kinds = {True: pa.float64() if floats else pa.uint8(), False: pa.string()}
    texts = {options.id_column, *options.keep}
    schema = pa.schema(
        [(name, kinds[name not in texts and _holds_numbers(examples, at)]) for at, name in enumerate(dialect.names)]
    )

    def read_column(name: str) -> pa.Array:
        at = dialect.names.index(name)
        return pa.array([row[at] if at < len(row) and row[at] else None for row in examples], pa.string())

    columns = find_columns(schema, str(file), options, read_column)
    blocks = [block for block in blocks if block.rows]
    return [CsvSource(file, container.name, dialect, columns, floats, tuple(blocks))]


def _first_line(text: bytes) -> str | None:
    """The first line of a text; None if it is not text, or has no end."""
    line, end, _ = text.removeprefix(_BYTE_ORDER_MARK).partition(b"\n")
    try:
        return line.decode("utf-8") if end or len(text) < MAX_HEAD_BYTES else None
    except UnicodeDecodeError:
        return None


def _split_into_blocks(opened: IO[bytes], file: File) -> tuple[list[Block], str]:
    """Splits a file into blocks of whole lines and counts their rows. Also returns the first lines as text."""
    blocks: list[Block] = []
    sample, rest, offset, rows = "", b"", 0, 0
    while chunk := opened.read(_BLOCK_BYTES):
        text = rest + chunk
        ends = _find_line_ends(text)
        size = int(ends[-1]) + 1 if len(ends) else 0
        if not size:
            if len(text) > 4 * _BLOCK_BYTES:
                raise InputError(f"{file}: every line must end, one goes on for {len(text)} bytes: check the file")
            rest = text
            continue
        if not blocks:
            sample = _decode_sample(text, ends)
        count = _count_rows(text[:size], ends)
        blocks.append(Block(offset, size, rows, count))
        offset, rows, rest = offset + size, rows + count, text[size:]
    if rest.strip():
        ends = np.append(_find_line_ends(rest), len(rest))
        sample = sample or _decode_sample(rest, ends)
        blocks.append(Block(offset, len(rest), rows, _count_rows(rest, ends)))
    return blocks, sample


def _decode_sample(text: bytes, ends: Ints) -> str:
    """The first lines of a text. ends: the offsets of the ends of lines."""
    whole = ends[ends < _SAMPLE_BYTES]
    end = int(whole[-1] if len(whole) else ends[0])
    return text[:end].removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")


def _read_lines(text: str, delimiter: str, file: File) -> Iterator[list[str]]:
    """Yields the fields of each line that is not empty. Raises InputError if one cannot be split."""
    try:
        yield from filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{file}: must be CSV, but: {error}; check the file") from error


def _find_line_ends(text: bytes) -> Ints:
    """The offsets of the line feeds that end a line: those outside of quotes."""
    letters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if b'"' not in text:
        return ends
    quotes_before = np.searchsorted(np.flatnonzero(letters == ord('"')), ends)
    return ends[quotes_before % 2 == 0]


def _count_rows(text: bytes, ends: Ints) -> int:
    """How many lines are not empty. ends: the offsets of their ends."""
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts
    letters = np.frombuffer(text, np.uint8)
    returns = (lengths == 1) & (letters[np.minimum(starts, max(len(letters) - 1, 0))] == ord("\r"))
    return int(((lengths > 0) & ~returns).sum())


def _find_dialect(sample: str, file: File, options: ReadOptions) -> tuple[Dialect, ReadOptions]:
    """How the file is written, and the options with a name for the label column of a file without a header."""
    line = sample.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=line.count)
    first = next(_read_lines(line, delimiter, file), [])
    if not all(map(_is_number, first)):
        return Dialect(delimiter, True, tuple(first)), options
    if options.id_column is not None or options.keep:
        raise UsageError(
            f"{file}: --id-column and --keep need column names, but the file has no header: leave them out"
        )
    names = [f"column{position}" for position in range(1, len(first) + 1)]
    label = _find_label(sample, delimiter, len(first), file, options)
    if label is not None:
        names[label] = "label"
    return Dialect(delimiter, False, tuple(names)), replace(options, label_column=None)


def _find_label(sample: str, delimiter: str, count: int, file: File, options: ReadOptions) -> int | None:
    """The position of the label among the columns of a file without a header; None if it has none.

    Raises InputError if it is not clear, UsageError if --label-column names anything but a position.
    """
    chosen = options.label_column
    if chosen not in (None, _FIRST, _LAST, _NONE):
        raise UsageError(
            f"--label-column {chosen}: must be {_FIRST}, {_LAST} or {_NONE}, because {file} has no header: "
            "choose one of these"
        )
    if count != _PIXELS + 1 and chosen is None:
        return None
    if chosen is not None:
        return {_FIRST: 0, _LAST: count - 1, _NONE: None}[chosen]
    rows = [row for row in _read_lines(sample, delimiter, file) if len(row) == count]
    may_be = [_may_be_labels([row[at] for row in rows], [row[-1 - at] for row in rows]) for at in (0, -1)]
    if may_be.count(True) != 1:
        raise InputError(
            f"{file}: it must be clear which of 785 columns is the label, but the first and the last may both be, "
            f"or neither: say --label-column {_FIRST}, {_LAST} or {_NONE}"
        )
    return 0 if may_be[0] else count - 1


def _may_be_labels(values: Sequence[str], others: Sequence[str]) -> bool:
    """Whether a column looks like labels: digits of at least two kinds, while the other end of the rows does not."""
    numbers, other_numbers = ([float(text) for text in column if _is_number(text)] for column in (values, others))
    digits = len(numbers) == len(values) and all(number in range(10) for number in numbers)
    other_is_pixel = len(set(other_numbers)) == 1 or max(other_numbers, default=0) > 9
    return digits and len(set(numbers)) > 1 and other_is_pixel


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _holds_numbers(rows: Sequence[Sequence[str]], at: int) -> bool:
    """Whether most values of a column are numbers. Some rows may be damaged."""
    values = [row[at] for row in rows if at < len(row)]
    return 2 * sum(map(_is_number, values)) > len(values)


def _is_integer(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _parse_block(source: CsvSource, text: bytes, block: Block) -> NumericRows:
    """The rows of a block. A header in it is left out."""
    if block.offset == 0:
        text = text.removeprefix(_BYTE_ORDER_MARK)
        if source.dialect.has_header:
            text = text[int(_find_line_ends(text)[0]) + 1 :]
    table = _parse_at_once(source, text)
    errors: dict[int, ImageError] = {}
    if table is None:
        table, errors = _parse_row_by_row(source, text)
    rows = read_rows(table, source.columns, source.name, str(source.file), block.first_row)
    if not isinstance(rows, NumericRows):
        raise AssertionError("columns of pixels must be read as numbers")
    return replace(rows, image_errors={**rows.image_errors, **errors})


def _column_types(source: CsvSource, pixel: pa.DataType) -> dict[str, pa.DataType]:
    pixels = set(source.columns.image.names)
    return {name: pixel if name in pixels else pa.string() for name in source.columns.names}


def _parse_at_once(source: CsvSource, text: bytes) -> pa.Table | None:
    """The columns of a block, None if a row does not fit."""
    for pixel in (pa.float64(),) if source.floats else (pa.uint8(), pa.int64()):
        try:
            return pa.csv.read_csv(
                io.BytesIO(text),
                pa.csv.ReadOptions(column_names=list(source.dialect.names), block_size=_BLOCK_BYTES),
                pa.csv.ParseOptions(delimiter=source.dialect.delimiter, newlines_in_values=b'"' in text),
                pa.csv.ConvertOptions(
                    column_types=_column_types(source, pixel),
                    include_columns=source.columns.names,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            continue
    return None


def _parse_row_by_row(source: CsvSource, text: bytes) -> tuple[pa.Table, dict[int, ImageError]]:
    """The columns of a block, and an error for each row that is not 784 numbers. Slower."""
    names, errors = source.dialect.names, dict[int, ImageError]()
    pixels = [names.index(name) for name in source.columns.image.names]
    others = [(name, names.index(name)) for name in source.columns.names if name not in source.columns.image.names]
    values, texts = list[list[float]](), list[list[str | None]]()
    for row in _read_lines(text.decode("utf-8", "replace"), source.dialect.delimiter, source.file):
        numbers, error = [0.0] * len(pixels), None
        if len(row) != len(names):
            error = ImageError(RejectReason.NOT_28X28, f"a row of {len(row)} values instead of {len(names)}")
        else:
            try:
                numbers = [float(row[at]) for at in pixels]
            except ValueError:
                wrong = next(row[at] for at in pixels if not _is_number(row[at]))
                error = ImageError(RejectReason.PIXEL_OUT_OF_RANGE, f"a pixel is {wrong[:20]!r}")
        if error is not None:
            errors[len(values)] = error
        values.append(numbers)
        texts.append([row[at] or None if at < len(row) and error is None else None for _, at in others])
    matrix = np.array(values, np.float64).reshape(len(values), len(pixels))
    columns = {name: pa.array(matrix[:, at]) for at, name in enumerate(source.columns.image.names)}
    columns |= {name: pa.array([row[at] for row in texts], pa.string()) for at, (name, _) in enumerate(others)}
    return pa.table(columns), errors


def _slice(rows: NumericRows, start: int, stop: int) -> NumericRows:
    return NumericRows(
        rows.ids.slice(start, stop - start),
        rows.labels.slice(start, stop - start),
        rows.values[start:stop],
        rows.pixel_range,
        None if rows.extra_columns is None else rows.extra_columns.slice(start, stop - start),
        {row - start: error for row, error in rows.image_errors.items() if start <= row < stop},
    )
