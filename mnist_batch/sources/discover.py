"""What the inputs are: each file recognised by its content, opened as the source of its format, all in one plan.

Planning counts and checks; it decodes no image and imports neither TensorFlow nor OpenCV.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import EmptyInputError, InputError, StorageError, UsageError
from mnist_batch.names import to_text
from mnist_batch.records import first_line
from mnist_batch.shards import Span
from mnist_batch.sources import idx, npz, parquet
from mnist_batch.sources.folder.reader import FolderSource
from mnist_batch.sources.formats import FORMATS, is_npz
from mnist_batch.sources.gzipped import GZIP_MAGIC
from mnist_batch.sources.labels import parse_class_file
from mnist_batch.sources.listing import Listing, list_files
from mnist_batch.sources.members import (
    CLASS_FILE_BYTES,
    IMAGE_NAME,
    JUNK_NAME,
    MemberKind,
    Skipped,
    class_file_key,
    is_junk,
    match_pattern,
    member_kind,
    member_labels,
)
from mnist_batch.sources.protocol import Source, Stamp, missing_file

# Enough for the first tar header, and for a zip's first member name.
_HEAD_SIZE = 1024
# What stands between a container's name and what tells its rows apart.
_SEPARATORS = "!#"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a run reads, in order.

    root: the deepest folder common to all inputs; folders: the inputs that are folders themselves;
    runs: the rows of all sources as they follow each other, cut where shards had better be cut;
    stamps: for each source, the files it holds open and what they were when they were listed;
    files: what was listed, with size and mtime, for the fingerprint; arrays: by path, what was asked for of an npz;
    skipped: files left alone, by suffix.
    """

    root: Path
    folders: tuple[Path, ...]
    sources: tuple[Source, ...]
    runs: tuple[Span, ...]
    stamps: tuple[Mapping[Path, Stamp], ...]
    files: pa.Table
    arrays: Mapping[bytes, Sequence[str]]
    skipped: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(run.rows for run in self.runs)

    @property
    def labelled(self) -> bool:
        return any(source.labelled for source in self.sources)

    @property
    def extra_columns(self) -> pa.Schema:
        """The columns that `--keep` carries over, which are of one type in all sources."""
        return pa.schema(getattr(self.sources[0], "keep", ()))


def open_inputs(inputs: tuple[str, ...], options: ReadOptions) -> Inputs:
    """The plan for `inputs`: paths, globs, or `file.npz:array`.

    Raises EmptyInputError where there is no image in them, InputError where a container is broken, UsageError where
    options do not fit the inputs.
    """
    listing = list_files(inputs)
    files = _FileClassifier(listing, options)
    sources: list[Source] = [files.images] if files.images.rows else []
    stamps: list[Mapping[Path, Stamp]] = [{} for _ in sources]  # an image file is checked as it is read
    runs: list[Span] = []
    reached = 0
    for before, stamp, opened in files.containers:
        if before > reached:
            runs.append(Span(0, reached, before))
            reached = before
        for source in opened:
            bounds = source.split_points()
            runs += [Span(len(sources), a, b) for a, b in pairwise(bounds) if b > a]
            sources.append(source)
            stamps.append(stamp | {path: Stamp.of(path.stat()) for path in source.sidecars})
            files.skipped.update(source.skipped)
    if files.images.rows > reached:
        runs.append(Span(0, reached, files.images.rows))
    used = {path for source in sources for path in source.sidecars}
    if unused := len(set(files.label_files) - used):
        files.skipped["(idx labels)"] += unused
    if not runs:
        found = ", ".join(f"{count} x {kind}" for kind, count in sorted(files.skipped.items())) or "nothing"
        raise EmptyInputError(f"{', '.join(inputs)}: must hold an image, found {found}: check the path")
    _check_options(sources, options)
    return Inputs(
        listing.root,
        listing.folders,
        tuple(sources),
        tuple(runs),
        tuple(stamps),
        listing.files,
        listing.arrays,
        dict(files.skipped),
    )


class _FileClassifier:
    """What each listed file is to the run.

    images: the image files; containers: for each, how many image files come before it, its stamp, and its sources;
    label_files: idx files of labels, whether or not images belong to them.
    """

    def __init__(self, listing: Listing, options: ReadOptions) -> None:
        self._listing = listing
        self._options = options
        self._class_files: dict[bytes, int] = {}
        self.skipped = Skipped(listing.skipped)
        self.label_files: list[Path] = []
        paths = listing.files["path"].combine_chunks()
        is_image = match_pattern(paths, IMAGE_NAME) & ~match_pattern(paths, JUNK_NAME)
        opened: list[tuple[int, Sequence[Source]]] = []
        broken: list[InputError] = []
        self._check_arrays()
        for position in np.flatnonzero(~is_image):
            path, named = paths[position].as_py(), listing.files["named"][position].as_py()
            raw = _read_head(listing.root / os.fsdecode(path))
            match member_kind(path, partial(bytes, raw)):
                case MemberKind.IMAGE:
                    is_image[position] = True
                case MemberKind.CLASS:
                    self._add_class_file(path, raw[:CLASS_FILE_BYTES])
                case MemberKind.OTHER:
                    try:
                        with _input_errors(listing.root / os.fsdecode(path)):
                            opened.append((int(position), self._open_container(path, raw, named)))
                    except InputError as error:  # all of them are to be named, so that one look mends them
                        broken.append(error)
        if broken:
            raise broken[0] if len(broken) == 1 else InputError("; and ".join(map(str, broken)))
        # The columns are held, and not copied where nothing is left out: `combine_chunks` copies even a single chunk.
        images = listing.files if is_image.all() else listing.files.filter(pa.array(is_image))
        kept = images["path"].combine_chunks()
        labels = pa.nulls(len(kept), pa.int8())
        if options.labels is AutoLabels.AUTO:
            labels = member_labels(kept, self._class_files)
        check_distinct(kept, [source.name for _, sources in opened for source in sources])
        columns = {"path": images["path"], "label": labels, "size": images["size"], "changed": images["mtime_ns"]}
        self.images = FolderSource(listing.root, pa.table(columns), labels.null_count < len(labels))
        before = is_image.cumsum()
        self.containers = [(int(before[position]), self._stamp(position), sources) for position, sources in opened]

    def _stamp(self, position: int) -> dict[Path, Stamp]:
        path, size, changed, _ = (column[position].as_py() for column in self._listing.files.columns)
        return {self._listing.root / os.fsdecode(path): Stamp(size, changed)}

    def _check_arrays(self) -> None:
        """Raises UsageError where an array was asked for of a file that holds none."""
        for path, arrays in self._listing.arrays.items():
            if not is_npz(_inflate_head(_read_head(self._listing.root / os.fsdecode(path)))):
                raise UsageError(f"{to_text(path)}:{arrays[0]}: only an npz holds arrays, this is none: name the file")

    def _add_class_file(self, path: bytes, text: bytes) -> None:
        if self._options.labels is AutoLabels.AUTO:
            where = to_text(os.fsencode(self._listing.root) + b"/" + path)
            self._class_files[class_file_key(path)] = parse_class_file(text, where)

    def _open_container(self, path: bytes, raw: bytes, named: bool) -> Sequence[Source]:
        """The sources in a file that is no image: none where it is to be skipped. raw: its first bytes."""
        whole = self._listing.root / os.fsdecode(path)
        if path.rpartition(b"/")[2] in parquet.SUMMARIES:
            self.skipped.add(path)
            return []
        head = _inflate_head(raw)
        for form in FORMATS:
            if form.recognises(head):
                if form.open is npz.open_npz and path in self._listing.arrays:
                    arrays = self._listing.arrays[path]
                    return [s for a in arrays for s in npz.open_npz(whole, self._listing.root, self._options, a)]
                return form.open(whole, self._listing.root, self._options)
        is_idx = head[:2] == b"\0\0" and len(head) >= 4 and head[2] in idx.DTYPES and 1 <= head[3] <= 4
        name = to_text(path)
        if is_idx and (named or head[3] == 3):
            raise InputError(
                f"{whole}: an idx file of images must begin with 00 00 08 03, this one begins with {head[:4].hex(' ')}"
                " and holds something else: name the file of the images"
            )
        if is_idx:
            self.label_files.append(whole)
            return []
        known = next((form for form in FORMATS if name.endswith(form.suffixes)), None)
        if named or (known is not None and not is_junk(path)):
            must = f"{known.name}, as its name says" if known else "an image, idx, npz, zip, tar or Parquet"
            raise InputError(
                f"{whole}: must be {must}, but begins with {(head if known else raw)[:8].hex(' ') or 'nothing'}: "
                "check the file"
            )
        self.skipped.add(path)
        return []


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """What is left of the operating system's refusals when a container is opened."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(error.filename) from error
    except OSError as error:
        # No disk says so: an offset that the file itself holds leads out of it.
        if error.errno in (None, errno.EINVAL):
            raise InputError(f"{path}: must be whole, but: {first_line(error)}; fetch it again") from error
        raise StorageError(f"{path}: must be readable, but: {error.strerror}; start again once it is") from error


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_SIZE)
    except OSError as error:
        raise StorageError(f"{path}: must be readable, but: {error.strerror}; give the right to read it") from error


def _inflate_head(head: bytes) -> bytes:
    """A file's first bytes, inflated where it is gzip; as far as they can be had where it is damaged."""
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_SIZE)
    except zlib.error:
        return head


def _check_options(sources: Sequence[Source], options: ReadOptions) -> None:
    tables = [source for source in sources if isinstance(source, parquet.ParquetSource)]
    with_ranges = [source for source in sources if source.format in ("parquet", "npz")]
    for option, value, users, whose in (
        ("--image-column", options.image_column, tables, "a Parquet file"),
        ("--label-column", options.label_column, tables, "a Parquet file"),
        ("--pixel-range", options.pixel_range, with_ranges, "a Parquet file or an npz"),
    ):
        if value is not None and not users:
            raise UsageError(f"{option}: an input must be {whose}, which it is meant for, none is: leave it out")
    if (options.keep or options.id_column) and len(tables) < len(sources):
        option = "--keep" if options.keep else "--id-column"
        other = next(source for source in sources if source not in tables)
        raise UsageError(f"{option} must name a column of every input, {other.name or 'a folder'} is none: drop it")
    for table in tables:
        if [field.type for field in table.keep] != [field.type for field in tables[0].keep]:
            raise InputError(
                f"{table.path}: columns kept must have one type in all files, they are {_format_types(table)} here "
                f"and {_format_types(tables[0])} in {tables[0].name}: score the files in separate runs"
            )


def _format_types(table: parquet.ParquetSource) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in table.keep)


def check_distinct(paths: pa.BinaryArray, containers: Sequence[str]) -> None:
    """Raises InputError where the rows of two files might get the same id.

    paths: of image files, whose ids they are; containers: names, with which the ids of their rows begin.
    """
    # Millions of names become Python objects only where one holds a literal `\xNN`, or might be a row of a container.
    if match_pattern(paths, r"\\x").any():
        _check_once(map(to_text, paths.to_pylist()))
    _check_once(containers)
    unusual = paths.filter(pa.array(match_pattern(paths, f"[{_SEPARATORS}]"))).to_pylist() if containers else []
    known = set(containers)
    for text in [*map(to_text, unusual), *containers]:
        for position, letter in enumerate(text):
            if letter in _SEPARATORS and text[:position] in known:
                raise InputError(
                    f"{text}: must not be written like a row of {text[:position]} in ids: rename one of them"
                )


def _check_once(texts: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(f"{text}: two files are written so in ids, one being no UTF-8: rename one of them")
        seen.add(text)
