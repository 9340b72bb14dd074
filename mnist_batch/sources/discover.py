"""Plans what a run reads: recognizes each input file by its content and opens it as the source of its format.

Planning counts and checks. It decodes no image and imports neither TensorFlow nor OpenCV.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import EmptyInputError, InputError, StorageError, UsageError
from mnist_batch.names import to_text
from mnist_batch.records import first_line
from mnist_batch.shards import Span
from mnist_batch.signatures import describe_start, find_signature, may_hold_images
from mnist_batch.sources.folder.pages import split_pages
from mnist_batch.sources.folder.reader import FolderSource
from mnist_batch.sources.formats import FORMATS, Format, find_format, list_titles
from mnist_batch.sources.gzipped import has_same_content
from mnist_batch.sources.head import Head
from mnist_batch.sources.labels import parse_class_file
from mnist_batch.sources.labels_beside import add_labels_of_tables, is_label_table
from mnist_batch.sources.listing import Listing, list_files, list_named_files
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
from mnist_batch.sources.protocol import Container, NotImages, Source, Stamp, missing_file

_GZIP_SUFFIX = b".gz"
_LABEL_TABLE = "(table of labels)"
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
    for images_before, stamp, format, sources in files.containers:
        if images_before > images_done:
            spans.append(Span(0, images_done, images_before))
            images_done = images_before
        for source in sources:
            bounds = source.split_points()
            spans += [Span(len(opened), a, b) for a, b in pairwise(bounds) if b > a]
            opened.append((source, format))
            stamps.append(stamp | {path: Stamp.of(path.stat()) for path in source.list_sidecars()})
            files.skipped.update(source.count_skipped())
    if files.images.rows > images_done:
        spans.append(Span(0, images_done, files.images.rows))
    used_sidecars = {path for source, _ in opened for path in source.list_sidecars()}
    for path, name in files.sidecars.items():
        if path not in used_sidecars:
            files.skipped[f"({name})"] += 1
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


class _FileClassifier:
    """Sorts the listed files into images, containers, files beside containers, and skipped files.

    images: the image files, as one source.
    containers: per container, the number of image files before it, its stamp, its format, and its sources.
    sidecars: the name of the format of each file that only accompanies another one, whether or not that one is there.
    skipped: how many files were skipped, by suffix.
    warnings: one line each.
    """

    def __init__(self, listing: Listing, options: ReadOptions) -> None:
        self._listing = listing
        self._options = options
        self.skipped = Skipped(listing.skipped)
        self.sidecars: dict[Path, str] = {}
        self.warnings: list[str] = []
        self._opened: set[bytes] = set()
        self._label_tables: list[bytes] = []
        paths = listing.files["path"].combine_chunks()
        # What a user names is never taken for a hidden file.
        hidden = match_pattern(paths, JUNK_NAME) & ~listing.files["named"].to_numpy()
        is_image = match_pattern(paths, IMAGE_NAME) & ~hidden
        auto, class_files = options.labels is AutoLabels.AUTO, dict[bytes, int]()
        opened: list[tuple[int, Format, Sequence[Source]]] = []
        errors: list[InputError] = []
        self._check_arrays()
        # By path, so that a file comes before its gzip copy also in a list with another order.
        for position in sorted(np.flatnonzero(~is_image).tolist(), key=lambda position: paths[position].as_py()):
            path, named = paths[position].as_py(), listing.files["named"][position].as_py()
            if hidden[position]:
                self.skipped.add(path)
                continue
            head = Head(listing.root / os.fsdecode(path))
            match member_kind(path, head.stored):
                case MemberKind.IMAGE:
                    is_image[position] = True
                case MemberKind.CLASS if auto:
                    where = to_text(os.fsencode(listing.root) + b"/" + path)
                    class_files[class_file_key(path)] = parse_class_file(head.stored(CLASS_FILE_BYTES), where)
                case MemberKind.OTHER:
                    try:
                        with _input_errors(listing.root / os.fsdecode(path)):
                            if (container := self._open_container(path, head, named)) is not None:
                                opened.append((position, *container))
                    except InputError as error:  # collect them, so that one run names every broken container
                        errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else InputError("; and ".join(map(str, errors)))
        opened.sort(key=lambda container: container[0])
        # If nothing is filtered out, the source shares the listing's columns. `combine_chunks` would copy them, even
        # from a single chunk.
        images = listing.files if is_image.all() else listing.files.filter(pa.array(is_image))
        image_paths = images["path"].combine_chunks()
        labels = self._find_labels(image_paths, class_files)
        _check_ids_distinct(image_paths, [source.name for _, _, sources in opened for source in sources])
        columns = {"path": images["path"], "label": labels, "size": images["size"], "changed": images["mtime_ns"]}
        table, rows = split_pages(listing.root, pa.table(columns))
        self.images = FolderSource(listing.root, table, labels.null_count < len(labels))
        rows_per_file = np.zeros(len(paths), np.int64)
        rows_per_file[is_image] = rows
        images_before = rows_per_file.cumsum()
        self.containers = [
            (int(images_before[position]), self._stamp(position), format, sources)
            for position, format, sources in opened
        ]

    def _find_labels(self, paths: pa.BinaryArray, class_files: dict[bytes, int]) -> pa.Int8Array:
        """The label of each image file, or null."""
        if self._options.labels is not AutoLabels.AUTO:
            return pa.nulls(len(paths), pa.int8())
        root = self._listing.root
        found = member_labels(paths, class_files, str(root), root.as_posix())
        found, tables = add_labels_of_tables(found, paths, self._label_tables, root)
        self.warnings += found.warnings
        if tables:
            self.skipped[_LABEL_TABLE] += tables
        return found.digits

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

    def _open_container(self, path: bytes, head: Head, named: bool) -> tuple[Format, Sequence[Source]] | None:
        """Opens the sources in a file that is not an image. Returns None if the file is skipped.

        named: whether the file is itself an input. Such a file must be a container.
        """
        whole = self._listing.root / os.fsdecode(path)
        if any(path.rpartition(b"/")[2] in format.rowless_names for format in FORMATS):
            self.skipped.add(path)
            return None
        if not named and self._is_label_option(whole):
            self.skipped[_LABEL_TABLE] += 1
            return None
        format = find_format(head)
        if format is None:
            self._skip_unknown(path, whole, head, named)
            return None
        if path.endswith(_GZIP_SUFFIX) and path.removesuffix(_GZIP_SUFFIX) in self._opened:
            self._skip_gzip_copy(whole)
            return None
        arrays = self._listing.arrays.get(path, ())
        sources = self._open_known(format, Container(whole, self._listing.root, self._options, arrays, named))
        if sources is None:
            return None
        if format.is_sidecar:
            self.sidecars[whole] = format.name
        elif sources:
            self._opened.add(path)
        return format, sources

    def _open_known(self, format: Format, container: Container) -> Sequence[Source] | None:
        """Opens the sources in a file of a known format. Returns None if it was only found, and holds no images."""
        try:
            return format.open(container)
        except NotImages as found:
            if container.named:
                raise InputError(
                    f"{container.path}: must be a collection of images, is {found.kind}: name the images themselves"
                ) from found
            self.skipped[f"({found.kind})"] += 1
        except InputError:
            if container.named or not is_label_table(container.path.name):
                raise
            self._note_label_table(container.path)
        return None

    def _skip_unknown(self, path: bytes, whole: Path, head: Head, named: bool) -> None:
        """Counts a file of no known format. Raises InputError if its name or the user says that it should have one."""
        text = to_text(path)
        known = next((format for format in FORMATS if format.suffixes and text.endswith(format.suffixes)), None)
        if not named and is_label_table(whole.name):
            self._note_label_table(whole)
        elif named or (known is not None and not is_junk(path)):
            must = f"{known.title}, as its name says" if known else f"an image, {list_titles()}"
            start = head.content() if known else head.stored()
            signature = find_signature(start)
            remedy = "check the file" if signature is None else signature.remedy
            raise InputError(f"{whole}: must be {must}, but {describe_start(start)}: {remedy}")
        else:
            self.skipped.add(path)

    def _note_label_table(self, path: Path) -> None:
        if self._options.labels is AutoLabels.AUTO:
            self._label_tables.append(os.fsencode(path.relative_to(self._listing.root)))
        else:
            self.skipped[_LABEL_TABLE] += 1

    def _is_label_option(self, path: Path) -> bool:
        """Whether a file is the one that `--labels` names."""
        labels = self._options.labels
        return isinstance(labels, Path) and labels.name == path.name and labels.exists() and labels.samefile(path)

    def _skip_gzip_copy(self, packed: Path) -> None:
        """Counts a gzip file whose content is in the file beside it. Raises InputError if the contents differ."""
        plain = packed.with_name(packed.name.removesuffix(os.fsdecode(_GZIP_SUFFIX)))
        if not has_same_content(plain, packed):
            raise InputError(
                f"{packed}: must hold the same as {plain.name} beside it, whose name it has, but differs: "
                "rename or remove one of them"
            )
        self.skipped["(gzip copy)"] += 1
        self.warnings.append(f"{packed}: not read, because {plain.name} beside it has the same content")


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
