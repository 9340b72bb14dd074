"""Plans what a run reads: recognizes each input file by its content and opens it as the source of its format.

Planning counts and checks. It decodes no image and imports neither TensorFlow nor OpenCV.
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

# Enough for the first header of a tar, and for the name of a zip's first member.
_HEAD_SIZE = 1024
# In the ids of a container's rows, one of these follows the container's name.
_SEPARATORS = "!#"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a run reads, in order.

    root: the deepest folder common to all inputs.
    folders: the inputs that are folders themselves.
    spans: the rows of all sources in the order they are read, cut where shards should be cut if possible.
    stamps: per source, the files it reads and their state when they were listed.
    files: the listed files with size and modification time, for the fingerprint.
    arrays: the requested arrays of npz files, by path.
    skipped: how many files were skipped, by suffix.
    """

    root: Path
    folders: tuple[Path, ...]
    sources: tuple[Source, ...]
    spans: tuple[Span, ...]
    stamps: tuple[Mapping[Path, Stamp], ...]
    files: pa.Table
    arrays: Mapping[bytes, Sequence[str]]
    skipped: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(span.rows for span in self.spans)

    @property
    def labelled(self) -> bool:
        return any(source.labelled for source in self.sources)

    @property
    def extra_columns(self) -> pa.Schema:
        """The columns named by `--keep`. Each has the same type in all sources."""
        return pa.schema(getattr(self.sources[0], "keep", ()))


def open_inputs(inputs: tuple[str, ...], options: ReadOptions) -> Inputs:
    """Plans the reading of `inputs`: paths, globs, or `file.npz:array`.

    Raises EmptyInputError if they hold no image, InputError if a container is broken, and UsageError if the options do
    not fit the inputs.
    """
    listing = list_files(inputs)
    files = _FileClassifier(listing, options)
    sources: list[Source] = [files.images] if files.images.rows else []
    stamps: list[Mapping[Path, Stamp]] = [{} for _ in sources]  # an image file is checked when it is read
    spans: list[Span] = []
    images_done = 0
    for images_before, stamp, container_sources in files.containers:
        if images_before > images_done:
            spans.append(Span(0, images_done, images_before))
            images_done = images_before
        for source in container_sources:
            bounds = source.split_points()
            spans += [Span(len(sources), a, b) for a, b in pairwise(bounds) if b > a]
            sources.append(source)
            stamps.append(stamp | {path: Stamp.of(path.stat()) for path in source.sidecars})
            files.skipped.update(source.skipped)
    if files.images.rows > images_done:
        spans.append(Span(0, images_done, files.images.rows))
    used_sidecars = {path for source in sources for path in source.sidecars}
    if unused := len(set(files.label_files) - used_sidecars):
        files.skipped["(idx labels)"] += unused
    if not spans:
        found = ", ".join(f"{count} x {kind}" for kind, count in sorted(files.skipped.items())) or "nothing"
        raise EmptyInputError(f"{', '.join(inputs)}: must hold an image, found {found}: check the path")
    _check_options(sources, options)
    return Inputs(
        listing.root,
        listing.folders,
        tuple(sources),
        tuple(spans),
        tuple(stamps),
        listing.files,
        listing.arrays,
        dict(files.skipped),
    )


class _FileClassifier:
    """Sorts the listed files into images, containers, label files and skipped files.

    images: the image files, as one source.
    containers: per container, the number of image files before it, its stamp, and its sources.
    label_files: idx files of labels, including those that belong to no images.
    skipped: how many files were skipped, by suffix.
    """

    def __init__(self, listing: Listing, options: ReadOptions) -> None:
        self._listing = listing
        self._options = options
        self.skipped = Skipped(listing.skipped)
        self.label_files: list[Path] = []
        paths = listing.files["path"].combine_chunks()
        is_image = match_pattern(paths, IMAGE_NAME) & ~match_pattern(paths, JUNK_NAME)
        auto, class_files = options.labels is AutoLabels.AUTO, dict[bytes, int]()
        opened: list[tuple[int, Sequence[Source]]] = []
        errors: list[InputError] = []
        self._check_arrays()
        for position in np.flatnonzero(~is_image):
            path, named = paths[position].as_py(), listing.files["named"][position].as_py()
            head = _read_head(listing.root / os.fsdecode(path))
            match member_kind(path, partial(bytes, head)):
                case MemberKind.IMAGE:
                    is_image[position] = True
                case MemberKind.CLASS if auto:
                    where = to_text(os.fsencode(listing.root) + b"/" + path)
                    class_files[class_file_key(path)] = parse_class_file(head[:CLASS_FILE_BYTES], where)
                case MemberKind.OTHER:
                    try:
                        with _input_errors(listing.root / os.fsdecode(path)):
                            opened.append((int(position), self._open_container(path, head, named)))
                    except InputError as error:  # collect them, so that one run names every broken container
                        errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else InputError("; and ".join(map(str, errors)))
        # If nothing is filtered out, the source shares the listing's columns. `combine_chunks` would copy them, even
        # from a single chunk.
        images = listing.files if is_image.all() else listing.files.filter(pa.array(is_image))
        image_paths = images["path"].combine_chunks()
        labels = member_labels(image_paths, class_files) if auto else pa.nulls(len(image_paths), pa.int8())
        _check_ids_distinct(image_paths, [source.name for _, sources in opened for source in sources])
        columns = {"path": images["path"], "label": labels, "size": images["size"], "changed": images["mtime_ns"]}
        self.images = FolderSource(listing.root, pa.table(columns), labels.null_count < len(labels))
        images_before = is_image.cumsum()
        self.containers = [
            (int(images_before[position]), self._stamp(position), sources) for position, sources in opened
        ]

    def _stamp(self, position: int) -> dict[Path, Stamp]:
        path, size, changed, _ = (column[position].as_py() for column in self._listing.files.columns)
        return {self._listing.root / os.fsdecode(path): Stamp(size, changed)}

    def _check_arrays(self) -> None:
        """Raises UsageError if an array was requested from a file that is not an npz."""
        for path, arrays in self._listing.arrays.items():
            if not is_npz(_inflate_head(_read_head(self._listing.root / os.fsdecode(path)))):
                raise UsageError(
                    f"{to_text(path)}:{arrays[0]}: only an npz file holds arrays, this file is not an npz: "
                    "name the file without an array"
                )

    def _open_container(self, path: bytes, raw_head: bytes, named: bool) -> Sequence[Source]:
        """Opens the sources in a file that is not an image. An empty result means that the file holds no rows.

        raw_head: its first bytes, not inflated.
        named: whether the file is itself an input. Such a file must be a container.
        """
        whole = self._listing.root / os.fsdecode(path)
        if path.rpartition(b"/")[2] in parquet.SUMMARIES:
            self.skipped.add(path)
            return []
        head = _inflate_head(raw_head)
        for format in FORMATS:
            if format.matches(head):
                if format.open is npz.open_npz and path in self._listing.arrays:
                    arrays = self._listing.arrays[path]
                    return [s for a in arrays for s in npz.open_npz(whole, self._listing.root, self._options, a)]
                return format.open(whole, self._listing.root, self._options)
        is_idx = head[:2] == b"\0\0" and len(head) >= 4 and head[2] in idx.DTYPES and 1 <= head[3] <= 4
        if is_idx and (named or head[3] == 3):
            raise InputError(
                f"{whole}: an idx file of images must begin with 00 00 08 03, this one begins with {head[:4].hex(' ')}"
                " and holds something else: name the file that holds the images"
            )
        if is_idx:
            self.label_files.append(whole)
            return []
        name = to_text(path)
        known = next((format for format in FORMATS if name.endswith(format.suffixes)), None)
        if named or (known is not None and not is_junk(path)):
            must = f"{known.name}, as its name says" if known else "an image, idx, npz, zip, tar or Parquet"
            raise InputError(
                f"{whole}: must be {must}, but begins with {(head if known else raw_head)[:8].hex(' ') or 'nothing'}: "
                "check the file"
            )
        self.skipped.add(path)
        return []


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Translates the OSErrors that opening a container does not handle itself."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing_file(error.filename) from error
    except OSError as error:
        # Not a failure of the storage: an offset in the file points outside it.
        if error.errno in (None, errno.EINVAL):
            raise InputError(f"{path}: must be whole, but: {first_line(error)}; fetch it again") from error
        raise StorageError(f"{path}: must be readable, but: {error.strerror}; start again once it is") from error


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_SIZE)
    except OSError as error:
        raise StorageError(f"{path}: must be readable, but: {error.strerror}; grant permission to read it") from error


def _inflate_head(head: bytes) -> bytes:
    """A file's first bytes, inflated if it is gzip. Unchanged if it is not gzip or does not inflate."""
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_SIZE)
    except zlib.error:
        return head


def _check_options(sources: Sequence[Source], options: ReadOptions) -> None:
    """Raises UsageError for an option that no source uses, InputError if `--keep` columns differ in type."""
    tables = [source for source in sources if isinstance(source, parquet.ParquetSource)]
    with_ranges = [source for source in sources if source.format in ("parquet", "npz")]
    for option, value, users, kind in (
        ("--image-column", options.image_column, tables, "a Parquet file"),
        ("--label-column", options.label_column, tables, "a Parquet file"),
        ("--pixel-range", options.pixel_range, with_ranges, "a Parquet file or an npz"),
    ):
        if value is not None and not users:
            raise UsageError(f"{option}: needs {kind} among the inputs, there is none: leave it out")
    if (options.keep or options.id_column) and len(tables) < len(sources):
        option = "--keep" if options.keep else "--id-column"
        other = next(source for source in sources if source not in tables)
        raise UsageError(
            f"{option} must name a column of every input, {other.name or 'a folder'} has no columns: leave it out"
        )
    for table in tables:
        if [field.type for field in table.keep] != [field.type for field in tables[0].keep]:
            raise InputError(
                f"{table.path}: columns kept must have one type in all files, they are {_format_types(table)} here "
                f"and {_format_types(tables[0])} in {tables[0].name}: score the files in separate runs"
            )


def _format_types(table: parquet.ParquetSource) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in table.keep)


def _check_ids_distinct(paths: pa.BinaryArray, containers: Sequence[str]) -> None:
    """Raises InputError if rows of two files could get the same id.

    paths: image files, whose paths are their ids.
    containers: the names that begin the ids of their rows.
    """
    # There may be millions of paths. Those that hold neither a literal `\xNN` nor a separator stay in Arrow.
    if match_pattern(paths, r"\\x").any():
        _check_unique(map(to_text, paths.to_pylist()))
    _check_unique(containers)
    unusual = paths.filter(pa.array(match_pattern(paths, f"[{_SEPARATORS}]"))).to_pylist() if containers else []
    known = set(containers)
    for text in [*map(to_text, unusual), *containers]:
        for position, letter in enumerate(text):
            if letter in _SEPARATORS and text[:position] in known:
                raise InputError(f"{text}: must not look like the id of a row of {text[:position]}: rename one of them")


def _check_unique(texts: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(
                f"{text}: ids must be unique, two files get this one because a name is not UTF-8: rename one of them"
            )
        seen.add(text)
