"""Plans what a run reads: recognizes each input file by its content and opens it as the source of its format.

Planning counts and checks. It decodes no image and imports neither TensorFlow nor OpenCV.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import EmptyInputError, InputError, UsageError
from mnist_batch.names import to_text
from mnist_batch.shards import Span
from mnist_batch.signatures import find_signature, may_hold_images
from mnist_batch.sources.containers import ContainerOpener, Opened
from mnist_batch.sources.folder.pages import split_pages
from mnist_batch.sources.folder.reader import FolderSource
from mnist_batch.sources.formats import Format, find_format, list_titles
from mnist_batch.sources.head import Head
from mnist_batch.sources.ids import check_ids_distinct
from mnist_batch.sources.labels import parse_class_file
from mnist_batch.sources.listing import Listing, list_files, list_named_files
from mnist_batch.sources.members import (
    CLASS_FILE_BYTES,
    IMAGE_NAME,
    JUNK_NAME,
    MemberKind,
    class_file_key,
    match_pattern,
    member_kind,
    member_labels,
)
from mnist_batch.sources.protocol import Container, Source, Stamp, display_name


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
    warnings: what a person should know about how the inputs are read, one line each.
    """

    root: Path
    folders: tuple[Path, ...]
    sources: tuple[Source, ...]
    spans: tuple[Span, ...]
    stamps: tuple[Mapping[Path, Stamp], ...]
    files: pa.Table
    arrays: Mapping[bytes, Sequence[str]]
    skipped: Mapping[str, int]
    warnings: Sequence[str]

    @property
    def rows(self) -> int:
        return sum(span.rows for span in self.spans)

    @property
    def labelled(self) -> bool:
        return any(source.labelled for source in self.sources)

    @property
    def numbered(self) -> bool:
        """Whether every row is identified by its number in a container."""
        return all(source.numbered for source in self.sources)

    def list_names(self) -> pa.StringArray:
        """Returns the ids of the rows that are files or members of archives."""
        return pa.chunked_array([source.list_names() for source in self.sources], pa.string()).combine_chunks()

    @property
    def extra_columns(self) -> pa.Schema:
        """The columns named by `--keep`. Each has the same type in all sources."""
        return pa.schema(self.sources[0].list_kept_columns())


def open_inputs(inputs: tuple[str, ...], options: ReadOptions) -> Inputs:
    """Plans the reading of `inputs`: paths, globs, or `file.npz:array`; only paths of files if `options.listed`.

    Raises EmptyInputError if they hold no image, InputError if a container is broken, and UsageError if the options do
    not fit the inputs.
    """
    listing = list_named_files(inputs) if options.listed else list_files(inputs)
    files = _FileClassifier(listing, options)
    opened: list[tuple[Source, Format | None]] = [(files.images, None)] if files.images.rows else []
    stamps: list[Mapping[Path, Stamp]] = [{} for _ in opened]  # an image file is checked when it is read
    spans: list[Span] = []
    images_done = 0
    for images_before, stamp, container in files.containers:
        if images_before > images_done:
            spans.append(Span(0, images_done, images_before))
            images_done = images_before
        for format, source in container.sources:
            bounds = source.split_points()
            spans += [Span(len(opened), a, b) for a, b in pairwise(bounds) if b > a]
            opened.append((source, format))
            stamps.append(stamp | {path: Stamp.of(path.stat()) for path in list_label_paths(source)})
    if files.images.rows > images_done:
        spans.append(Span(0, images_done, files.images.rows))
    if not spans:
        found = ", ".join(f"{count} x {kind}" for kind, count in sorted(files.skipped.items())) or "nothing"
        raise EmptyInputError(f"{', '.join(inputs)}: must hold an image, found {found}: check the path")
    _check_options(opened, options)
    return Inputs(
        listing.root,
        listing.folders,
        tuple(source for source, _ in opened),
        tuple(spans),
        tuple(stamps),
        listing.files,
        listing.arrays,
        dict(files.skipped),
        [
            *files.warnings,
            *(line for source, _ in opened for line in source.list_warnings()),
            *_warn_of_skipped(files.skipped, listing.root),
        ],
    )


def list_label_paths(source: Source) -> list[Path]:
    """The label files of a source that are files of their own, and not members of an archive."""
    return [file for file in source.list_sidecars() if isinstance(file, Path)]


class _FileClassifier:
    """Sorts the listed files into images, containers, files beside containers, and skipped files.

    images: the image files, as one source.
    containers: per container, the number of image files before it, and its stamp.
    skipped: how many files were skipped, by suffix.
    warnings: one line each.
    """

    def __init__(self, listing: Listing, options: ReadOptions) -> None:
        self._listing = listing
        self._options = options
        self._opener = ContainerOpener(options, listing.skipped)
        self.skipped, self.warnings = self._opener.skipped, self._opener.warnings
        paths = listing.files["path"].combine_chunks()
        # What a user names is never taken for a hidden file.
        hidden = match_pattern(paths, JUNK_NAME) & ~listing.files["named"].to_numpy()
        is_image = match_pattern(paths, IMAGE_NAME) & ~hidden
        auto, class_files = options.labels is AutoLabels.AUTO, dict[bytes, int]()
        opened: list[tuple[int, Opened]] = []
        errors: list[InputError] = []
        self._check_arrays()
        # By path, so that a file comes before its gzip copy also in a list with another order.
        for position in sorted(np.flatnonzero(~is_image).tolist(), key=lambda position: paths[position].as_py()):
            path, named = paths[position].as_py(), listing.files["named"][position].as_py()
            if hidden[position]:
                self.skipped.add(path)
                continue
            head = Head(listing.root / os.fsdecode(path))
            kind = member_kind(path, head.stored)
            if named and len(paths) == 1 and find_signature(head.stored()) is not None:
                kind = MemberKind.OTHER  # such as a PDF: an error, which beside other files is a reject
            match kind:
                case MemberKind.IMAGE:
                    is_image[position] = True
                case MemberKind.CLASS if auto:
                    where = to_text(os.fsencode(listing.root) + b"/" + path)
                    class_files[class_file_key(path)] = parse_class_file(head.stored(CLASS_FILE_BYTES), where)
                    self._check_unchanged(position)
                case MemberKind.OTHER:
                    try:
                        if (container := self._open_container(path, head, named)) is not None:
                            opened.append((position, container))
                    except InputError as error:  # collect them, so that one run names every broken container
                        errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else InputError("; and ".join(map(str, errors)))
        self._opener.finish()
        opened.sort(key=lambda container: container[0])
        # If nothing is filtered out, the source shares the listing's columns. `combine_chunks` would copy them, even
        # from a single chunk.
        images = listing.files if is_image.all() else listing.files.filter(pa.array(is_image))
        image_paths = images["path"].combine_chunks()
        labels = self._find_labels(image_paths, class_files)
        check_ids_distinct(image_paths, [name for _, container in opened for name in container.names])
        columns = {"path": images["path"], "label": labels, "size": images["size"], "changed": images["mtime_ns"]}
        table, rows = split_pages(listing.root, pa.table(columns))
        self.images = FolderSource(listing.root, table, labels.null_count < len(labels))
        rows_per_file = np.zeros(len(paths), np.int64)
        rows_per_file[is_image] = rows
        images_before = rows_per_file.cumsum()
        self.containers = [
            (int(images_before[position]), self._stamp(position), container) for position, container in opened
        ]

    def _find_labels(self, paths: pa.BinaryArray, class_files: dict[bytes, int]) -> pa.Int8Array:
        """The label of each image file, or null."""
        if self._options.labels is not AutoLabels.AUTO:
            return pa.nulls(len(paths), pa.int8())
        root = self._listing.root
        labels = self._opener.add_labels(member_labels(paths, class_files, str(root), root.as_posix()), paths)
        for table in self._opener.label_tables:
            self._check_unchanged(pc.index(self._listing.files["path"], table).as_py())
        return labels

    def _check_unchanged(self, position: int) -> None:
        """Raises InputError if a file whose labels have just been read is no longer as it was listed."""
        for path, stamp in self._stamp(position).items():
            stamp.check(path)

    def _stamp(self, position: int) -> dict[Path, Stamp]:
        path, size, changed, _ = (column[position].as_py() for column in self._listing.files.columns)
        return {self._listing.root / os.fsdecode(path): Stamp(size, changed)}

    def _check_arrays(self) -> None:
        """Raises UsageError if an array was requested from a file of a format that has none."""
        for path, arrays in self._listing.arrays.items():
            format = find_format(Head(self._listing.root / os.fsdecode(path)))
            if format is None or not format.has_arrays:
                raise UsageError(
                    f"{to_text(path)}:{arrays[0]}: only an npz file holds arrays, this file is not an npz: "
                    "name the file without an array"
                )

    def _open_container(self, path: bytes, head: Head, named: bool) -> Opened | None:
        """Opens the sources in a file that is not an image. Returns None if the file is skipped."""
        file, root = self._listing.root / os.fsdecode(path), self._listing.root
        arrays = self._listing.arrays.get(path, ())
        container = Container(file, display_name(file, root), self._options, arrays=arrays, named=named)
        return self._opener.open(path, container, head)


def _warn_of_skipped(skipped: Mapping[str, int], root: Path) -> list[str]:
    """One line if files were skipped that may hold images."""
    found = [f"{count} x {suffix}" for suffix, count in sorted(skipped.items()) if may_hold_images(suffix)]
    if not found:
        return []
    return [f"{root}: skipped files may hold images: {', '.join(found)}; unpack or convert what should be scored"]


def _check_options(opened: Sequence[tuple[Source, Format | None]], options: ReadOptions) -> None:
    """Raises UsageError for an option without a meaning for the inputs, InputError if `--keep` columns differ in type.

    opened: the sources and their formats; None for image files.
    """
    for option in ("image_column", "label_column", "pixel_range"):
        used = any(format is not None and option in format.options for _, format in opened)
        if getattr(options, option) is not None and not used:
            raise UsageError(
                f"--{option.replace('_', '-')}: needs {list_titles(option)} among the inputs, there is none: "
                "leave it out"
            )
    for option in ("keep", "id_column"):
        other = next((source for source, format in opened if format is None or option not in format.options), None)
        if getattr(options, option) and other is not None:
            raise UsageError(
                f"--{option.replace('_', '-')} must name a column of every input, {other.name or 'a folder'} has no "
                "columns: leave it out"
            )
    first = opened[0][0]
    for source, _ in opened:
        if [field.type for field in source.list_kept_columns()] != [field.type for field in first.list_kept_columns()]:
            raise InputError(
                f"{source.name}: columns kept must have one type in all files, they are {_format_types(source)} here "
                f"and {_format_types(first)} in {first.name}: score the files in separate runs"
            )


def _format_types(source: Source) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in source.list_kept_columns())
